"""Dispatcher: what becomes of every message of local programs on its way to the server (delivery.md)."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from sockjs_bridge.bridge.batch import Batch, Burst, count_messages
from sockjs_bridge.bridge.outbox import Queue, QueueLimits
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.endpoints.receipts import MessageFate, Receipts
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog

_FATES = {DropReason.EXPIRED: MessageFate.EXPIRED}
_TEXTS = {
    DropReason.EXPIRED: "messages waited longer than queue.max_age; gave them up",
    DropReason.QUEUE_FULL: "the queue to the server is full; gave up the oldest messages",
    DropReason.STOPPED: "messages could not be sent before the stop",
}


class Sending(Protocol):
    """The open upstream connection, as far as sending goes."""

    def send(self, messages: list[str], receipts: Receipts | None) -> bool:
        """Send messages past the queue; False, and nothing sent, where the server does not keep up."""

    def flush(self) -> None:
        """Send what waits in the queue, as far as the server keeps up."""


class Dispatcher:
    """Accepts messages, queues them while they cannot be sent, and counts what became of each.

    accepted = written + queued + dropped; *in doubt* is a part of written. `clock` is the event loop's;
    `make_room` is called when there may be room for writers that wait.
    """

    def __init__(
        self,
        queue: Queue,
        stats: SessionStats,
        clock: Callable[[], float],
        make_room: Callable[[], None],
        log: EventLog,
    ) -> None:
        self.queue = queue
        self.stats = stats
        self._clock = clock
        self._make_room = make_room
        self._log = log
        self._link: Sending | None = None
        self._expiry: asyncio.TimerHandle | None = None
        queue.join(self)

    @property
    def keeps_unconfirmed(self) -> bool:
        """Whether what was written is kept until it is confirmed."""
        return self.queue.limits.resend_in_doubt or not self.queue.accepts_at_once

    def set_limits(self, limits: QueueLimits) -> None:
        """Take other bounds; what waits already stays, unless it is too old now."""
        self.queue.limits = limits
        self._cancel_expiry()
        self._plan_expiry()
        self._make_room()

    def attach(self, link: Sending) -> None:
        """The session is open."""
        self._link = link
        self.queue.begin_sending()

    def detach(self) -> None:
        """The session has ended."""
        self._link = None
        self.queue.end_sending()

    def offer(self, messages: list[str], receipts: Receipts | None = None) -> int:
        """Take messages of a program; returns how many are done with, from the front."""
        link = self._link
        if (
            link is not None
            and not self.keeps_unconfirmed
            and not self.queue.messages
            and link.send(messages, receipts)
        ):
            self.stats.messages_accepted += len(messages)
            return len(messages)
        taken = self._enqueue(messages, receipts)
        if taken < len(messages) and not self.queue.is_settling:
            rest = messages[taken:]
            rest_receipts = receipts.part(taken) if receipts is not None else None
            match self.queue.limits.overflow:
                case "reject":
                    self._reject(rest, rest_receipts)
                    taken = len(messages)
                case "drop-oldest":
                    taken += self._displace(rest, rest_receipts)
        self._plan_expiry()
        return taken

    def take(self, about_bytes: int) -> Batch:
        """What is to be sent next. An empty batch where nothing can be sent now."""
        self._expire()
        return self.queue.take(about_bytes)

    def note_accepted(self, messages: int, receipts: Receipts | None) -> None:
        """Messages have entered the queue."""
        self.stats.messages_accepted += messages
        if receipts is not None:
            receipts.report(MessageFate.QUEUED)
        self._plan_expiry()

    def note_recovered(self, queued: int, in_doubt: int) -> None:
        """Messages of an earlier run were found: those that were not sent, and those that may have been.

        So that the sums add up, they count as accepted, and as written, by this run.
        """
        self.stats.messages_accepted += queued + in_doubt
        self.stats.messages_sent += in_doubt
        self.stats.messages_in_doubt += in_doubt
        self._log.warning(
            "found messages of an earlier run in the spool; those in doubt "
            + ("are sent again" if self.queue.limits.resend_in_doubt else "are not sent again"),
            queued=queued,
            in_doubt=in_doubt,
        )
        self._plan_expiry()

    def note_lost(self, messages: int) -> None:
        """Messages that were offered could not be accepted before the stop."""
        self.stats.dropped[DropReason.STOPPED] += messages

    def note_changed(self) -> None:
        """There may be more to send, or more room."""
        self._make_room()

    def note_written(self, batch: Batch) -> None:
        """A batch was handed to the connection."""
        self.stats.messages_sent += len(batch.messages)
        self.stats.bytes_sent += batch.size_bytes
        if not batch.bursts:  # nothing has to travel with most messages
            return
        again = _written_before(batch.bursts)
        self.stats.messages_sent -= again
        self.stats.messages_resent += again
        for burst in batch.bursts:
            burst.report(MessageFate.SENT)

    def confirm(self, bursts: list[Burst], messages: int) -> None:
        """The server's side of the connection has read so many messages; `bursts` are those that were kept."""
        self.stats.messages_confirmed += messages
        for burst in bursts:
            burst.report(MessageFate.CONFIRMED)
        self.queue.finish(bursts)

    def doubt(self, bursts: list[Burst], messages: int, why: str) -> None:
        """Nobody knows whether so many messages arrived; `bursts` are what was kept of them.

        They are sent again where that is wanted, and where all of them were kept.
        """
        again = self.queue.limits.resend_in_doubt and count_messages(bursts) == messages
        self.stats.messages_in_doubt += messages - _written_before(bursts)
        for burst in bursts:
            burst.report(MessageFate.IN_DOUBT)
            burst.was_written = True
        self._log.warning(
            f"it is in doubt whether messages reached the server: {why}; they are "
            + ("to be sent again" if again else "not sent again"),
            messages=messages,
        )
        if again:
            self.put_back(bursts)
        else:
            self.queue.finish(bursts)

    def warn_unconfirmed(self, messages: int) -> None:
        """The server answers no PING, and what it has to confirm fills the queue."""
        self._log.repeated(
            "the server answers no PING: nothing more is sent until it confirms what was sent",
            messages=messages,
        )

    def refuse(self, burst: Burst) -> None:
        """The server will never take this burst of one message, for its size or its content."""
        self._log.warning(
            "the server refuses a message, for its size or its content; left it out",
            reason=DropReason.REFUSED,
            size_bytes=burst.size_bytes,
        )
        if burst.was_written:  # it stays counted as written, and went nowhere all the same
            self.stats.dropped[DropReason.REFUSED] += 1
        self._drop([burst], DropReason.REFUSED)

    def put_back(self, bursts: list[Burst]) -> None:
        """Bursts that were taken are not sent now: they go before all others."""
        self.queue.put_back(bursts)
        self._cancel_expiry()  # they may be older than what it was planned for
        self._plan_expiry()

    def give_up_rest(self) -> None:
        """Nothing can be sent any more. What is on disk stays there."""
        self._cancel_expiry()
        if not self.queue.accepts_at_once:
            return
        rest: list[Burst] = []
        while self.queue.messages:
            rest += self.queue.take(self.queue.size_bytes).bursts
        self._give_up(rest, DropReason.STOPPED)

    def _enqueue(self, messages: list[str], receipts: Receipts | None) -> int:
        """Queue as much as there is room for, while sending makes room."""
        taken = 0
        while taken < len(messages):
            piece, its_receipts = self._piece(messages, receipts, taken)
            count = self.queue.offer(piece, self._clock(), its_receipts)
            if not count:
                break
            taken += count
            if self.queue.accepts_at_once:
                self.note_accepted(count, its_receipts.part(0, count) if its_receipts is not None else None)
            if self._link is not None:
                self._link.flush()
        return taken

    def _displace(self, messages: list[str], receipts: Receipts | None) -> int:
        """Queue messages at the cost of the oldest; returns how many were taken."""
        taken = 0
        while taken < len(messages):
            piece, its_receipts = self._piece(messages, receipts, taken)
            self._give_up(self.queue.make_room_for(piece), DropReason.QUEUE_FULL)
            count = self._enqueue(piece, its_receipts)
            taken += count
            if not count:
                break
        return taken

    def _piece(
        self, messages: list[str], receipts: Receipts | None, start: int
    ) -> tuple[list[str], Receipts | None]:
        """As many messages from `start` on as the queue can hold at most: a burst can have many more."""
        most = self.queue.limits.max_messages
        if not start and len(messages) <= most:
            return messages, receipts
        stop = start + most
        return messages[start:stop], receipts.part(start, stop) if receipts is not None else None

    def _reject(self, messages: list[str], receipts: Receipts | None) -> None:
        self.stats.dropped[DropReason.QUEUE_FULL] += len(messages)
        if receipts is not None:
            receipts.report(MessageFate.REJECTED, DropReason.QUEUE_FULL)
        self._log.repeated(
            "the queue to the server is full; rejected messages of a program",
            reason=DropReason.QUEUE_FULL,
            messages=len(messages),
        )

    def _expire(self) -> None:
        max_age = self.queue.limits.max_age
        if max_age:
            self._give_up(self.queue.expire(self._clock() - max_age), DropReason.EXPIRED)

    def _plan_expiry(self) -> None:
        max_age = self.queue.limits.max_age
        if max_age and self._expiry is None and self.queue.messages:
            left = max_age - self.queue.oldest_seconds(self._clock())
            # A little later, so that the oldest has certainly expired.
            self._expiry = asyncio.get_running_loop().call_later(max(left, 0.0) + 0.001, self._expire_by_time)

    def _cancel_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _expire_by_time(self) -> None:
        self._expiry = None
        self._expire()
        self._plan_expiry()
        self._make_room()

    def _give_up(self, bursts: list[Burst], reason: DropReason) -> None:
        if not bursts:
            return
        written = _written_before(bursts)
        self._log.repeated(
            _TEXTS[reason], reason=reason, messages=count_messages(bursts), in_doubt=written or None
        )
        self._drop(bursts, reason)

    def _drop(self, bursts: list[Burst], reason: DropReason) -> None:
        # What was written before counts as written, and as in doubt, whatever happens to it now.
        messages = count_messages(bursts) - _written_before(bursts)
        if messages:
            self.stats.queue_dropped[reason] += messages
            self.stats.dropped[reason] += messages
        for burst in bursts:
            burst.report(_FATES.get(reason, MessageFate.DROPPED), reason)
        self.queue.finish(bursts)


def _written_before(bursts: list[Burst]) -> int:
    return sum(len(burst.messages) for burst in bursts if burst.was_written)
