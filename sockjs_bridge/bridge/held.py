"""What was sent and is kept until it is confirmed: it counts against the bounds of the queue."""

from sockjs_bridge.bridge.batch import Batch


class Held:
    """How much is held. A batch that is removed was added before."""

    __slots__ = ("messages", "size_bytes")

    def __init__(self) -> None:
        self.messages = 0
        self.size_bytes = 0

    def add(self, batch: Batch) -> None:
        """A batch was sent."""
        self.messages += len(batch.messages)
        self.size_bytes += batch.size_bytes

    def remove(self, batch: Batch) -> None:
        """A batch is confirmed, or in doubt."""
        self.messages -= len(batch.messages)
        self.size_bytes -= batch.size_bytes

    def fills_half(self, max_messages: int, max_bytes: int) -> bool:
        """Whether it fills half of these bounds or more."""
        return 2 * self.messages >= max_messages or 2 * self.size_bytes >= max_bytes
