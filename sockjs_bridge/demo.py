"""The demo: a real SockJS server with a chat room, and the bridge in front of it, in one process."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sockjs
import uvloop
from aiohttp import web

from sockjs_bridge import daemon, log
from sockjs_bridge.config import load
from sockjs_bridge.errors import BindError
from sockjs_bridge.local_sockets import bind_listeners

LOCAL_PORT = 9000
EXIT_PORT_TAKEN = 78


def run() -> int:
    """Run until Ctrl-C; returns the exit code."""
    log.configure("info", "text")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve())


async def _serve() -> int:
    async with _chat_server() as server_port:
        environment = {
            "SOCKJS_BRIDGE_SESSIONS__CHAT__URL": f"http://127.0.0.1:{server_port}/chat",
            "SOCKJS_BRIDGE_SESSIONS__CHAT__TCP": f'[{{"listen": "127.0.0.1:{LOCAL_PORT}"}}]',
        }
        config = load(None, environment)
        try:
            local = bind_listeners(config, log.EventLog())
        except BindError as error:
            print(f"sockjs-bridge demo: {error.problems[0][1]}", file=sys.stderr)
            return EXIT_PORT_TAKEN
        _say_what_to_do(server_port)
        return await daemon.serve(config, local, log.EventLog())


@asynccontextmanager
async def _chat_server() -> AsyncIterator[int]:
    """A SockJS server on a free loopback port: what one sends to /chat, everyone gets, the sender included."""
    application = web.Application()
    sockjs.add_endpoint(application, _chat, name="chat", prefix="/chat")
    sockjs.add_endpoint(application, _echo, name="echo", prefix="/echo")
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _chat(manager: Any, session: Any, message: Any) -> None:
    del session
    if message.type == sockjs.MsgType.MESSAGE:
        # Not manager.broadcast: that sends a ready-made SockJS frame, to raw WebSockets too.
        for member in list(manager.sessions.values()):
            member.send(message.data)


async def _echo(manager: Any, session: Any, message: Any) -> None:
    del manager
    if message.type == sockjs.MsgType.MESSAGE:
        session.send(message.data)


def _say_what_to_do(server_port: int) -> None:
    lines: Sequence[str] = (
        "",
        f"  A SockJS chat room runs at http://127.0.0.1:{server_port}/chat,",
        f"  and sockjs-bridge carries it to port {LOCAL_PORT}. In another terminal, type:",
        "",
        f"      nc localhost {LOCAL_PORT}",
        "",
        "  and write a line. Two terminals can chat. Ctrl-C ends it.",
        "",
    )
    print("\n".join(lines), flush=True)
