"""How far the sending of a spooled queue has come, in numbers of messages, and what the disk knows of it. Sans-IO."""

from collections.abc import Iterable
from typing import Protocol

from sockjs_bridge.bridge.batch import Burst
from sockjs_bridge.bridge.chunks import Gaps, Range, Recovered


class Marking(Protocol):
    """The part of a spool that takes marks; they are on disk after its next commit."""

    def set_sending(self, number: int) -> None:
        """Every message up to this one may be written."""

    def set_done(self, number: int) -> None:
        """Every message up to this one is finished with."""

    def drop(self, first: int, last: int) -> None:
        """These are finished with, though some before them are not."""


class Progress:
    """`done` <= `asked`, and `marked` <= `asked`.

    Every message up to `done` is finished with. The disk was asked to mark every one up to `asked` as being sent,
    and has done so up to `marked`: only these may be written.
    """

    __slots__ = ("_finished", "_spool", "asked", "done", "marked")

    def __init__(self, spool: Marking) -> None:
        self._spool = spool
        self._finished = Gaps()
        self.done = 0
        self.asked = 0
        self.marked = 0

    def recover(self, recovered: Recovered) -> None:
        """Go on from where an earlier run came to."""
        for gap in recovered.gaps:
            self._finished.add(*gap)
        self.done = recovered.marks.done
        self.asked = self.marked = recovered.marks.sending

    def ask(self, number: int) -> None:
        """Ask for the mark up to this message. May also go back: what is behind it is not being sent any more."""
        self.asked = max(number, self.done)
        self.marked = min(self.marked, self.asked)
        self._spool.set_sending(self.asked)

    def go_back(self, number: int) -> None:
        """Ask for no mark beyond this message."""
        self.ask(min(self.asked, number))

    def note_committed(self, sending: int) -> None:
        """The disk has the mark `sending`, which may have been asked for before the last words were said."""
        self.marked = min(sending, self.asked)

    def finish(self, bursts: Iterable[Burst]) -> None:
        """Nothing will be done any more for these bursts."""
        for first, last in _ranges(bursts):
            self.finish_range(first, last)

    def finish_range(self, first: int, last: int) -> None:
        """Nothing will be done any more for these messages."""
        first, end = self._finished.add(first, last)
        if first > self.done + 1:
            self._spool.drop(first, end)
            return
        self.done = end
        self.asked = max(self.asked, end)
        self._finished.forget(end)
        self._spool.set_done(end)

    def unfinished(self, first: int, last: int) -> int:
        """How many messages of this range are not finished with."""
        return sum(end - begin + 1 for begin, end in self._finished.outside(max(first, self.done + 1), last))


def _ranges(bursts: Iterable[Burst]) -> list[Range]:
    """The numbers of these bursts; neighbours that follow each other are one range."""
    ranges: list[Range] = []
    for burst in bursts:
        first, last = burst.number, burst.last_number
        if ranges and ranges[-1][1] + 1 == first:
            first = ranges.pop()[0]
        ranges.append((first, last))
    return ranges
