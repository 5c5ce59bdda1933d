"""Listeners that speak TLS, with the clients that there are: Python's and openssl's."""

import asyncio
import json
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sockjs_bridge.errors import ConfigError
from tests.in_process import Running, events, one_session, running, until
from tests.openssl_authority import Authority, Certificate, client_context
from tests.scripted import Peer, scripted
from tests.tls_listeners import connect, echo, port_of, serving, tls
from tests.tls_peer import TlsPeer


class Halves:
    """A program over TLS that ends its half, and reads on."""

    def __init__(
        self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.tls = TlsPeer(context)
        self.reader, self.writer = reader, writer

    async def shake_hands(self) -> None:
        self.tls.receive()
        self.writer.write(self.tls.to_send())
        while not self.tls.is_up:
            self.tls.receive(await self.reader.read(1 << 16))
            self.writer.write(self.tls.to_send())

    async def rest(self) -> bytes:
        """What comes until the bridge ends TLS."""
        received = b""
        while encrypted := await self.reader.read(1 << 16):
            received += self.tls.receive(encrypted)
        return received


@asynccontextmanager
async def halves(bridge: Running, context: ssl.SSLContext) -> AsyncIterator[Halves]:
    made = Halves(context, *await asyncio.open_connection("127.0.0.1", port_of(bridge)))
    try:
        await made.shake_hands()
        await until(lambda: bridge.listener().clients)
        yield made
    finally:
        made.writer.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_thousand_messages_both_ways(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture, version: ssl.TLSVersion
) -> None:
    async with serving(tmp_path, tls(authority.server())) as bridge:
        bridge.client_tls = client_context(authority)
        bridge.client_tls.maximum_version = version
        programs = [await bridge.client() for _ in range(3)]
        sent = [f"{number} {'x' * number}" for number in range(1000)]
        writing = asyncio.create_task(programs[0].send("".join(f"{line}\n" for line in sent).encode()))
        for program in programs:
            assert await program.lines(1000) == sent
        await writing
        counts = bridge.listener().count_delivery()
        assert (counts.offered, counts.delivered, counts.buffered) == (3000, 3000, 0)
        (listening,) = events(caplog, "listening on")
        assert listening["tls"] == "on"
        assert events(caplog, "client in")[0]["certificate"] is None


async def test_a_message_larger_than_many_records(tmp_path: Path, authority: Authority) -> None:
    listener = tls(authority.server()) + 'max_message_size = "5MiB"\nclient_buffer = "8MiB"'
    async with serving(tmp_path, listener) as bridge:
        bridge.client_tls = client_context(authority)
        program = await bridge.client()
        writing = asyncio.create_task(program.send(b"x" * 5_000_000 + b"\n"))
        assert await program.line() == "x" * 5_000_000
        await writing


async def test_a_certificate_is_asked_for_and_its_name_is_in_the_log(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, tls(authority.server(), authority.cert)) as bridge:
        bridge.client_tls = client_context(authority, authority.client("door 1"))
        program = await bridge.client()
        await program.send(b"hello\n")
        assert await program.line() == "hello"
        assert events(caplog, "client in")[0]["certificate"] == "door 1"


async def test_the_end_of_tls_closes_and_a_last_line_may_lack_its_end(
    tmp_path: Path, authority: Authority
) -> None:
    context = client_context(authority)
    async with serving(tmp_path, tls(authority.server())) as bridge:
        async with halves(bridge, context) as program:
            program.writer.write(program.tls.send(b"one\ntwo") + program.tls.end())
            await program.rest()
            assert program.tls.has_ended
        await until(lambda: bridge.listener().clients == 0)
        await until(lambda: bridge.chat.hub.stats.messages_sent == 2)


async def test_what_waits_for_a_client_comes_before_the_end(tmp_path: Path, authority: Authority) -> None:
    """Its half has ended, and it has not read: everything delivered until then still comes."""
    context = client_context(authority)
    pad = "x" * 10_000

    async def flood(peer: Peer) -> None:
        await peer.open_session()
        for number in range(2000):
            await peer.send_text("a" + json.dumps([f"{number} {pad}"]))
        await peer.stay()

    listener = tls(authority.server()) + 'client_buffer = "64MiB"'
    go = asyncio.Event()

    async def when_told(peer: Peer) -> None:
        await go.wait()
        await flood(peer)

    async with (
        scripted(when_told) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
        halves(bridge, context) as program,
    ):
        go.set()
        await until(lambda: bridge.chat.hub.stats.messages_received == 2000)
        assert bridge.listener().buffered_messages > 100
        program.writer.write(program.tls.end())
        received = await program.rest()
        assert [int(line.split()[0]) for line in received.splitlines()] == list(range(2000))
        assert program.tls.has_ended
        assert bridge.listener().count_delivery().delivered == 2000


async def test_a_connection_that_is_cut_gives_no_half_message(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the end of TLS, anybody on the way may have cut the last line."""
    context = client_context(authority)
    async with serving(tmp_path, tls(authority.server())) as bridge:
        async with halves(bridge, context) as program:
            program.writer.write(program.tls.send(b"one\npay 100"))
            program.writer.write_eof()
            await program.rest()
        await until(lambda: bridge.listener().clients == 0)
        await until(lambda: bridge.chat.hub.stats.messages_sent == 1)
        assert bridge.dropped["invalid"] == 1
        assert events(caplog, "without the end of TLS")[0]["reason"] == "invalid"


async def test_a_stop_flushes_and_says_the_end(tmp_path: Path, authority: Authority) -> None:
    async with serving(tmp_path, tls(authority.server())) as bridge:
        context = client_context(authority)
        reader = await connect(bridge, context)
        await until(lambda: bridge.listener().clients == 1)
        group = bridge.listener()
        lines = [f"{number} {'x' * 5000}" for number in range(400)]
        await reader.send("".join(f"{line}\n" for line in lines).encode())
        await until(lambda: bridge.chat.hub.stats.messages_received == 400)
        reading = asyncio.create_task(reader.closed())
    assert (await reading).decode().splitlines() == lines
    reader.close()
    counts = group.count_delivery()
    assert (counts.delivered, counts.buffered, dict(counts.dropped)) == (400, 0, {})


async def test_a_reload_takes_a_renewed_certificate_and_keeps_the_clients(
    tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    """The configuration is the same; only the files are new."""
    own = Certificate(tmp_path / "own.pem", tmp_path / "own.key")

    def renew(by: Authority) -> None:
        made = by.server()
        shutil.copy(made.cert, own.cert)
        shutil.copy(made.key, own.key)

    renew(authority)
    async with serving(tmp_path, tls(own)) as bridge:
        bridge.client_tls = client_context(authority)
        before = await bridge.client()
        name = f"session chat: tcp {bridge.chat.config.tcp[0].address}: TLS files read again"
        assert await bridge.daemon.reload() == []
        renew(stranger)
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(bridge, client_context(stranger))
        assert await bridge.daemon.reload() == [name]
        bridge.client_tls = client_context(stranger)
        after = await bridge.client()
        await before.send(b"hello\n")
        assert await before.line() == await after.line() == "hello"
        assert bridge.chat.supervisor.epoch == 1
        own.key.write_text("nothing")
        with pytest.raises(ConfigError) as caught:
            await bridge.daemon.reload()
        assert caught.value.problems == (
            f"sessions.chat.tcp[0].tls.key: {own.key}: holds no private key (PEM)",
        )
        await bridge.client()
        await before.send(b"still here\n")
        assert await before.line() == "still here"


async def test_dedicated_clients_over_tls(tmp_path: Path, authority: Authority) -> None:
    """Each has a session of its own; a certificate is renewed for them as for others."""
    own = authority.server()
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=tls(own) + 'mode = "dedicated"'), tmp_path) as bridge,
    ):
        port = int(bridge.chat.endpoints[0].name.rpartition(":")[2])
        context = client_context(authority)
        for name in (b"one\n", b"other\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(name)
            assert await reader.readline() == name
            authority.server()
            (line,) = await bridge.daemon.reload()
            assert line.endswith("TLS files read again")
            writer.write(b"still here\n")
            assert await reader.readline() == b"still here\n"
            writer.close()


async def test_a_dedicated_client_over_tls_is_closed_with_its_session(
    tmp_path: Path, authority: Authority
) -> None:
    async def speak_and_end(peer: Peer) -> None:
        await peer.open_session()
        await peer.send_text('a["the last"]')
        await peer.send_text('c[3000,"Go away!"]')

    listener = tls(authority.server()) + 'mode = "dedicated"'
    async with (
        scripted(speak_and_end) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        port = int(bridge.chat.endpoints[0].name.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(authority))
        assert await reader.read() == b"the last\n"
        writer.close()


async def test_a_reload_that_brings_tls_to_a_listener(tmp_path: Path, authority: Authority) -> None:
    async with serving(tmp_path, "") as bridge:
        program = await bridge.client()
        text = bridge.file.read_text()
        bridge.file.write_text(text + tls(Certificate(tmp_path / "a", tmp_path / "b")))
        with pytest.raises(ConfigError, match=r"tls\.cert: .*: no such file(?s:.*)tls\.key"):
            await bridge.daemon.reload()
        await program.send(b"hello\n")
        assert await program.line() == "hello"
        bridge.file.write_text(text + tls(authority.server()))
        (line,) = await bridge.daemon.reload()
        assert line.endswith(" changed")
        bridge.client_tls = client_context(authority)
        over_tls = await bridge.client()
        await over_tls.send(b"encrypted\n")
        assert await over_tls.line() == "encrypted"


async def test_clients_that_come_and_go_leave_nothing(tmp_path: Path, authority: Authority) -> None:
    async with serving(tmp_path, tls(authority.server())) as bridge:
        context = client_context(authority)
        for number in range(50):
            program = await connect(bridge, context)
            await program.send(b"%d\n" % number)
            program.close()
            await program.writer.wait_closed()
        await until(lambda: bridge.listener().clients == 0)
        await until(lambda: bridge.chat.hub.stats.messages_accepted == 50)
        assert bridge.listener().acceptor._budget.used == 0


async def test_openssl_s_client_as_the_readme_shows_it(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    own = authority.client("door 1")
    async with serving(tmp_path, tls(authority.server(), authority.cert)) as bridge:
        program = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-quiet", "-verify_return_error"),
            *("-connect", f"localhost:{port_of(bridge)}", "-CAfile", authority.cert),
            *("-cert", own.cert, "-key", own.key),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(b"hello\n")
        assert await program.stdout.readline() == b"hello\n"
        assert events(caplog, "client in")[0]["certificate"] == "door 1"
        program.send_signal(signal.SIGTERM)
        await program.wait()
        await until(lambda: bridge.listener().clients == 0)


async def test_new_keys_in_between(tmp_path: Path, authority: Authority) -> None:
    """`K` asks for new keys in both directions in openssl's client; with TLS 1.3 that may come at any time."""
    async with serving(tmp_path, tls(authority.server())) as bridge:
        program = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-tls1_3", "-connect", f"localhost:{port_of(bridge)}"),
            *("-CAfile", authority.cert),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert program.stdin is not None
        assert program.stdout is not None
        await until(lambda: bridge.listener().clients == 1)
        other = await connect(bridge, client_context(authority))
        for number in range(3):
            program.stdin.write(b"K\n")
            assert b"KEYUPDATE" in await program.stdout.readuntil(b"KEYUPDATE\n")
            program.stdin.write(b"hello %d\n" % number)
            assert await other.line() == f"hello {number}"
            await program.stdout.readuntil(b"hello %d\n" % number)
        other.close()
        program.stdin.write(b"Q\n")
        await program.wait()
        await until(lambda: bridge.listener().clients == 0)


async def test_a_host_name_with_two_addresses_speaks_tls_on_both(
    tmp_path: Path, authority: Authority
) -> None:
    listener = tls(authority.server())
    async with scripted(echo) as server:
        config = one_session(server.url(), listener=listener).replace("127.0.0.1:0", "localhost:0")
        async with running(config, tmp_path) as bridge:
            addresses = {
                (sock.family, sock.getsockname()[:2]) for sock in bridge.listener().acceptor._sockets
            }
            assert socket.AF_INET in {family for family, _ in addresses}
            for _, (host, port) in addresses:
                reader, writer = await asyncio.open_connection(
                    host, port, ssl=client_context(authority), server_hostname="localhost"
                )
                writer.close()
                await reader.read()
