"""Servers that are not there, that are something else, or that misbehave: a clear line, and it goes on.

Each test has a real socket on the other side.
"""

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.in_process import events, one_session, running, until
from tests.scripted import CONTINUATION, PONG, TEXT, Peer, scripted, websocket_frame


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def first_failure(caplog: pytest.LogCaptureFixture) -> str:
    return str(events(caplog, "cannot connect")[0]["message"])


async def echo(peer: Peer) -> None:
    await peer.open_session()
    await peer.echo()


async def test_server_not_there_and_then_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with scripted(echo) as server:
        await server.stop()
        async with running(one_session(server.url()), tmp_path) as bridge:
            await until(lambda: events(caplog, "cannot connect"))
            assert "connection refused" in first_failure(caplog)
            assert "next try in" in first_failure(caplog)
            await server.start()
            await bridge.opened()


async def test_name_that_does_not_resolve(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(one_session("http://no-such-host.invalid/echo"), tmp_path):
        await until(lambda: events(caplog, "cannot connect"))
        assert "cannot resolve no-such-host.invalid" in first_failure(caplog)


@pytest.mark.parametrize(
    ("status_line", "hint"),
    [
        ("404 Not Found", "does the url name the SockJS endpoint"),
        ("403 Forbidden", "a login or an origin may be missing"),
        ("200 OK", "a page is no SockJS session"),
        ("302 Found", "redirects are not followed"),
        ("500 Internal Server Error", "500 Internal Server Error"),
        ("599 Odd", "answered 599 to"),
    ],
)
async def test_other_status_than_101(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status_line: str, hint: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(status_line, "Location: /elsewhere?token=hush\r\n", b"<html>")

    async with scripted(script) as server, running(one_session(server.url()), tmp_path):
        await until(lambda: events(caplog, "cannot connect"))
        assert status_line.split(maxsplit=1)[0] in first_failure(caplog)
        assert hint in first_failure(caplog)
        await server.connections(4)
    assert "hush" not in caplog.text


async def test_403_is_tried_once_more_with_the_same_origin(tmp_path: Path) -> None:
    """Protocol section 5: some servers refuse a handshake without an Origin."""
    session_ids = set()

    async def script(peer: Peer) -> None:
        await peer.read_request()
        session_ids.add(peer.path)
        if "origin" not in peer.headers:
            await peer.answer("403 Forbidden")
        else:
            await peer.open_session()
            if peer.number == 2:
                peer.close()
            await peer.stay()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened(epoch=2)
        assert server.peers[1].headers["origin"] == f"http://127.0.0.1:{server.port}"
        assert "origin" in server.peers[2].headers, "what worked is kept"
        assert len(session_ids) == 3


async def test_a_refusal_is_heard_to_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reset instead would end sockjs-node, which does not handle errors of connections that it refused."""
    ends: list[bytes | type[Exception]] = []

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.005)
            await peer.send(b"x")
        try:
            await peer.until_closed()
            ends.append(b"")
        except ConnectionError as error:
            ends.append(type(error))

    async with scripted(script) as server, running(one_session(server.url()), tmp_path):
        await server.connections(3)
        assert "404 Not Found" in first_failure(caplog)
        assert ends == [b""] * len(ends)
        assert len(ends) >= 2


async def test_not_http_at_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await peer.until_closed()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path):
        await until(lambda: events(caplog, "cannot connect"))
        assert "no WebSocket handshake" in first_failure(caplog)


async def test_hang_up_during_the_handshake(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path):
        await until(lambda: events(caplog, "cannot connect"))
        assert "closed the connection during the WebSocket handshake" in first_failure(caplog)


async def test_no_answer_to_the_handshake(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.until_closed()

    quick = 'connect_timeout = "50ms"'
    async with scripted(script) as server, running(one_session(server.url(), quick), tmp_path):
        await until(lambda: events(caplog, "cannot connect"))
        assert "no answer to the handshake within connect_timeout (0.05 s)" in first_failure(caplog)
        await server.connections(3)


def _self_signed(directory: Path) -> ssl.SSLContext:
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_certificate_of_nobody_we_trust(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        scripted(echo, _self_signed(tmp_path)) as server,
        running(one_session(server.url()), tmp_path),
    ):
        await until(lambda: events(caplog, "cannot connect"))
        assert "certificate is self-signed, and not trusted here: set tls.ca" in first_failure(caplog)


async def test_certificate_that_the_system_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(echo, _self_signed(tmp_path)) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        async with running(one_session(server.url()), tmp_path) as bridge:
            await bridge.opened()
            program = await bridge.client()
            await program.send(b"over TLS\n")
            assert await program.line() == "over TLS"


async def test_tls_to_a_plain_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.until_closed()

    async with scripted(script) as server:
        url = server.url().replace("http:", "https:")
        async with running(one_session(url), tmp_path):
            await until(lambda: events(caplog, "cannot connect"))
            assert "the server does not speak TLS here: is it http://" in first_failure(caplog)


async def test_open_frame_never_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The attempt ends after open_timeout, politely, and the next has a new session id."""
    codes = []

    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        codes.append(await peer.receive_close())

    quick = 'open_timeout = "50ms"'
    async with scripted(script) as server, running(one_session(server.url(), quick), tmp_path):
        await server.connections(3)
        assert "no open frame came within 0.05 s" in first_failure(caplog)
        assert codes[0] == 1000
        assert server.peers[0].path != server.peers[1].path


async def test_falls_through_to_the_next_transport(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A WebSocket that stays silent is given up for what comes next in `transports`."""

    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        await peer.stay()

    both = 'open_timeout = "50ms"\ntransports = ["websocket", "websocket-raw"]'
    async with scripted(script) as server, running(one_session(server.url(), both), tmp_path) as bridge:
        await bridge.opened()
        assert server.peers[0].path.count("/") == 4
        assert server.peers[1].path == "/echo/websocket"
        assert events(caplog, "open")[-1]["transport"] == "websocket-raw"


async def test_garbage_frames_are_left_out_and_the_session_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.open_session()
        assert await peer.receive_messages() == ["go"]
        for frame in ("xyz", 'a["unfinished', "a{}", '{"no": "frame"}', 'a["fine"]'):
            await peer.send_text(frame)
        await peer.stay()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        program = await bridge.client()
        await program.send(b"go\n")
        assert await program.line() == "fine"
        assert bridge.chat.hub.stats.frames_dropped == 4
        assert bridge.chat.supervisor.epoch == 1
        assert events(caplog, "left out a frame")


async def test_second_open_frame_abandons_the_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rule W: the server has lost the session; what comes behind the second `o` belongs to another one."""

    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 1:
            await peer.send(websocket_frame(TEXT, b"o") + websocket_frame(TEXT, b'a["of another session"]'))
        else:
            await peer.send_text('a["second epoch"]')
        await peer.until_closed()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        program = await bridge.client()
        await bridge.opened(epoch=2)
        assert await program.line() == "second epoch"
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["epoch"]) == ("session_lost", 1)
        assert server.peers[0].path != server.peers[1].path


@pytest.mark.parametrize(
    ("frame", "cause", "code"),
    [
        ('c[3000,"Go away!"]', "server_closed", 3000),
        ('c[2010,"Another connection still open"]', "session_busy", 2010),
        ('c[1002,"Connection interrupted"]', "interrupted", 1002),
        ('c[4001,"bye "quoted""]', "server_closed", 4001),
    ],
)
async def test_close_frame_is_reported_with_its_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, frame: str, cause: str, code: int
) -> None:
    """After `c` we close the socket ourselves: some servers leave it open."""

    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 1:
            await peer.send_text(frame)
            await peer.receive_close()
        await peer.stay()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened(epoch=2)
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"]) == (cause, code)


async def test_close_frame_at_once_is_no_session(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        await peer.send_text('c[3000,"full"]')
        await peer.until_closed()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path):
        await server.connections(3)
        assert "ended before the session was open: server_closed 3000 (full)" in first_failure(caplog)


async def test_websocket_close_without_a_close_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Protocol section 5: without `c` it is the WebSocket's code; no code is 1005, a drop 1006."""

    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 1:
            await peer.send_frame(8, (1012).to_bytes(2, "big") + b"restart")
        elif peer.number == 2:
            await peer.send_frame(8, b"")
        elif peer.number == 3:
            peer.reset()
        await peer.until_closed()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened(epoch=4)
        closed = [(line["cause"], line["code"], line["reason"]) for line in events(caplog, "closed")[:3]]
        assert closed == [
            ("server_closed", 1012, "restart"),
            ("server_closed", 1005, None),
            ("transport_lost", 1006, None),
        ]


@pytest.mark.parametrize("in_fragments", [False, True])
async def test_message_over_the_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, in_fragments: bool
) -> None:
    """Refused with 1009 before it is kept; fragments are bounded in their sum."""
    codes = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number > 1:
            await peer.stay()
        if in_fragments:
            await peer.send_frame(TEXT, b'a["' + b"x" * 900, fin=False)
            await peer.send_frame(CONTINUATION, b"y" * 900, fin=False)
        else:
            await peer.send(websocket_frame(TEXT, b"x" * 2000)[:500])
        codes.append(await peer.receive_close())

    limit = 'max_frame_size = "1KiB"'
    async with scripted(script) as server, running(one_session(server.url(), limit), tmp_path) as bridge:
        await bridge.opened(epoch=2)
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"], codes) == ("protocol_violation", 1009, [1009])


