"""From the configuration to objects: the only place that knows both."""

import asyncio
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import SystemRandom

from sockjs_bridge.access import Access
from sockjs_bridge.bridge.connection import ConnectionLimits
from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.outbox import Outbox, Queue, QueueLimits
from sockjs_bridge.bridge.private import OnDemand, PrivateSession, PrivateSessions, Waiting, count_waiting
from sockjs_bridge.bridge.spool import Store
from sockjs_bridge.bridge.spooled_queue import SpooledQueue
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.bridge.supervisor import RAW, Supervisor, Upstream
from sockjs_bridge.config import QueueConfig, SessionConfig
from sockjs_bridge.endpoints.base import Endpoint
from sockjs_bridge.local_sockets import (
    ListenerConfig,
    OpenListener,
    ProcessResources,
    SessionNames,
    listeners_of,
    make_endpoint,
)
from sockjs_bridge.log import EventLog
from sockjs_bridge.protocol.events import AskInfo, AttemptFailed, Connect, InfoReceived
from sockjs_bridge.protocol.lifecycle import Lifecycle, ReconnectPolicy
from sockjs_bridge.protocol.urls import BaseUrl
from sockjs_bridge.session_login import SessionLogin
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
    upstreams: "UpstreamFactory"
    supervisor: Supervisor | OnDemand
    privates: PrivateSessions
    log: EventLog

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The local side, in the order of the configuration."""
        return self.hub.endpoints

    def add_endpoints(self, opened: Sequence[OpenListener], resources: ProcessResources) -> None:
        """Join the endpoints; `opened` are the sockets of the listeners, in the order of `listeners_of`."""
        for (_, listener), sockets in zip(listeners_of(self.config), opened, strict=True):
            self.hub.add(self.make_endpoint(listener, sockets, resources))

    def make_endpoint(
        self, listener: ListenerConfig, opened: OpenListener, resources: ProcessResources
    ) -> Endpoint:
        """Make an endpoint of open sockets; it is neither started nor joined to the session."""
        return make_endpoint(
            self.names, self.config, listener, opened, self.hub, self.open_private, resources, self.log
        )

    def open_private(self, listener: str, client: str) -> PrivateSession:
        """Make the session of one client, as the configuration is now; it does not run yet."""
        log = self.log.bind(listener=listener).bind_one_of_many(client=client)
        # There is no later session in which anything could be sent again.
        limits = replace(queue_limits(self.config.queue), resend_in_doubt=False)
        return self.privates.make(self.upstreams.make_private(), limits, log)

    def count_waiting(self, now: float) -> Waiting:
        """What waits for the server, in the queues of all clients too; `now` is the loop's time."""
        return count_waiting([self.hub.queue, *self.privates.queues], self.hub.stats, now)

    def renew_upstreams(self) -> None:
        """Take up what the configuration says of the server, for sessions that are made from now on."""
        self.upstreams = UpstreamFactory.of(self.names.session, self.config, self.log)

    def renew_supervisor(self) -> None:
        """Begin anew with the session that is shared. Those of single clients go on as they began."""
        last_close = self.supervisor.status.last_close
        self.supervisor = _upstream_side(self.config, self.upstreams, self.hub, self.privates, self.log)
        self.supervisor.status.last_close = last_close

    async def stop_upstream(self, deadline: float) -> None:
        """Send what waits, and close every session with the server, by `deadline` (loop time)."""
        await asyncio.gather(self.supervisor.stop(deadline), self.privates.stop(deadline))


def build(names: SessionNames, config: SessionConfig, log: EventLog) -> Bridge:
    """Make the objects of one session, without endpoints. Needs a running loop.

    Nothing connects yet, and the queue is not open.
    """
    log = log.bind(session=names.session)
    hub = Hub(_queue(config.queue, log), SessionStats(), asyncio.get_running_loop().time, log)
    upstreams = UpstreamFactory.of(names.session, config, log)
    privates = PrivateSessions(hub.stats)
    supervisor = _upstream_side(config, upstreams, hub, privates, log)
    return Bridge(names, config, hub, upstreams, supervisor, privates, log)


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
    from sockjs_bridge.bridge.spool_file import SpoolFile  # noqa: PLC0415  # loaded only where a spool is used

    return SpoolFile.open(path)


