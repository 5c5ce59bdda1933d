"""What a writer is told of its messages, gathered: many answers in one write (delivery.md, `envelope`)."""

import asyncio
from collections.abc import Callable, Sequence

from sockjs_bridge.endpoints.envelope import answers
from sockjs_bridge.endpoints.receipts import MessageFate, MessageId, Receipts
from sockjs_bridge.errors import DropReason

_MOST_LINES = 1000


class Answering:
    """The answers to one writer. `write` gets those of one round of the event loop together, if they are not too many."""

    def __init__(self, loop: asyncio.AbstractEventLoop, write: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._write = write
        self._lines: list[bytes] = []
        self._has_stopped = False

    def receipts(self, ids: list[MessageId]) -> Receipts:
        """What has to go along with the messages that have these ids."""
        return Receipts(ids, self.tell)

    def tell(self, ids: Sequence[MessageId], fate: MessageFate, reason: DropReason | None) -> None:
        """Answer the writer, if it is still there."""
        if self._has_stopped:
            return
        if not self._lines:
            self._loop.call_soon(self._flush)
        self._lines += answers(ids, fate, reason)
        if len(self._lines) > _MOST_LINES:
            self._flush()

    def stop(self) -> None:
        """The writer has gone."""
        self._has_stopped = True
        self._lines.clear()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._write(b"".join(lines))
