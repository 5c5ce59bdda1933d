"""Messages that were written over a WebSocket, until the answer to a PING confirms them."""

import asyncio
from collections.abc import Callable

from sockjs_bridge.bridge.batch import Batch, Burst, count_messages, utf8_bytes
from sockjs_bridge.bridge.dispatcher import Dispatcher
from sockjs_bridge.bridge.ledger import Ledger
from sockjs_bridge.endpoints.receipts import MessageFate

CONFIRM_SECONDS = 1.0
"""Unconfirmed messages cause a PING within so long."""
# Of so many messages their writers can still be told more: a server that answers no PING must not fill the memory.
_MOST_WITH_RECEIPTS = 100_000
_WHY = "the connection ended before they were confirmed"


class Tracking:
    """What one connection has written: confirmed by a PONG, or in doubt when the connection breaks.

    `send_ping` sends a PING of this number; `asks` is False where PINGs are switched off, then nothing is
    ever confirmed but by an answered Close.
    """

    def __init__(self, dispatcher: Dispatcher, send_ping: Callable[[int], None], *, asks: bool) -> None:
        self._dispatcher = dispatcher
        self._send_ping = send_ping
        self._asks = asks
        self._ledger = Ledger()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def note_written(self, batch: Batch) -> None:
        """A batch has been written: a PING from now on comes after it."""
        self._dispatcher.note_written(batch)
        if self._keep(batch) and not self._ledger.awaits_pong:
            self._ask()
        elif self._timer is None and self._asks:
            self._timer = self._loop.call_later(CONFIRM_SECONDS, self._ask_by_time)

    @property
    def is_confirmed(self) -> bool:
        """Whether all that was written is confirmed."""
        return not self._ledger.unconfirmed

    def next_ping(self) -> int:
        """The number for a PING that is due: its answer confirms, too."""
        if self._ledger.awaits_pong and self._dispatcher.queue.is_half_held:
            self._dispatcher.warn_unconfirmed(self._ledger.unconfirmed)
        return self._ledger.ping()

    def receive_pong(self, payload: bytes) -> bool:
        """A PING was answered; tells whether that has confirmed anything.

        Only the number of the PING proves that it is the answer: RFC 6455 section 5.5.3 allows a PONG that
        nobody asked for.
        """
        messages, batches = self._ledger.pong(int(payload) if payload.isdigit() else 0)
        if messages:
            self._confirm(messages, batches)
        if (
            self._ledger.unconfirmed
            and not self._ledger.awaits_pong
            and (self._dispatcher.queue.is_half_held or self._has_many_receipts)
        ):
            self._ask()
        return bool(messages)

    def ask_last(self) -> None:
        """The connection is about to be closed: a last chance for a confirmation."""
        if self._ledger.unconfirmed:
            self._ask()

    def finish(self, *, answered: bool = False, too_big: bool = False) -> None:
        """The connection has ended.

        `answered`: it was ours to close, and the server has answered the Close. `too_big`: the server has
        closed it because of the size of a message, which would bring that about again (protocol section 4).
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        messages, batches = self._ledger.take_all()
        if not messages:
            return
        if answered:
            self._confirm(messages, batches)
            return
        self._release(batches)
        held = [burst for batch in batches if batch.is_held for burst in batch.bursts]
        others = [burst for batch in batches if not batch.is_held for burst in batch.bursts]
        messages -= count_messages(held)
        if messages:
            self._dispatcher.doubt(others, messages, _WHY)
        if held and too_big:
            held, culprit = _without_largest(held)
            culprit.was_written = True
            self._dispatcher.refuse(culprit)
        if held:
            self._dispatcher.doubt(held, count_messages(held), _WHY)

    def _keep(self, batch: Batch) -> bool:
        """Keep what is needed of a batch until it is confirmed; tells whether much is kept."""
        messages = len(batch.messages)
        if not batch.bursts:
            self._ledger.note_written(messages)
            return False
        if self._dispatcher.keeps_unconfirmed:
            batch.is_held = True
            self._ledger.note_written(messages, batch)
            return self._dispatcher.queue.hold(batch)
        told = [burst.without_text() for burst in batch.bursts if burst.receipts is not None]
        if not told:
            self._ledger.note_written(messages)
            return False
        self._ledger.note_written(messages, Batch(told))
        for forgotten in self._ledger.forget(_MOST_WITH_RECEIPTS):
            for burst in forgotten.bursts:
                burst.report(MessageFate.IN_DOUBT)
        return self._has_many_receipts

    @property
    def _has_many_receipts(self) -> bool:
        return 2 * self._ledger.kept_messages >= _MOST_WITH_RECEIPTS

    def _ask(self) -> None:
        if self._asks:
            self._send_ping(self._ledger.ping())

    def _ask_by_time(self) -> None:
        self._timer = None
        if not self._ledger.is_covered:
            self._ask()

    def _confirm(self, messages: int, batches: list[Batch]) -> None:
        self._release(batches)
        self._dispatcher.confirm([burst for batch in batches for burst in batch.bursts], messages)

    def _release(self, batches: list[Batch]) -> None:
        for batch in batches:
            if batch.is_held:
                self._dispatcher.queue.release(batch)


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
