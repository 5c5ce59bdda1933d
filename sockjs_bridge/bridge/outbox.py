"""The queue from local programs to the server: bounded by messages and bytes, in order."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sockjs_bridge.bridge.batch import Batch, Burst, utf8_bytes
from sockjs_bridge.bridge.held import Held
from sockjs_bridge.endpoints.receipts import Receipts


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What may wait. `max_age` in seconds, 0 is never too old; `overflow` as the configuration says it."""

    max_messages: int = 10_000
    max_bytes: int = 8 << 20
    max_age: float = 0.0
    overflow: str = "pause"
    resend_in_doubt: bool = False
    max_spool_bytes: int = 256 << 20


class QueueOwner(Protocol):
    """Who hears of what a queue does by itself."""

    def note_accepted(self, messages: int, receipts: Receipts | None) -> None:
        """Messages that were offered are on disk now."""

    def note_recovered(self, queued: int, in_doubt: int) -> None:
        """Messages of an earlier run were found: those that were not sent, and those that may have been."""

    def note_lost(self, messages: int) -> None:
        """Messages that were offered could not be accepted after all."""

    def note_changed(self) -> None:
        """There may be more to send, or more room."""


class Queue(Protocol):
    """Where messages wait for the server: in memory, or in a spool with a part of it in memory.

    Sizes are UTF-8 bytes; times are seconds of one monotonic clock.
    """

    limits: QueueLimits
    accepts_at_once: bool
    """Whether what `offer` takes is accepted; else it is once it is on disk."""

    @property
    def problem(self) -> str | None:
        """What keeps the queue from taking messages, beside being full."""

    @property
    def messages(self) -> int:
        """How many wait."""

    @property
    def size_bytes(self) -> int:
        """How many bytes they have."""

    @property
    def resends(self) -> int:
        """How many of them were written before."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, nor is on its way into the queue."""

    @property
    def is_settling(self) -> bool:
        """Whether there may be room in a moment, without anybody's doing."""

    def join(self, owner: QueueOwner) -> None:
        """Tell from now on what happens."""

    async def open(self) -> None:
        """Begin. Raises SpoolError."""

    async def close(self, deadline: float) -> None:
        """Make what was taken safe, by `deadline` (seconds of the loop's clock)."""

    def begin_sending(self) -> None:
        """A session is open."""

    def end_sending(self) -> None:
        """The session has ended."""

    def offer(self, messages: list[str], now: float, receipts: Receipts | None = None) -> int:
        """Take as many messages as there is room for, from the front; returns how many."""

    def make_room_for(self, messages: list[str]) -> list[Burst]:
        """Remove the oldest until these fit, or nothing is left to remove; returns what was removed."""

    def expire(self, before: float) -> list[Burst]:
        """Remove what was accepted before this time; returns it."""

    def take(self, about_bytes: int) -> Batch:
        """Remove what is oldest, at least one burst where one can go out now, up to `about_bytes`."""

    def put_back(self, bursts: list[Burst]) -> None:
        """Put bursts that were taken before all others."""

    @property
    def is_half_held(self) -> bool:
        """Whether what is held fills half of the bounds or more."""

    def hold(self, batch: Batch) -> bool:
        """It was sent and may have to be sent again: it counts against the bounds until it is released.

        Returns `is_half_held`.
        """

    def release(self, batch: Batch) -> None:
        """It need not be held any more."""

    def finish(self, bursts: list[Burst]) -> None:
        """Nothing will be done any more for bursts that were taken or removed."""

    def oldest_seconds(self, now: float) -> float:
        """For how long the oldest message has waited; 0 when nothing waits."""


