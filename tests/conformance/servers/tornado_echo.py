"""The test server on PyPI's `sockjs-tornado`."""

import asyncio
from importlib.metadata import version
from typing import ClassVar

from server_process import announce, die, parse_arguments, serve
from sockjs.tornado import SockJSConnection, SockJSRouter
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

# A streaming response ends after this many bytes, so that tests see the bridge begin the next one.
RESPONSE_LIMIT_BYTES = 4096


class Echo(SockJSConnection):
    def on_message(self, message):
        self.send(message)


class Close(SockJSConnection):
    def on_open(self, _request):
        self.session.close(3000, "Go away!")


class Bulk(SockJSConnection):
    def on_open(self, _request):
        for number in range(5):
            self.send(f"m{number}")

    def on_message(self, message):
        if message == "close":
            self.session.close(4001, 'bye "quoted"')
        else:
            self.send(message)


class Chat(SockJSConnection):
    present: ClassVar[set["Chat"]] = set()

    def on_open(self, _request):
        self.present.add(self)

    def on_message(self, message):
        self.broadcast(self.present, message)

    def on_close(self):
        self.present.discard(self)


class Mortal(SockJSConnection):
    def on_message(self, message):
        if message == "die":
            die()
        self.send(message)


# This package asks for cookies unless told otherwise; of the other two servers, only their own path for it does.
NO_COOKIE = {"jsessionid": False}
ENDPOINTS = {
    "/echo": (Echo, NO_COOKIE),
    "/hb1": (Echo, NO_COOKIE | {"heartbeat_delay": 1}),
    "/cookie_needed_echo": (Echo, {"jsessionid": True}),
    "/disabled_websocket_echo": (Echo, NO_COOKIE | {"disabled_transports": ["websocket"]}),
    "/close": (Close, NO_COOKIE),
    "/bulk": (Bulk, NO_COOKIE),
    "/chat": (Chat, NO_COOKIE),
    "/die": (Mortal, NO_COOKIE),
}


async def main() -> None:
    arguments = parse_arguments(__doc__)
    routes = []
    for path, (connection, options) in ENDPOINTS.items():
        settings = {"response_limit": RESPONSE_LIMIT_BYTES} | options
        SockJSRouter(connection, path, settings).apply_routes(routes)
    sockets = bind_sockets(arguments.port, "127.0.0.1")
    HTTPServer(Application(routes)).add_sockets(sockets)
    announce(sockets[0].getsockname()[1], "sockjs-tornado", version("sockjs-tornado"))
    await serve(until_stdin_closes=arguments.until_stdin_closes)


if __name__ == "__main__":
    asyncio.run(main())
