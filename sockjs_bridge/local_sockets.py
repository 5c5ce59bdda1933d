"""The local side of the configuration: binds every listener, and makes the endpoints of each session."""

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from sockjs_bridge.config import Config, SessionConfig
from sockjs_bridge.config import TcpListener as TcpConfig
from sockjs_bridge.config.listeners import ZmqEndpoint as ZmqConfig
from sockjs_bridge.endpoints.address import ActivatedSocket
from sockjs_bridge.endpoints.base import ClientBudget, Endpoint, Intake
from sockjs_bridge.endpoints.binding import bind
from sockjs_bridge.endpoints.dedicated import DedicatedListener, OpenSession, Spawn
from sockjs_bridge.endpoints.server_tls import ServerTls
from sockjs_bridge.endpoints.tcp_acceptor import TcpAcceptor
from sockjs_bridge.endpoints.tcp_group import TcpGroup
from sockjs_bridge.endpoints.tcp_options import SlowClient, TcpOptions
from sockjs_bridge.endpoints.wording import FORMATS
from sockjs_bridge.errors import BindError
from sockjs_bridge.local_certificates import Certificates, RenewedCertificates, refuse_unix
from sockjs_bridge.log import EventLog
from sockjs_bridge.service_manager import ServiceManager

if TYPE_CHECKING:
    from sockjs_bridge.local_zeromq import LocalZmq, OpenZmq

ListenerConfig = TcpConfig | ZmqConfig
OpenListener: TypeAlias = "OpenTcp | OpenZmq"
"""The sockets of one listener: a publisher may serve several sessions."""


@dataclass(frozen=True, slots=True)
class OpenTcp:
    """The sockets of a TCP or Unix listener, of which a host name may give several, and its TLS."""

    sockets: list[socket.socket]
    tls: ServerTls | None


@dataclass(frozen=True, slots=True)
class SessionNames:
    """What programs see of a session beside its messages: its name, and which run of the process this is."""

    session: str
    boot: str


@dataclass(frozen=True, slots=True)
class ProcessResources:
    """What the endpoints of all sessions share: room for clients, and where their tasks run."""

    budget: ClientBudget
    spawn: Spawn


class LocalSockets:
    """Opens the sockets of listeners. Nothing is accepted or read before endpoints are made of them."""

    def __init__(self, log: EventLog, manager: ServiceManager | None = None) -> None:
        self.opened: dict[str, list[OpenListener]] = {}
        """The sockets of each session, in the order of `listeners_of`."""
        self._log = log
        self._manager = manager
        self._zmq: LocalZmq | None = None
        self._certificates = Certificates()
        self._is_started = False

    def open(self, session: str, listener: ListenerConfig, where: str) -> OpenListener:
        """Bind or connect one listener; `where` is its key path. Raises BindError."""
        if isinstance(listener, TcpConfig):
            return self._open_stream(listener, where)
        return self._local_zmq().open(session, listener, where)

    def inherit(self, listener: TcpConfig, where: str, sockets: list[socket.socket]) -> OpenTcp:
        """Let a listener have sockets that are open already. Raises BindError, and closes them then."""
        try:
            refuse_unix(listener, where, sockets)
            return OpenTcp(sockets, self._certificates.of(listener, where))
        except BindError:
            for sock in sockets:
                sock.close()
            raise

    def read_certificates(self, config: Config) -> RenewedCertificates:
        """Read the files of TLS again that listeners of this configuration have in use. Raises BindError."""
        return self._certificates.read_again(config)

    def _open_stream(self, listener: TcpConfig, where: str) -> OpenTcp:
        problems: list[tuple[str, str]] = []
        sockets: list[socket.socket] = []
        try:
            sockets = self._bind_stream(listener)
        except OSError as error:
            problems.append((f"{where}.listen", str(error)))
        try:
            opened = self.inherit(listener, where, sockets)
        except BindError as error:
            raise BindError([*problems, *error.problems]) from error
        if problems:
            raise BindError(problems)
        return opened

    def check(self, listener: ZmqConfig, where: str) -> None:
        """Look whether a ZeroMQ endpoint can be opened later, as far as that shows now. Raises BindError."""
        from sockjs_bridge.local_zeromq import check_key

        check_key(listener, where)

    def _bind_stream(self, listener: TcpConfig) -> list[socket.socket]:
        if isinstance(listener.address, ActivatedSocket) and self._manager is not None:
            return self._manager.sockets(listener.address.name)
        return bind(listener.address, int(listener.socket_mode, 8))

    def start(self) -> None:
        """Begin to let peers in, on the running loop."""
        self._is_started = True
        if self._zmq is not None:
            self._zmq.start()

    def close(self) -> None:
        """Close everything at once, before it was started."""
        for opened in [each for session in self.opened.values() for each in session]:
            close_listener(opened)
        if self._zmq is not None:
            self._zmq.close()

    async def stop(self) -> None:
        """After the endpoints have stopped: wait for what is still on its way out."""
        if self._zmq is not None:
            await self._zmq.stop()

    def _local_zmq(self) -> "LocalZmq":
        if self._zmq is None:
            # Without a ZeroMQ endpoint, libzmq is neither loaded nor in memory.
            from sockjs_bridge.local_zeromq import LocalZmq

            self._zmq = LocalZmq(self._log)
            if self._is_started:
                self._zmq.start()
        return self._zmq


