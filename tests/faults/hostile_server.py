"""Servers that mean harm: each path is another way to. A process of its own, so that it costs the test nothing.

usage: python -m tests.faults.hostile_server; prints its port, ends when standard input closes.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from itertools import repeat

from tests.faults.serving import serve_until_input_ends
from tests.scripted import CONTINUATION, PING, TEXT, Peer, websocket_frame
from tests.scripted_http import PRELUDES

_MANY = 4000
_LARGE_BYTES = 100 << 20
_PIECE = b"x" * (1 << 20)
_DEEP = "[" * 100_000

# What a WebSocket server sends after the open frame, again and again.
WEBSOCKET: dict[str, Callable[[], Iterator[bytes]]] = {
    "garbage": lambda: iter(lambda: os.urandom(65536), b""),
    "slices": lambda: _slices(websocket_frame(TEXT, b'a["slowly"]')),
    "large-frame": lambda: _large(b"\x81\x7f" + _LARGE_BYTES.to_bytes(8, "big")),
    "large-message": lambda: iter(
        [websocket_frame(TEXT, b'a["', fin=False), *repeat(_fragment(_PIECE), 100)]
    ),
    "empty-frames": lambda: repeat(websocket_frame(TEXT, b"") * _MANY),
    "empty-arrays": lambda: repeat(websocket_frame(TEXT, b"a[]") * _MANY),
    "empty-fragments": lambda: iter(
        [websocket_frame(TEXT, b"a", fin=False), *repeat(_fragment(b"") * _MANY, 5000)]
    ),
    "small-fragments": lambda: iter(
        [websocket_frame(TEXT, b"a", fin=False), *repeat(_fragment(b"x") * _MANY, 5000)]
    ),
    "heartbeats": lambda: repeat(websocket_frame(TEXT, b"h") * _MANY),
    "pings": lambda: repeat(websocket_frame(PING, b"x" * 125) * 500),
    "no-frames": lambda: repeat(websocket_frame(TEXT, b"x") * _MANY),
    "deep": lambda: repeat(websocket_frame(TEXT, ("a" + _DEEP).encode())),
    "deep-valid": lambda: repeat(websocket_frame(TEXT, f"a[{_DEEP}{']' * len(_DEEP)}]".encode())),
    "deep-close": lambda: repeat(websocket_frame(TEXT, ("c" + _DEEP).encode())),
    "digits": lambda: repeat(websocket_frame(TEXT, b"a[" + b"9" * (1 << 20) + b"]")),
    "surrogates": lambda: repeat(websocket_frame(TEXT, b'a["' + b"\\ud800" * 100_000 + b'"]')),
}

# What a server sends in the chunks of a streaming response, after the open frame.
STREAM: dict[str, Callable[[], Iterator[bytes]]] = {
    "slices": lambda: _slices(b'f\r\na["slowly"]\n   \r\n'),
    "large-frame": lambda: _large(b'%x\r\na["' % _LARGE_BYTES),
    "empty-frames": lambda: repeat(_chunk(b"\n" * 65536)),
    "empty-arrays": lambda: repeat(_chunk(b"a[]\n" * _MANY)),
    "heartbeats": lambda: repeat(_chunk(b"h\n" * _MANY)),
    "no-frames": lambda: repeat(_chunk(b"x\n" * _MANY)),
    "small-chunks": lambda: repeat(_chunk(b"\n") * _MANY),
    "deep": lambda: repeat(_chunk(f"a{_DEEP}\n".encode())),
    "garbage": lambda: iter(lambda: _chunk(os.urandom(65536)), b""),
    "chunk-header": lambda: iter([b"1;x=", *repeat(_PIECE, 100)]),
}

# What comes in place of an answer.
ANSWER: dict[str, Callable[[], Iterator[bytes]]] = {
    "endless-header": lambda: iter([b"HTTP/1.1 200 OK\r\nX: ", *repeat(_PIECE, 100)]),
    "endless-headers": lambda: iter([b"HTTP/1.1 200 OK\r\n", *repeat(b"X: y\r\n" * 10_000, 1000)]),
    "garbage-answer": lambda: iter(lambda: os.urandom(65536), b""),
    "endless-100": lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "endless-status": lambda: iter([b"HTTP/1.1 200 ", *repeat(_PIECE, 100)]),
}


def _fragment(payload: bytes) -> bytes:
    return websocket_frame(CONTINUATION, payload, fin=False)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _large(head: bytes) -> Iterator[bytes]:
    yield head
    yield from repeat(_PIECE, _LARGE_BYTES >> 20)


def _slices(data: bytes) -> Iterator[bytes]:
    while True:
        for byte in data:
            yield bytes([byte])


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    peer = Peer(reader, writer, 0)
    try:
        await peer.read_request()
        await _harm(peer, peer.path.split("/")[1])
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the bridge has had enough
    finally:
        peer.close()


async def _harm(peer: Peer, name: str) -> None:
    if name in ANSWER:
        await _pour(peer.send, ANSWER[name]())
    elif "upgrade" in peer.headers:
        await peer.open_session()
        await _pour(peer.send, WEBSOCKET[name]())
    else:
        await peer.start_chunked("Content-Type: text/plain\r\n")
        await peer.send_chunk(PRELUDES[peer.name] + b"o\n")
        await _pour(peer.send, STREAM[name]())


async def _pour(send: Callable[[bytes], Awaitable[None]], pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        await send(piece)
        await asyncio.sleep(0)
    await asyncio.sleep(3600)  # it is over only when the bridge says so


if __name__ == "__main__":
    asyncio.run(serve_until_input_ends(_serve))
