"""A server that does what a test tells it, byte by byte: for faults that real servers do not produce on demand.

A script is an async function that gets a `Peer` for each connection and plays its part:

    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        await peer.send_text("o")
        await peer.send_text('a["hello"]')
        await peer.stay()
"""

import asyncio
import base64
import hashlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
_ACCEPT_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def websocket_frame(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame from a server, as RFC 6455 section 5.2 draws it."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    if len(payload) < 1 << 16:
        return bytes([first, 126]) + struct.pack(">H", len(payload)) + payload
    return bytes([first, 127]) + struct.pack(">Q", len(payload)) + payload


def accept_key(key: str) -> bytes:
    """What the answer to a handshake with this key has to hold, RFC 6455 section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_KEY).digest())


class Peer:
    """One connection, from the server's side. `number` counts connections from 1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        self.request_line = ""
        self.headers: dict[str, str] = {}
        self.body = b""
        self._reader = reader
        self._writer = writer

    @property
    def method(self) -> str:
        return self.request_line.split(" ")[0]

    @property
    def path(self) -> str:
        return self.request_line.split(" ")[1]

    @property
    def name(self) -> str:
        """The last part of the path, such as `xhr_send`."""
        return self.path.partition("?")[0].rpartition("/")[2]

    @property
    def session_id(self) -> str:
        """The part of the path that names the session; only where there is one."""
        return self.path.split("/")[-2]

    async def read_request(self) -> None:
        """The next request on this connection, with its body."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.request_line, *lines = head.decode("latin-1").rstrip().split("\r\n")
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        self.body = await self._reader.readexactly(int(self.headers.get("content-length", 0)))

    async def answer(self, status_line: str, headers: str = "", body: bytes = b"") -> None:
        """Answer the request, which is read first if it was not."""
        if not self.request_line:
            await self.read_request()
        head = f"HTTP/1.1 {status_line}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        await self.send(head.encode() + body)

    async def start_chunked(self, headers: str = "") -> None:
        """Answer with a status of 200; the body follows in chunks."""
        await self.send(f"HTTP/1.1 200 OK\r\n{headers}Transfer-Encoding: chunked\r\n\r\n".encode())

    async def send_chunk(self, data: bytes) -> None:
        """A chunk of the body; an empty one ends it."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def accept_websocket(self, headers: str = "") -> None:
        if not self.request_line:
            await self.read_request()
        await self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (self.accept_key(), headers.encode())
        )

    def accept_key(self) -> bytes:
        """What the answer to a handshake has to hold, RFC 6455 section 4.2.2."""
        return accept_key(self.headers["sec-websocket-key"])

    async def open_session(self) -> None:
        await self.accept_websocket()
        await self.send_text("o")

    async def send(self, data: bytes) -> None:
        if self._writer.transport.is_closing():  # uvloop would raise a RuntimeError
            raise ConnectionAbortedError("the client has gone")
        self._writer.write(data)
        await self._writer.drain()

    async def send_frame(self, opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0) -> None:
        await self.send(websocket_frame(opcode, payload, fin=fin, rsv=rsv))

    async def send_text(self, text: str) -> None:
        await self.send_frame(TEXT, text.encode())

    async def receive_frame(self) -> tuple[int, bytes]:
        """The next frame of the client: opcode and unmasked payload."""
        first, second = await self._reader.readexactly(2)
        assert second & 0x80, "a client masks every frame"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", await self._reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", await self._reader.readexactly(8))
        mask = await self._reader.readexactly(4)
        payload = await self._reader.readexactly(length)
        key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        return first & 0x0F, (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")

    async def receive_messages(self) -> list[str]:
        """The messages of the client's next text frame; PINGs are answered on the way."""
        while True:
            opcode, payload = await self.receive_frame()
            if opcode == PING:
                await self.send_frame(PONG, payload)
            elif opcode == CLOSE:
                await self.send_frame(CLOSE, payload)
                raise ConnectionAbortedError("the client has closed")
            elif opcode == TEXT:
                messages: list[str] = json.loads(payload)
                return messages

    async def receive_close(self) -> int:
        """The code of the client's Close frame; PINGs before it are answered, the rest is passed over."""
        while True:
            opcode, payload = await self.receive_frame()
            if opcode == PING:
                await self.send_frame(PONG, payload)
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")

    async def echo(self) -> None:
        """Send every message back until the client leaves."""
        while True:
            await self.send_text("a" + json.dumps(await self.receive_messages()))

    async def stay(self) -> None:
        """Say nothing more, not even to PINGs, and leave when the client does."""
        while (await self.receive_frame())[0] != CLOSE:
            pass

    async def until_closed(self) -> None:
        """Read and forget until the client has gone."""
        while await self._reader.read(1 << 16):
            pass

    def reset(self) -> None:
        """Break the connection with a RST, if it is still there."""
        sock: socket.socket | None = self._writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()


Script = Callable[[Peer], Awaitable[None]]


class ScriptedServer:
    """Plays `script` to every connection. `peers` are all that connected, in order.

    Unless `plays_info`, it is a server without `/info`: the question is answered here, and is no peer.
    """

    def __init__(
        self, script: Script, tls: ssl.SSLContext | None = None, *, plays_info: bool = False
    ) -> None:
        self._script = script
        self._tls = tls
        self._plays_info = plays_info
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrival = asyncio.Condition()
        self._failures: list[BaseException] = []
        self._test: asyncio.Task[None] | None = None
        self._server: asyncio.Server | None = None
        self.peers: list[Peer] = []
        self.port = 0

    def url(self, path: str = "/echo") -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}{path}"

    async def start(self) -> None:
        """Listen. A script that fails cancels the task that called this: it may wait for what will never come."""
        self._test = asyncio.current_task()
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls, limit=1 << 20
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and break every connection; raises what a script raised."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what speaks TLS is closed in the next turn of the loop
        if self._failures:
            raise self._failures[0]

    async def connections(self, count: int) -> Peer:
        """Wait until `count` connections have come; returns the last of these."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.peers) >= count)
        return self.peers[count - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(reader, writer, 0)
        try:
            if not self._plays_info and await _is_about_info(reader):
                await peer.answer("404 Not Found", "Connection: close\r\n")
                return
            async with self._arrival:
                self.peers.append(peer)
                peer.number = len(self.peers)
                self._arrival.notify_all()
            await self._script(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left, as clients do
        except asyncio.CancelledError:
            peer.reset()
        except Exception as error:  # reported by stop(), in the test's own task
            self._failures.append(error)
            if self._test is not None and len(self._failures) == 1:
                self._test.cancel()
        finally:
            self._tasks.discard(task)
            writer.close()


async def _is_about_info(reader: asyncio.StreamReader) -> bool:
    """Look at what comes first, and leave it there."""
    start = await reader.read(1 << 30)  # all that is there: what stays would come before it
    if not reader.at_eof():
        reader.feed_data(start)
    return start.startswith(b"GET ") and start.split(b" ")[1].partition(b"?")[0].endswith(b"/info")


@asynccontextmanager
async def scripted(
    script: Script, tls: ssl.SSLContext | None = None, *, plays_info: bool = False
) -> AsyncIterator[ScriptedServer]:
    """A ScriptedServer that runs for the length of a `with` block."""
    server = ScriptedServer(script, tls, plays_info=plays_info)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
