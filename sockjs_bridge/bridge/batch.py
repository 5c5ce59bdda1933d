"""Messages on their way to the server, and what has to travel with them."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sockjs_bridge.endpoints.receipts import MessageFate, Receipts
from sockjs_bridge.errors import DropReason


@dataclass(slots=True)
class Burst:
    """Messages that a program sent together.

    `size_bytes` are UTF-8 bytes, `accepted_at` is in seconds of the loop's clock, `number` that of the first
    message in the spool, where there is one.
    """

    messages: list[str]
    size_bytes: int
    accepted_at: float
    receipts: Receipts | None = None
    number: int = 0
    alone: bool = False
    """Whether it goes out without company."""
    was_written: bool = False
    """Whether it was written before, and waits to be sent again."""

    @property
    def last_number(self) -> int:
        """The number of the last message in the spool."""
        return self.number + len(self.messages) - 1

    def part(self, start: int, stop: int | None = None) -> "Burst":
        """The messages from `start` to `stop`, which is left out, with all that belongs to them."""
        messages = self.messages[start:stop]
        return replace(
            self,
            messages=messages,
            size_bytes=utf8_bytes(messages),
            receipts=self.receipts.part(start, stop) if self.receipts is not None else None,
            number=self.number + start if self.number else 0,
        )

    def without_text(self) -> "Burst":
        """What is left to be told of it, where it is not sent again."""
        return self if self.was_written else replace(self, messages=[], size_bytes=0)

    def report(self, fate: MessageFate, reason: DropReason | None = None) -> None:
        """Tell the writer, if it asked for that, what became of all of them."""
        if self.receipts is not None:
            self.receipts.report(fate, reason)


@dataclass(slots=True)
class Batch:
    """Bursts that go out together. `messages` are theirs, in order."""

    bursts: list[Burst] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    size_bytes: int = 0
    is_held: bool = False
    """Whether the queue holds it, to be sent again."""

    @classmethod
    def of(cls, burst: Burst) -> "Batch":
        """A batch of one burst."""
        return cls([burst], burst.messages, burst.size_bytes)


def part_of(bursts: Iterable[Burst], start: int, stop: int) -> list[Burst]:
    """The bursts, or parts of them, that hold the messages from `start` to `stop`, which is left out."""
    found: list[Burst] = []
    for burst in bursts:
        count = len(burst.messages)
        if start < count and stop > 0:
            is_whole = start <= 0 and stop >= count
            found.append(burst if is_whole else burst.part(max(start, 0), min(stop, count)))
        start -= count
        stop -= count
    return found


def count_messages(bursts: Iterable[Burst]) -> int:
    """How many messages the bursts hold."""
    return sum(len(burst.messages) for burst in bursts)


def utf8_bytes(messages: list[str]) -> int:
    """How many bytes the messages have in UTF-8."""
    if all(map(str.isascii, messages)):
        return sum(map(len, messages))
    return len("".join(messages).encode(errors="surrogatepass"))
