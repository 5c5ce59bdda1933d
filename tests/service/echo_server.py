"""The far side for run_systemd.py: a SockJS server that sends back what it gets, on port 8081 of loopback."""

from typing import Any

import sockjs
from aiohttp import web


async def echo(manager: Any, session: Any, message: Any) -> None:
    if message.type == sockjs.MsgType.MESSAGE:
        session.send(message.data)


application = web.Application()
sockjs.add_endpoint(application, echo, name="echo", prefix="/echo")
web.run_app(application, host="127.0.0.1", port=8081, access_log=None)