async def test_server_dies_in_the_middle_of_a_frame(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 1:
            assert await peer.receive_messages() == ["go"]
            await peer.send(
                websocket_frame(TEXT, b'a["whole"]') + websocket_frame(TEXT, b'a["half of it"]')[:8]
            )
            assert await peer.receive_messages() == ["die"]
            peer.reset()
        else:
            await peer.send_text('a["of the next session"]')
        await peer.stay()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        program = await bridge.client()
        await program.send(b"go\n")
        assert await program.line() == "whole"
        await program.send(b"die\n")
        assert await program.line() == "of the next session"
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"]) == ("transport_lost", 1006)
        assert bridge.chat.hub.stats.frames_dropped == 0


@pytest.mark.parametrize(
    ("what", "frames", "code"),
    [
        ("a reserved bit", [websocket_frame(TEXT, b"a[]", rsv=4)], 1002),
        ("a stray continuation", [websocket_frame(CONTINUATION, b"a[]")], 1002),
        (
            "a message inside another",
            [websocket_frame(TEXT, b"a", fin=False), websocket_frame(TEXT, b"a[]")],
            1002,
        ),
        ("text that is not UTF-8", [websocket_frame(TEXT, b'a["\xff"]')], 1007),
        ("a masked frame", [b"\x81\x81\0\0\0\0o"], 1002),
        ("an unknown opcode", [b"\x83\0"], 1002),
    ],
)
async def test_what_breaks_rfc_6455_ends_the_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str, frames: list[bytes], code: int
) -> None:
    codes = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 1:
            await peer.send(b"".join(frames))
            codes.append(await peer.receive_close())
        await peer.stay()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened(epoch=2)
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"], codes) == ("protocol_violation", code, [code]), what


