"""TLS to servers: an own CA, certificates of both sides, names, and what is said where it fails."""

import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from sockjs_bridge.errors import ConfigError
from tests.certificates import Authority, Pair
from tests.in_process import events, one_session, running, until
from tests.real_servers import RealServer
from tests.scripted import Peer, scripted
from tests.scripted_http import TRANSPORTS, Backend, over
from tests.tls_server import TlsServer

BOTH = pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(**options: object) -> str:
    """The keys of a session's table `tls`."""
    shown = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    return "".join(f"tls.{name} = {json.dumps(value)}\n" for name, value in shown.items())


def own(pair: Pair) -> dict[str, object]:
    return {"cert": pair.cert, "key": pair.key}


async def echo(peer: Peer) -> None:
    await peer.open_session()
    await peer.echo()


async def first_failure(url: str, session: str, folder: Path, caplog: pytest.LogCaptureFixture) -> str:
    """What the first attempt fails with; it must not open a session."""
    async with running(one_session(url, session), folder) as bridge:
        await until(bridge.chat.supervisor.first_round.done)
        assert bridge.chat.supervisor.epoch == 0
        assert {obstacle for _, obstacle in bridge.chat.hub.stats.connects} == {"tls_error"}
    return str(events(caplog, "cannot connect")[0]["message"])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_transport_with_a_certificate_of_our_own_to_a_real_server(
    transport: str, authority: Authority, tmp_path: Path, real_server: Callable[..., RealServer]
) -> None:
    pair = authority.issue()
    server = real_server("node", {"cert": str(pair.cert), "key": str(pair.key), "ca": str(authority.file)})
    client = authority.issue("bridge.example")
    session = over(transport, info=True, more=tls(ca=authority.file, **own(client)))
    async with running(one_session(server.url("/echo"), session), tmp_path) as bridge:
        program = await bridge.client()
        await program.send(b"one\ntwo\n")
        assert await program.lines(2) == ["one", "two"]


