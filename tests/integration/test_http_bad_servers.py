"""Servers and proxies that misbehave over HTTP, where the bridge receives. A local client stays through all of it."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests.in_process import events, one_session, running, until
from tests.scripted import Peer, scripted
from tests.scripted_http import HTTP_TRANSPORTS, PRELUDES, SENDS, Backend, bring, framed, over

every_transport = pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
GETS = ["eventsource", "htmlfile", "jsonp-polling"]


@every_transport
async def test_a_frame_without_end(tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str) -> None:
    """It is not kept beyond max_frame_size: the server writes for ever, until the bridge hangs up."""
    sent_bytes = 0

    async def receive(peer: Peer) -> None:
        nonlocal sent_bytes
        is_first = len(backend.session_ids) == 1
        if not is_first or (peer.name not in PRELUDES and len(backend.requests) == 1):
            await backend.receive(peer)
            return
        await peer.start_chunked()
        opening = b"" if peer.name not in PRELUDES else PRELUDES[peer.name] + framed(peer.name, "o")
        await peer.send_chunk(opening + framed(peer.name, 'a["').partition(b"a[")[0] + b'a["')
        while True:
            await peer.send_chunk(b"x" * 4096)
            sent_bytes += 4096

    backend = Backend(receive=receive)
    settings = over(transport, more='max_frame_size = "64KiB"')
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await bridge.opened(epoch=2)
        closed = events(caplog, "closed")[0]
        assert closed["cause"] == "protocol_violation"
        assert "larger than 65536 bytes" in str(closed["reason"])
        backend.push('a["still here"]')
        assert await program.line() == "still here"
        assert sent_bytes < 16 << 20


@pytest.fixture
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30003\r\no\n" + b"x" * (1 << 20),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20),
        b"SSH-2.0" + b"x" * (1 << 20),
    ],
    ids=["frame", "header", "no HTTP"],
)
async def test_what_a_failed_attempt_has_read_is_not_kept(tmp_path: Path, answer: bytes) -> None:
    """An error holds the frames that it came through. In a circle with them it waits for the garbage collector."""

    async def receive(peer: Peer) -> None:
        await peer.send(answer)
        await peer.until_closed()

    backend = Backend(receive=receive)
    settings = over("xhr-streaming", more='max_frame_size = "64KiB"')
    async with scripted(backend) as server, running(one_session(server.url(), settings), tmp_path):
        await until(lambda: len(backend.session_ids) > 3)
    frames = {each.f_code.co_qualname for each in gc.get_objects() if isinstance(each, FrameType)}
    readers = {"ResponseHandler.data_received", "HttpTransport._receive_response", "FrameSplitter.feed"}
    assert not frames & readers


@every_transport
async def test_every_byte_comes_by_itself(tmp_path: Path, transport: str) -> None:
    """Status line, headers, chunk sizes, frames."""
    has_client = asyncio.Event()
    frames = ["o", 'a["näh"]', 'a["😀"]']

    async def receive(peer: Peer) -> None:
        await has_client.wait()
        if not frames:
            await peer.until_closed()
        taken = len(frames) if peer.name in PRELUDES else 1
        body = PRELUDES.get(peer.name, b"") + b"".join(framed(peer.name, frame) for frame in frames[:taken])
        del frames[:taken]
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            len(body),
            body,
        ):
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)

    async with (
        scripted(Backend(receive=receive)) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        program = await bridge.client()
        has_client.set()
        assert await program.lines(2) == ["näh", "😀"]
        assert bridge.chat.supervisor.epoch == 1


@pytest.mark.parametrize("where", ["receive", "info", "send"])
async def test_redirects_are_not_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    async def redirect(peer: Peer) -> None:
        await peer.answer("302 Found", "Location: /login?token=hush\r\n")

    async def redirect_first(peer: Peer) -> None:
        if len(backend.session_ids) == 1:
            await redirect(peer)
        else:
            await backend.receive(peer)

    backend = Backend(
        receive=redirect_first if where == "receive" else None,
        info=redirect if where == "info" else None,
        send=redirect if where == "send" else None,
    )
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), over("xhr-streaming", info=True)), tmp_path) as bridge,
    ):
        await bridge.opened()
        if where == "receive":
            failure = str(events(caplog, "cannot connect")[0]["message"])
            assert "302 Found to xhr_streaming (redirects are not followed" in failure
        if where == "send":
            program = await bridge.client()
            await program.send(b"one\n")
            await bridge.opened(epoch=2)
            assert "302 Found to xhr_send" in str(events(caplog, "closed")[0]["reason"])
        assert not [request for request in backend.requests if "login" in request.path]
    assert "hush" not in caplog.text


@pytest.mark.parametrize("transport", ["xhr-streaming", "xhr-polling"])
@pytest.mark.parametrize("answers_headers", [True, False])
async def test_a_proxy_that_buffers_is_given_up_for_the_next_transport(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str, answers_headers: bool
) -> None:
    async def receive(peer: Peer) -> None:
        if peer.name == "jsonp":
            await backend.receive(peer)
            return
        if answers_headers:
            await peer.start_chunked()
        await peer.until_closed()

    backend = Backend(receive=receive)
    settings = over(transport, "jsonp-polling", more='open_timeout = "200ms"')
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await bridge.opened()
        assert "no open frame came within 0.2 s" in str(events(caplog, "cannot connect")[0]["message"])
        assert len(backend.session_ids) == 2
        assert events(caplog, "open")[-1]["transport"] == "jsonp-polling"


@pytest.mark.parametrize("answers", ["101 and then nothing", "nothing"])
async def test_a_proxy_that_does_not_know_websocket(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answers: str
) -> None:
    async def receive(peer: Peer) -> None:
        if peer.name != "websocket":
            await backend.receive(peer)
            return
        if answers != "nothing":
            await peer.accept_websocket()
        await peer.until_closed()

    backend = Backend(receive=receive)
    limits = 'open_timeout = "200ms"\nconnect_timeout = "200ms"'
    async with (
        scripted(backend) as server,
        running(
            one_session(server.url(), over("websocket", "xhr-streaming", more=limits)), tmp_path
        ) as bridge,
    ):
        await bridge.opened()
        failure = str(events(caplog, "cannot connect")[0]["message"])
        assert ("no answer to the handshake" if answers == "nothing" else "no open frame came") in failure
        assert events(caplog, "open")[-1]["transport"] == "xhr-streaming"


@pytest.mark.parametrize("transport", ["xhr-polling", "jsonp-polling", "xhr-streaming"])
async def test_an_empty_answer_again_and_again_is_no_busy_loop(tmp_path: Path, transport: str) -> None:
    """`/info` twice tells the time without a clock: an age for a loop that is busy."""

    async def receive(peer: Peer) -> None:
        if len(backend.named(peer.name)) == 1:
            await bring(peer, "o")
        else:
            await peer.answer("200 OK")

    backend = Backend(receive=receive)
    settings = over(transport, more='silence_timeout = "400ms"')
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await bridge.opened()
        await backend.until_requested("info", 2)
        assert len(backend.requests) < 20
        assert len(backend.session_ids) == 1


@every_transport
@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"\x00" * 100, b"HTTP/1.1 abc\r\n\r\n"])
async def test_garbage_instead_of_http(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str, garbage: bytes
) -> None:
    async def receive(peer: Peer) -> None:
        if len(backend.session_ids) == 1:
            await peer.send(garbage)
            await peer.until_closed()
        else:
            await backend.receive(peer)

    backend = Backend(receive=receive)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened()
        assert "malformed, or no HTTP" in str(events(caplog, "cannot connect")[0]["message"])


@every_transport
async def test_the_server_dies_in_the_middle_of_a_response(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    """What came whole is delivered; half a message is not."""
    has_client = asyncio.Event()

    async def receive(peer: Peer) -> None:
        await has_client.wait()
        requests = len(backend.named(peer.name))
        opening = 0 if peer.name in PRELUDES else 1
        if requests <= opening:
            await bring(peer, "o")
        elif requests == opening + 1:
            await peer.start_chunked()
            frames = [*(["o"] if peer.name in PRELUDES else []), 'a["whole"]']
            body = PRELUDES.get(peer.name, b"") + b"".join(framed(peer.name, frame) for frame in frames)
            await peer.send_chunk(body + framed(peer.name, 'a["half of it"]')[:-20])
            peer.close()
        else:
            await backend.receive(peer)

    backend = Backend(receive=receive)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        program = await bridge.client()
        has_client.set()
        await bridge.opened(epoch=2)
        backend.push('a["next epoch"]')
        assert await program.lines(2) == ["whole", "next epoch"]
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"]) == ("transport_lost", 1006)


@pytest.mark.parametrize("transport", GETS)
@pytest.mark.parametrize("kept_connection", [False, True])
async def test_a_get_without_an_answer_is_never_repeated(
    tmp_path: Path, transport: str, kept_connection: bool
) -> None:
    """An HTTP client may repeat what is idempotent; a receiver of SockJS is not: the first may still be there."""

    async def receive(peer: Peer) -> None:
        requests = [request for request in backend.requests if request.session_id == peer.session_id]
        if kept_connection and len(requests) == 1:
            await bring(peer, "o")
        else:
            peer.close()

    backend = Backend(receive=receive)
    async with scripted(backend) as server, running(one_session(server.url(), over(transport)), tmp_path):
        await until(lambda: len(backend.session_ids) > 5)
        expected = 2 if kept_connection else 1
        for session_id in backend.session_ids[:5]:
            requests = [request for request in backend.requests if request.session_id == session_id]
            assert len(requests) == expected
            assert len({request.connection for request in requests}) == 1, "else nothing was kept"
        assert not [request for request in backend.requests if request.name in SENDS]


@pytest.mark.parametrize("status_line", ["100 Continue", "103 Early Hints"])
async def test_interim_answers_are_passed_over(tmp_path: Path, status_line: str) -> None:
    async def receive(peer: Peer) -> None:
        await peer.send(f"HTTP/1.1 {status_line}\r\nLink: </style.css>\r\n\r\n".encode())
        await backend.receive(peer)

    async def send(peer: Peer) -> None:
        await peer.send(f"HTTP/1.1 {status_line}\r\n\r\n".encode())
        await backend.send(peer)

    backend = Backend(receive=receive, send=send)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over("xhr-polling")), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"one\n")
        await until(lambda: backend.sent)
        backend.push('a["fine"]')
        assert await program.line() == "fine"
        assert bridge.chat.supervisor.epoch == 1


async def test_headers_without_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def receive(peer: Peer) -> None:
        if len(backend.session_ids) > 1:
            await backend.receive(peer)
            return
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.send(b"X-Again: " + b"x" * 1000 + b"\r\n")

    backend = Backend(receive=receive)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over("xhr-polling")), tmp_path) as bridge,
    ):
        await bridge.opened()
        assert "malformed, or no HTTP" in str(events(caplog, "cannot connect")[0]["message"])
