"""The rules of the page "Connecting to SockJS without the browser", over HTTP: rule W in docs and tests."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.in_process import events, one_session, running, until
from tests.scripted import Peer, scripted
from tests.scripted_http import HTTP_TRANSPORTS, PATHS, SENDS, Backend, bring, framed, over

every_transport = pytest.mark.parametrize("transport", HTTP_TRANSPORTS)


@every_transport
async def test_rule_w_a_second_open_frame_aborts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    backend = Backend()
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await bridge.opened()
        backend.push("o", 'a["of another session"]')
        await bridge.opened(epoch=2)
        backend.push('a["second epoch"]')
        assert await program.line() == "second epoch"
        assert events(caplog, "closed")[0]["cause"] == "session_lost"
        assert len(backend.session_ids) == 2


@every_transport
async def test_rule_w_a_close_frame_aborts_and_the_session_is_never_polled_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    async def receive(peer: Peer) -> None:
        if peer.session_id == backend.session_ids[0]:
            await bring(peer, "o", 'a["last words"]', 'c[3000,"Go away!"]', 'a["too late"]')
        else:
            await backend.receive(peer)

    backend = Backend(receive=receive)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened(epoch=2)
        program = await bridge.client()
        backend.push('a["second epoch"]')
        assert await program.line() == "second epoch"
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"], closed["reason"]) == ("server_closed", 3000, "Go away!")
        assert bridge.chat.hub.stats.messages_received == 2, "nothing behind a close frame counts"
        first = backend.session_ids[0]
        assert len([request for request in backend.requests if request.session_id == first]) == 1


@every_transport
async def test_rule_w_nothing_is_sent_before_the_open_frame(tmp_path: Path, transport: str) -> None:
    may_open = asyncio.Event()

    async def receive(peer: Peer) -> None:
        await may_open.wait()
        await backend.receive(peer)

    backend = Backend(receive=receive)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await program.send(b"early\n")
        await until(lambda: bridge.chat.hub.queue.messages == 1 and backend.requests)
        assert not [request for request in backend.requests if request.name in SENDS]
        may_open.set()
        await until(lambda: backend.sent)
        assert backend.sent == [["early"]]


@every_transport
async def test_rule_w_one_send_at_a_time_and_what_comes_meanwhile_goes_out_together(
    tmp_path: Path, transport: str
) -> None:
    may_answer = asyncio.Event()

    async def send(peer: Peer) -> None:
        await may_answer.wait()
        await backend.send(peer)

    backend = Backend(send=send)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"one\n")
        await backend.until_requested("jsonp_send" if transport == "jsonp-polling" else "xhr_send")
        for line in (b"two\n", b"three\n", b"four\n"):
            await program.send(line)
        await until(lambda: bridge.chat.hub.queue.messages == 3)
        may_answer.set()
        await until(lambda: len(backend.sent) == 2)
        assert backend.sent == [["one"], ["two", "three", "four"]]
        assert backend.most_at_once["send"] == 1


@pytest.mark.parametrize("transport", ["xhr-streaming", "jsonp-polling"])
@pytest.mark.parametrize(
    "status_line",
    [
        "201 Created",
        "204 No Content",
        "206 Partial",
        "302 Found",
        "403 Forbidden",
        "404 Not Found",
        "500 Oops",
    ],
)
async def test_rule_w_any_status_but_200_aborts_where_we_receive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str, status_line: str
) -> None:
    async def receive(peer: Peer) -> None:
        requests = [request for request in backend.requests if request.session_id == peer.session_id]
        if peer.session_id == backend.session_ids[0] and len(requests) == 2:
            body = b"" if "204" in status_line else framed(peer.name, 'a["no message"]')
            await peer.answer(status_line, "Location: /echo/info\r\n", body)
        elif peer.session_id == backend.session_ids[0]:
            await bring(peer, "o")
        else:
            await backend.receive(peer)

    backend = Backend(receive=receive)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened(epoch=2)
        closed = events(caplog, "closed")[0]
        assert closed["cause"] == ("session_lost" if status_line.startswith("404") else "transport_lost")
        assert status_line[:3] in str(closed["reason"])
        assert bridge.chat.hub.stats.messages_received == 0
        assert [request.session_id for request in backend.requests] == [
            backend.session_ids[0],
            backend.session_ids[0],
            *[backend.session_ids[1]] * (len(backend.requests) - 2),
        ]


@pytest.mark.parametrize("transport", ["xhr-streaming", "jsonp-polling"])
@pytest.mark.parametrize(
    ("status_line", "is_accepted"),
    [
        ("200 OK", True),
        ("204 No Content", True),
        ("201 Created", False),
        ("302 Found", False),
        ("500 Oops", False),
    ],
)
async def test_rule_w_any_status_but_200_and_204_aborts_where_we_send(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str, status_line: str, is_accepted: bool
) -> None:
    async def send(peer: Peer) -> None:
        await peer.answer(status_line, "Location: /echo/info\r\n", b"" if "204" in status_line else b"ok")

    backend = Backend(send=send)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"one\n")
        stats = bridge.chat.hub.stats
        await until(lambda: stats.messages_sent == 1)
        if is_accepted:
            assert stats.messages_in_doubt == 0
            backend.push('a["it goes on"]')
            assert await program.line() == "it goes on"
            assert bridge.chat.supervisor.epoch == 1
        else:
            await bridge.opened(epoch=2)
            assert events(caplog, "closed")[0]["cause"] == "send_rejected"
            assert stats.messages_in_doubt == 1
            assert len({request.session_id for request in backend.requests}) == 2


@every_transport
async def test_rule_w_every_request_asks_for_no_compression(tmp_path: Path, transport: str) -> None:
    backend = Backend()
    settings = over(transport, info=True, more='silence_timeout = "50ms"')
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"one\n")
        await until(lambda: backend.sent)
        await backend.until_requested("info", 2)  # one at the start, one that asks whether it is there
        assert {request.headers["accept-encoding"] for request in backend.requests} == {"identity"}
        assert {request.name for request in backend.requests} & {*PATHS, *SENDS}


async def test_rule_w_cookies_are_echoed_as_a_browser_would(tmp_path: Path) -> None:
    """Set by 200, 204, 404 and 101; the path respected; from a host that is an address; values as they came."""

    async def info(peer: Peer) -> None:
        await peer.answer("200 OK", 'Set-Cookie: lb=node"1==; Path=/\r\n', b"{}")

    async def receive(peer: Peer) -> None:
        if peer.name == "websocket" and len(backend.named("websocket")) > 1:
            await peer.answer("503 Busy", "Connection: close\r\n")
        elif peer.name == "websocket":
            await peer.accept_websocket("Set-Cookie: by101=1; Path=/; HttpOnly\r\n")
            await peer.send_text("o")
            await peer.send_text('c[3000,"try another"]')
            await peer.until_closed()
        elif len(backend.named("xhr")) == 1:
            await peer.answer("404 Not Found", "Set-Cookie: by404=1; Path=/\r\n")
        else:
            await backend.receive(peer)

    async def send(peer: Peer) -> None:
        headers = "Set-Cookie: by204=1; Path=/\r\nSet-Cookie: elsewhere=1; Path=/other\r\n"
        backend.sent.append([])
        await peer.answer("204 No Content", headers)

    backend = Backend(info=info, receive=receive, send=send)
    settings = over("xhr-polling", "websocket", info=True)
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await bridge.opened(epoch=2)
        await program.send(b"one\n")
        await until(lambda: backend.sent)
        backend.push('a["next"]', 'a["poll"]')
        assert await program.lines(2) == ["next", "poll"]
        last = backend.requests[-1]
        assert backend.requests[0].headers.get("cookie") is None
        assert backend.named("xhr")[0].headers["cookie"] == 'lb=node"1=='
        assert set(backend.named("websocket")[0].headers["cookie"].split("; ")) == {'lb=node"1==', "by404=1"}
        assert set(backend.named("xhr_send")[0].headers["cookie"].split("; ")) == {
            'lb=node"1==',
            "by404=1",
            "by101=1",
        }
        assert set(last.headers["cookie"].split("; ")) == {'lb=node"1==', "by404=1", "by101=1", "by204=1"}


@every_transport
async def test_rule_w_any_character_may_arrive_escaped(tmp_path: Path, transport: str) -> None:
    text = 'O"ne\\ \u00e9\u2028😀</script>'
    escaped = "".join(f"\\u{unit:04x}" for unit in memoryview(text.encode("utf-16-le")).cast("H"))
    backend = Backend()
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        backend.push(f'a["{escaped}"]')
        assert await program.line() == text


@pytest.mark.parametrize("transport", ["xhr-streaming", "jsonp-polling"])
async def test_rule_w_characters_of_the_client_list_leave_escaped(tmp_path: Path, transport: str) -> None:
    received = []

    async def send(peer: Peer) -> None:
        received.append(peer.body)
        await backend.send(peer)

    backend = Backend(send=send)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send("a\u200c\x7f\ufeff\u00e9\n".encode())
        await until(lambda: backend.sent)
        assert backend.sent == [["a\u200c\x7f\ufeff\u00e9"]]
        plain = received[0] if transport == "xhr-streaming" else received[0].replace(b"%5C", b"\\")
        assert b"a\\u200c\\u007f\\ufeff" in plain.lower()


@every_transport
async def test_rule_w_the_receiver_is_reopened_at_once_and_there_are_never_two(
    tmp_path: Path, transport: str
) -> None:
    """The server ends its response after each message. A clean end without `c` is normal."""
    backend = Backend()
    numbers = [str(number) for number in range(30)]
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        for number in numbers:
            backend.push(f"a{json.dumps([number])}")
            if transport not in {"xhr-polling", "jsonp-polling"}:
                backend.end_response()
        assert await program.lines(30) == numbers
        assert bridge.chat.supervisor.epoch == 1
        assert len(backend.session_ids) == 1
        assert len(backend.requests) >= 30
        assert backend.most_at_once["receive"] == 1


@every_transport
@pytest.mark.parametrize("broken", ["a chunk is missing", "bytes are missing", "reset"])
async def test_rule_w_after_an_unclean_break_the_session_is_abandoned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str, broken: str
) -> None:
    async def receive(peer: Peer) -> None:
        if len(backend.requests) == 1:
            await bring(peer, "o")
        elif len(backend.session_ids) == 1 and broken == "bytes are missing":
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
            peer.close()
        elif len(backend.session_ids) == 1:
            await peer.start_chunked()
            if broken == "reset":
                peer.reset()
            else:
                peer.close()
        else:
            await backend.receive(peer)

    backend = Backend(receive=receive)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened(epoch=2)
        first, second = backend.session_ids
        assert [r.session_id for r in backend.requests][:3] == [first, first, second]
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"]) == ("transport_lost", 1006)
