"""The test server on PyPI's `sockjs`, the one for aiohttp."""

import asyncio
from functools import partial

import sockjs
from aio_server import run
from aiohttp import web
from server_process import die
from sockjs.transports import EventsourceTransport, HTMLFileTransport, XHRStreamingTransport

# A streaming response ends after this many bytes, so that tests see the bridge begin the next one.
RESPONSE_LIMIT_BYTES = 4096
# This package has no option for it.
for transport in (EventsourceTransport, HTMLFileTransport, XHRStreamingTransport):
    transport.maxsize = RESPONSE_LIMIT_BYTES


async def echo(_manager, session, msg):
    if msg.type == sockjs.MsgType.MESSAGE:
        session.send(msg.data)


async def close(_manager, session, msg):
    if msg.type == sockjs.MsgType.OPEN:
        session.close(3000, "Go away!")


async def bulk(_manager, session, msg):
    if msg.type == sockjs.MsgType.OPEN:
        for number in range(5):
            session.send(f"m{number}")
    elif msg.type == sockjs.MsgType.MESSAGE:
        if msg.data == "close":
            session.close(4001, 'bye "quoted"')
        else:
            session.send(msg.data)


async def chat(manager, _session, msg):
    if msg.type == sockjs.MsgType.MESSAGE:
        # Not manager.broadcast: that sends a ready-made SockJS frame, to raw WebSockets too.
        for session in manager.sessions.values():
            session.send(msg.data)


async def mortal(_manager, session, msg):
    if msg.type == sockjs.MsgType.MESSAGE:
        if msg.data == "die":
            die()
        session.send(msg.data)


def create_app() -> web.Application:
    app = web.Application()

    def add(path, handler, **options):
        # This package asks for cookies unless told otherwise; the other two servers do not.
        options = {"cookie_needed": False} | options
        sockjs.add_endpoint(app, handler, name=path.strip("/"), prefix=path, **options)

    add_echo = partial(add, handler=echo)
    add_echo("/echo")
    add_echo("/hb1", heartbeat_delay=1)
    add_echo("/cookie_needed_echo", cookie_needed=True)
    add_echo("/disabled_websocket_echo", disable_transports=("websocket",))
    add("/close", close)
    add("/bulk", bulk)
    add("/chat", chat)
    add("/die", mortal)
    return app


async def main() -> None:
    await run(create_app(), __doc__)


if __name__ == "__main__":
    asyncio.run(main())
