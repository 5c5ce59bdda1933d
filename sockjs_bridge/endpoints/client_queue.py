"""What one client has still to be given: whole messages, the oldest first. Sans-IO."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from sockjs_bridge.endpoints.message_ends import MessageEnds

_SMALL_BYTES = 4096


class Piece(NamedTuple):
    """A part of an encoded burst that all clients share. An event or an answer to a writer is no message."""

    data: bytes
    start: int
    end: int
    messages: int

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return self.end - self.start


def whole(data: bytes, messages: int) -> Piece:
    """All of a burst."""
    return Piece(data, 0, len(data), messages)


class ClientQueue:
    """Bursts that wait, as references. Its owner keeps it in bounds, by `drop_oldest` or otherwise."""

    __slots__ = ("_ends", "_newest_bytes", "_pieces", "messages", "size_bytes")

    def __init__(self, ends: MessageEnds) -> None:
        self._ends = ends
        self._pieces: deque[Piece] = deque()
        self._newest_bytes = 0
        self.size_bytes = 0
        self.messages = 0

    def append(self, data: bytes, messages: int) -> None:
        """A burst waits; `messages` is 0 for events and answers."""
        self.size_bytes += len(data)
        self.messages += messages
        self._newest_bytes = len(data)
        if self._pieces:
            last = self._pieces[-1]
            # Bursts of a few bytes would take many times their size in objects.
            if last.size_bytes + len(data) <= _SMALL_BYTES and bool(last.messages) == bool(messages):
                self._pieces[-1] = whole(last.data[last.start : last.end] + data, last.messages + messages)
                return
        self._pieces.append(whole(data, messages))

    def take(self, about_bytes: int) -> list[Piece]:
        """The oldest messages: `about_bytes` of them, and what the last one has beyond that."""
        taken: list[Piece] = []
        room = about_bytes
        while self._pieces and room > 0:
            taken.append(self._pop(room))
            room -= taken[-1].size_bytes
        return taken

    def drop_oldest(self, limit_bytes: int) -> tuple[int, int]:
        """Drop the oldest until no more than `limit_bytes` wait, but nothing of the newest burst.

        Returns how many messages went, and how many events and answers.
        """
        surplus = min(self.size_bytes - limit_bytes, self.size_bytes - self._newest_bytes)
        messages = others = 0
        while surplus > 0:
            piece = self._pop(surplus)
            surplus -= piece.size_bytes
            messages += piece.messages
            if not piece.messages:
                others += self._ends.count(piece.data, piece.start, piece.end)
        return messages, others

    def _pop(self, about_bytes: int) -> Piece:
        """The oldest piece, or as much of it as ends with the message that holds byte `about_bytes`."""
        piece = self._pieces[0]
        data, start, end, messages = piece
        if end - start > about_bytes:
            cut = self._ends.at_least(data, start + about_bytes)
            if cut < end:
                first = self._ends.count(data, start, cut) if messages else 0
                self._pieces[0] = Piece(data, cut, end, messages - first)
                return self._noted(Piece(data, start, cut, first))
        self._pieces.popleft()
        return self._noted(piece)

    def _noted(self, piece: Piece) -> Piece:
        self.size_bytes -= piece.size_bytes
        self.messages -= piece.messages
        self._newest_bytes = min(self._newest_bytes, self.size_bytes)
        return piece


def unfinished_messages(pieces: Iterable[Piece], unsent_bytes: int, ends: MessageEnds) -> int:
    """How many messages of `pieces` are not whole without their last `unsent_bytes`."""
    unfinished = 0
    for data, start, end, messages in reversed(list(pieces)):
        if unsent_bytes <= 0:
            break
        if unsent_bytes >= end - start:
            unfinished += messages
        elif messages:
            unfinished += ends.count(data, end - unsent_bytes, end)
        unsent_bytes -= end - start
    return unfinished
