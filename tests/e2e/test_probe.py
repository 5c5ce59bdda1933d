"""`sockjs-bridge probe`: its table, its advice, and a configuration that works."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sockjs_bridge.cli_arguments import TRANSPORTS
from tests.bridge_process import (
    BridgeStarter,
    HandshakeServer,
    LineClient,
    clean_environment,
    pass_on,
    run_command,
)
from tests.real_servers import SERVER_NAMES, RealServer
from tests.scripted import Peer, scripted

LONG_ENOUGH = 40.0
DEFAULTS = ["websocket", "xhr-streaming", "xhr-polling"]
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
NOT_ALLOWED = FORBIDDEN.replace(b"403 Forbidden", b"405 Method Not Allowed")
Shared = Callable[[str], RealServer]


def probe(*arguments: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "sockjs_bridge", "probe", *arguments],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG_ENOUGH,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Warning:" not in done.stderr, done.stderr
    return done


def probe_json(*arguments: str) -> Any:
    """The document, with its transports by name."""
    document = json.loads(probe("--json", *arguments).stdout)
    document["transports"] = {result["transport"]: result for result in document["transports"]}
    return document


def configuration(stdout: str) -> str:
    return stdout.partition("# A configuration that works, bridge.toml:\n")[2]


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_every_transport_of_a_real_server_is_found_to_work(name: str, shared_server: Shared) -> None:
    found = probe_json(shared_server(name).url("/echo"))
    assert found["works"]
    assert found["info"]["status"] == 200
    assert found["info"]["websocket"] is True
    assert list(found["transports"]) == list(TRANSPORTS)
    for result in found["transports"].values():
        assert (result["opened"], result["echoes"], result["problem"]) == (True, True, "")
        assert 0 < result["open_seconds"] < 5
        assert 0 < result["round_trip_seconds"] < 2


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_it_ends_with_a_configuration_that_works(
    name: str, shared_server: Shared, start_bridge: BridgeStarter, tmp_path: Path
) -> None:
    done = probe(shared_server(name).url("/echo"))
    assert (done.returncode, done.stderr) == (0, "")
    config = configuration(done.stdout)
    assert f"transports = {json.dumps(DEFAULTS)}" in config
    (tmp_path / "found.toml").write_text(config)
    assert run_command("check", "--config", "found.toml", folder=tmp_path).returncode == 0
    bridge = start_bridge(config.replace("127.0.0.1:9000", "127.0.0.1:0"))
    with LineClient(bridge.port) as client:
        client.send("hi")
        assert client.read(1) == ["hi"]
    assert bridge.stop() == 0


def test_the_table_is_aligned(server: RealServer) -> None:
    table = probe(server.url("/echo")).stdout.split("\n\n")[1].splitlines()
    assert table[0].split() == [
        *("transport", "opens", "in", "round", "trip", "heartbeat", "largest", "cookies"),
    ]
    assert [line.split()[0] for line in table[1:]] == list(TRANSPORTS)
    column = table[0].index("opens")
    assert {line[column : column + 3] for line in table[1:]} == {"yes"}


def test_kinds_of_heartbeats_are_told_apart(shared_server: Shared) -> None:
    found = probe_json(shared_server("node").url("/hb1"), "--heartbeat-wait", "3")
    kinds = {name: result["heartbeat"] for name, result in found["transports"].items()}
    assert kinds == {
        "websocket": "PING",
        "websocket-raw": "none",
        **dict.fromkeys(set(TRANSPORTS) - {"websocket", "websocket-raw"}, "h frame"),
    }
    assert any("No heartbeat came within 3 s over websocket-raw." in line for line in found["advice"])


def test_heartbeats_are_not_waited_for_unless_asked(server: RealServer) -> None:
    found = probe_json(server.url("/echo"))
    assert {result["heartbeat"] for result in found["transports"].values()} == {None}
    assert "Heartbeats were not waited for: --heartbeat-wait 30 does." in found["advice"]


def test_the_largest_message_is_found(shared_server: Shared) -> None:
    found = probe_json(shared_server("aio").url("/echo"), "--size-limit")["transports"]
    assert found["websocket"]["largest_accepted"] == 1 << 20
    assert found["websocket"]["smallest_refused"] is None
    # This server answers 413 to a body of a MiB.
    assert found["xhr-polling"]["largest_accepted"] == 512 << 10
    assert found["xhr-polling"]["smallest_refused"] == 1 << 20
    assert "413" in found["xhr-polling"]["problem"]


def test_a_server_that_is_no_echo_is_told_as_such(shared_server: Shared) -> None:
    done = probe(shared_server("node").url("/close"), "--transport", "websocket", "--size-limit")
    assert done.returncode == 0
    assert "no echo" in done.stdout
    assert "server_closed 3000 (Go away!)" in done.stdout


def test_nothing_is_sent_when_that_is_asked_for() -> None:
    heard: list[int] = []

    async def listen(peer: Peer) -> None:
        await peer.open_session()
        heard.append((await peer.receive_frame())[0])

    async def run() -> None:
        async with scripted(listen) as server:
            done = await asyncio.to_thread(probe, server.url(), "--no-send", "--transport", "websocket")
        assert done.returncode == 0

    asyncio.run(run())
    assert heard == [8]  # the Close frame is all


def test_only_the_transports_that_are_named_are_tried(server: RealServer) -> None:
    found = probe_json(server.url("/echo"), "--transport", "jsonp-polling", "--transport", "htmlfile")
    assert list(found["transports"]) == ["jsonp-polling", "htmlfile"]
    assert 'transports = ["htmlfile", "jsonp-polling"]' in found["config"]


def test_a_url_of_a_raw_websocket_is_that_of_its_endpoint(server: RealServer) -> None:
    found = probe_json(server.url("/echo/websocket"), "--transport", "websocket-raw")
    assert found["transports"]["websocket-raw"]["opened"]
    assert f'url = "{server.url("/echo")}"' in found["config"]


# --- advice ----------------------------------------------------------------------------------------------------


def test_a_server_without_websocket_is_told_from_a_proxy_that_blocks_it(shared_server: Shared) -> None:
    node = shared_server("node")
    done = probe(node.url("/disabled_websocket_echo"))
    assert done.returncode == 0
    assert "WebSocket does not work here: the server has it switched off, says its /info." in done.stdout
    assert 'transports = ["xhr-streaming", "xhr-polling"]' in configuration(done.stdout)
    relay = pass_on(node.port)

    def proxy(head: bytes, sock: Any) -> None:
        if b"upgrade: websocket" in head.lower():
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            relay(head, sock)

    with HandshakeServer(proxy) as gateway:
        done = probe(
            f"http://127.0.0.1:{gateway.port}/echo", "--transport", "websocket", "--transport", "xhr-polling"
        )
    assert done.returncode == 0
    assert "a proxy on the way may block it" in done.stdout
    assert "400 Bad Request" in done.stdout


def test_a_missing_origin_is_found_and_put_into_the_configuration(server: RealServer) -> None:
    relay = pass_on(server.port)

    def strict(head: bytes, sock: Any) -> None:
        if b"\r\norigin: http://127.0.0.1" in head.lower() or b"/info" in head:
            relay(head, sock)
        else:
            sock.sendall(FORBIDDEN)

    with HandshakeServer(strict) as gateway:
        done = probe(f"http://127.0.0.1:{gateway.port}/echo", "--transport", "websocket")
        assert done.returncode == 0
        assert "with Origin" in done.stdout
        assert "The server wants an Origin header" in done.stdout
        assert 'origin = "same"' in configuration(done.stdout)
        done = probe(f"http://127.0.0.1:{gateway.port}/echo", "--transport", "websocket", "--origin", "same")
        assert "  yes  " in done.stdout
        assert 'origin = "same"' in configuration(done.stdout)


def test_cookies_are_told_by_name_alone(shared_server: Shared) -> None:
    node = shared_server("node")
    with HandshakeServer(pass_on(node.port, "Set-Cookie: lb=t0ken-of-the-balancer; Path=/")) as gateway:
        url = f"http://127.0.0.1:{gateway.port}/cookie_needed_echo"
        done = probe(url, "--transport", "websocket", "--transport", "xhr-polling")
    assert done.returncode == 0
    assert "The server needs its cookies back (cookie_needed)" in done.stdout
    assert "Cookies were set: JSESSIONID, lb." in done.stdout
    assert "t0ken" not in done.stdout + done.stderr


def test_no_secret_is_printed_but_its_place_is(server: RealServer) -> None:
    with HandshakeServer(pass_on(server.port)) as gateway:
        done = probe(
            f"http://mia:p4ssword@127.0.0.1:{gateway.port}/echo?token=t0ken-q",
            *("-H", "X-Key: t0ken-h", "-H", "Cookie: sid=t0ken-c", "--transport", "websocket"),
        )
    assert done.returncode == 0
    for secret in ("t0ken", "p4ssword", "mia"):
        assert secret not in done.stdout + done.stderr
    head = gateway.requests[-1]
    for secret in ("token=t0ken-q", "X-Key: t0ken-h", "sid=t0ken-c", "Authorization: Basic"):
        assert secret in head
    config = configuration(done.stdout)
    assert "and the user info and query that you gave" in config
    assert '# headers."X-Key" = the value that you gave' in config
    assert '# cookies."sid" = the value that you gave' in config


# --- what does not work ----------------------------------------------------------------------------------------


def test_a_url_without_an_endpoint_is_exit_code_69_and_told_why(server: RealServer) -> None:
    done = probe(server.url("/nowhere"))
    assert done.returncode == 69
    assert "/info: the server answered 404 Not Found to GET /info" in done.stdout
    assert done.stdout.count("404 Not Found") == 1 + len(TRANSPORTS)
    assert "there is no SockJS endpoint at this URL" in done.stdout
    assert configuration(done.stdout) == ""


def test_a_server_that_takes_no_post_has_no_endpoint_either() -> None:
    with HandshakeServer(lambda _, sock: sock.sendall(NOT_ALLOWED)) as server:
        done = probe(f"http://127.0.0.1:{server.port}/echo", "--transport", "xhr-streaming")
    assert done.returncode == 69
    assert "there is no SockJS endpoint at this URL" in done.stdout


def test_a_server_that_cannot_be_reached_is_asked_once() -> None:
    done = probe("http://127.0.0.1:1/echo")
    assert done.returncode == 69
    assert "cannot reach 127.0.0.1 port 1: connection refused" in done.stdout
    assert "websocket" not in done.stdout
    assert "The server cannot be reached." in done.stdout


def test_a_server_that_refuses_us_is_told_as_such() -> None:
    with HandshakeServer(lambda _, sock: sock.sendall(FORBIDDEN)) as server:
        done = probe(f"http://127.0.0.1:{server.port}/echo", "--transport", "websocket")
    assert done.returncode == 69
    assert "It may want a login" in done.stdout


def test_a_server_that_never_opens_a_session_is_given_up_in_time() -> None:
    async def silent(peer: Peer) -> None:
        await peer.until_closed()

    async def run() -> None:
        async with scripted(silent) as server:
            found = await asyncio.to_thread(probe_json, server.url(), "--timeout", "0.3")
        assert not found["works"]
        assert found["config"] is None
        assert found["transports"]["websocket"]["problem"] == "no answer within 0.3 s"
        assert (
            found["transports"]["xhr-polling"]["problem"] == "connected, but no open frame came within 0.3 s"
        )

    asyncio.run(run())


def test_a_close_instead_of_an_open_frame_is_told_with_its_code() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.accept_websocket()
        await peer.send_text('c[2010,"Another connection still open \\u001b[31m"]')

    async def run() -> None:
        async with scripted(refuse) as server:
            done = await asyncio.to_thread(probe, server.url(), "--transport", "websocket")
        assert done.returncode == 69
        assert "session_busy 2010 (Another connection still open \\x1b[31m)" in done.stdout

    asyncio.run(run())


def test_wrong_usage_is_exit_code_64() -> None:
    for arguments in (["gopher://x"], ["http://x", "--timeout", "0"], []):
        done = probe(*arguments)
        assert (done.returncode, done.stdout) == (64, "")
