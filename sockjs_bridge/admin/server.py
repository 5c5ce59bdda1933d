"""The admin listener: paths and their answers (operations.md, "Admin")."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from sockjs_bridge.admin.guard import make_guard
from sockjs_bridge.admin.metrics import CONTENT_TYPE, Metrics
from sockjs_bridge.admin.page import Page
from sockjs_bridge.admin.rates import RateBook
from sockjs_bridge.admin.view import DaemonView, sessions_open, status_document, without_secrets
from sockjs_bridge.endpoints.binding import unlink_own
from sockjs_bridge.errors import BridgeError, ConfigError
from sockjs_bridge.log import EventLog

_EVENT_SECONDS = 1.0
_MOST_WATCHERS = 32
_SHUTDOWN_SECONDS = 0.2
_http_log = logging.getLogger("aiohttp.server")


@dataclass(frozen=True, slots=True)
class AdminOptions:
    """Settings. `token` is a secret; empty where everything is on this machine."""

    allowed_hosts: Collection[str] = ()
    token: str = field(default="", repr=False)
    mask: Callable[[str], str] = str
    """Takes out of a text what must not be shown."""


class AdminServer:
    """Serves the paths on sockets that are bound already."""

    def __init__(
        self, options: AdminOptions, sockets: list[socket.socket], daemon: DaemonView, log: EventLog
    ) -> None:
        self._daemon = daemon
        self._mask = options.mask
        self._log = log
        self._sockets = sockets
        self._metrics = Metrics(daemon, asyncio.get_running_loop().time, options.mask)
        self._rates = RateBook(daemon)
        self._page_maker = Page(self._rates)
        self._sampler: asyncio.TimerHandle | None = None
        self._files = {name: _inode(name) for name in map(_socket_file, sockets) if name}
        self._watchers: dict[asyncio.Transport, None] = {}
        application = web.Application(middlewares=[make_guard(options.allowed_hosts, options.token)])
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/events", self._events, allow_head=False),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/healthz", self._healthz),
                web.get("/metrics", self._show_metrics),
                web.get("/api/v1/status", self._status),
                web.post("/api/v1/sessions/{name}/reconnect", self._reconnect),
                web.post("/api/v1/reload", self._reload),
            ]
        )
        _http_log.addFilter(_is_worth_a_line)
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

    @property
    def is_reachable(self) -> bool:
        """Whether the files of its Unix sockets are still there, and not another's."""
        return all(_inode(path) == inode for path, inode in self._files.items())

    def give_sockets(self) -> list[socket.socket]:
        """The listening sockets, for another server in place of this one."""
        return [sock.dup() for sock in self._sockets]

    async def stop(self, *, keep_files: bool = False) -> None:
        """Answer no more. `keep_files`: the Unix sockets are another server's now."""
        if self._sampler is not None:
            self._sampler.cancel()
        await self._runner.cleanup()
        if not keep_files:
            for path, inode in self._files.items():
                unlink_own(path, inode)

    async def _livez(self, _request: web.Request) -> web.Response:
        # That the loop turns is shown by the answer itself.
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        problems = self._daemon.problems
        lines = [f"not ready: {self._mask(problem)}\n" for problem in problems]
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
        return web.Response(text=f"{state}\n", status=200 if view.supervisor.is_fine else 503)

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
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        connection = request.transport
        if connection is None:  # it has gone again already
            return response
        if len(self._watchers) >= _MOST_WATCHERS:
            # Not the new one is refused: somebody sits in front of it, while the oldest may be a page that nobody
            # reads any more. One that is alive comes back by itself.
            oldest = next(iter(self._watchers))
            del self._watchers[oldest]
            oldest.abort()
        self._watchers[connection] = None
        try:
            with contextlib.suppress(ConnectionResetError):
                await response.prepare(request)
                while True:
                    parts = self._page_maker.parts(self._document())
                    await response.write(b"data: %b\n\n" % orjson.dumps(parts))
                    await asyncio.sleep(_EVENT_SECONDS)
        finally:
            self._watchers.pop(connection, None)
        return response

    async def _reconnect(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        view = self._daemon.bridges.get(name)
        if view is None:
            return _json({"error": f"no session {name}"}, 404)
        if not view.supervisor.reconnects:
            return _json({"error": f"session {name} has nothing to reconnect: each client has its own"}, 409)
        if view.supervisor.has_given_up:
            return _json({"error": f"session {name} has failed for good; a reload lets it try again"}, 409)
        self._log.info("reconnect was asked for", session=name)
        view.supervisor.reconnect()
        return _json({"reconnecting": name})

    async def _reload(self, _request: web.Request) -> web.Response:
        try:
            return _json({"changed": [self._mask(line) for line in await self._daemon.reload()]})
        except ConfigError as error:
            return _json(
                {
                    "error": "the configuration can not be used; nothing was changed",
                    "problems": [self._mask(problem) for problem in error.problems],
                },
                422,
            )
        except BridgeError as error:
            return _json({"error": self._mask(str(error))}, 503)

    def _document(self) -> dict[str, Any]:
        document = status_document(self._daemon, time.time(), asyncio.get_running_loop().time())
        masked: dict[str, Any] = without_secrets(document, self._mask)
        return masked

    def _sample(self) -> None:
        self._rates.sample()
        self._sampler = asyncio.get_running_loop().call_later(_EVENT_SECONDS, self._sample)


def _socket_file(sock: socket.socket) -> str:
    return str(sock.getsockname()) if sock.family == socket.AF_UNIX else ""


def _inode(path: str) -> int:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return 0


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    # What is no HTTP has had its answer, 400. aiohttp would log a traceback for each, and quote from its headers.
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _json(content: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
