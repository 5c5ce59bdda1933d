"""A server that lets nobody in who has not logged in: cookie, CSRF token, a message with it, an answer.

`POST /login` gives a cookie and a token, `POST /csrf` wants both and gives a session key; the WebSocket wants the
cookie and then the message `{"auth":"<user>:<key>"}`, which it answers with `{"type":"connected"}`. After that it
echoes, keeps every message in `said`, and tells each session what is put into `push`.
"""

import asyncio
import json
from dataclasses import dataclass, field

from tests.scripted import CLOSE, PING, PONG, TEXT, Peer

STEPS = """
[[sessions.chat.on_connect]]
http = {{ method = "POST", url = "/login", json = {{ user = "bridge", password = "{password}" }} }}
capture = {{ csrf = "/tokens/0/a~1b", user = "/name" }}
[[sessions.chat.on_connect]]
http = {{ url = "/csrf?user=${{user}}", headers = {{ X-Csrf = "${{csrf}}" }}, form = {{ token = "${{csrf}}" }} }}
capture = {{ key = "" }}
[[sessions.chat.on_connect]]
send = '{{"auth":"${{user}}:${{key}}"}}'
[[sessions.chat.on_connect]]
expect = '"connected"'
timeout = "{timeout}"
"""


def steps(password: str = "hunter2!", timeout: str = "5s") -> str:
    """The steps that this server wants."""
    return STEPS.format(password=password, timeout=timeout)


@dataclass
class LoginServer:
    """The script of every connection. Values can be changed while it runs."""

    password: str = "hunter2!"
    user: str = 'me "and\\" you'
    csrf: str = 'csrf-"token"'
    key: str = "key\n${user}"
    cookie: str = "cookie-secret"
    answers: bool = True
    """Whether it answers the message that authenticates."""
    closes: bool = False
    """Whether it closes the session instead."""
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    said: list[list[str]] = field(default_factory=list)
    """The messages of each session."""
    sessions: list[Peer] = field(default_factory=list)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, peer: Peer) -> None:
        await peer.read_request()
        self.requests.append((peer.method, peer.path, peer.headers, peer.body))
        match peer.name:
            case "login":
                await self._login(peer)
            case "csrf":
                await self._csrf(peer)
            case _:
                await self._session(peer)

    def requests_to(self, path: str) -> list[tuple[str, str, dict[str, str], bytes]]:
        return [request for request in self.requests if request[1].startswith(path)]

    async def _login(self, peer: Peer) -> None:
        if json.loads(peer.body) != {"user": "bridge", "password": self.password}:
            await peer.answer("401 Unauthorized", "Connection: close\r\n")
            return
        answer = {"tokens": [{"a/b": self.csrf}], "name": self.user}
        headers = f"Set-Cookie: sid={self.cookie}; Path=/; HttpOnly\r\nConnection: close\r\n"
        await peer.answer("201 Created", headers, json.dumps(answer).encode())

    async def _csrf(self, peer: Peer) -> None:
        good = peer.headers.get("x-csrf") == self.csrf and self._has_cookie(peer)
        if not good:
            await peer.answer("403 Forbidden", "Connection: close\r\n")
            return
        await peer.answer("200 OK", "Connection: close\r\n", json.dumps(self.key).encode())

    def _has_cookie(self, peer: Peer) -> bool:
        return f"sid={self.cookie}" in peer.headers.get("cookie", "").split("; ")

    async def _session(self, peer: Peer) -> None:
        assert self._has_cookie(peer)
        await peer.open_session()
        said: list[str] = []
        self.said.append(said)
        self.sessions.append(peer)
        self.arrival.set()
        while True:
            opcode, payload = await peer.receive_frame()
            if opcode == PING:
                await peer.send_frame(PONG, payload)
            elif opcode == CLOSE:
                await peer.send_frame(CLOSE, payload)
                return
            elif opcode == TEXT:
                for message in json.loads(payload):
                    said.append(message)
                    await self._answer(peer, message)

    async def _answer(self, peer: Peer, message: str) -> None:
        if not message.startswith('{"auth":'):
            await self.tell(peer, message)
        elif self.closes:
            await peer.send_text('c[4000,"no"]')
        elif self.answers:
            await self.let_in(peer)

    async def let_in(self, peer: Peer) -> None:
        await self.tell(peer, "welcome", '{"type":"connected"}', "after")

    @staticmethod
    async def tell(peer: Peer, *messages: str) -> None:
        """Send messages in one frame."""
        await peer.send_text("a" + json.dumps(messages))

    def auth(self) -> str:
        """The message that authenticates."""
        return json.dumps({"auth": f"{self.user}:{self.key}"}, separators=(",", ":"))
