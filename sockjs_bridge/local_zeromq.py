"""The ZeroMQ half of the local sockets. Imported only where an endpoint is configured: it loads libzmq."""

from sockjs_bridge.config import Config, SessionConfig
from sockjs_bridge.config import ZmqEndpoint as ZmqConfig
from sockjs_bridge.endpoints.base import Endpoint, Intake
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

OpenZmq = OpenSocket | Publisher
"""The socket of one endpoint; a publisher may serve several sessions."""


class LocalZmq:
    """Opens the sockets of ZeroMQ endpoints. No peer is let in before `start`."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._sockets = ZmqSockets(log)
        self._publishers: dict[str, Publisher] = {}

    def open(self, session: str, listener: ZmqConfig, where: str) -> OpenZmq:
        """Bind or connect one endpoint; `where` is its key path. Raises BindError."""
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
            opened = self._sockets.open(spec, log)
        except OSError as error:
            raise BindError([(f"{where}.endpoint", str(error))]) from error
        if listener.type != "pub":
            return opened
        publisher = Publisher(opened)
        if _may_share(listener):
            self._publishers[listener.endpoint] = publisher
        return publisher

    def start(self) -> None:
        """Begin to let peers in, on the running loop."""
        self._sockets.start()

    def close(self) -> None:
        """Close everything at once, before it was started."""
        self._sockets.close()

    async def stop(self) -> None:
        """After the endpoints have stopped: wait for what is still on its way out."""
        await self._sockets.stop()


def close_opened(opened: OpenZmq) -> None:
    """Close the socket of an endpoint that was never made, unless another session publishes there."""
    if isinstance(opened, Publisher):
        opened.close_unused()
    else:
        opened.close()


def make_zmq_endpoint(
    session: str,
    boot: str,
    config: SessionConfig,
    listener: ZmqConfig,
    opened: OpenZmq,
    intake: Intake,
    log: EventLog,
) -> Endpoint:
    """Make one endpoint of a session from its open socket; `boot` is this run of the process.

    Needs a running loop.
    """
    layout = Layout(session, boot, meta=listener.layout == "meta")
    if isinstance(opened, Publisher):
        return PubEndpoint(opened, _topic(session, listener), layout)
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


def key_problems(config: Config) -> list[tuple[str, str]]:
    """Every file of a CURVE key that cannot be used, as (key path, what is wrong)."""
    problems: list[tuple[str, str]] = []
    for name, session in config.sessions.items():
        for index, listener in enumerate(session.zmq):
            try:
                check_key(listener, f"sessions.{name}.zmq[{index}]")
            except BindError as error:
                problems += error.problems
    return problems


def check_key(listener: ZmqConfig, where: str) -> None:
    """Look whether the CURVE key of an endpoint can be used; `where` is its key path. Raises BindError."""
    try:
        _curve(listener)
    except (OSError, ValueError) as error:
        raise BindError([_key_problem(listener, where, error)]) from error


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
