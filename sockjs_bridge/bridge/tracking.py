"""Messages that were written over a WebSocket, until the answer to a PING confirms them."""

import asyncio
from collections.abc import Callable

from sockjs_bridge.bridge.batch import Batch, Burst, utf8_bytes
from sockjs_bridge.bridge.dispatcher import Dispatcher
from sockjs_bridge.bridge.ledger import Ledger

CONFIRM_SECONDS = 1.0
"""Unconfirmed messages cause a PING within so long."""
MESSAGE_TOO_BIG = 1009
"""Close code of RFC 6455: the same message would bring it about again (protocol section 4)."""


class Tracking:
    """What one connection has written: confirmed by a PONG, or in doubt when the connection breaks.

    `send_ping` sends a PING of this number; `asks` is False where PINGs are switched off, then nothing is
    ever confirmed but by an answered Close.
    """

    def __init__(self, dispatcher: Dispatcher, send_ping: Callable[[int], None], *, asks: bool) -> None:
        self._dispatcher = dispatcher
        self._send_ping = send_ping
        self._asks = asks
        self._holds = dispatcher.keeps_unconfirmed
        self._ledger = Ledger()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def note_written(self, batch: Batch) -> None:
        """A batch has been written: a PING from now on comes after it."""
        self._dispatcher.note_written(batch)
        keep = self._holds or any(burst.receipts is not None for burst in batch.bursts)
        self._ledger.note_written(batch, keep=keep)
        if self._holds and self._dispatcher.queue.hold(batch) and not self._ledger.awaits_pong:
            self._ask()
        elif self._timer is None and self._asks:
            self._timer = self._loop.call_later(CONFIRM_SECONDS, self._ask_by_time)

    @property
    def is_confirmed(self) -> bool:
        """Whether all that was written is confirmed."""
        return not self._ledger.unconfirmed

    def next_ping(self) -> int:
        """The number for a PING that is sent for whatever reason: its answer confirms, too."""
        return self._ledger.ping()

    def receive_pong(self, payload: bytes) -> bool:
        """A PING was answered; tells whether that has confirmed anything."""
        number = int(payload) if payload.isdigit() else self._ledger.only_ping
        messages, batches = self._ledger.pong(number)
        if messages:
            self._confirm(messages, batches)
        if self._holds and self._dispatcher.queue.is_half_held and not self._ledger.awaits_pong:
            self._ask()
        return bool(messages)

    def ask_last(self) -> None:
        """The connection is about to be closed: a last chance for a confirmation."""
        if self._ledger.unconfirmed:
            self._ask()

    def finish(self, *, answered: bool, code: int) -> None:
        """The connection has ended. `answered`: it was ours to close, and the server has answered the Close."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        messages, batches = self._ledger.take_all()
        if not messages:
            return
        if answered:
            self._confirm(messages, batches)
            return
        bursts = self._release(batches)
        if code == MESSAGE_TOO_BIG and self._holds:
            bursts, culprit = _without_largest(bursts)
            messages -= 1
            culprit.was_written = True
            self._dispatcher.refuse(culprit)
        if messages:
            self._dispatcher.doubt(bursts, messages, "the connection ended before they were confirmed")

    def _ask(self) -> None:
        if self._asks:
            self._send_ping(self._ledger.ping())

    def _ask_by_time(self) -> None:
        self._timer = None
        if not self._ledger.is_covered:
            self._ask()

    def _confirm(self, messages: int, batches: list[Batch]) -> None:
        self._dispatcher.confirm(self._release(batches), messages)

    def _release(self, batches: list[Batch]) -> list[Burst]:
        if self._holds:
            for batch in batches:
                self._dispatcher.queue.release(batch)
        return [burst for batch in batches for burst in batch.bursts]


def _without_largest(bursts: list[Burst]) -> tuple[list[Burst], Burst]:
    """The bursts without their largest message, and that one."""
    sizes = [
        (utf8_bytes([message]), place, index)
        for place, burst in enumerate(bursts)
        for index, message in enumerate(burst.messages)
    ]
    _, place, index = max(sizes)
    burst = bursts[place]
    around = [burst.part(0, index), burst.part(index + 1)]
    rest = [*bursts[:place], *[part for part in around if part.messages], *bursts[place + 1 :]]
    return rest, burst.part(index, index + 1)
