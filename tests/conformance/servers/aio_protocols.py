"""The test server for the recipes: protocols on top of SockJS, as published, on PyPI's `sockjs`."""

import asyncio

import sockjs
from aio_server import run
from aiohttp import web
from event_bus import event_bus
from meteor import meteor
from stomp_broker import stomp
from web_application import add_application, chat


def create_app() -> web.Application:
    app = web.Application()
    for path, handler in (("/ws", stomp), ("/eventbus", event_bus), ("/sockjs", meteor), ("/chat", chat)):
        sockjs.add_endpoint(app, handler, name=path.strip("/"), prefix=path, cookie_needed=False)
    add_application(app)
    return app


async def main() -> None:
    await run(create_app(), __doc__)


if __name__ == "__main__":
    asyncio.run(main())