class Outbox:
    """A `Queue` in memory: messages in the bursts in which programs sent them."""

    __slots__ = (
        "_bursts",
        "_held",
        "accepts_at_once",
        "limits",
        "messages",
        "problem",
        "resends",
        "size_bytes",
    )

    def __init__(self, limits: QueueLimits) -> None:
        self.limits = limits
        self.accepts_at_once = True
        self.problem: str | None = None
        self._bursts: deque[Burst] = deque()
        self._held = Held()
        self.messages = 0
        self.size_bytes = 0
        self.resends = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self.messages

    @property
    def is_settling(self) -> bool:
        """Never: it is full or it is not."""
        return False

    def join(self, owner: QueueOwner) -> None:
        """Nothing happens here by itself."""

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self, deadline: float) -> None:
        """Nothing to do."""

    def begin_sending(self) -> None:
        """Nothing to do: everything can be taken at any time."""

    def end_sending(self) -> None:
        """Nothing to do."""

    def offer(self, messages: list[str], now: float, receipts: Receipts | None = None) -> int:
        """Take as many messages as there is room for, from the front; returns how many.

        An empty queue takes one message of any size: U+FFFD in place of invalid bytes can make a message
        larger than it came, and one that never fits would wait for ever.
        """
        size_bytes = utf8_bytes(messages)
        if not self._has_room(len(messages), size_bytes):
            messages = messages[: self._fitting(messages)]
            size_bytes = utf8_bytes(messages)
            receipts = receipts.part(0, len(messages)) if receipts is not None else None
        if messages:
            self._bursts.append(Burst(messages, size_bytes, now, receipts))
            self._count(1, len(messages), size_bytes)
        return len(messages)

    def make_room_for(self, messages: list[str]) -> list[Burst]:
        """Remove the oldest until these fit, or nothing is left to remove; returns what was removed."""
        removed: list[Burst] = []
        wanted, wanted_bytes = len(messages), utf8_bytes(messages)
        while self._bursts and not self._has_room(wanted, wanted_bytes):
            burst = self._remove_first()
            count = self._enough_of(burst, wanted, wanted_bytes)
            if count < len(burst.messages):
                self.put_back([burst.part(count)])
                burst = burst.part(0, count)
            removed.append(burst)
        return removed

    def expire(self, before: float) -> list[Burst]:
        """Remove what was accepted before this time; returns it."""
        expired: list[Burst] = []
        while self._bursts and self._bursts[0].accepted_at < before:
            expired.append(self._remove_first())
        return expired

    def put_back(self, bursts: list[Burst]) -> None:
        """Put bursts that were taken before all others. The bounds do not hold here: there was room before."""
        for burst in reversed(bursts):
            self._bursts.appendleft(burst)
            self._count(1, len(burst.messages), burst.size_bytes)
            self.resends += len(burst.messages) * burst.was_written

    def take(self, about_bytes: int) -> Batch:
        """Remove the oldest bursts, at least one where there is any, up to `about_bytes`."""
        return take_from(self._bursts, about_bytes, self._remove_first)

    @property
    def is_half_held(self) -> bool:
        """Whether what is held fills half of the bounds or more."""
        return self._held.fills_half(self.limits.max_messages, self.limits.max_bytes)

    def hold(self, batch: Batch) -> bool:
        """It was sent and may have to be sent again: it counts against the bounds until it is released.

        Returns `is_half_held`.
        """
        self._held.add(batch)
        return self.is_half_held

    def release(self, batch: Batch) -> None:
        """It need not be held any more."""
        self._held.remove(batch)

    def finish(self, bursts: list[Burst]) -> None:
        """Nothing to do: what was taken is not here any more."""

    def oldest_seconds(self, now: float) -> float:
        """For how long the oldest message has waited; 0 when nothing waits."""
        return now - self._bursts[0].accepted_at if self._bursts else 0.0

    def _has_room(self, messages: int, size_bytes: int) -> bool:
        return (
            self.messages + self._held.messages + messages <= self.limits.max_messages
            and self.size_bytes + self._held.size_bytes + size_bytes <= self.limits.max_bytes
        )

    def _fitting(self, messages: list[str]) -> int:
        room_bytes = self.limits.max_bytes - self.size_bytes - self._held.size_bytes
        room = max(self.limits.max_messages - self.messages - self._held.messages, 0)
        for count, message in enumerate(messages[:room]):
            room_bytes -= utf8_bytes([message])
            if room_bytes < 0:
                return count or int(not self._bursts and not self._held.messages)
        return min(room, len(messages))

    def _enough_of(self, burst: Burst, wanted: int, wanted_bytes: int) -> int:
        """How many of the first messages of a burst have to go, for what is wanted to fit beside the others."""
        messages, size_bytes = len(burst.messages), burst.size_bytes
        for count, message in enumerate(burst.messages, 1):
            messages -= 1
            size_bytes -= utf8_bytes([message])
            if self._has_room(messages + wanted, size_bytes + wanted_bytes):
                return count
        return len(burst.messages)

    def _remove_first(self) -> Burst:
        burst = self._bursts.popleft()
        self._count(-1, len(burst.messages), burst.size_bytes)
        self.resends -= len(burst.messages) * burst.was_written
        return burst

    def _count(self, sign: int, messages: int, size_bytes: int) -> None:
        self.messages += sign * messages
        self.size_bytes += sign * size_bytes


def take_from(bursts: deque[Burst], about_bytes: int, remove_first: Callable[[], Burst]) -> Batch:
    """Remove the first bursts, at least one where there is any, up to `about_bytes`; `alone` ones by themselves."""
    if not bursts:
        return Batch()
    batch = Batch.of(remove_first())
    if batch.bursts[0].alone or not _may_follow(bursts, batch.size_bytes, about_bytes):
        return batch
    batch.messages = batch.messages.copy()
    while _may_follow(bursts, batch.size_bytes, about_bytes):
        burst = remove_first()
        batch.bursts.append(burst)
        batch.messages += burst.messages
        batch.size_bytes += burst.size_bytes
    return batch


def _may_follow(bursts: deque[Burst], size_bytes: int, about_bytes: int) -> bool:
    return bool(bursts) and not bursts[0].alone and size_bytes + bursts[0].size_bytes <= about_bytes
