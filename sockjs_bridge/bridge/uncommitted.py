"""What is on its way to the disk: its writers wait until it is committed."""

from collections import deque
from collections.abc import Iterator

from sockjs_bridge.bridge.batch import Burst
from sockjs_bridge.endpoints.receipts import MessageFate
from sockjs_bridge.errors import DropReason


class Uncommitted:
    """Bursts in the order of their numbers, and how much they are."""

    __slots__ = ("_bursts", "messages", "size_bytes")

    def __init__(self) -> None:
        self._bursts: deque[Burst] = deque()
        self.messages = 0
        self.size_bytes = 0

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self._bursts)

    def append(self, burst: Burst) -> None:
        """It was handed to the disk."""
        self._bursts.append(burst)
        self.messages += len(burst.messages)
        self.size_bytes += burst.size_bytes

    def take_until(self, last: int) -> Iterator[Burst]:
        """Remove, one by one, what is committed: all up to this number."""
        while self._bursts and self._bursts[0].last_number <= last:
            burst = self._bursts.popleft()
            self.messages -= len(burst.messages)
            self.size_bytes -= burst.size_bytes
            yield burst

    def give_up(self, fate: MessageFate) -> int:
        """Remove all, and tell the writers; returns how many messages there were."""
        lost = self.messages
        for burst in self._bursts:
            burst.report(fate, DropReason.STOPPED)
        self._bursts.clear()
        self.messages = self.size_bytes = 0
        return lost
