"""Who is not let in by a listener that speaks TLS: each is told, logged with a reason, and disturbs nobody."""

import asyncio
import ssl
from pathlib import Path

import pytest

from tests.in_process import events, until
from tests.openssl_authority import Authority, client_context
from tests.tls_listeners import connect, port_of, serving, tls
from tests.tls_peer import TlsPeer

HELLO_BYTES = 100


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


async def test_handshakes_do_not_outlive_the_listener(tmp_path: Path, authority: Authority) -> None:
    async with serving(tmp_path, tls(authority.server())) as bridge:
        silent = await connect(bridge, None)
        await until(lambda: bridge.listener().acceptor._budget.used == 1)
    assert await silent.closed() == b""
    silent.close()


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
