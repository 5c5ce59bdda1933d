"""The test server for the recipes: protocols on top of SockJS, as published, on PyPI's `sockjs`."""

import asyncio
from importlib.metadata import version

import sockjs
from aiohttp import web
from event_bus import event_bus
from meteor import meteor
from server_process import announce, parse_arguments, serve
from stomp_broker import stomp
from web_application import add_application, chat


def create_app() -> web.Application:
    app = web.Application()
    for path, handler in (("/ws", stomp), ("/eventbus", event_bus), ("/sockjs", meteor), ("/chat", chat)):
        sockjs.add_endpoint(app, handler, name=path.strip("/"), prefix=path, cookie_needed=False)
    add_application(app)
    return app


async def main() -> None:
    arguments = parse_arguments(__doc__)
    runner = web.AppRunner(create_app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", arguments.port).start()
    announce(runner.addresses[0][1], "sockjs (aiohttp)", version("sockjs"))
    await serve(until_stdin_closes=arguments.until_stdin_closes)


if __name__ == "__main__":
    asyncio.run(main())
