"""Where messages end in what the encoder of a framing wrote. Sans-IO; nothing here is called in the fast case."""

from collections.abc import Callable
from typing import Protocol

_LENGTH_BYTES = 4


class MessageEnds(Protocol):
    """Finds whole messages in encoded bursts, which begin and end with a whole message."""

    def count(self, data: bytes, start: int, stop: int) -> int:
        """How many messages have their last byte in `data[start:stop]`."""

    def at_least(self, data: bytes, place: int) -> int:
        """The first place from `place` (more than 0) on that is behind the last byte of a message."""


class DelimitedEnds:
    """Each message ends with the same byte, which is nowhere else."""

    def __init__(self, delimiter: bytes) -> None:
        self._delimiter = delimiter

    def count(self, data: bytes, start: int, stop: int) -> int:
        """See MessageEnds."""
        return data.count(self._delimiter, start, stop)

    def at_least(self, data: bytes, place: int) -> int:
        """See MessageEnds."""
        return data.index(self._delimiter, place - 1) + 1


class CountedEnds:
    """Each message says its length; `end_of` finds the end of the one that begins at a place."""

    def __init__(self, end_of: Callable[[bytes, int], int]) -> None:
        self._end_of = end_of

    def count(self, data: bytes, start: int, stop: int) -> int:
        """See MessageEnds."""
        found, end = 0, 0
        while end < stop:
            end = self._end_of(data, end)
            found += start < end <= stop
        return found

    def at_least(self, data: bytes, place: int) -> int:
        """See MessageEnds."""
        end = 0
        while end < place:
            end = self._end_of(data, end)
        return end


def end_of_length32(data: bytes, start: int) -> int:
    """Behind a message with a big-endian length of four bytes before it."""
    body = start + _LENGTH_BYTES
    return body + int.from_bytes(data[start:body], "big")


def end_of_netstring(data: bytes, start: int) -> int:
    """Behind a message such as `5:hello,`."""
    colon = data.index(b":", start)
    return colon + 1 + int(data[start:colon]) + 1
