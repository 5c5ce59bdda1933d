"""What a transport and the connection above it know of each other."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from sockjs_bridge.errors import Cause, ConnectError

LONGEST_TURN_SECONDS = 0.02
"""Where what was read at once took longer than this, other sessions have their turn before more is read."""


@dataclass(frozen=True, slots=True)
class TransportClosed:
    """How a transport ended: `code` is the WebSocket's, 1005 for none, 1006 for a drop.

    `failure` says it in other words for a session that was never open.
    """

    cause: Cause
    code: int
    reason: str = ""
    failure: ConnectError | None = None


class Fate(Enum):
    """What became of messages that were sent by an HTTP request (protocol section 4)."""

    ACCEPTED = auto()
    """200 or 204: taken by the server, which does not mean processed."""
    REFUSED = auto()
    """401, 403 or 404: the server has not looked at them. They may be sent again."""
    OFFENDING = auto()
    """400 or 413: something in them will never be accepted."""
    IN_DOUBT = auto()
    """Anything else: they may or may not have arrived."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """How a `send` over HTTP ended. The batch is `accepted` messages, then `concerned`, then `untouched`."""

    fate: Fate
    accepted: int
    concerned: list[str]
    """The messages of the request that failed."""
    untouched: list[str]
    """Messages that no request was made for."""


class Receiver(Protocol):
    """What a transport calls, on the event loop, from its own callbacks."""

    def receive_frames(self, payloads: list[bytes]) -> None:
        """The frames of one read, in order. Those of FRAME_PER_LINE may come several in a payload."""

    def receive_ping(self) -> None:
        """The server sent a PING, and it has been answered."""

    def receive_pong(self, payload: bytes = b"") -> None:
        """The server answered a PING of ours, with this payload, or another question whether it is there."""

    def receive_send_result(self, result: SendResult) -> None:
        """A `send` over HTTP has ended. `can_send` is true again if it went well; else the end follows."""

    def resume_sending(self) -> None:
        """`can_send` has become true again."""


class Transport(Protocol):
    """Carries frames to and from the server for one session."""

    is_http: bool
    """Whether each `send` is a request whose result is reported, and pauses begin after a response's end."""
    replaced: int
    """Messages in which a lone surrogate had to be replaced by U+FFFD to be sent."""

    @property
    def reached(self) -> bool:
        """Whether the server's address has answered: then another transport may do better than this one."""

    @property
    def can_send(self) -> bool:
        """Whether `send` may be called now: connected, and the server keeps up."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were sent and that the kernel, or over HTTP the server, has not taken yet."""

    @property
    def unanswered(self) -> SendResult | None:
        """What is known of a `send` whose result was never reported, after the end; None where there is none."""

    async def connect(self, receiver: Receiver) -> None:
        """Connect. Raises ConnectError. `receive_frames` may be called before this returns."""

    async def wait_closed(self) -> TransportClosed:
        """Wait until the connection has ended, and tell how."""

    def send(self, batch: list[str]) -> None:
        """Write messages. Only while `can_send`."""

    def send_ping(self, number: int) -> None:
        """Ask the server for a sign of life. The answer to a PING brings its `number` back, in decimal digits."""

    def pause_reading(self) -> None:
        """Stop reading; what was read already may still be reported."""

    def resume_reading(self) -> None:
        """Read again."""

    def seconds_since_last_byte(self) -> float | None:
        """Seconds since the server's last byte reached this machine; None if unknown."""

    def close(self, code: int, within: float) -> None:
        """Close politely: what the server still sends is reported. `wait_closed` returns within so many seconds.

        A server that answers the Close has read everything that was sent before it.
        """

    def abandon(self, code: int) -> None:
        """Close in the background: nothing more is of interest, and `wait_closed` returns at once."""