@BOTH
@pytest.mark.parametrize(
    ("names", "days", "sentence"),
    [
        (["127.0.0.1"], (-3, -1), "the server's certificate has expired"),
        (["127.0.0.1"], (1, 3), "the server's certificate is not valid yet"),
        (["127.0.0.2"], (-1, 1), "the server's certificate is not for 127.0.0.1: set tls.server_name"),
        (["echo.example"], (-1, 1), "the server's certificate is not for 127.0.0.1: set tls.server_name"),
    ],
    ids=["expired", "not yet valid", "another address", "a name"],
)
async def test_certificates_that_are_not_taken(
    transport: str,
    names: list[str],
    days: tuple[int, int],
    sentence: str,
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair = authority.issue(*names, valid_from=days[0], valid_to=days[1])
    with TlsServer(pair.context()) as server:
        session = over(transport, more=tls(ca=authority.file))
        assert sentence in await first_failure(server.url(), session, tmp_path, caplog)


@BOTH
async def test_an_authority_that_is_not_trusted(
    transport: str, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TlsServer(authority.issue().context()) as server:
        failure = await first_failure(server.url(), over(transport), tmp_path, caplog)
    assert (
        "is from an authority that is not trusted here: set tls.ca to the file of that authority" in failure
    )


async def test_a_ca_of_our_own_takes_the_place_of_the_systems(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    other = Authority(tmp_path, "other")
    with TlsServer(authority.issue().context()) as server:
        session = over("websocket", more=tls(ca=other.file))
        assert "not trusted here" in await first_failure(server.url(), session, tmp_path, caplog)


@BOTH
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize(
    ("shows", "sentence"),
    [
        ("nothing", "wants a certificate"),
        ("of another authority", "it does not trust the authority that it is from"),
        ("expired", "the server does not accept our certificate (tls.cert): it has expired"),
    ],
)
async def test_a_server_that_wants_another_certificate_from_us(
    transport: str,
    newest: ssl.TLSVersion,
    shows: str,
    sentence: str,
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With TLS 1.3 the refusal comes after the handshake, in place of the answer to the request."""
    shown = {
        "nothing": {},
        "of another authority": own(Authority(tmp_path, "other").issue("bridge.example")),
        "expired": own(authority.issue("bridge.example", valid_from=-3, valid_to=-1)),
    }[shows]
    context = authority.issue().context(client_ca=authority.file, newest=newest)
    with TlsServer(context) as server:
        session = over(transport, more=tls(ca=authority.file, **shown))
        assert sentence in await first_failure(server.url(), session, tmp_path, caplog)


@BOTH
async def test_a_server_whose_tls_is_too_old(
    transport: str, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = authority.issue().context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with TlsServer(context) as server:
        session = over(transport, more=tls(ca=authority.file))
        failure = await first_failure(server.url(), session, tmp_path, caplog)
    assert "the server speaks no version of TLS that is safe: 1.2 and 1.3 are" in failure


@BOTH
async def test_server_name_is_asked_for_and_verified(
    transport: str, authority: Authority, tmp_path: Path
) -> None:
    with TlsServer(authority.issue("echo.example").context()) as server:
        session = over(transport, more=tls(ca=authority.file, server_name="echo.example"))
        async with running(one_session(server.url(), session), tmp_path) as bridge:
            await until(lambda: bridge.chat.hub.stats.connects)
            assert {obstacle for _, obstacle in bridge.chat.hub.stats.connects} == {"http_status"}
    assert set(server.names) == {"echo.example"}


@BOTH
async def test_a_wrong_server_name_is_refused_even_where_the_host_is_right(
    transport: str, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TlsServer(authority.issue().context()) as server:
        session = over(transport, more=tls(ca=authority.file, server_name="echo.example"))
        failure = await first_failure(server.url(), session, tmp_path, caplog)
    assert "the server's certificate is not for echo.example" in failure


@BOTH
async def test_without_verification_each_connect_warns(
    transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = Authority(tmp_path).issue("another.example", valid_from=-3, valid_to=-1)
    backend = Backend(receive=None)

    async def script(peer: Peer) -> None:
        if transport == "websocket":
            await peer.open_session()
        else:
            await backend(peer)

    async with (
        scripted(script, pair.context()) as server,
        running(one_session(server.url(), over(transport, more=tls(verify=False))), tmp_path) as bridge,
    ):
        await bridge.opened()
        bridge.chat.supervisor.reconnect()
        await bridge.opened(epoch=2)
        warnings = events(caplog, "the server's certificate is not checked (tls.verify = false)")
        assert len(warnings) == sum(bridge.chat.hub.stats.connects.values()) >= 2
        assert warnings[0]["transport"] == transport


async def test_with_verification_nothing_warns(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted(echo, authority.issue().context()) as server:
        session = over("websocket", more=tls(ca=authority.file))
        async with running(one_session(server.url(), session), tmp_path) as bridge:
            await bridge.opened()
    assert not events(caplog, "certificate")


@BOTH
async def test_a_renewed_certificate_is_taken_at_the_next_connect(
    transport: str, authority: Authority, tmp_path: Path
) -> None:
    first, second = authority.issue("bridge.example"), authority.issue("bridge.example")
    shown = Pair(tmp_path / "shown.crt", tmp_path / "shown.key")
    for source, target in ((first.cert, shown.cert), (first.key, shown.key)):
        target.write_bytes(source.read_bytes())
    serials = [str(_decoded(pair.cert)["serialNumber"]) for pair in (first, second)]
    with TlsServer(authority.issue().context(client_ca=authority.file)) as server:
        session = over(transport, more=tls(ca=authority.file, **own(shown)))
        async with running(one_session(server.url(), session), tmp_path):
            await until(lambda: server.serials)
            assert set(server.serials) == {serials[0]}
            shown.cert.write_bytes(second.cert.read_bytes())
            shown.key.write_bytes(second.key.read_bytes())
            await until(lambda: serials[1] in server.serials)


async def test_a_file_that_has_gone_fails_the_attempt_and_names_it(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca = tmp_path / "gone.pem"
    ca.write_bytes(authority.file.read_bytes())

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await peer.stay()

    async with scripted(script, authority.issue().context()) as server:
        session = over("websocket", more=tls(ca=ca))
        async with running(one_session(server.url(), session), tmp_path) as bridge:
            await bridge.opened()
            content = ca.read_bytes()
            ca.unlink()
            bridge.chat.supervisor.reconnect()
            await until(lambda: events(caplog, f"cannot connect: tls.ca: {ca}: no such file or directory"))
            ca.write_bytes(content)
            await bridge.opened(epoch=2)


async def test_a_reload_with_files_that_cannot_be_used_changes_nothing(
    authority: Authority, tmp_path: Path
) -> None:
    async with scripted(echo, authority.issue().context()) as server:
        config = one_session(server.url(), over("websocket", more=tls(ca=authority.file)))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            bridge.file.write_text(config.replace(str(authority.file), "nowhere.pem"))
            with pytest.raises(ConfigError) as caught:
                await bridge.daemon.reload()
            assert caught.value.problems == ("sessions.chat.tls.ca: nowhere.pem: no such file or directory",)
            program = await bridge.client()
            await program.send(b"still there\n")
            assert await program.line() == "still there"
            assert bridge.chat.supervisor.epoch == 1


def _decoded(cert: Path) -> dict[str, object]:
    decoded: dict[str, object] = ssl._ssl._test_decode_cert(str(cert))  # type: ignore[attr-defined]  # CPython's own
    return decoded
