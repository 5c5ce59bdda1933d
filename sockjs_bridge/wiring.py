"""From the configuration to objects: the only place that knows both."""

import asyncio
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import SystemRandom

from aiohttp import encode_basic_auth

from sockjs_bridge import __version__
from sockjs_bridge.bridge.connection import ConnectionLimits
from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.outbox import Outbox, Queue, QueueLimits
from sockjs_bridge.bridge.spool import Store
from sockjs_bridge.bridge.spooled_queue import SpooledQueue
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.bridge.supervisor import RAW, Supervisor, Upstream
from sockjs_bridge.config import QueueConfig, SessionConfig
from sockjs_bridge.endpoints.base import ClientBudget, Endpoint
from sockjs_bridge.local_sockets import (
    ListenerConfig,
    OpenListener,
    SessionNames,
    listeners_of,
    make_endpoint,
)
from sockjs_bridge.log import EventLog
from sockjs_bridge.protocol.events import Connect
from sockjs_bridge.protocol.lifecycle import Lifecycle, ReconnectPolicy
from sockjs_bridge.protocol.urls import BaseUrl
from sockjs_bridge.transports.base import Transport
from sockjs_bridge.transports.cookies import SessionCookies
from sockjs_bridge.transports.http import HttpTransport, HttpTransportOptions
from sockjs_bridge.transports.http_client import HttpOptions
from sockjs_bridge.transports.http_requests import KINDS
from sockjs_bridge.transports.info import InfoRequest
from sockjs_bridge.transports.route import Route
from sockjs_bridge.transports.websocket import WebSocketOptions, WebSocketTransport
from sockjs_bridge.upstream_route import make_route

_ID_LETTERS = string.ascii_lowercase + string.digits
_ID_LENGTH = 20
_SERVER_IDS = 1000


@dataclass(slots=True)
class Bridge:
    """One configured session with everything that belongs to it. A reload exchanges parts of it."""

    names: SessionNames
    config: SessionConfig
    hub: Hub
    supervisor: Supervisor
    log: EventLog

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The local side, in the order of the configuration."""
        return self.hub.endpoints

    def add_endpoints(self, opened: Sequence[OpenListener], budget: ClientBudget) -> None:
        """Join the endpoints; `opened` are the sockets of the listeners, in the order of `listeners_of`."""
        for (_, listener), sockets in zip(listeners_of(self.config), opened, strict=True):
            self.hub.add(self.make_endpoint(listener, sockets, budget))

    def make_endpoint(self, listener: ListenerConfig, opened: OpenListener, budget: ClientBudget) -> Endpoint:
        """Make an endpoint of open sockets; it is neither started nor joined to the session."""
        return make_endpoint(self.names, self.config, listener, opened, self.hub, budget, self.log)


def build(names: SessionNames, config: SessionConfig, log: EventLog) -> Bridge:
    """Make the objects of one session, without endpoints. Needs a running loop.

    Nothing connects yet, and the queue is not open.
    """
    log = log.bind(session=names.session)
    hub = Hub(_queue(config.queue, log), SessionStats(), asyncio.get_running_loop().time, log)
    return Bridge(names, config, hub, make_supervisor(names.session, config, hub, log), log)


def queue_limits(queue: QueueConfig) -> QueueLimits:
    """The bounds of the queue to the server."""
    return QueueLimits(
        max_messages=queue.max_messages,
        max_bytes=queue.max_bytes,
        max_age=queue.max_age,
        overflow=queue.overflow,
        resend_in_doubt=queue.resend_in_doubt,
        max_spool_bytes=queue.spool_max_bytes,
    )


def _queue(queue: QueueConfig, log: EventLog) -> Queue:
    limits = queue_limits(queue)
    return SpooledQueue(limits, partial(_open_spool, queue.spool), log) if queue.spool else Outbox(limits)


def _open_spool(path: str) -> Store:
    # SQLite is loaded only where it is used, and in the spool's own thread.
    from sockjs_bridge.bridge.spool_file import SpoolFile  # noqa: PLC0415  # as above

    return SpoolFile.open(path)


def make_supervisor(name: str, config: SessionConfig, hub: Hub, log: EventLog) -> Supervisor:
    """Make the upstream side of a session."""
    return Supervisor(_upstream(name, config, log), hub, log)


def _upstream(name: str, config: SessionConfig, log: EventLog) -> Upstream:
    base = BaseUrl.parse(config.url)
    configured_origin = {"none": None, "same": base.origin}.get(config.origin, config.origin)
    lifecycle = Lifecycle(
        config.transports,
        ReconnectPolicy(
            initial=config.reconnect.initial,
            maximum=config.reconnect.max,
            stable_after=config.reconnect.stable_after,
            max_attempts=config.reconnect.max_attempts,
        ),
        # A raw WebSocket often stands on a server that is no SockJS server.
        asks_info=config.info and set(config.transports) != {RAW},
        origin=configured_origin,
        same_origin=base.origin,
        random=SystemRandom().random,
        new_session_id=new_session_id,
    )
    limits = ConnectionLimits(
        connect_timeout=config.connect_timeout,
        open_timeout=config.open_timeout,
        silence_timeout=config.silence_timeout,
        ping_interval=config.ping_interval,
    )
    factory = make_factory(config, log)
    info = InfoRequest(base, factory.http_options(factory.headers), factory.cookies, log)
    return Upstream(name, base.shown, lifecycle, limits, factory.make, info.ask)


def new_session_id() -> str:
    """Make an id that no session has had (protocol section 1)."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def make_factory(config: SessionConfig, log: EventLog) -> "TransportFactory":
    """Make what makes the transports of a session. Needs a running loop."""
    base = BaseUrl.parse(config.url)
    file = Path(config.cookie_file) if config.cookie_file else None
    return TransportFactory(
        base=base,
        server_id=config.server_id or f"{secrets.randbelow(_SERVER_IDS):03}",
        config=config,
        headers=_headers(base, config),
        cookies=SessionCookies(base.url, config.cookies, file, log),
        route=make_route(config),
        log=log,
    )


