"""A SockJS server over HTTP that keeps to the rules, for tests that replace the part that shall not.

async def send(peer: Peer) -> None:
    await peer.answer("500 Internal Server Error")

backend = Backend(send=send)
async with scripted(backend) as server, running(one_session(server.url(), over("xhr-polling")), tmp_path):
    ...
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

from tests.scripted import Peer

HTTP_TRANSPORTS = ("xhr-streaming", "eventsource", "htmlfile", "xhr-polling", "jsonp-polling")
TRANSPORTS = ("websocket", "websocket-raw", *HTTP_TRANSPORTS)
PATHS = {
    "xhr_streaming": "xhr-streaming",
    "eventsource": "eventsource",
    "htmlfile": "htmlfile",
    "xhr": "xhr-polling",
    "jsonp": "jsonp-polling",
}
"""The transport by the end of the path that it receives from."""
SENDS = ("xhr_send", "jsonp_send")
PRELUDES = {
    "xhr_streaming": b"h" * 2048 + b"\n",
    "eventsource": b"\r\n",
    "htmlfile": b"<!doctype html>\n<html><body><script>var c = parent.jp;</script>" + b" " * 1024 + b"\r\n",
}
_END = "the end of the response"

Handler = Callable[[Peer], Awaitable[None]]


def over(*transports: str, more: str = "", info: bool = False) -> str:
    """The keys of a session that uses these transports."""
    return f"transports = {json.dumps(transports)}\ninfo = {json.dumps(info)}\n{more}\n"


def framed(name: str, frame: str) -> bytes:
    """A frame as it stands in the body of an answer to `<session>/<name>`."""
    text = frame.encode()
    match name:
        case "eventsource":
            return b"data: " + text + b"\r\n\r\n"
        case "htmlfile":
            return b"<script>\np(" + json.dumps(frame).encode() + b");\n</script>\r\n"
        case "jsonp":
            return b"/**/jp(" + json.dumps(frame).encode() + b");\r\n"
        case _:
            return text + b"\n"


def messages_of(peer: Peer) -> list[str]:
    """What a request to send holds."""
    text = parse_qs(peer.body.decode())["d"][0] if peer.name == "jsonp_send" else peer.body.decode()
    messages: list[str] = json.loads(text)
    return messages


@dataclass(frozen=True)
class Request:
    """A request as it came. `connection` counts from 1."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    name: str
    session_id: str


class Backend:
    """The script of every connection. `requests` has all that came, `sent` what each request to send held."""

    def __init__(
        self, *, receive: Handler | None = None, send: Handler | None = None, info: Handler | None = None
    ) -> None:
        self._receive = receive or self.receive
        self._send = send or self.send
        self._info = info or self.info
        self._arrival = asyncio.Condition()
        self._frames: dict[str, asyncio.Queue[str]] = {}
        self._under_way: Counter[tuple[str, bool]] = Counter()
        self.requests: list[Request] = []
        self.sent: list[list[str]] = []
        self.most_at_once = {"receive": 0, "send": 0}
        """The most requests of one session that were under way at once."""

    @property
    def session_ids(self) -> list[str]:
        """Of all sessions, in the order of their first requests."""
        return list(dict.fromkeys(r.session_id for r in self.requests if r.name != "info"))

    def named(self, name: str) -> list[Request]:
        """All requests to `<session>/<name>`."""
        return [request for request in self.requests if request.name == name]

    async def until_requested(self, name: str, count: int = 1) -> Request:
        """Wait for so many requests to `<session>/<name>`; returns the last of these."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.named(name)) >= count)
        return self.named(name)[count - 1]

    def push(self, *frames: str) -> None:
        """Frames for the newest session, each in a piece of its own."""
        queue = self._queue(self.session_ids[-1])
        for frame in frames:
            queue.put_nowait(frame)

    def end_response(self) -> None:
        """End the response behind what was pushed, as servers do at any point."""
        self.push(_END)

    def use_send(self, send: Handler) -> None:
        """As the argument `send`, for one that needs to know the backend."""
        self._send = send

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.read_request()
            await self._note(peer)
            if peer.name == "info":
                await self._info(peer)
                continue
            is_send = peer.name in SENDS
            key = (peer.session_id, is_send)
            self._under_way[key] += 1
            kind = "send" if is_send else "receive"
            self.most_at_once[kind] = max(self.most_at_once[kind], self._under_way[key])
            await (self._send if is_send else self._receive)(peer)
            self._under_way[key] -= 1

    async def info(self, peer: Peer) -> None:
        """Answer as sockjs-node does."""
        document = {"websocket": True, "origins": ["*:*"], "cookie_needed": False, "entropy": 2088}
        await peer.answer("200 OK", "Content-Type: application/json\r\n", json.dumps(document).encode())

    async def send(self, peer: Peer) -> None:
        """Take what is sent."""
        self.sent.append(messages_of(peer))
        await peer.answer("204 No Content")

    async def receive(self, peer: Peer) -> None:
        """Open the session with the first request; then bring what is pushed."""
        is_first = peer.session_id not in self._frames
        queue = self._queue(peer.session_id)
        if peer.name in PRELUDES:
            await self.begin_stream(peer)
            if is_first:
                await peer.send_chunk(framed(peer.name, "o"))
            while (frame := await queue.get()) != _END:
                await peer.send_chunk(framed(peer.name, frame))
            await peer.send_chunk(b"")
        else:
            frame = "o" if is_first else await queue.get()
            await peer.answer("200 OK", body=b"" if frame == _END else framed(peer.name, frame))

    async def begin_stream(self, peer: Peer) -> None:
        """Send the headers and the prelude."""
        await peer.start_chunked("Content-Type: text/plain\r\n")
        await peer.send_chunk(PRELUDES[peer.name])

    async def _note(self, peer: Peer) -> None:
        session_id = peer.session_id if peer.name != "info" else ""
        request = Request(peer.method, peer.path, peer.headers, peer.body, peer.number, peer.name, session_id)
        async with self._arrival:
            self.requests.append(request)
            self._arrival.notify_all()

    def _queue(self, session_id: str) -> asyncio.Queue[str]:
        return self._frames.setdefault(session_id, asyncio.Queue())


async def bring(peer: Peer, *frames: str, end: bool = True) -> None:
    """Answer a request to receive with these frames; without `end` it stays open until the client leaves."""
    body = PRELUDES.get(peer.name, b"") + b"".join(framed(peer.name, frame) for frame in frames)
    if end:
        await peer.answer("200 OK", body=body)
        return
    await peer.start_chunked()
    await peer.send_chunk(body)
    await peer.until_closed()