def _upstream_side(
    config: SessionConfig, upstreams: "UpstreamFactory", hub: Hub, privates: PrivateSessions, log: EventLog
) -> Supervisor | OnDemand:
    if config.is_on_demand:
        return OnDemand(upstreams.name, upstreams.transports.access.shown_url, privates)
    return Supervisor(upstreams.make(), hub, log)


@dataclass(frozen=True, slots=True)
class UpstreamFactory:
    """Makes what supervisors need. All of one session share its cookies, its server id, its headers."""

    name: str
    config: SessionConfig
    transports: "TransportFactory"
    login: SessionLogin

    @classmethod
    def of(cls, name: str, config: SessionConfig, log: EventLog) -> "UpstreamFactory":
        """Make it as a configuration says. Needs a running loop."""
        transports = make_factory(config, log)
        login = SessionLogin(config, transports.access, transports.cookies, transports.http_options, log)
        return cls(name, config, transports, login)

    def make(self) -> Upstream:
        """For a session that is opened again and again."""
        return self._make(reopens=True)

    def make_private(self) -> Upstream:
        """For a session that is opened once, for one client."""
        return self._make(reopens=False)

    def _make(self, *, reopens: bool) -> Upstream:
        config, base = self.config, self.transports.base
        limits = ConnectionLimits(
            connect_timeout=config.connect_timeout,
            open_timeout=config.open_timeout,
            silence_timeout=config.silence_timeout,
            ping_interval=config.ping_interval,
        )
        return Upstream(
            self.name,
            self.transports.access.shown_url,
            _lifecycle(config, base, logs_in=self.login.is_needed, reopens=reopens),
            limits,
            self.transports.make,
            self.transports.ask_info,
            self.login if self.login.is_needed else None,
        )


def _lifecycle(config: SessionConfig, base: BaseUrl, *, logs_in: bool, reopens: bool) -> Lifecycle:
    return Lifecycle(
        config.transports,
        ReconnectPolicy(
            initial=config.reconnect.initial,
            maximum=config.reconnect.max,
            stable_after=config.reconnect.stable_after,
            max_attempts=config.reconnect.max_attempts,
        ),
        # A raw WebSocket often stands on a server that is no SockJS server.
        logs_in=logs_in,
        asks_info=config.info and set(config.transports) != {RAW},
        reopens=reopens,
        origin={"none": None, "same": base.origin}.get(config.origin, config.origin),
        same_origin=base.origin,
        random=SystemRandom().random,
        new_session_id=new_session_id,
    )


def new_session_id() -> str:
    """Make an id that no session has had (protocol section 1)."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def make_factory(config: SessionConfig, log: EventLog) -> "TransportFactory":
    """Make what makes the transports of a session. Needs a running loop."""
    access = Access(config)
    file = Path(config.cookie_file) if config.cookie_file else None
    return TransportFactory(
        access=access,
        server_id=config.server_id or f"{secrets.randbelow(_SERVER_IDS):03}",
        config=config,
        cookies=SessionCookies(access.base.url, access.cookies, file, log, access.secrets.remember_likely),
        route=make_route(config),
        log=log,
    )


@dataclass(frozen=True, slots=True)
class TransportFactory:
    """Makes the transports of one configured session. They share its server id, headers and cookies."""

    access: Access
    server_id: str
    config: SessionConfig
    cookies: SessionCookies
    route: Route
    log: EventLog

    @property
    def base(self) -> BaseUrl:
        """The URL of the server, as it is now."""
        return self.access.base

    @property
    def headers(self) -> dict[str, str]:
        """What every request and handshake carries, as it is now."""
        return self.access.headers

    async def ask_info(self, question: AskInfo) -> InfoReceived | AttemptFailed:
        """Ask the server about itself."""
        info = InfoRequest(self.base, self.http_options(self.headers), self.cookies, self.log)
        return await info.ask(question)

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
