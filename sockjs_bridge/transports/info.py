"""Asks a server about itself, before the attempts of a round (protocol section 1)."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

from sockjs_bridge.errors import ConnectError, Obstacle, ProtocolError
from sockjs_bridge.log import EventLog
from sockjs_bridge.protocol.events import AskInfo, AttemptFailed, InfoReceived
from sockjs_bridge.protocol.info import parse_info
from sockjs_bridge.protocol.urls import BaseUrl
from sockjs_bridge.transports.cookies import SessionCookies
from sockjs_bridge.transports.http_client import HttpClient, HttpOptions


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """`GET <base>/info`, as often as it is asked."""

    base: BaseUrl
    http: HttpOptions
    """Its headers hold no Origin: that depends on what has opened a session."""
    cookies: SessionCookies
    log: EventLog

    async def ask(self, question: AskInfo) -> InfoReceived | AttemptFailed:
        """Ask once. Only a server that cannot be reached at all is a failure: the answer is never required."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        info = None
        try:
            async with HttpClient(self.http.with_origin(question.origin), self.cookies) as client:
                status, body = await client.get(self.base.info())
            if status == HTTPStatus.OK:
                info = parse_info(body, self.base)
            else:
                self.log.debug(f"GET /info was answered with {status}")
        except (ConnectError, ProtocolError, TimeoutError) as error:
            if isinstance(error, ConnectError) and error.obstacle is Obstacle.UNREACHABLE:
                return AttemptFailed(error.obstacle, error.detail)
            self.log.debug("GET /info was not answered", problem=str(error) or "it timed out")
        return InfoReceived(info, loop.time() - begun if info else 0.0)
