"""What programs can be told beside messages, in layouts and framings that have a place for it (delivery.md)."""

from dataclasses import dataclass

from sockjs_bridge.errors import Cause


@dataclass(frozen=True, slots=True)
class Connected:
    """An upstream session has opened: its number, counted from 1 in this process, and its transport."""

    epoch: int
    transport: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The upstream session has ended after `seq` messages.

    `code` and `reason` are the server's, or those of RFC 6455.
    """

    epoch: int
    seq: int
    cause: Cause
    code: int
    reason: str


StateChange = Connected | Disconnected


def describe(change: StateChange) -> dict[str, str | int]:
    """The fields of a change beside session, boot, epoch and seq, as programs read them."""
    match change:
        case Connected():
            return {"event": "connected", "transport": change.transport}
        case Disconnected():
            return {
                "event": "disconnected",
                "cause": change.cause.value,
                "code": change.code,
                "reason": change.reason,
            }
