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
    """a PEM file with the certificate of the listener, and those between it and its authority; empty: no TLS. The files are
    read at the start and at every reload"""
    key: str = ""
    """a PEM file with the private key of `cert`; empty: it is in that file"""
    client_ca: str = ""
    """a PEM file with authorities: only clients with a certificate of theirs may connect; an address that is not loopback
    may start with it"""


class TcpListener(Table):
    """A stream socket for local programs. Durations are seconds, sizes bytes."""

    listen: Annotated[Listen, Field(examples=["127.0.0.1:9000"])]
    """`"127.0.0.1:9000"`, `"[::1]:9000"`, `"9000"` (on 127.0.0.1), `"unix:/path"`, `"systemd:NAME"` (socket
    activation); port 0: any, it is logged"""
    framing: Framing = "lines"
    """how messages stand in the stream: `lines`, `json` (a JSON string literal a line), `envelope`, `nul`,
    `netstring`, `length32`"""
    mode: TcpMode = "shared"
    """`shared`: all clients share the session; `dedicated`: each client has a session of its own, opened and closed
    with it"""
    direction: Direction = "both"
    """`from-server`: input is discarded and counted; `to-server`: nothing is sent to the clients"""
    max_clients: PositiveCount = 1000
    """more are refused, with a log line"""
    max_message_size: PositiveSize = 1 << 20
    """a larger message of a client is skipped to its end, counted and logged"""
    slow_client: SlowClient = "pause"
    """when more than `client_buffer` waits for a client: `pause` (the server is not read), `drop-oldest` (for that client
    alone), `disconnect` (that client)"""
    client_buffer: PositiveSize = 1 << 20
    """what may wait for a client that does not read"""
    stall_timeout: StallTimeout = 3.0
    """`pause`: for so long at most; then clients that are still over it are closed"""
    on_eof: OnEof = "half-close"
    """a client that sends no more is still served; or `close`, which is what happens on TLS in any case"""
    eof_linger: Duration = 2.0
    """served until so long passes without output, five times that at most"""
    replay: Count = 0
    """a new client first gets so many of the last messages"""
    reject_http: Switch = True
    """a client that speaks HTTP, inside TLS too, or TLS on a plain port is closed: web pages can reach loopback ports"""
    allow_remote: Switch = False
    """an address that is not loopback refuses to start without this, `allow` or `tls.client_ca`"""
    allow: tuple[Network, ...] = ()
    """networks, such as `"192.0.2.0/24"` or `"::1"`: nobody else may connect, not even from loopback; empty: everybody"""
    tls: ListenerTls = ListenerTls()
    """TLS of the listener"""
    socket_mode: SocketMode = "0600"
    """of a Unix socket"""

    @property
    def address(self) -> ListenAddress:
        """Where to listen."""
        return parse_listen(self.listen)


class Curve(Table):
    """CURVE of a ZeroMQ endpoint. A server has `allow`, a client `server_key`; both have a secret key."""

    secret_key_file: str = ""
    """the secret key of the bridge, a file that `sockjs-bridge keygen` wrote"""
    allow: tuple[CurveKey, ...] | None = None
    """of a server: the public keys of the clients"""
    server_key: CurveKey | None = None
    """of a client: the public key of the server"""


class ZmqEndpoint(Table):
    """A ZeroMQ socket for local programs. Durations are seconds."""

    type: Annotated[ZmqType, Field(examples=["pub"])]
    """to programs: `pub`, `push`; from them: `sub`, `pull`; both ways: `dealer`"""
    endpoint: Annotated[Endpoint, Field(examples=["tcp://127.0.0.1:9001"])]
    """`"tcp://127.0.0.1:9001"` or `"ipc:///path"` (born with mode 0600); port 0 or `*`: any, it is logged"""
    bind: Switch = True
    """`false`: connect, again and again, until somebody is there"""
    topic: Annotated[str | None, Field(examples=["chat"])] = None
    """`pub`: the first frame, by default the session's name; `sub`: what it subscribes to, by default everything"""
    layout: Layout = "plain"
    """`plain`: `[topic, data]` from a pub, `[data]` from the rest; `meta`: with a frame of JSON before the data"""
    hwm: PositiveCount = 1000
    """`push`, `dealer`: how many messages wait for programs. `pub`: how many libzmq holds for each subscriber, 10000
    unless it is set"""
    overflow: ZmqOverflow = "drop-oldest"
    """`push`, `dealer`, when `hwm` wait: drop the oldest, counted and logged; or `pause`: do not read the server, for
    3 s at most, then drop"""
    linger: Duration = 2.0
    """how long a stop waits for programs to take what is left"""
    curve: Curve = Curve()
    """a server: `secret_key_file` and `allow = ["public key", ...]`; a client: `secret_key_file` and `server_key`"""
    allow_remote: Switch = False
    """a `tcp://` address that is not loopback refuses to be bound without this or `curve`"""

    @property
    def address(self) -> TcpAddress | UnixAddress:
        """Where to bind or connect; port 0 and host `*` are wildcards."""
        return parse_endpoint(self.endpoint)
