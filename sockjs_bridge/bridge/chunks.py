"""What a spool keeps, as plain data. Without SQLite, so that a bridge that has no spool does not load it."""

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sockjs_bridge.bridge.batch import utf8_bytes

Range = tuple[int, int]
"""Numbers of messages from the first to the last, both included."""

EVERY_MESSAGE = sys.maxsize
"""No bound of how many are read."""

_BYTES_OF_A_CHUNK = 64
"""Its row without the messages, and its share of the index, about."""
_BYTES_OF_A_MESSAGE = 3
"""Quotes and comma."""


def stored_bytes(messages: int, size_bytes: int) -> int:
    """What a chunk counts for against `spool_max_bytes`: its messages and a little for the form they are in."""
    return size_bytes + messages * _BYTES_OF_A_MESSAGE + _BYTES_OF_A_CHUNK


@dataclass(slots=True)
class Chunk:
    """Messages with consecutive numbers that were accepted together.

    `size_bytes` is their sum in UTF-8, `accepted_at` seconds of the wall clock: it has to last over a restart.
    """

    first: int
    messages: list[str]
    size_bytes: int
    accepted_at: float

    @property
    def last(self) -> int:
        """The number of the last message."""
        return self.first + len(self.messages) - 1

    @property
    def stored_bytes(self) -> int:
        """What it counts for against `spool_max_bytes`."""
        return stored_bytes(len(self.messages), self.size_bytes)

    def part(self, first: int, last: int) -> "Chunk":
        """The messages from number `first` to `last`."""
        if (first, last) == (self.first, self.last):
            return self
        messages = self.messages[first - self.first : last - self.first + 1]
        return Chunk(first, messages, utf8_bytes(messages), self.accepted_at)


@dataclass(frozen=True, slots=True)
class Marks:
    """How far it has come. 0 <= done <= sending.

    Every message up to `done` is finished with; every one up to `sending` may have been written to the server;
    the rest is queued.
    """

    done: int = 0
    sending: int = 0


class Gaps:
    """Ranges of messages that were given up, disjoint and in order. Neighbours become one."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __iter__(self) -> Iterator[Range]:
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        return len(self._firsts)

    def copy(self) -> "Gaps":
        """Return gaps that change by themselves."""
        twin = Gaps()
        twin._firsts, twin._lasts = self._firsts.copy(), self._lasts.copy()
        return twin

    def add(self, first: int, last: int) -> Range:
        """Give up these; returns the range that they have become a part of."""
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first, last = min(first, self._firsts[low]), max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]
        return first, last

    def forget(self, done: int) -> int:
        """Leave out the ranges that lie wholly up to `done`; returns how many."""
        count = bisect_right(self._lasts, done)
        del self._firsts[:count], self._lasts[:count]
        return count

    def outside(self, first: int, last: int) -> list[Range]:
        """The parts of this range that are in no gap."""
        parts = []
        for index in range(bisect_left(self._lasts, first), len(self._lasts)):
            gap_first = self._firsts[index]
            if gap_first > last:
                break
            if first < gap_first:
                parts.append((first, gap_first - 1))
            first = self._lasts[index] + 1
        if first <= last:
            parts.append((first, last))
        return parts


@dataclass(frozen=True, slots=True)
class Work:
    """What one commit is to make durable, all of it or nothing.

    `last` is the highest number given out, also where its message was given up before it was ever stored:
    a number between those of the chunks has to be in a gap.
    """

    last: int
    marks: Marks
    chunks: list[Chunk] = field(default_factory=list)
    gaps: list[Range] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a spool held when it was opened.

    Queued are the messages behind `marks.sending`, in doubt those behind `marks.done` up to `marks.sending`,
    both without the ones in `gaps`. `set_aside` is where a damaged file was moved to, `problem` what was wrong
    with it; then the spool is new and empty.
    """

    marks: Marks = Marks()
    gaps: tuple[Range, ...] = ()
    last: int = 0
    queued_messages: int = 0
    queued_bytes: int = 0
    in_doubt_messages: int = 0
    in_doubt_bytes: int = 0
    set_aside: Path | None = None
    problem: str | None = None