def _headers(base: BaseUrl, config: SessionConfig) -> dict[str, str]:
    """What every request and handshake carries; what the user configured wins."""
    headers = {"User-Agent": f"sockjs-bridge/{__version__}"}
    if base.user_info is not None:
        headers["Authorization"] = encode_basic_auth(*base.user_info, encoding="utf-8")
    own = {name.lower() for name in config.headers}
    return {**{name: value for name, value in headers.items() if name.lower() not in own}, **config.headers}


@dataclass(frozen=True, slots=True)
class TransportFactory:
    """Makes the transports of one configured session. They share its server id, headers and cookies."""

    base: BaseUrl
    server_id: str
    config: SessionConfig
    headers: dict[str, str]
    cookies: SessionCookies
    route: Route
    log: EventLog

    def make(self, attempt: Connect) -> Transport:
        """Make the transport of one attempt."""
        base = attempt.base or self.base
        if base.secure and not self.config.tls.verify:
            self.log.warning(
                "the server's certificate is not checked (tls.verify = false): anybody on the way can read "
                "and change everything",
                transport=attempt.transport,
            )
        headers = {**self.headers, "Origin": attempt.origin} if attempt.origin else self.headers
        if attempt.transport in (RAW, "websocket"):
            return self._websocket(attempt, base, headers)
        return self._http(attempt, base, headers)

    def http_options(self, headers: dict[str, str]) -> HttpOptions:
        """What the HTTP requests of the session have in common."""
        return HttpOptions(headers, self.config.connect_timeout, self.route)

    def _websocket(self, attempt: Connect, base: BaseUrl, headers: dict[str, str]) -> Transport:
        framed = attempt.transport != RAW
        options = WebSocketOptions(
            url=base.session(self.server_id, attempt.session_id, "websocket") if framed else base.raw(),
            framed=framed,
            headers=headers,
            max_frame_bytes=self.config.max_frame_size,
            batch_bytes=self.config.batch_bytes,
            route=self.route,
        )
        return WebSocketTransport(options, self.cookies)

    def _http(self, attempt: Connect, base: BaseUrl, headers: dict[str, str]) -> Transport:
        kind = KINDS[attempt.transport]
        options = HttpTransportOptions(
            name=attempt.transport,
            receive_url=base.session(
                self.server_id, attempt.session_id, kind.receive_path, kind.receive_query
            ),
            send_url=base.session(self.server_id, attempt.session_id, kind.send_path),
            info_url=base.info(),
            http=self.http_options(headers),
            max_frame_bytes=self.config.max_frame_size,
            eventsource_encoding=self.config.eventsource_encoding,
        )
        return HttpTransport(options, self.cookies)
