"""A daemon whose listener speaks TLS, and programs that talk to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.in_process import Program, Running, one_session, running
from tests.openssl_authority import Certificate
from tests.scripted import Peer, scripted


def tls(own: Certificate, client_ca: Path | None = None) -> str:
    ca = f', client_ca = "{client_ca}"' if client_ca else ""
    return f'tls = {{ cert = "{own.cert}", key = "{own.key}"{ca} }}\n'


async def echo(peer: Peer) -> None:
    await peer.open_session()
    await peer.echo()


@asynccontextmanager
async def serving(tmp_path: Path, listener: str) -> AsyncIterator[Running]:
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        yield bridge


def port_of(bridge: Running) -> int:
    return int(bridge.listener().name.rpartition(":")[2])


async def connect(bridge: Running, context: ssl.SSLContext | None) -> Program:
    """A program that may be turned away."""
    return Program(*await asyncio.open_connection("127.0.0.1", port_of(bridge), ssl=context))
