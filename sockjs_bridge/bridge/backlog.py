"""The part of a spooled queue that is on disk only. Sans-IO."""

from sockjs_bridge.bridge.batch import Burst
from sockjs_bridge.bridge.chunks import Chunk


class Backlog:
    """Messages behind all that are in memory, and what becomes of them when they are read.

    Sizes are bytes of UTF-8.
    """

    __slots__ = ("follows", "messages", "size_bytes", "written_before")

    def __init__(self) -> None:
        self.follows = 0
        """The number of the last message that is, or was, in memory."""
        self.messages = 0
        self.size_bytes = 0
        self.written_before = 0
        """Up to this number all were written by an earlier run, and wait to be sent again."""

    def add(self, messages: int, size_bytes: int) -> None:
        """These are on disk, and not in memory."""
        self.messages += messages
        self.size_bytes += size_bytes

    def read(self, chunk: Chunk, age: float, now: float) -> list[Burst]:
        """The bursts of a chunk that was read: they are in memory now.

        `age` is how long ago it was accepted, in seconds; `now` in seconds of the loop's clock.
        """
        self.follows = chunk.last
        self.messages -= len(chunk.messages)
        self.size_bytes -= chunk.size_bytes
        burst = Burst(chunk.messages, chunk.size_bytes, now - max(age, 0.0), None, chunk.first)
        again = min(max(self.written_before - chunk.first + 1, 0), len(chunk.messages))
        parts = [burst.part(0, again), burst.part(again)] if again else [burst]
        parts[0].was_written = bool(again)
        return [part for part in parts if part.messages]
