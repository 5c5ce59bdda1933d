"""Opening ZeroMQ sockets for a daemon: bound or connected, guarded, with options that suit long runs."""

import asyncio
import ipaddress
import os
import socket as system_socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import zmq

from sockjs_bridge.endpoints.address import TcpAddress, UnixAddress
from sockjs_bridge.endpoints.binding import remove_stale
from sockjs_bridge.endpoints.zeromq.curve import CurveClient, CurveServer
from sockjs_bridge.endpoints.zeromq.doorkeeper import Doorkeeper
from sockjs_bridge.endpoints.zeromq.monitor import Monitor
from sockjs_bridge.endpoints.zeromq.polled import PolledSocket
from sockjs_bridge.log import EventLog

MAX_MESSAGE_BYTES = 1 << 20
"""Of a message from a program; what is larger is left out and reported."""
PUB_HWM = 10_000
"""Messages that libzmq holds for each subscriber of a pub endpoint, where nothing else is configured."""
_CUT_OFF_BYTES = 4 * MAX_MESSAGE_BYTES
_RECEIVE_HWM = 1000
# What libzmq and the kernel hold of a push or dealer is lost with the peer. The kernel's part is by far the
# larger one: at SNDHWM 1 a peer that did not read was still given 20 000 messages of 200 bytes, with a send
# buffer of 32 KiB 900. SNDHWM 16 instead of 1 makes no difference to that and costs a seventh of the CPU.
_PUSH_SEND_HWM = 16
_PUSH_SEND_BUFFER_BYTES = 32 * 1024

# Each endpoint takes three with its monitor; libzmq's own limit is 1023.
_MOST_SOCKETS = 30_000

Kind = Literal["pub", "push", "sub", "pull", "dealer"]
_TYPES = {"pub": zmq.XPUB, "push": zmq.PUSH, "sub": zmq.SUB, "pull": zmq.PULL, "dealer": zmq.DEALER}

_OPTIONS = {
    # Without it messages queue for a peer that was never there.
    zmq.IMMEDIATE: 1,
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 5_000,
    zmq.CONNECT_TIMEOUT: 10_000,
    zmq.HANDSHAKE_IVL: 10_000,
    # Above our own limit, so that what is only somewhat too large can be counted and reported; libzmq
    # cuts off the peer without telling why.
    zmq.MAXMSGSIZE: _CUT_OFF_BYTES,
    zmq.RCVHWM: _RECEIVE_HWM,
    # A dead machine is found by TCP, within a minute. ZMTP heartbeats would find it too, but libzmq
    # (4.3.5, issues 3937 and 4767) answers none while its program is slow to read, takes the peer for dead,
    # and then fails an assertion: our heartbeats would kill the programs that we serve.
    zmq.HEARTBEAT_IVL: 0,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 30,
    zmq.TCP_KEEPALIVE_INTVL: 10,
    zmq.TCP_KEEPALIVE_CNT: 3,
}


@dataclass(frozen=True, slots=True)
class SocketSpec:
    """What to open. `linger` in seconds; `hwm` is libzmq's for pub, our own for push and dealer."""

    kind: Kind
    address: TcpAddress | UnixAddress
    bind: bool = True
    topic: str = ""
    hwm: int = 1000
    linger: float = 2.0
    curve: CurveServer | CurveClient | None = None

    def __str__(self) -> str:
        scheme = "ipc://" if isinstance(self.address, UnixAddress) else "tcp://"
        return scheme + _without_scheme(self.address)


class OpenSocket:
    """An open socket with its monitor."""

    def __init__(self, spec: SocketSpec, raw: zmq.Socket[bytes], log: EventLog) -> None:
        self.spec = spec
        self.polled = PolledSocket(raw)
        self.name = str(spec)
        """The bound address, or the one that is connected to."""
        self._log = log
        self._monitor = Monitor(raw, is_guarded=not isinstance(spec.curve, CurveClient))

    @property
    def peers(self) -> int:
        """How many peers are connected."""
        return self._monitor.peers

    def open(self) -> None:
        """Bind or connect. Raises OSError with a text for the user."""
        raw, spec = self.polled.raw, self.spec
        if not spec.bind:
            raw.connect(str(spec))
            return
        if isinstance(spec.address, UnixAddress):
            _bind_ipc(raw, spec.address)
        else:
            raw.bind("tcp://" + _without_scheme(_resolved(spec.address)))
        self.name = _bound_name(raw)

    def start(
        self, receive: Callable[[], None] | None = None, flush: Callable[[], None] | None = None
    ) -> None:
        """Let the running loop watch it."""
        self.polled.start(receive, flush)
        self._monitor.start(self._log.bind(endpoint=f"{self.spec.kind} {self.name}"))
        verb = "listening on" if self.spec.bind else "connecting to"
        self._log.info(f"{verb} {self.name}", type=self.spec.kind, curve="yes" if self.spec.curve else None)

    def part(self) -> None:
        """Part with all peers; what has arrived can still be read."""
        leave = self.polled.raw.unbind if self.spec.bind else self.polled.raw.disconnect
        leave(self.name)

    def close(self, deadline: float | None = None) -> None:
        """Close. What libzmq holds goes out in the background, for `linger`, and until `deadline` at most."""
        linger = 0.0
        if deadline is not None:
            linger = max(min(self.spec.linger, deadline - asyncio.get_running_loop().time()), 0.0)
        self._monitor.close()
        self.polled.close(int(linger * 1000))