async def test_silence_ends_a_session_that_had_shown_heartbeats(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Protocol section 5: half-open connections are found out; a server without heartbeats is not suspected."""

    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 1:
            await peer.send_text("h")
        await peer.stay()

    watch = 'silence_timeout = "80ms"\nping_interval = 0'
    async with scripted(script) as server, running(one_session(server.url(), watch), tmp_path) as bridge:
        await bridge.opened(epoch=2)
        assert events(caplog, "closed")[0]["cause"] == "silence"
        await asyncio.sleep(0.3)  # longer than the limit: the second session never showed a heartbeat
        assert bridge.chat.supervisor.epoch == 2


async def test_pong_overdue_where_pongs_have_come(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 1:
            await peer.receive_frame()
            await peer.send_frame(PONG, b"")
        await peer.stay()

    watch = 'silence_timeout = 0\nping_interval = "50ms"'
    async with scripted(script) as server, running(one_session(server.url(), watch), tmp_path) as bridge:
        await bridge.opened(epoch=2)
        closed = events(caplog, "closed")[0]
        assert closed["cause"] == "silence"
        assert "PING was not answered" in str(closed["reason"])


async def test_parts_of_a_large_frame_are_signs_of_life(tmp_path: Path) -> None:
    """They show in the kernel only: no callback comes until the frame is whole."""

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await peer.send_text("h")
        assert await peer.receive_messages() == ["go"]
        frame = websocket_frame(TEXT, b'a["' + b"x" * 2000 + b'"]')
        for start in range(0, len(frame), 200):
            await peer.send(frame[start : start + 200])
            await asyncio.sleep(0.03)
        await peer.stay()

    watch = 'silence_timeout = "150ms"\nping_interval = 0'
    async with scripted(script) as server, running(one_session(server.url(), watch), tmp_path) as bridge:
        program = await bridge.client()
        await program.send(b"go\n")
        assert await program.line() == "x" * 2000
        assert bridge.chat.supervisor.epoch == 1
