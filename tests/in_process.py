"""The daemon in the test's own process and on its loop, and a local program that talks to it."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sockjs_bridge.config import load
from sockjs_bridge.daemon import Daemon, Surroundings, bind_admin
from sockjs_bridge.endpoints.dedicated import DedicatedListener
from sockjs_bridge.endpoints.tcp_group import TcpGroup
from sockjs_bridge.local_sockets import bind_listeners
from sockjs_bridge.log import EventLog
from sockjs_bridge.secret_store import SecretStore
from sockjs_bridge.wiring import Bridge

# Reconnects at once, gives up on slow opening soon: a test waits for what happens, never for a delay.
QUICK = 'reconnect = { initial = "10ms", max = "20ms" }\n'


def one_session(url: str, session: str = "", listener: str = "") -> str:
    """The configuration of one session `chat` with one listener; the texts add keys to each.

    Where it names no transports, it is a WebSocket at once: a script sees the handshake first.
    """
    if "transports" not in session and not url.endswith("/websocket"):
        session = f'transports = ["websocket"]\ninfo = false\n{session}'
    return (
        '[bridge]\ndrain_timeout = "1s"\n'  # some scripts never answer a Close
        f'[sessions.chat]\nurl = "{url}"\n{QUICK}{session}\n'
        f'[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\n{listener}\n'
    )


class Running:
    """A daemon that runs, with its only session `chat` at hand."""

    def __init__(self, daemon: Daemon, file: Path) -> None:
        self.daemon = daemon
        self.file = file
        """The configuration, read again by a reload."""
        self.client_tls: ssl.SSLContext | None = None
        """What programs connect with, where the listener speaks TLS."""
        self._programs: list[Program] = []

    @property
    def chat(self) -> Bridge:
        return self.daemon.bridges["chat"]

    @property
    def dropped(self) -> dict[str, int]:
        return {str(reason): count for reason, count in self.chat.hub.stats.dropped.items()}

    async def opened(self, epoch: int = 1) -> None:
        await until(lambda: self.chat.supervisor.is_open and self.chat.supervisor.epoch >= epoch)

    def listener(self, index: int = 0, session: str = "chat") -> TcpGroup:
        """A TCP listener, by its place among the endpoints of a session."""
        endpoint = self.daemon.bridges[session].endpoints[index]
        assert isinstance(endpoint, TcpGroup)
        return endpoint

    def dedicated(self, index: int = 0) -> DedicatedListener:
        """A listener of the session `chat` whose clients have sessions of their own."""
        endpoint = self.chat.endpoints[index]
        assert isinstance(endpoint, DedicatedListener)
        return endpoint

    def admin_port(self) -> int:
        """The TCP port of the admin listener."""
        admin = self.daemon._admin
        assert admin is not None
        return int(admin._sockets[0].getsockname()[1])

    async def client(self, listener: int = 0, session: str = "chat") -> "Program":
        """A local program, connected and known to the listener."""
        where = self.daemon.bridges[session].endpoints[listener]
        assert isinstance(where, TcpGroup | DedicatedListener)
        before = where.clients
        host, _, port = where.name.rpartition(":")
        program = Program(
            *await asyncio.open_connection(host.strip("[]"), int(port), limit=1 << 26, ssl=self.client_tls)
        )
        self._programs.append(program)
        await until(lambda: where.clients > before)
        return program

    def close_programs(self) -> None:
        for program in self._programs:
            program.close()


class Program:
    """A local program that speaks lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def line(self) -> str:
        return (await self.reader.readuntil(b"\n")).decode().removesuffix("\n")

    async def lines(self, count: int) -> list[str]:
        return [await self.line() for _ in range(count)]

    async def closed(self) -> bytes:
        """Everything that still comes, until the bridge closes."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.writer.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's own time limit ends a wait in vain."""
    while not condition():
        await asyncio.sleep(0.001)


@asynccontextmanager
async def running(
    toml: str, tmp_path: Path, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """A daemon with this configuration, for the length of a `with` block; it drains at the end."""
    file = tmp_path / "bridge.toml"
    file.write_text(toml)
    secrets = SecretStore(environ or {})
    config = load(file, environ or {}, secrets)
    log = EventLog()
    local = bind_listeners(config, log)
    around = Surroundings(
        load=lambda: load(file, environ or {}, secrets), admin_sockets=bind_admin(config.admin)
    )
    daemon = Daemon(config, local, log, around)
    bridge = Running(daemon, file)
    task = asyncio.create_task(daemon.run())
    listening = asyncio.create_task(daemon.listening.wait())
    try:
        await asyncio.wait([task, listening], return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            task.result()
        yield bridge
    finally:
        daemon.stop()
        await task
        bridge.close_programs()


def events(caplog: pytest.LogCaptureFixture, text: str) -> list[dict[str, object]]:
    """The fields of all log lines whose message contains `text`, with the message as `message`."""
    return [
        {"message": record.getMessage(), **record.fields}  # type: ignore[attr-defined]  # set by EventLog
        for record in caplog.records
        if record.name == "sockjs_bridge" and text in record.getMessage()
    ]


def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    """Collect log lines from INFO on."""
    caplog.set_level(logging.INFO, logger="sockjs_bridge")