def close_listener(opened: OpenListener) -> None:
    """Close the sockets of a listener of which no endpoint was made."""
    if isinstance(opened, OpenTcp):
        for sock in opened.sockets:
            sock.close()
    else:
        from sockjs_bridge.local_zeromq import close_opened

        close_opened(opened)


def bind_listeners(config: Config, log: EventLog, manager: ServiceManager | None = None) -> LocalSockets:
    """Bind every listener of the configuration. Raises BindError with all that failed; then none is bound."""
    local = LocalSockets(log, manager)
    problems: list[tuple[str, str]] = []
    for name, session in config.sessions.items():
        opened = local.opened.setdefault(name, [])
        for place, listener in listeners_of(session):
            try:
                opened.append(local.open(name, listener, f"sessions.{name}.{place}"))
            except BindError as error:
                problems += error.problems
    if problems:
        local.close()
        raise BindError(problems)
    return local


def listeners_of(session: SessionConfig) -> list[tuple[str, ListenerConfig]]:
    """All listeners of a session with their places, such as `tcp[0]`."""
    tcp = [(f"tcp[{index}]", listener) for index, listener in enumerate(session.tcp)]
    return [*tcp, *[(f"zmq[{index}]", endpoint) for index, endpoint in enumerate(session.zmq)]]


def make_endpoint(
    names: SessionNames,
    config: SessionConfig,
    listener: ListenerConfig,
    opened: OpenListener,
    intake: Intake,
    open_session: OpenSession,
    resources: ProcessResources,
    log: EventLog,
) -> Endpoint:
    """Make one endpoint of a session from its open sockets. Needs a running loop."""
    if isinstance(listener, TcpConfig):
        assert isinstance(opened, OpenTcp)  # noqa: S101  # both come from the same entry of listeners_of
        budget = resources.budget
        acceptor = TcpAcceptor(_tcp_options(listener), opened.sockets, budget, log, opened.tls)
        if listener.mode == "dedicated":
            return DedicatedListener(
                acceptor, names.session, names.boot, open_session, budget, resources.spawn, log
            )
        return TcpGroup(acceptor, intake, names.session, names.boot, log)
    from sockjs_bridge.local_zeromq import make_zmq_endpoint

    assert not isinstance(opened, OpenTcp)  # noqa: S101  # it was opened for this listener
    return make_zmq_endpoint(names.session, names.boot, config, listener, opened, intake, log)


def _tcp_options(config: TcpConfig) -> TcpOptions:
    return TcpOptions(
        address=config.address,
        format=FORMATS[config.framing],
        direction=config.direction,
        max_clients=config.max_clients,
        max_message_bytes=config.max_message_size,
        slow_client=SlowClient(config.slow_client),
        client_buffer_bytes=config.client_buffer,
        stall_timeout=config.stall_timeout,
        half_close=config.on_eof == "half-close",
        eof_linger=config.eof_linger,
        replay=config.replay,
        reject_http=config.reject_http,
        allow=config.allow,
        has_tls=bool(config.tls.cert),
    )
