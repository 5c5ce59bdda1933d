"""The front of a spooled queue: the bursts in memory, by how far the disk knows of their sending. Sans-IO."""

from collections import deque
from itertools import chain

from sockjs_bridge.bridge.batch import Batch, Burst
from sockjs_bridge.bridge.outbox import take_from


class Front:
    """Bursts with rising numbers, in three parts: `ready` before `asked` before waiting.

    A burst may be sent only once the disk has the mark that it may have been: until then it is asked for.
    Sizes are bytes of UTF-8.
    """

    __slots__ = ("_asked", "_ready", "_waiting", "ahead_bytes", "messages", "resends", "size_bytes")

    def __init__(self) -> None:
        self._ready: deque[Burst] = deque()
        self._asked: deque[Burst] = deque()
        self._waiting: deque[Burst] = deque()
        self.messages = 0
        self.size_bytes = 0
        self.ahead_bytes = 0
        """Bytes of what is ready or asked for: after a crash it is in doubt."""
        self.resends = 0
        """Messages among them that were written before."""

    @property
    def oldest(self) -> Burst | None:
        """What would be sent next."""
        return next(chain(self._ready, self._asked, self._waiting), None)

    @property
    def has_waiting(self) -> bool:
        """Whether there is something to ask for."""
        return bool(self._waiting)

    def append(self, burst: Burst, *, is_asked: bool = False) -> None:
        """Add a burst behind all others; nothing may wait if it is asked for already."""
        (self._asked if is_asked else self._waiting).append(burst)
        self.ahead_bytes += burst.size_bytes * is_asked
        self._count(burst, 1)

    def ask(self, about_bytes: int) -> int:
        """Ask for bursts of `about_bytes`, at least one; returns the number of the last message, 0 for none."""
        last = 0
        while self._waiting and about_bytes > 0:
            burst = self._waiting.popleft()
            about_bytes -= burst.size_bytes
            last = burst.last_number
            self._asked.append(burst)
            self.ahead_bytes += burst.size_bytes
        return last

    def note_mark(self, sending: int) -> None:
        """The disk has the mark: everything up to this number may have been sent."""
        while self._asked and self._asked[0].last_number <= sending:
            self._ready.append(self._asked.popleft())

    def take(self, about_bytes: int) -> Batch:
        """Remove the oldest of what is ready, at least one burst where there is any."""
        return take_from(self._ready, about_bytes, self.remove_oldest)

    def retreat(self) -> None:
        """Nothing is sent for now: all of it waits."""
        self._waiting.extendleft(reversed([*self._ready, *self._asked]))
        self._ready.clear()
        self._asked.clear()
        self.ahead_bytes = 0

    def put_back(self, bursts: list[Burst]) -> None:
        """Put bursts that were taken before all others; all of it waits then."""
        self.retreat()
        self._waiting.extendleft(reversed(bursts))
        for burst in bursts:
            self._count(burst, 1)

    def remove_oldest(self, most: int | None = None) -> Burst:
        """Remove the oldest burst, or its first `most` messages; there has to be one."""
        part = self._ready or self._asked or self._waiting
        burst = part.popleft()
        if most is not None and most < len(burst.messages):
            part.appendleft(burst.part(most))
            burst = burst.part(0, most)
        if part is not self._waiting:
            self.ahead_bytes -= burst.size_bytes
        self._count(burst, -1)
        return burst

    def _count(self, burst: Burst, sign: int) -> None:
        self.messages += sign * len(burst.messages)
        self.size_bytes += sign * burst.size_bytes
        self.resends += sign * len(burst.messages) * burst.was_written
