"""The local side of the configuration: binds every listener, and makes the endpoints of each session."""

import socket
from dataclasses import dataclass

from sockjs_bridge.config import Config, SessionConfig
from sockjs_bridge.config import TcpListener as TcpConfig
from sockjs_bridge.config.listeners import ZmqEndpoint as ZmqConfig
from sockjs_bridge.endpoints.address import ActivatedSocket
from sockjs_bridge.endpoints.base import ClientBudget, Endpoint, Intake
from sockjs_bridge.endpoints.binding import bind
from sockjs_bridge.endpoints.tcp_acceptor import TcpAcceptor
from sockjs_bridge.endpoints.tcp_group import TcpGroup
from sockjs_bridge.endpoints.tcp_options import SlowClient, TcpOptions
from sockjs_bridge.endpoints.wording import FORMATS
from sockjs_bridge.endpoints.zeromq.curve import (
    CurveClient,
    CurveServer,
    is_readable_by_others,
    read_secret_key,
)
from sockjs_bridge.endpoints.zeromq.endpoint import ZmqEndpoint
from sockjs_bridge.endpoints.zeromq.layout import Layout
from sockjs_bridge.endpoints.zeromq.outgoing import OutgoingLimits
from sockjs_bridge.endpoints.zeromq.publisher import PubEndpoint, Publisher
from sockjs_bridge.endpoints.zeromq.sockets import (
    MAX_MESSAGE_BYTES,
    PUB_HWM,
    OpenSocket,
    SocketSpec,
    ZmqSockets,
)
from sockjs_bridge.errors import BindError
from sockjs_bridge.log import EventLog
from sockjs_bridge.service_manager import ServiceManager

ListenerConfig = TcpConfig | ZmqConfig
OpenListener = list[socket.socket] | OpenSocket | Publisher
"""The sockets of one listener: of TCP there may be several, a publisher may serve several sessions."""


@dataclass(frozen=True, slots=True)
class SessionNames:
    """What programs see of a session beside its messages: its name, and which run of the process this is."""

    session: str
    boot: str


class LocalSockets:
    """Opens the sockets of listeners. Nothing is accepted or read before endpoints are made of them."""

    def __init__(self, log: EventLog, manager: ServiceManager | None = None) -> None:
        self.opened: dict[str, list[OpenListener]] = {}
        """The sockets of each session, in the order of `listeners_of`."""
        self._log = log
        self._manager = manager
        self._zmq: ZmqSockets | None = None
        self._publishers: dict[str, Publisher] = {}
        self._is_started = False

    def open(self, session: str, listener: ListenerConfig, where: str) -> OpenListener:
        """Bind or connect one listener; `where` is its key path. Raises BindError."""
        if isinstance(listener, TcpConfig):
            try:
                return self._bind_stream(listener)
            except OSError as error:
                raise BindError([(f"{where}.listen", str(error))]) from error
        publisher = self._publishers.get(listener.endpoint)
        if publisher is not None and not publisher.is_closed and _may_share(listener):
            return publisher
        try:
            spec = _spec(session, listener)
        except (OSError, ValueError) as error:
            raise BindError([_key_problem(listener, where, error)]) from error
        log = self._log.bind(session=session)
        _warn_of_open_key(listener, log)
        try:
            opened = self._zmq_sockets().open(spec, log)
        except OSError as error:
            raise BindError([(f"{where}.endpoint", str(error))]) from error
        if listener.type != "pub":
            return opened
        publisher = Publisher(opened)
        if _may_share(listener):
            self._publishers[listener.endpoint] = publisher
        return publisher

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

    def _zmq_sockets(self) -> ZmqSockets:
        if self._zmq is None:
            self._zmq = ZmqSockets(self._log)
            if self._is_started:
                self._zmq.start()
        return self._zmq


def close_listener(opened: OpenListener) -> None:
    """Close the sockets of a listener of which no endpoint was made."""
    if isinstance(opened, OpenSocket):
        opened.close()
    elif isinstance(opened, Publisher):
        opened.close_unused()
    else:
        for sock in opened:
            sock.close()


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


def key_problems(config: Config) -> list[tuple[str, str]]:
    """Every file of a CURVE key that cannot be used, as (key path, what is wrong)."""
    problems = []
    for name, session in config.sessions.items():
        for index, listener in enumerate(session.zmq):
            try:
                _curve(listener)
            except (OSError, ValueError) as error:
                problems.append(_key_problem(listener, f"sessions.{name}.zmq[{index}]", error))
    return problems


def make_endpoint(
    names: SessionNames,
    config: SessionConfig,
    listener: ListenerConfig,
    opened: OpenListener,
    intake: Intake,
    budget: ClientBudget,
    log: EventLog,
) -> Endpoint:
    """Make one endpoint of a session from its open sockets. Needs a running loop."""
    if isinstance(listener, TcpConfig):
        assert isinstance(opened, list)  # noqa: S101  # both come from the same entry of listeners_of
        acceptor = TcpAcceptor(_tcp_options(listener), opened, budget, log)
        return TcpGroup(acceptor, intake, names.session, names.boot, log)
    layout = Layout(names.session, names.boot, meta=listener.layout == "meta")
    if isinstance(opened, Publisher):
        return PubEndpoint(opened, _topic(names.session, listener), layout)
    assert isinstance(opened, OpenSocket)  # noqa: S101  # as above
    limits = OutgoingLimits(listener.hwm, pauses=listener.overflow == "pause")
    return ZmqEndpoint(
        opened,
        intake,
        layout,
        outgoing=limits if listener.type in {"push", "dealer"} else None,
        max_message_bytes=(
            min(MAX_MESSAGE_BYTES, config.queue.max_bytes) if listener.type != "push" else None
        ),
        log=log,
    )


def _may_share(endpoint: ZmqConfig) -> bool:
    """Whether another session may publish through the same socket. Every port 0 is a port of its own."""
    return endpoint.type == "pub" and endpoint.bind and not endpoint.endpoint.endswith((":0", ":*"))


def _spec(session: str, config: ZmqConfig) -> SocketSpec:
    # A publisher cannot wait for anybody, so it needs room for the burst that follows a reconnect.
    is_default_pub = config.type == "pub" and "hwm" not in config.model_fields_set
    return SocketSpec(
        kind=config.type,
        address=config.address,
        bind=config.bind,
        topic=_topic(session, config),
        hwm=PUB_HWM if is_default_pub else config.hwm,
        linger=config.linger,
        curve=_curve(config),
    )


def _topic(session: str, config: ZmqConfig) -> str:
    if config.topic is not None:
        return config.topic
    return session if config.type == "pub" else ""


def _curve(config: ZmqConfig) -> CurveServer | CurveClient | None:
    curve = config.curve
    if not curve.secret_key_file:
        return None
    secret_key = read_secret_key(curve.secret_key_file)
    if curve.server_key is not None:
        return CurveClient(secret_key, curve.server_key.encode())
    return CurveServer(secret_key, frozenset(key.encode() for key in curve.allow or ()))


def _key_problem(listener: ZmqConfig, where: str, error: OSError | ValueError) -> tuple[str, str]:
    text = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
    return f"{where}.curve.secret_key_file", f"{listener.curve.secret_key_file}: {text}"


def _warn_of_open_key(config: ZmqConfig, log: EventLog) -> None:
    path = config.curve.secret_key_file
    if path and is_readable_by_others(path):
        log.warning("a secret key can be read by other users: chmod 600", file=path)


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
    )
