"""Listeners that speak TLS, with the clients that there are: Python's, openssl's, and hostile ones."""

import asyncio
import json
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sockjs_bridge.errors import ConfigError
from tests.in_process import Program, Running, events, log_everything, one_session, running, until
from tests.openssl_authority import Authority, Certificate, client_context
from tests.scripted import Peer, scripted
from tests.tls_peer import TlsPeer

HELLO_BYTES = 100


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "Another CA")


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    log_everything(caplog)


@pytest.fixture(autouse=True)
def _quiet_loop(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No failed handshake is a fault of the loop."""
    yield
    assert [record for record in caplog.records if record.name == "asyncio"] == []


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


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("shows", "why"),
    [
        ("none", "it has no certificate, and tls.client_ca asks for one"),
        ("wrong", "its certificate is not accepted: unable to get local issuer certificate"),
        ("expired", "its certificate is not accepted: certificate has expired"),
    ],
)
async def test_without_the_right_certificate_nobody_comes_in(  # fixtures and parameters
    tmp_path: Path,
    authority: Authority,
    stranger: Authority,
    caplog: pytest.LogCaptureFixture,
    version: ssl.TLSVersion,
    shows: str,
    why: str,
) -> None:
    own = {
        "none": None,
        "wrong": stranger.client("mallory"),
        "expired": authority.client("old", days=-1),
    }[shows]
    context = client_context(authority, own)
    context.maximum_version = version
    async with serving(tmp_path, tls(authority.server(), authority.cert)) as bridge:
        # With TLS 1.3 a client takes the handshake for done before the server has seen its certificate.
        with pytest.raises((ssl.SSLError, ConnectionResetError)) as caught:
            program = await connect(bridge, context)
            await program.send(b"let me in\n")
            assert not await program.reader.read()
            raise ConnectionResetError
        if isinstance(caught.value, ssl.SSLError):
            assert "ALERT" in str(caught.value), "the client is told"
        (refused,) = events(caplog, "refused a client")
        assert refused["message"] == f"refused a client: the TLS handshake failed: {why}"
        assert str(refused["client"]).startswith("127.0.0.1:")
        assert refused["listener"] == bridge.listener().name
        assert bridge.listener().describe()["refused"] == 1
        assert bridge.chat.hub.stats.messages_accepted == 0
        assert events(caplog, "client in") == []


async def test_a_client_that_does_not_trust_us(
    tmp_path: Path, authority: Authority, stranger: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, tls(authority.server())) as bridge:
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(bridge, client_context(stranger))
        peer = TlsPeer(client_context(stranger))
        program = await connect(bridge, None)
        peer.receive()
        await program.send(peer.to_send())
        with pytest.raises(ssl.SSLCertVerificationError):
            while True:
                peer.receive(await program.reader.read(1 << 16))
        await program.send(peer.to_send())
        await until(lambda: bridge.listener().counts.refused == 2)
        program.close()
        assert [str(each["message"]).partition("failed: ")[2] for each in events(caplog, "refused")] == [
            "it closed the connection; it may not accept our certificate (tls.cert)",  # as asyncio's do
            "it does not trust the authority of our certificate (tls.cert)",
        ]


@pytest.mark.parametrize(
    ("first_bytes", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "it speaks HTTP without TLS"),
        (b"hello, is anybody there?\n", "it does not speak TLS"),
    ],
)
async def test_plain_text_to_a_tls_port(
    tmp_path: Path,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    first_bytes: bytes,
    why: str,
) -> None:
    async with serving(tmp_path, tls(authority.server())) as bridge:
        for _ in range(3):
            program = await connect(bridge, None)
            await program.send(first_bytes)
            await program.closed()
            program.close()
        (refused,) = events(caplog, "refused a client")
        assert refused["message"] == f"refused a client: the TLS handshake failed: {why}"
        assert bridge.listener().counts.refused == 3
        assert bridge.chat.hub.stats.messages_accepted == 0


async def test_tls_to_a_plain_port(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, "") as bridge:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(bridge, client_context(authority))
        assert events(caplog, "a client speaks TLS on a plain port")


async def test_http_inside_tls_is_turned_away(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """A page may get a browser to speak TLS too, where the user once accepted the certificate."""
    async with serving(tmp_path, tls(authority.server())) as bridge:
        bridge.client_tls = client_context(authority)
        browser, program = await bridge.client(), await bridge.client()
        await browser.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nevil\n")
        assert await browser.closed() == b""
        await program.send(b"HELLO WORLD\n")
        assert await program.line() == "HELLO WORLD"
        assert bridge.chat.hub.stats.messages_sent == 1
        assert events(caplog, "a client speaks HTTP")


async def test_half_a_handshake_ends_by_itself_and_disturbs_nobody(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockjs_bridge.endpoints.tls_connection.HANDSHAKE_SECONDS", 0.3)
    context = client_context(authority)
    peer = TlsPeer(context)
    peer.receive()
    hello = peer.to_send()
    async with serving(tmp_path, tls(authority.server()) + "max_clients = 2") as bridge:
        silent, half = await connect(bridge, None), await connect(bridge, None)
        await half.send(hello[:HELLO_BYTES])
        bridge.client_tls = context
        program = await bridge.client()
        await program.send(b"hello\n")
        assert await program.line() == "hello"
        assert await silent.closed() == await half.closed() == b""
        silent.close()
        half.close()
        reasons = {str(each["message"]).rpartition(": ")[2] for each in events(caplog, "refused a client")}
        assert "it took longer than 0.3 s" in reasons
        await until(lambda: bridge.listener().counts.refused == 2)
        assert bridge.listener().acceptor._budget.used == 1
        await program.send(b"still here\n")
        assert await program.line() == "still here"


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
        assert caught.value.problems == (f"sessions.chat.tcp[0].tls.key: {own.key}: holds no key (PEM)",)
        await bridge.client()
        await before.send(b"still here\n")
        assert await before.line() == "still here"


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


async def test_handshakes_do_not_outlive_the_listener(tmp_path: Path, authority: Authority) -> None:
    async with serving(tmp_path, tls(authority.server())) as bridge:
        silent = await connect(bridge, None)
        await until(lambda: bridge.listener().acceptor._budget.used == 1)
    assert await silent.closed() == b""
    silent.close()


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


async def test_a_renegotiation_is_refused(tmp_path: Path, authority: Authority) -> None:
    """`R` asks for one in openssl's client; what follows is served all the same, or the client gives up."""
    async with serving(tmp_path, tls(authority.server())) as bridge:
        program = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-tls1_2", "-connect", f"localhost:{port_of(bridge)}"),
            *("-CAfile", authority.cert),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert program.stdin is not None
        assert program.stdout is not None
        await until(lambda: bridge.listener().clients == 1)
        program.stdin.write(b"R\n")
        output = await program.stdout.read()
        assert b"no renegotiation" in output
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
