"""The queue from local programs to the server: bounded by messages and bytes, in order."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that go out together. The oldest was accepted at `accepted_at`."""

    messages: list[str]
    size_bytes: int
    accepted_at: float


@dataclass(slots=True)
class _Burst:
    messages: list[str]
    size_bytes: int
    accepted_at: float
    alone: bool = False
    """Whether it goes out without company."""


class Outbox:
    """Messages that wait for the server, in the bursts in which programs sent them.

    Sizes are UTF-8 bytes; times are seconds of one monotonic clock.
    """

    __slots__ = ("_bursts", "_max_bytes", "_max_messages", "messages", "size_bytes")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bursts: deque[_Burst] = deque()
        self.messages = 0
        self.size_bytes = 0

    def set_limits(self, max_messages: int, max_bytes: int) -> None:
        """Take other bounds; what waits already stays."""
        self._max_messages, self._max_bytes = max_messages, max_bytes

    def offer(self, messages: list[str], now: float) -> int:
        """Take as many messages as there is room for, from the front; returns how many.

        An empty queue takes one message of any size: U+FFFD in place of invalid bytes can make a message
        larger than it came, and one that never fits would wait for ever.
        """
        size_bytes = utf8_bytes(messages)
        if (
            self.messages + len(messages) > self._max_messages
            or self.size_bytes + size_bytes > self._max_bytes
        ):
            messages = messages[: self._fitting(messages)]
            size_bytes = utf8_bytes(messages)
        if messages:
            self._bursts.append(_Burst(messages, size_bytes, now))
            self.messages += len(messages)
            self.size_bytes += size_bytes
        return len(messages)

    def put_back(self, messages: list[str], accepted_at: float, *, alone: bool = False) -> None:
        """Put messages that were taken, and not sent, before all others; each by itself if `alone`.

        The bounds do not hold here: there was room for them before.
        """
        pieces = [[message] for message in reversed(messages)] if alone else [messages] * bool(messages)
        for piece in pieces:
            size_bytes = utf8_bytes(piece)
            self._bursts.appendleft(_Burst(piece, size_bytes, accepted_at, alone))
            self.messages += len(piece)
            self.size_bytes += size_bytes

    def take(self, about_bytes: int) -> Batch:
        """Remove the oldest bursts, at least one where there is any, up to `about_bytes`."""
        if not self._bursts:
            return Batch([], 0, 0.0)
        first = self._bursts.popleft()
        messages, size_bytes = first.messages, first.size_bytes
        if not first.alone and self._may_follow(size_bytes, about_bytes):
            messages = messages.copy()
            while self._may_follow(size_bytes, about_bytes):
                burst = self._bursts.popleft()
                messages += burst.messages
                size_bytes += burst.size_bytes
        self.messages -= len(messages)
        self.size_bytes -= size_bytes
        return Batch(messages, size_bytes, first.accepted_at)

    def _may_follow(self, size_bytes: int, about_bytes: int) -> bool:
        if not self._bursts:
            return False
        burst = self._bursts[0]
        return not burst.alone and size_bytes + burst.size_bytes <= about_bytes

    def oldest_seconds(self, now: float) -> float:
        """For how long the oldest message has waited; 0 when nothing waits."""
        return now - self._bursts[0].accepted_at if self._bursts else 0.0

    def _fitting(self, messages: list[str]) -> int:
        room_bytes = self._max_bytes - self.size_bytes
        room_messages = max(self._max_messages - self.messages, 0)
        for count, message in enumerate(messages[:room_messages]):
            room_bytes -= utf8_bytes([message])
            if room_bytes < 0:
                return count or int(not self._bursts)
        return min(room_messages, len(messages))


def utf8_bytes(messages: list[str]) -> int:
    """How many bytes the messages have in UTF-8."""
    if all(map(str.isascii, messages)):
        return sum(map(len, messages))
    return len("".join(messages).encode(errors="surrogatepass"))