class ZmqSockets:
    """All ZeroMQ sockets of the process: their context, and who may connect to them."""

    def __init__(self, log: EventLog) -> None:
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._context.set(zmq.MAX_SOCKETS, _MOST_SOCKETS)
        self._log = log
        # Before any socket is bound: a peer that nobody is asked about would be let in.
        self._doorkeeper = Doorkeeper(self._context, log)
        self._open: list[OpenSocket] = []
        self._opened_so_far = 0
        self._is_started = False

    def open(self, spec: SocketSpec, log: EventLog) -> OpenSocket:
        """Open a socket. Raises OSError."""
        self._opened_so_far += 1
        domain = f"{self._opened_so_far}: {spec.kind} {spec}"
        opened = OpenSocket(spec, self._context.socket(_TYPES[spec.kind]), log)
        try:
            _configure(opened.polled.raw, spec, domain)
            self._doorkeeper.guard(domain, spec.curve.allow if isinstance(spec.curve, CurveServer) else None)
            opened.open()
        except (OSError, zmq.ZMQError) as error:
            opened.close()
            verb = "bind" if spec.bind else "connect to"
            reason = zmq.strerror(error.errno).lower() if error.errno else str(error)
            raise OSError(f"cannot {verb} {spec}: {reason}") from error
        self._open = [each for each in self._open if not each.polled.raw.closed]
        self._open.append(opened)
        return opened

    def start(self) -> None:
        """Begin to let peers in."""
        if not self._is_started:
            self._is_started = True
            self._doorkeeper.start()

    def close(self) -> None:
        """Close everything at once."""
        for opened in self._open:
            opened.close()
        self._doorkeeper.close()
        self._context.term()

    async def stop(self) -> None:
        """After all sockets were closed: wait until libzmq has sent what it may, each for its linger."""
        for opened in self._open:
            opened.close()
        self._doorkeeper.close()
        await asyncio.to_thread(self._context.term)


def _configure(raw: zmq.Socket[bytes], spec: SocketSpec, domain: str) -> None:
    for option, value in _OPTIONS.items():
        raw.setsockopt(option, value)
    raw.setsockopt(zmq.LINGER, int(spec.linger * 1000))
    if spec.kind == "pub":
        raw.setsockopt(zmq.SNDHWM, spec.hwm)
    else:
        raw.setsockopt(zmq.SNDHWM, _PUSH_SEND_HWM)
        raw.setsockopt(zmq.SNDBUF, _PUSH_SEND_BUFFER_BYTES)
    if isinstance(spec.address, TcpAddress) and ":" in spec.address.host:
        raw.setsockopt(zmq.IPV6, 1)
    if isinstance(spec.address, TcpAddress) or spec.curve is not None:
        raw.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
    if spec.kind == "sub":
        raw.setsockopt(zmq.SUBSCRIBE, spec.topic.encode())
    if spec.curve is not None:
        raw.setsockopt(zmq.CURVE_SECRETKEY, spec.curve.secret_key)
        raw.setsockopt(zmq.CURVE_PUBLICKEY, zmq.curve_public(spec.curve.secret_key))
    match spec.curve:
        case CurveServer():
            raw.setsockopt(zmq.CURVE_SERVER, 1)
        case CurveClient(_, server_key):
            raw.setsockopt(zmq.CURVE_SERVERKEY, server_key)


def _bind_ipc(raw: zmq.Socket[bytes], address: UnixAddress) -> None:
    # libzmq removes whatever is at the path, also the socket of a program that is running.
    remove_stale(address.path)
    previous = os.umask(0o177)
    try:
        raw.bind(f"ipc://{address.path}")
    finally:
        os.umask(previous)


def _resolved(address: TcpAddress) -> TcpAddress:
    """Libzmq looks up no names for a bind: it takes addresses and names of network interfaces."""
    if address.host == "*" or _is_ip(address.host):
        return address
    try:
        found = system_socket.getaddrinfo(
            address.host, address.port, family=system_socket.AF_INET, type=system_socket.SOCK_STREAM
        )
    except system_socket.gaierror:
        return address
    return TcpAddress(str(found[0][4][0]), address.port)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _without_scheme(address: TcpAddress | UnixAddress) -> str:
    return address.path if isinstance(address, UnixAddress) else str(address)


def _bound_name(raw: zmq.Socket[bytes]) -> str:
    name = raw.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(name, bytes)  # noqa: S101  # the type of an option depends on which one it is
    return name.rstrip(b"\0").decode()
