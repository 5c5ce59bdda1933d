r"""Servers that play what stood on the wire, so that a reader of a test sees the bytes.

A transcript is a text. Each exchange begins with the request that it answers; what follows goes out as it stands:

    > POST xhr_streaming        the method and the end of the path, without its query, of the expected request
    > origin: http://a.example  a header that it must have; `> origin:` one that it must not have. The parts of `cookie`
                                may come in any order
    >> ["hello"]                the body that it must have; behind a 101: the next message of the client
    < HTTP/1.1 200 OK           a line, ended by \r\n on the wire; `<` alone is an empty one
    <| o\n                      a chunk of the body, or behind a 101 a text frame
    <|                          the last chunk
    << plain bytes              bytes, without any framing
    <c 1009 too big             a Close frame of WebSocket
    >c 1000                     wait for the client's Close frame, with this code
    ~ xhr_send 2                wait until two exchanges of this name have been played
    ...                         hold the connection open until the client leaves
    x                           close it

`{port}` is the server's, `{accept}` in a header what answers the client's key. `\r`, `\n`, `\0` and `\xNN` are bytes,
any other backslash is one; `{h*2048}` is 2048 times `h`. Exchanges are taken in order among those that a request
matches, and each once. A request that no exchange is left for fails the test, unless the transcript ends in
`and so on`: then it is held open.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.scripted import CLOSE, TEXT, Peer, ScriptedServer

_BYTES = re.compile(rb"\\(?:([rn0])|x([0-9a-f]{2}))")
_BYTE = {b"r": b"\r", b"n": b"\n", b"0": b"\0"}
_REPEATED = re.compile(rb"\{(.+?)\*(\d+)\}")
_AND_SO_ON = "and so on"


@dataclass
class Exchange:
    """What is expected, and the lines that answer it."""

    method: str
    path_end: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    steps: list[tuple[str, bytes]] = field(default_factory=list)


class Transcript:
    """The script of every connection."""

    def __init__(self, text: str) -> None:
        self.exchanges: list[Exchange] = []
        self.requests: list[tuple[str, str]] = []
        """Session id and end of the path of each request to a session, in order."""
        self.port = 0
        self._goes_on = False
        self._played: Counter[str] = Counter()
        self._progress = asyncio.Condition()
        for line in filter(None, map(str.strip, text.splitlines())):
            self._parse(line)

    @property
    def session_ids(self) -> list[str]:
        """Of all sessions, in order."""
        return list(dict.fromkeys(session_id for session_id, _ in self.requests))

    async def until_over(self) -> None:
        """Wait until no exchange is left to begin."""
        async with self._progress:
            await self._progress.wait_for(lambda: not self.exchanges)

    async def until_requested(self, count: int) -> None:
        """Wait for so many requests to sessions."""
        async with self._progress:
            await self._progress.wait_for(lambda: len(self.requests) >= count)

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.read_request()
            exchange = self._take(peer)
            async with self._progress:
                if peer.path.count("/") >= 4:
                    self.requests.append((peer.session_id, peer.name))
                self._progress.notify_all()
            if exchange is None:
                assert self._goes_on, f"not in the transcript: {peer.request_line}"
                await peer.until_closed()
                return
            await self._play(exchange, peer)
            async with self._progress:
                self._played[exchange.path_end] += 1
                self._progress.notify_all()

    def _parse(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if line == _AND_SO_ON:
            self._goes_on = True
        elif kind == ">" and ":" in rest:
            name, _, value = rest.partition(":")
            self.exchanges[-1].headers.append((name.lower(), value.strip()))
        elif kind == ">":
            method, path_end = rest.split(" ")
            self.exchanges.append(Exchange(method, path_end))
        else:
            assert kind in {"<", "<<", "<|", "<c", ">>", ">c", "~", "...", "x"}, line
            self.exchanges[-1].steps.append((kind, wire(rest)))

    def _take(self, peer: Peer) -> Exchange | None:
        path = peer.path.partition("?")[0]
        for exchange in self.exchanges:
            if exchange.method == peer.method and path.endswith(f"/{exchange.path_end}"):
                self.exchanges.remove(exchange)
                return exchange
        return None

    async def _play(self, exchange: Exchange, peer: Peer) -> None:
        for name, value in exchange.headers:
            given, expected = peer.headers.get(name, ""), value.replace("{port}", str(self.port))
            assert sorted(given.split("; ")) == sorted(expected.split("; ")), (
                f"{peer.request_line}: {name} is {given!r}, not {expected!r}"
            )
        upgraded = False
        for kind, step in exchange.steps:
            data = step.replace(b"{port}", b"%d" % self.port)
            match kind:
                case ">>":
                    came = (await peer.receive_frame())[1] if upgraded else peer.body
                    assert came == data, f"{peer.request_line}: {came[:200]!r} came, not {data[:200]!r}"
                case "<":
                    upgraded = upgraded or data.startswith(b"HTTP/1.1 101")
                    line = (
                        data.replace(b"{accept}", peer.accept_key())
                        if upgraded and data.endswith(b"}")
                        else data
                    )
                    await peer.send(line + b"\r\n")
                case "<|" if upgraded:
                    await peer.send_frame(TEXT, data)
                case "<|":
                    await peer.send_chunk(data)
                case "<<":
                    await peer.send(data)
                case "<c":
                    code, _, reason = data.partition(b" ")
                    await peer.send_frame(CLOSE, int(code).to_bytes(2, "big") + reason)
                case ">c":
                    assert await peer.receive_close() == int(data)
                case "~":
                    await self._until_played(data.decode())
                case "...":
                    await peer.until_closed()
                case "x":
                    peer.close()
                    await peer.until_closed()

    async def _until_played(self, what: str) -> None:
        name, _, count = what.partition(" ")
        async with self._progress:
            await self._progress.wait_for(lambda: self._played[name] >= int(count or 1))


def wire(text: str) -> bytes:
    """The bytes that a piece of a transcript stands for."""
    plain = _BYTES.sub(
        lambda found: _BYTE[found[1]] if found[1] else bytes.fromhex(found[2].decode()), text.encode()
    )
    return _REPEATED.sub(lambda found: found[1] * int(found[2]), plain)


@asynccontextmanager
async def playing(text: str) -> AsyncIterator[tuple[ScriptedServer, Transcript]]:
    """A server that plays a transcript for the length of a `with` block."""
    transcript = Transcript(text)
    plays_info = any(exchange.path_end == "info" for exchange in transcript.exchanges)
    server = ScriptedServer(transcript, plays_info=plays_info)
    await server.start()
    transcript.port = server.port
    try:
        yield server, transcript
    finally:
        await server.stop()
