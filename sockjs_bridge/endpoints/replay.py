"""The last messages of a session, for programs that are yet to come."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class _Burst:
    messages: list[str]
    epoch: int
    first_seq: int
    start: int
    """How many of its first messages are forgotten."""
    is_ours_to_count: bool
    """Whether no program got it, here or elsewhere."""


class ReplayMemory:
    """Keeps `size` messages. `report_unseen` is told how many are forgotten that no program ever got."""

    def __init__(self, size: int, report_unseen: Callable[[int], None]) -> None:
        self._size = size
        self._report_unseen = report_unseen
        self._bursts: deque[_Burst] = deque()
        self._kept = 0

    def keep(self, messages: list[str], epoch: int, first_seq: int, *, unseen: bool) -> None:
        """Remember a burst. What is too old now is forgotten by `settle`."""
        self._bursts.append(_Burst(messages, epoch, first_seq, 0, unseen))
        self._kept += len(messages)

    def settle(self) -> None:
        """Forget what is too old: who got it is known by now."""
        self._forget(self._kept - self._size)

    def note_seen(self) -> None:
        """A program got what was kept last."""
        if self._bursts:
            self._bursts[-1].is_ours_to_count = False

    def recall(self) -> Iterator[tuple[list[str], int, int]]:
        """Everything kept, for a program that gets it now: messages, epoch, and the number of the first."""
        self.settle()
        for burst in self._bursts:
            burst.is_ours_to_count = False
            yield burst.messages[burst.start :], burst.epoch, burst.first_seq + burst.start

    def clear(self) -> None:
        """Forget everything."""
        self._forget(self._kept)

    def _forget(self, surplus: int) -> None:
        unseen = 0
        while surplus > 0:
            burst = self._bursts[0]
            going = min(surplus, len(burst.messages) - burst.start)
            if burst.is_ours_to_count:
                unseen += going
            burst.start += going
            surplus -= going
            self._kept -= going
            if burst.start == len(burst.messages):
                self._bursts.popleft()
        if unseen:
            self._report_unseen(unseen)
