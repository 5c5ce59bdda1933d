"""Local listeners: TCP and Unix sockets, ZeroMQ."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sockjs_bridge.config.fields import CurveKey, Endpoint, Listen, Network, SocketMode, parse_endpoint
from sockjs_bridge.config.table import Table
from sockjs_bridge.config.units import Count, Duration, PositiveCount, PositiveSize, Switch
from sockjs_bridge.endpoints.address import ListenAddress, TcpAddress, UnixAddress, parse_listen

Framing = Literal["lines", "json", "envelope", "nul", "netstring", "length32"]
TcpMode = Literal["shared", "dedicated"]
Direction = Literal["both", "from-server", "to-server"]
SlowClient = Literal["pause", "drop-oldest", "disconnect"]
OnEof = Literal["half-close", "close"]
ZmqType = Literal["pub", "push", "sub", "pull", "dealer"]
Layout = Literal["plain", "meta"]
ZmqOverflow = Literal["drop-oldest", "pause"]


# A server kills a session that it cannot read or PING for about 10 s.
_LONGEST_STALL_SECONDS = 8.0


def _short_enough(seconds: float) -> float:
    if seconds > _LONGEST_STALL_SECONDS:
        raise ValueError("must be at most 8s: a server kills a session that is not read for about 10s")
    return seconds


StallTimeout = Annotated[Duration, AfterValidator(_short_enough)]


class ListenerTls(Table):
    """TLS of a listener: paths of PEM files. No `cert`: no TLS."""

    cert: str = ""
    key: str = ""
    client_ca: str = ""


class TcpListener(Table):
    """A stream socket for local programs. Durations are seconds, sizes bytes."""

    listen: Listen
    framing: Framing = "lines"
    mode: TcpMode = "shared"
    direction: Direction = "both"
    max_clients: PositiveCount = 1000
    max_message_size: PositiveSize = 1 << 20
    slow_client: SlowClient = "pause"
    client_buffer: PositiveSize = 1 << 20
    stall_timeout: StallTimeout = 3.0
    on_eof: OnEof = "half-close"
    eof_linger: Duration = 2.0
    replay: Count = 0
    reject_http: Switch = True
    allow_remote: Switch = False
    allow: tuple[Network, ...] = ()
    tls: ListenerTls = ListenerTls()
    socket_mode: SocketMode = "0600"

    @property
    def address(self) -> ListenAddress:
        """Where to listen."""
        return parse_listen(self.listen)


class Curve(Table):
    """CURVE of a ZeroMQ endpoint. A server has `allow`, a client `server_key`; both have a secret key."""

    secret_key_file: str = ""
    allow: tuple[CurveKey, ...] | None = None
    server_key: CurveKey | None = None


class ZmqEndpoint(Table):
    """A ZeroMQ socket for local programs. Durations are seconds."""

    type: ZmqType
    endpoint: Endpoint
    bind: Switch = True
    topic: Annotated[str | None, Field(description="None: the session's name for pub, empty for sub")] = None
    layout: Layout = "plain"
    hwm: PositiveCount = 1000
    overflow: ZmqOverflow = "drop-oldest"
    linger: Duration = 2.0
    curve: Curve = Curve()
    allow_remote: Switch = False

    @property
    def address(self) -> TcpAddress | UnixAddress:
        """Where to bind or connect; port 0 and host `*` are wildcards."""
        return parse_endpoint(self.endpoint)
