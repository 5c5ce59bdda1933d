"""A server that sends as fast as it is read, numbered messages or not at all; a process of its own.

usage: python -m tests.faults.flood_server; prints its port, ends when standard input closes.
`/flood/...` floods over a WebSocket or a streaming response (of `/xhr_streaming`, ended every 128 KiB).
`/endless/...` never ends its response.
"""

import asyncio
import json

from tests.faults.serving import serve_until_input_ends
from tests.scripted import TEXT, Peer, websocket_frame
from tests.scripted_http import PRELUDES

_FRAME = ("a" + json.dumps(["x" * 200] * 20)).encode()
_FRAMES = 32


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    peer = Peer(reader, writer, 0)
    opened: set[str] = set()
    try:
        while True:
            await peer.read_request()
            if "upgrade" in peer.headers:
                await peer.open_session()
                burst = websocket_frame(TEXT, _FRAME) * _FRAMES
                while True:
                    await peer.send(burst)
                    await asyncio.sleep(0)
            await _stream(peer, opened)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the bridge has left
    finally:
        peer.close()


async def _stream(peer: Peer, opened: set[str]) -> None:
    await peer.start_chunked("Content-Type: text/plain\r\n")
    await peer.send_chunk(PRELUDES[peer.name])
    if peer.session_id not in opened:
        opened.add(peer.session_id)
        await peer.send_chunk(b"o\n")
    burst = (_FRAME + b"\n") * _FRAMES
    while True:
        await peer.send_chunk(burst)
        await asyncio.sleep(0)
        if peer.path.startswith("/flood/"):
            await peer.send_chunk(b"")
            return


if __name__ == "__main__":
    asyncio.run(serve_until_input_ends(_serve))
