"""A TCP proxy with faults: late, slow, cut into slices, silent, reset, refused.

It runs in a thread of its own; what it does to the bytes is set at any time, also for connections that exist:

    with TcpProxy(server_port) as proxy:
        proxy.set(DOWN, Way(latency=0.1))
        proxy.set_both(Way(black_hole=True))
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self, TypeVar

from tests.kept_port import KeptPort

_T = TypeVar("_T")
_READ_BYTES = 1 << 16
_PIECES_UNDER_WAY = 64
_LOOK_SECONDS = 0.01
_ERROR = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)


class Direction(Enum):
    """UP goes to the server, DOWN comes from it."""

    UP = "up"
    DOWN = "down"


UP, DOWN = Direction.UP, Direction.DOWN


@dataclass(frozen=True)
class Way:
    """What happens to the bytes of one direction. Times in seconds; 0 is off."""

    latency: float = 0.0
    bytes_per_second: float = 0.0
    slice_bytes: int = 0
    """Pass on at most so many bytes at once."""
    black_hole: bool = False
    """Neither read nor pass on; the connections stay. What was held goes on when it ends."""
    reset_after_bytes: int = 0
    """Break the connection by a RST when so many bytes have passed in this direction."""
    end_after_bytes: int = 0
    """End it by a FIN instead."""
    slow_close: float = 0.0
    """Pass the end of the stream on only after so long."""


class Accepting(Enum):
    """What a new connection meets."""

    SERVE = "serve"
    RESET = "reset"
    """It is accepted and reset at once."""
    REFUSE = "refuse"
    """Nothing listens at the port."""
    HANG = "hang"
    """It is accepted, and nothing more happens."""
    ERROR = "error"
    """Its first request is answered by a status of 503, as balancers do that have no server left."""


class TcpProxy:
    """Listens on 127.0.0.1 and passes on to a port there."""

    def __init__(self, target_port: int) -> None:
        self._kept = KeptPort()
        self.port = self._kept.number
        self.accepted = 0
        """How many connections came."""
        self._target_port = target_port
        self._ways = {UP: Way(), DOWN: Way()}
        self._accepting = Accepting.SERVE
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())

    def way(self, direction: Direction) -> Way:
        """What happens in a direction now."""
        return self._ways[direction]

    def set(self, direction: Direction, way: Way) -> None:
        """Change what happens in one direction."""
        self._ways[direction] = way

    def set_both(self, way: Way) -> None:
        """Change what happens in both directions; `Way()` is none of all."""
        self._ways = {UP: way, DOWN: way}

    def accept(self, accepting: Accepting) -> None:
        """Change what new connections meet."""
        self._do(self._accept(accepting))

    def reset_all(self) -> None:
        """Break all connections by a RST, to both sides."""
        self._do(self._each(_Link.reset))

    def end_all(self) -> None:
        """End all connections by a FIN, to both sides."""
        self._do(self._each(_Link.close))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._kept.close()

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(15.0)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _accept(self, accepting: Accepting) -> None:
        self._accepting = accepting
        if accepting is Accepting.REFUSE and self._server is not None:
            self._server.close()
            self._server = None
        elif accepting is not Accepting.REFUSE and self._server is None:
            await self._listen()

    async def _each(self, act: "Callable[[_Link], None]") -> None:
        for link in list(self._links):
            act(link)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        link = _Link(writer)
        self._links.add(link)
        try:
            await self._carry(reader, link)
        except (OSError, asyncio.CancelledError):  # cancelled: the proxy stops, and asyncio would report it
            link.reset()
        finally:
            link.close()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, link: "_Link") -> None:
        if self._accepting is Accepting.RESET:
            link.reset()
            return
        if self._accepting is Accepting.HANG:
            await asyncio.Event().wait()
        if self._accepting is Accepting.ERROR:
            await reader.read(_READ_BYTES)
            link.writers[0].write(_ERROR)
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
        link.writers.append(to_server)
        await asyncio.gather(
            _Stream(self, UP, link).carry(reader, to_server),
            _Stream(self, DOWN, link).carry(from_server, link.writers[0]),
        )


class _Link:
    """The two sockets of one connection; the client's is the first."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]

    def reset(self) -> None:
        for writer in self.writers:
            if not writer.transport.is_closing():
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


class _Stream:
    """One direction of one connection: reading and writing are apart, so that latency costs no throughput."""

    def __init__(self, proxy: TcpProxy, direction: Direction, link: _Link) -> None:
        self._proxy = proxy
        self._direction = direction
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES_UNDER_WAY)
        self._passed = 0

    @property
    def _way(self) -> Way:
        return self._proxy.way(self._direction)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes until the end of the stream."""
        writing = asyncio.create_task(self._write(writer))
        try:
            data = b"begin"
            while data:
                await self._out_of_black_hole()
                data = await reader.read(_READ_BYTES)
                await self._pieces.put((self._loop.time() + self._way.latency, data))
            await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _out_of_black_hole(self) -> None:
        while self._way.black_hole:
            await asyncio.sleep(_LOOK_SECONDS)

    async def _write(self, writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await self._pieces.get()
            await asyncio.sleep(due - self._loop.time())
            await self._out_of_black_hole()
            if not data:
                break
            if not await self._pass_on(data, writer):
                return
        await asyncio.sleep(self._way.slow_close)
        with suppress(OSError):
            writer.write_eof()

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> bool:
        """Write a piece in slices; whether the connection is still there."""
        while data:
            way = self._way
            limit = way.reset_after_bytes or way.end_after_bytes
            count = min(len(data), way.slice_bytes or len(data))
            if limit:
                count = min(count, max(limit - self._passed, 0))
            if count:
                writer.write(data[:count])
                await writer.drain()
                self._passed += count
                data = data[count:]
            if limit and self._passed >= limit:
                (self._link.reset if way.reset_after_bytes else self._link.close)()
                return False
            # Slices shall arrive as such: the kernel joins what is written in one go.
            await asyncio.sleep(count / way.bytes_per_second if way.bytes_per_second else 0)
        return True
