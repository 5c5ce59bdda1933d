"""A name with several addresses: an HTTP session stays on the one that answered first (protocol section 1)."""

import asyncio
import socket
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from aiohappyeyeballs import AddrInfoType

from sockjs_bridge.transports import dial
from tests.in_process import one_session, running, until

ADDRESSES = ["127.0.0.1", "127.0.0.2"]
ENOUGH = 20


class Polled:
    """A server at one address. It answers each poll at once, and every answer ends its connection."""

    def __init__(self, address: str, requests: Counter[tuple[str, str]]) -> None:
        self.address = address
        self._requests = requests

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # the bridge has left
            writer.close()
            return
        session = head.split(b" ")[1].decode().split("/")[-2]
        first = not self._requests[session, self.address]
        self._requests[session, self.address] += 1
        body = b"o\n" if first else b"h\n"
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n" + body)
        writer.close()


@pytest.fixture
def taking_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that gives the two addresses in another order each time, as many do."""
    turns = count()

    async def resolve(host: str, port: int) -> list[AddrInfoType]:
        order = ADDRESSES if next(turns) % 2 else ADDRESSES[::-1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, host, (address, port)) for address in order]

    monkeypatch.setattr(dial, "resolve", resolve)


@pytest.mark.usefixtures("taking_turns")
async def test_all_requests_of_a_session_go_to_one_address(tmp_path: Path) -> None:
    requests: Counter[tuple[str, str]] = Counter()
    first = await asyncio.start_server(Polled(ADDRESSES[0], requests).serve, ADDRESSES[0], 0)
    port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(Polled(ADDRESSES[1], requests).serve, ADDRESSES[1], port)
    async with first, second:
        config = one_session(f"http://echo.example:{port}/echo", 'transports = ["xhr-polling"]\ninfo = false')
        async with running(config, tmp_path) as bridge:
            await until(lambda: requests.total() > ENOUGH)
            assert bridge.chat.supervisor.epoch == 1
    assert len(requests) == 1
