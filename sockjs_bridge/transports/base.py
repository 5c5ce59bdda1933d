"""What a transport and the connection above it know of each other."""

from dataclasses import dataclass
from typing import Protocol

from sockjs_bridge.errors import Cause


@dataclass(frozen=True, slots=True)
class TransportClosed:
    """How a transport ended: `code` is the WebSocket's, 1005 for none, 1006 for a drop."""

    cause: Cause
    code: int
    reason: str = ""


class Receiver(Protocol):
    """What a transport calls, on the event loop, from its own callbacks."""

    def receive_frames(self, payloads: list[bytes]) -> None:
        """The frames of one read, in order."""

    def receive_ping(self) -> None:
        """The server sent a PING, and it has been answered."""

    def receive_pong(self) -> None:
        """The server answered a PING of ours."""

    def resume_sending(self) -> None:
        """`can_send` has become true again."""


class Transport(Protocol):
    """Carries frames to and from the server for one session."""

    replaced: int
    """Messages in which a lone surrogate had to be replaced by U+FFFD to be sent."""

    @property
    def can_send(self) -> bool:
        """Whether `send` may be called now: connected, and the server keeps up."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were sent and that the kernel has not taken yet."""

    async def connect(self, receiver: Receiver) -> None:
        """Connect. Raises ConnectError. `receive_frames` may be called before this returns."""

    async def wait_closed(self) -> TransportClosed:
        """Wait until the connection has ended, and tell how."""

    def send(self, batch: list[str]) -> None:
        """Write messages. Only while `can_send`."""

    def send_ping(self) -> None:
        """Ask the server for a sign of life."""

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
