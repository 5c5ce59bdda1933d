"""What a writer is told of its messages, by the ids that it gave them (delivery.md, "Local programs to the server")."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from sockjs_bridge.errors import DropReason

MessageId = Any
"""What a JSON document can hold, as the writer wrote it; None for a message without an id."""


class MessageFate(StrEnum):
    """What has become of a message. The value is the `status` of an `ack` in the `envelope` framing."""

    QUEUED = "queued"
    """It waits for the server; with a spool, on disk."""
    SENT = "sent"
    """It was written to the connection: nobody knows yet whether it arrived."""
    CONFIRMED = "confirmed"
    """The server's side of the connection has read it, which does not mean processed."""
    IN_DOUBT = "in-doubt"
    """The connection broke before it was confirmed."""
    EXPIRED = "expired"
    """It waited longer than `max_age`."""
    DROPPED = "dropped"
    """It was accepted, and given up."""
    REJECTED = "rejected"
    """It was never accepted."""


Tell = Callable[[Sequence[MessageId], MessageFate, DropReason | None], None]
"""Tells a writer of the fate of some of its messages. The writer may be gone; then nothing happens."""


class Receipts:
    """The ids of the messages of one burst, one each, and how to tell their writer.

    They travel with the messages: a part of a burst has the same part of its receipts.
    """

    __slots__ = ("_ids", "_tell")

    def __init__(self, ids: Sequence[MessageId], tell: Tell) -> None:
        self._ids = ids
        self._tell = tell

    def __len__(self) -> int:
        return len(self._ids)

    def part(self, start: int, stop: int | None = None) -> "Receipts":
        """The receipts of the messages from `start` to `stop`, which is left out."""
        return Receipts(self._ids[start:stop], self._tell)

    def report(self, fate: MessageFate, reason: DropReason | None = None) -> None:
        """All of them have met this fate; `reason` where they were dropped or rejected."""
        self._tell(self._ids, fate, reason)
