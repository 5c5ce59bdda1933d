"""How a test server on PyPI's `sockjs`, the one for aiohttp, is run."""

from importlib.metadata import version

from aiohttp import web
from server_process import announce, parse_arguments, serve


async def run(app: web.Application, doc: str) -> None:
    """Serve an application by the arguments of the command line; `doc` is their help."""
    arguments = parse_arguments(doc)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", arguments.port).start()
    announce(runner.addresses[0][1], "sockjs (aiohttp)", version("sockjs"))
    await serve(until_stdin_closes=arguments.until_stdin_closes)
