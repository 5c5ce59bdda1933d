"""The admin listener: paths and their answers (operations.md, "Admin")."""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from sockjs_bridge.admin.guard import make_guard
from sockjs_bridge.admin.metrics import CONTENT_TYPE, Metrics
from sockjs_bridge.admin.page import Page
from sockjs_bridge.admin.rates import RateBook
from sockjs_bridge.admin.view import DaemonView, sessions_open, status_document
from sockjs_bridge.errors import BridgeError, ConfigError
from sockjs_bridge.log import EventLog

_EVENT_SECONDS = 1.0
_MOST_WATCHERS = 32
_SHUTDOWN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class AdminOptions:
    """Settings. `token` is a secret; empty where everything is on this machine."""

    allowed_hosts: Collection[str] = ()
    token: str = ""


class AdminServer:
    """Serves the paths on sockets that are bound already."""

    def __init__(
        self, options: AdminOptions, sockets: list[socket.socket], daemon: DaemonView, log: EventLog
    ) -> None:
        self._daemon = daemon
        self._log = log
        self._sockets = sockets
        self._metrics = Metrics(daemon, asyncio.get_running_loop().time)
        self._rates = RateBook(daemon)
        self._page_maker = Page(self._rates)
        self._sampler: asyncio.TimerHandle | None = None
        self._watchers = 0
        application = web.Application(middlewares=[make_guard(options.allowed_hosts, options.token)])
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/events", self._events),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/healthz", self._healthz),
                web.get("/metrics", self._show_metrics),
                web.get("/api/v1/status", self._status),
                web.post("/api/v1/sessions/{name}/reconnect", self._reconnect),
                web.post("/api/v1/reload", self._reload),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)

    async def start(self) -> None:
        """Begin to answer."""
        self._sample()
        await self._runner.setup()
        for sock in self._sockets:
            await web.SockSite(self._runner, sock).start()
            name = sock.getsockname()
            where = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else f"unix:{name}"
            self._log.info(f"admin listening on {where}")

    def give_sockets(self) -> list[socket.socket]:
        """The listening sockets, for another server in place of this one."""
        return [sock.dup() for sock in self._sockets]

    async def stop(self) -> None:
        """Answer no more."""
        if self._sampler is not None:
            self._sampler.cancel()
        await self._runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        # That the loop turns is shown by the answer itself.
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        problems = self._daemon.problems
        lines = [f"not ready: {problem}\n" for problem in problems]
        return web.Response(text="".join(lines) or "ok\n", status=503 if problems else 200)

    async def _healthz(self, request: web.Request) -> web.Response:
        name = request.query.get("session")
        if name is None:
            is_open, of_all = sessions_open(self._daemon)
            text = f"{is_open}/{of_all} sessions open\n"
            return web.Response(text=text, status=200 if is_open == of_all else 503)
        view = self._daemon.bridges.get(name)
        if view is None:
            return web.Response(text="no such session\n", status=404)
        state = view.supervisor.status.state
        return web.Response(text=f"{state}\n", status=200 if view.supervisor.is_open else 503)

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def _status(self, _request: web.Request) -> web.Response:
        return _json(self._document())

    async def _page(self, _request: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe()
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return web.Response(
            text=self._page_maker.render(self._document(), nonce),
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"},
        )

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: what changes on the page, once a second."""
        if self._watchers >= _MOST_WATCHERS:
            raise web.HTTPServiceUnavailable(text=f"{_MOST_WATCHERS} pages are watching already\n")
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        self._watchers += 1
        try:
            with contextlib.suppress(ConnectionResetError):
                while True:
                    parts = self._page_maker.parts(self._document())
                    await response.write(b"data: %b\n\n" % orjson.dumps(parts))
                    await asyncio.sleep(_EVENT_SECONDS)
        finally:
            self._watchers -= 1
        return response

    async def _reconnect(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        view = self._daemon.bridges.get(name)
        if view is None:
            return _json({"error": f"no session {name}"}, 404)
        if view.supervisor.has_given_up:
            return _json({"error": f"session {name} has failed for good; reload or restart"}, 409)
        self._log.info("reconnect was asked for", session=name)
        view.supervisor.reconnect()
        return _json({"reconnecting": name})

    async def _reload(self, _request: web.Request) -> web.Response:
        try:
            return _json({"changed": await self._daemon.reload()})
        except ConfigError as error:
            return _json(
                {
                    "error": "the configuration can not be used; nothing was changed",
                    "problems": list(error.problems),
                },
                422,
            )
        except BridgeError as error:
            return _json({"error": str(error)}, 422)

    def _document(self) -> dict[str, Any]:
        return status_document(self._daemon, time.time(), asyncio.get_running_loop().time())

    def _sample(self) -> None:
        self._rates.sample()
        self._sampler = asyncio.get_running_loop().call_later(_EVENT_SECONDS, self._sample)


def _json(content: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
