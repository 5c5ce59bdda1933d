"""Through real proxies: tinyproxy and squid by CONNECT, microsocks by SOCKS5. Their logs tell what went that way."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.in_process import Running, events, one_session, running, until
from tests.proxies import PASSWORD, PROXIES, USER, ProxyServer, wait_connected
from tests.real_servers import RealServer
from tests.scripted import Peer, scripted
from tests.scripted_http import TRANSPORTS, over
from tests.tls_server import TlsServer

BOTH = pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
EVERY_PROXY = pytest.mark.parametrize("name", PROXIES)

StartProxy = Callable[..., ProxyServer]


@pytest.fixture(autouse=True)
def _no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def through(proxy: str, transport: str, more: str = "") -> str:
    return over(transport, info=True, more=f"proxy = {json.dumps(proxy)}\n{more}")


async def exchange(bridge: Running) -> None:
    """Open a session, and see a message come back."""
    program = await bridge.client()
    await program.send(b"through a proxy\n")
    assert await program.line() == "through a proxy"


async def first_failure(url: str, session: str, folder: Path, caplog: pytest.LogCaptureFixture) -> str:
    """What the first attempt fails with: it is unreachable, and no other transport is tried."""
    async with running(one_session(url, session), folder) as bridge:
        await until(bridge.chat.supervisor.first_round.done)
        assert bridge.chat.supervisor.epoch == 0
        assert {obstacle for _, obstacle in bridge.chat.hub.stats.connects} == {"unreachable"}
    assert PASSWORD not in caplog.text + repr([record.__dict__ for record in caplog.records])
    return str(events(caplog, "cannot connect")[0]["message"])


@EVERY_PROXY
@pytest.mark.parametrize("login", [False, True], ids=["open", "login"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_transport_goes_through_the_proxy(
    transport: str,
    login: bool,
    name: str,
    start_proxy: StartProxy,
    shared_server: Callable[[str], RealServer],
    tmp_path: Path,
) -> None:
    proxy, server = start_proxy(name, login=login), shared_server("node")
    config = one_session(server.url("/echo"), through(proxy.url, transport))
    async with running(config, tmp_path) as bridge:
        await exchange(bridge)
    await asyncio.to_thread(wait_connected, proxy, server.port)
    # `/info` and the session: nothing went past the proxy.
    expected = 1 if transport == "websocket-raw" else 2
    await until(lambda: len(proxy.connections_to(server.port)) >= expected)


@EVERY_PROXY
@BOTH
async def test_tls_through_the_proxy(
    transport: str, name: str, start_proxy: StartProxy, real_server: Callable[..., RealServer], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair, proxy = authority.issue(), start_proxy(name, login=True)
    server = real_server("node", {"cert": str(pair.cert), "key": str(pair.key)})
    session = through(proxy.url, transport, f'tls.ca = "{authority.file}"\n')
    async with running(one_session(server.url("/echo"), session), tmp_path) as bridge:
        await exchange(bridge)
    await asyncio.to_thread(wait_connected, proxy, server.port)


@BOTH
async def test_a_certificate_is_verified_through_a_proxy_too(
    transport: str, start_proxy: StartProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = start_proxy("microsocks")
    with TlsServer(Authority(tmp_path).issue().context()) as server:
        session = over(transport, more=f'proxy = "{proxy.url}"')
        async with running(one_session(server.url(), session), tmp_path) as bridge:
            await until(bridge.chat.supervisor.first_round.done)
            assert {obstacle for _, obstacle in bridge.chat.hub.stats.connects} == {"tls_error"}
    assert "an authority that is not trusted here" in str(events(caplog, "cannot connect")[0]["message"])


@BOTH
async def test_the_proxy_resolves_the_name(
    transport: str, start_proxy: StartProxy, shared_server: Callable[[str], RealServer], tmp_path: Path
) -> None:
    proxy, server = start_proxy("microsocks"), shared_server("node")
    url = server.url("/echo").replace("127.0.0.1", "localhost")
    async with running(one_session(url, through(proxy.url, transport)), tmp_path) as bridge:
        await exchange(bridge)
    assert f"connected to localhost:{server.port}" in proxy.log


@EVERY_PROXY
@BOTH
@pytest.mark.parametrize(
    ("login", "sentence"),
    [("", "wants user and password"), (f"{USER}:wrong@", "does not accept user and password")],
    ids=["none", "wrong"],
)
async def test_a_login_that_the_proxy_wants(
    login: str,
    sentence: str,
    transport: str,
    name: str,
    start_proxy: StartProxy,
    shared_server: Callable[[str], RealServer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy, server = start_proxy(name, login=True), shared_server("node")
    session = through(proxy.url_with(login), transport)
    failure = await first_failure(server.url("/echo"), session, tmp_path, caplog)
    assert f"the proxy {proxy.url_with('')} {sentence}" in failure
    assert "wrong@" not in caplog.text
    assert not proxy.connections_to(server.port)


@EVERY_PROXY
@BOTH
async def test_a_server_that_the_proxy_cannot_reach(
    transport: str, name: str, start_proxy: StartProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = start_proxy(name, login=True)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    failure = await first_failure(
        f"http://127.0.0.1:{port}/echo", through(proxy.url, transport), tmp_path, caplog
    )
    assert f"the proxy {proxy.url_with('')} cannot reach 127.0.0.1" in failure


@BOTH
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_that_is_not_there(
    kind: str, transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    session = through(f"{kind}://{USER}:{PASSWORD}@127.0.0.1:{port}", transport)
    failure = await first_failure("http://127.0.0.1:1/echo", session, tmp_path, caplog)
    assert f"cannot reach the proxy {kind}://127.0.0.1:{port}: connection refused" in failure


@BOTH
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_what_is_no_proxy_at_all(
    kind: str, transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"220 mail.example ESMTP\r\n")
        await peer.until_closed()

    async with scripted(script, plays_info=True) as server:
        session = through(f"{kind}://127.0.0.1:{server.port}", transport)
        failure = await first_failure("http://echo.example/echo", session, tmp_path, caplog)
    assert f"the proxy {kind}://127.0.0.1:{server.port} gave no " in failure
    assert "(is it a" in failure


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("403 Forbidden\r\n", "does not allow a connection to echo.example:80: 403"),
        ("504 Gateway Timeout\r\n", "cannot reach echo.example:80: 504"),
        ("405 No\r\n", "refuses a connection to echo.example:80: 405"),
        (
            "407 Who\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n",
            "wants a login that the bridge does not know (negotiate, ntlm): 407",
        ),
        ("200 OK\r\n\r\nhello", "gave an answer to CONNECT that makes no sense"),
        ("200 OK\r\nX: " + "x" * 70_000 + "\r\n", "gave an answer to CONNECT that makes no sense"),
    ],
    ids=["403", "504", "405", "other schemes", "speaks first", "endless"],
)
async def test_answers_of_an_http_proxy(
    answer: str, sentence: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(f"HTTP/1.1 {answer}\r\n".encode())
        await peer.until_closed()

    async with scripted(script, plays_info=True) as server:
        session = through(f"http://127.0.0.1:{server.port}", "websocket")
        failure = await first_failure("http://echo.example/echo", session, tmp_path, caplog)
    assert sentence in failure


async def test_an_answer_of_a_proxy_that_comes_in_pieces(tmp_path: Path) -> None:
    heads: list[dict[str, str]] = []

    async def script(peer: Peer) -> None:
        await peer.read_request()
        assert peer.request_line == "CONNECT [2001:db8::1]:8081 HTTP/1.1"
        heads.append(peer.headers)
        for byte in b"HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\n":
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)
        await peer.read_request()
        await peer.open_session()
        await peer.stay()

    async with scripted(script) as server:
        session = over("websocket", more=f'proxy = "http://us%40er:p%C3%A4ss@127.0.0.1:{server.port}"')
        config = one_session("http://[2001:db8::1]:8081/echo", session)
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
    assert heads[0]["host"] == "[2001:db8::1]:8081"
    assert heads[0]["proxy-authorization"] == "Basic dXNAZXI6cMOkc3M="


@BOTH
async def test_a_proxy_that_never_answers(
    transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.until_closed()

    async with scripted(script, plays_info=True) as server:
        session = over(transport, more=f'proxy = "http://127.0.0.1:{server.port}"\nconnect_timeout = "100ms"')
        assert "no answer" in await first_failure("http://echo.example/echo", session, tmp_path, caplog)


# --- from the environment ----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_the_environment_names_the_proxy(
    variable: str,
    transport: str,
    start_proxy: StartProxy,
    shared_server: Callable[[str], RealServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, server = start_proxy("microsocks", login=True), shared_server("node")
    monkeypatch.setenv(variable, proxy.url)
    async with running(one_session(server.url("/echo"), through("env", transport)), tmp_path) as bridge:
        await exchange(bridge)
    await asyncio.to_thread(wait_connected, proxy, server.port)


@BOTH
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
async def test_no_proxy_goes_past_it(
    variable: str,
    transport: str,
    start_proxy: StartProxy,
    shared_server: Callable[[str], RealServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, server = start_proxy("microsocks"), shared_server("node")
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv(variable, "example.org, 127.0.0.0/8")
    async with running(one_session(server.url("/echo"), through("env", transport)), tmp_path) as bridge:
        await exchange(bridge)
        # Shows that its log would tell.
        monkeypatch.delenv(variable)
        bridge.chat.supervisor.reconnect()
        before = list(proxy.connections_to(server.port))
        await bridge.opened(epoch=2)
        await exchange(bridge)
    await asyncio.to_thread(wait_connected, proxy, server.port)
    assert before == []


async def test_without_env_the_environment_does_not_count(
    shared_server: Callable[[str], RealServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with running(
        one_session(shared_server("node").url("/echo"), over("xhr-polling")), tmp_path
    ) as bridge:
        await exchange(bridge)
