"""The local side of the configuration: binds every listener, and makes the endpoints of each session."""

import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sockjs_bridge.config import Config, SessionConfig
from sockjs_bridge.config import TcpListener as TcpConfig
from sockjs_bridge.config.listeners import ZmqEndpoint as ZmqConfig
from sockjs_bridge.endpoints.base import ClientBudget, Endpoint, Intake
from sockjs_bridge.endpoints.binding import bind
from sockjs_bridge.endpoints.framing import FRAMINGS
from sockjs_bridge.endpoints.tcp import TcpListener, TcpOptions
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

_Place = tuple[str, int]
"""The name of a session and the place in its array of listeners."""


@dataclass(frozen=True, slots=True)
class LocalSockets:
    """The sockets of every listener, bound or connected; nothing is accepted or read yet."""

    tcp: dict[_Place, list[socket.socket]] = field(default_factory=dict)
    zmq: dict[_Place, OpenSocket | Publisher] = field(default_factory=dict)
    zmq_sockets: ZmqSockets | None = None

    def start(self) -> None:
        """Begin to let peers in, on the running loop."""
        if self.zmq_sockets is not None:
            self.zmq_sockets.start()

    def close(self) -> None:
        """Close everything at once."""
        for sock in (sock for sockets in self.tcp.values() for sock in sockets):
            sock.close()
        if self.zmq_sockets is not None:
            self.zmq_sockets.close()

    async def stop(self) -> None:
        """After the endpoints have stopped: wait for what is still on its way out."""
        if self.zmq_sockets is not None:
            await self.zmq_sockets.stop()


@dataclass(frozen=True, slots=True)
class SessionNames:
    """What programs see of a session beside its messages: its name, and which run of the process this is."""

    session: str
    boot: str


def bind_listeners(config: Config, log: EventLog) -> LocalSockets:
    """Bind every listener of the configuration. Raises BindError with all that failed; then none is bound."""
    uses_zmq = any(session.zmq for session in config.sessions.values())
    zmq_sockets = ZmqSockets(log) if uses_zmq else None
    local = LocalSockets(zmq_sockets=zmq_sockets)
    problems = list(_bind_tcp(config, local))
    if zmq_sockets is not None:
        problems += _open_zmq(config, local.zmq, zmq_sockets, log)
    if problems:
        local.close()
        raise BindError(problems)
    return local


def key_problems(config: Config) -> list[tuple[str, str]]:
    """Every file of a CURVE key that cannot be used, as (key path, what is wrong)."""
    problems = []
    for name, index, endpoint in _zmq_endpoints(config):
        try:
            _curve(endpoint)
        except (OSError, ValueError) as error:
            problems.append((_key_path(name, index), _key_problem(endpoint, error)))
    return problems


def make_endpoints(
    names: SessionNames,
    config: SessionConfig,
    local: LocalSockets,
    intake: Intake,
    budget: ClientBudget,
    log: EventLog,
) -> tuple[Endpoint, ...]:
    """Make the endpoints of one session, in the order of the configuration. Needs a running loop."""
    endpoints: list[Endpoint] = [
        TcpListener(_tcp_options(tcp), local.tcp[names.session, index], intake, budget, log)
        for index, tcp in enumerate(config.tcp)
    ]
    for index, zmq in enumerate(config.zmq):
        layout = Layout(names.session, names.boot, meta=zmq.layout == "meta")
        opened = local.zmq[names.session, index]
        if isinstance(opened, Publisher):
            endpoints.append(PubEndpoint(opened, _topic(names.session, zmq), layout))
        else:
            limits = OutgoingLimits(zmq.hwm, zmq.overflow == "pause")
            endpoints.append(
                ZmqEndpoint(
                    opened,
                    intake,
                    layout,
                    outgoing=limits if zmq.type in {"push", "dealer"} else None,
                    max_message_bytes=(
                        min(MAX_MESSAGE_BYTES, config.queue.max_bytes) if zmq.type != "push" else None
                    ),
                    log=log,
                )
            )
    return tuple(endpoints)


def _bind_tcp(config: Config, local: LocalSockets) -> Iterator[tuple[str, str]]:
    for name, session in config.sessions.items():
        for index, listener in enumerate(session.tcp):
            try:
                local.tcp[name, index] = bind(listener.address, int(listener.socket_mode, 8))
            except OSError as error:
                yield f"sessions.{name}.tcp[{index}].listen", str(error)


def _open_zmq(
    config: Config, opened: dict[_Place, OpenSocket | Publisher], sockets: ZmqSockets, log: EventLog
) -> Iterator[tuple[str, str]]:
    publishers: dict[str, Publisher] = {}
    sharing = Counter(endpoint.endpoint for _, _, endpoint in _zmq_endpoints(config) if _may_share(endpoint))
    for name, index, endpoint in _zmq_endpoints(config):
        if endpoint.endpoint in publishers and _may_share(endpoint):
            opened[name, index] = publishers[endpoint.endpoint]
            continue
        where = f"sessions.{name}.zmq[{index}]"
        session_log = log.bind(session=name)
        try:
            spec = _spec(name, endpoint)
        except (OSError, ValueError) as error:
            yield _key_path(name, index), _key_problem(endpoint, error)
            continue
        _warn_of_open_key(endpoint, session_log)
        is_shared = _may_share(endpoint) and sharing[endpoint.endpoint] > 1
        try:
            new = sockets.open(spec, where, log if is_shared else session_log)
        except OSError as error:
            yield f"{where}.endpoint", str(error)
            continue
        opened[name, index] = new
        if endpoint.type == "pub":
            opened[name, index] = publishers[endpoint.endpoint] = Publisher(new)


def _may_share(endpoint: ZmqConfig) -> bool:
    """Whether another session may publish through the same socket. Every port 0 is a port of its own."""
    return endpoint.type == "pub" and endpoint.bind and not endpoint.endpoint.endswith((":0", ":*"))


def _zmq_endpoints(config: Config) -> Iterator[tuple[str, int, ZmqConfig]]:
    for name, session in config.sessions.items():
        for index, endpoint in enumerate(session.zmq):
            yield name, index, endpoint


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


def _key_path(session: str, index: int) -> str:
    return f"sessions.{session}.zmq[{index}].curve.secret_key_file"


def _key_problem(config: ZmqConfig, error: OSError | ValueError) -> str:
    text = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
    return f"{config.curve.secret_key_file}: {text}"


def _warn_of_open_key(config: ZmqConfig, log: EventLog) -> None:
    path = config.curve.secret_key_file
    if path and is_readable_by_others(path):
        log.warning("a secret key can be read by other users: chmod 600", file=path)


def _tcp_options(config: TcpConfig) -> TcpOptions:
    return TcpOptions(
        address=config.address,
        framing=FRAMINGS[config.framing],
        direction=config.direction,
        max_clients=config.max_clients,
        max_message_bytes=config.max_message_size,
        client_buffer_bytes=config.client_buffer,
        stall_timeout=config.stall_timeout,
        half_close=config.on_eof == "half-close",
        eof_linger=config.eof_linger,
        reject_http=config.reject_http,
    )
