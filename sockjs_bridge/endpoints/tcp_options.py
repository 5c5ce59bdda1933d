"""The settings of a TCP listener, and what is counted for it."""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from sockjs_bridge.endpoints.address import ListenAddress
from sockjs_bridge.endpoints.base import DeliveryCounts
from sockjs_bridge.endpoints.framing import EncodingCounts
from sockjs_bridge.endpoints.wording import StreamFormat
from sockjs_bridge.errors import DropReason


class SlowClient(Enum):
    """What a client leads to that does not read. The values are those of the configuration."""

    PAUSE = "pause"
    DROP_OLDEST = "drop-oldest"
    DISCONNECT = "disconnect"


@dataclass(frozen=True, slots=True)
class TcpOptions:
    """Settings of a listener. Times in seconds, sizes in bytes, `direction` as the configuration says it."""

    address: ListenAddress
    format: StreamFormat
    direction: str = "both"
    max_clients: int = 1000
    max_message_bytes: int = 1 << 20
    slow_client: SlowClient = SlowClient.PAUSE
    client_buffer_bytes: int = 1 << 20
    stall_timeout: float = 3.0
    half_close: bool = True
    eof_linger: float = 2.0
    replay: int = 0
    reject_http: bool = True
    allow: tuple[str, ...] = ()
    has_tls: bool = False

    @property
    def sends(self) -> bool:
        """Whether programs get messages."""
        return self.direction != "to-server"

    @property
    def takes(self) -> bool:
        """Whether programs are listened to."""
        return self.direction != "from-server"

    @property
    def lingers(self) -> bool:
        """Whether a program that sends no more is served for a while only."""
        return self.direction == "both"

    @property
    def serves_after_eof(self) -> bool:
        """Whether a program that sends no more is served at all. The end of TLS is that of both halves."""
        return not self.has_tls and (not self.takes or (self.lingers and self.half_close))


@dataclass(slots=True)
class TcpCounts:
    """Of a listener, over all clients that it ever had."""

    refused: int = 0
    """Connections that were not let in: by `allow`, for want of room, or because there was no TLS with them."""
    offered: int = 0
    """Messages times the clients that they were for."""
    dropped: Counter[DropReason] = field(default_factory=Counter)
    """Of those offered."""
    dropped_others: int = 0
    """Events and answers to writers that a client did not read in time."""
    discarded: int = 0
    """Messages from programs that `direction = "from-server"` or a stop let go unread."""
    invalid_utf8: int = 0
    """Messages from programs in which something was replaced."""
    encoding: EncodingCounts = field(default_factory=EncodingCounts)

    def delivery(self, buffered: int) -> DeliveryCounts:
        """What became of those offered, of which so many still wait."""
        delivered = self.offered - buffered - self.dropped.total()
        return DeliveryCounts(self.offered, delivered, buffered, dict(self.dropped))
