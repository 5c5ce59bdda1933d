"""Messages that say who wrote them and in which order: so order, losses, doubles and changes are visible."""

from dataclasses import dataclass, field

# What transports escape, cut or decode in their own ways. No percent sign: of that eventsource can only guess.
_FILLING = 'ab "\\<é😀\u2028x' * 40


def numbered(who: str, number: int) -> str:
    """The message `number` of `who`; its length differs from one to the next."""
    return f"{who}:{number}:{_FILLING[: number * 37 % 311]}"


def parse(text: str) -> tuple[str, int]:
    """Who wrote a message, and its number. Raises ValueError for one that is not exactly as it was written."""
    who, number, _ = text.split(":", 2)
    if text != numbered(who, int(number)):
        raise ValueError(f"the message is not as it was written: {text!r}")
    return who, int(number)


@dataclass
class Sequences:
    """What one end got, by writer. Raises AssertionError at once for a message that is out of order or doubled."""

    last: dict[str, int] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)
    """How many messages are missing between the first and the last, by writer."""
    first: dict[str, int] = field(default_factory=dict)

    def add(self, text: str) -> str:
        """Take a message; returns who wrote it."""
        who, number = parse(text)
        before = self.last.get(who, 0)
        assert number > before, f"message {number} of {who} came after message {before}"
        self.first.setdefault(who, number)
        self.gaps[who] = self.gaps.get(who, 0) + (number - before - 1 if before else 0)
        self.last[who] = number
        self.count[who] = self.count.get(who, 0) + 1
        return who
