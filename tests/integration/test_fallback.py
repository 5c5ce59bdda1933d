"""Which transport is tried, what `/info` says about it, and when silence on HTTP means death."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.in_process import events, one_session, running, until
from tests.scripted import Peer, scripted
from tests.scripted_http import Backend, bring, over
from tests.transcripts import playing

ALL = (
    "websocket",
    "xhr-streaming",
    "eventsource",
    "htmlfile",
    "xhr-polling",
    "jsonp-polling",
    "websocket-raw",
)
RECEIVE_PATHS = [
    "websocket",
    "xhr_streaming",
    "eventsource",
    "htmlfile",
    "xhr",
    "jsonp",
    "websocket",
]


async def no_websocket(peer: Peer) -> None:
    await peer.answer("200 OK", body=b'{"websocket":false,"entropy":-7,"cookie_needed":true,"new_key":[1]}')


async def test_transports_are_tried_in_order_each_with_a_session_id_of_its_own(tmp_path: Path) -> None:
    async def receive(peer: Peer) -> None:
        if peer.path != "/echo/websocket":
            await peer.answer("500 Internal Server Error")
        else:
            await peer.accept_websocket()
            await peer.until_closed()

    backend = Backend(receive=receive)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(*ALL)), tmp_path) as bridge,
    ):
        await bridge.opened()
        assert [request.name for request in backend.requests] == RECEIVE_PATHS
        assert len({request.session_id for request in backend.requests[:-1]}) == len(ALL) - 1
        server_ids = {request.path.split("/")[2] for request in backend.requests[:-1]}
        assert len(server_ids) == 1, "a load balancer may go by it"


async def test_websocket_false_in_info_skips_both_websockets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Backend(info=no_websocket)
    settings = over("websocket", "websocket-raw", "xhr-polling", info=True)
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await bridge.opened()
        assert [request.name for request in backend.requests[:2]] == ["info", "xhr"]
        assert events(caplog, "open")[-1]["transport"] == "xhr-polling"


async def test_where_nothing_else_is_configured_a_websocket_is_tried_anyway(tmp_path: Path) -> None:
    async def receive(peer: Peer) -> None:
        await peer.open_session()
        await peer.until_closed()

    backend = Backend(info=no_websocket, receive=receive)
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), over("websocket", info=True)), tmp_path) as bridge,
    ):
        await bridge.opened()
        assert [request.name for request in backend.requests] == ["info", "websocket"]


async def test_info_false_asks_nothing(tmp_path: Path) -> None:
    backend = Backend()
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), over("xhr-polling", info=False)), tmp_path) as bridge,
    ):
        await bridge.opened()
        assert not backend.named("info")


async def _missing(peer: Peer) -> None:
    await peer.answer("404 Not Found")


async def _failing(peer: Peer) -> None:
    await peer.answer("500 Internal Server Error", body=b"{")


async def _refusing(peer: Peer) -> None:
    await peer.answer("403 Forbidden")


async def _garbage(peer: Peer) -> None:
    await peer.send(b"\x00\x01SSH-2.0\r\n\r\n")
    peer.close()


async def _page(peer: Peer) -> None:
    await peer.answer("200 OK", body=b"<!doctype html>")


async def _array(peer: Peer) -> None:
    await peer.answer("200 OK", body=b'["websocket"]')


async def _closing(peer: Peer) -> None:
    peer.close()


async def _hanging(peer: Peer) -> None:
    await peer.until_closed()


async def _endless(peer: Peer) -> None:
    await peer.start_chunked()
    while True:
        await peer.send_chunk(b" " * 4096)


@pytest.mark.parametrize(
    "info", [_missing, _failing, _refusing, _garbage, _page, _array, _closing, _hanging, _endless]
)
async def test_info_is_never_required(tmp_path: Path, info: Callable[[Peer], Awaitable[None]]) -> None:
    backend = Backend(info=info)
    settings = over("xhr-polling", info=True, more='connect_timeout = "300ms"')
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await bridge.opened()
        assert [request.name for request in backend.requests[:2]] == ["info", "xhr"]


async def test_info_is_asked_anew_at_each_reconnect(tmp_path: Path) -> None:
    """And not remembered: what it said before may be wrong by now."""

    async def info(peer: Peer) -> None:
        await (no_websocket if len(backend.named("info")) == 1 else backend.info)(peer)

    async def receive(peer: Peer) -> None:
        if peer.name == "websocket":
            await peer.open_session()
            await peer.until_closed()
        elif len(backend.named("xhr")) == 1:
            await bring(peer, "o", 'c[3000,"Go away!"]')
        else:
            await peer.answer("503 Busy")

    backend = Backend(info=info, receive=receive)
    settings = over("websocket", "xhr-polling", info=True)
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await bridge.opened(epoch=2)
        names = [request.name for request in backend.requests]
        assert names == ["info", "xhr", "info", "xhr", "websocket"]


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("http://127.0.0.1:{port}/other", "/other/"),
        ("/shard/7", "/shard/7/"),
        ("http://elsewhere.example/echo", "/echo/"),
        ("https://127.0.0.1:{port}/other", "/echo/"),
    ],
)
async def test_base_url_of_info_is_followed_within_the_same_origin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, base_url: str, path: str
) -> None:
    body = f'{{"base_url":"{base_url}"}}'
    text = rf"""
    > GET info
    < HTTP/1.1 200 OK
    < Connection: close
    <
    << {body}
    x
    > POST xhr
    < HTTP/1.1 200 OK
    < Content-Length: 2
    <
    << o\n
    > POST xhr
    ...
    """
    settings = over("xhr-polling", info=True)
    async with playing(text) as (server, _), running(one_session(server.url(), settings), tmp_path) as bridge:
        await bridge.opened()
        assert server.peers[-1].path.startswith(path)
        assert bool(events(caplog, "names another origin")) == (path == "/echo/")


@pytest.mark.parametrize(
    ("stable_after", "expected"),
    [("1h", ["websocket", "xhr", "xhr"]), ("0", ["websocket", "xhr", "websocket", "xhr"])],
)
async def test_what_opened_last_is_tried_first_until_the_session_was_stable(
    tmp_path: Path, stable_after: str, expected: list[str]
) -> None:
    async def receive(peer: Peer) -> None:
        if peer.name == "websocket":
            await peer.answer("503 Busy", "Connection: close\r\n")
        elif len(backend.named("xhr")) == 1:
            await bring(peer, "o", 'c[3000,"Go away!"]')
        else:
            await backend.receive(peer)

    backend = Backend(receive=receive)
    settings = one_session("URL", over("websocket", "xhr-polling")).replace(
        'max = "20ms"', f'max = "20ms", stable_after = "{stable_after}"'
    )
    async with (
        scripted(backend) as server,
        running(settings.replace("URL", server.url()), tmp_path) as bridge,
    ):
        await bridge.opened(epoch=2)
        assert [request.name for request in backend.requests][: len(expected)] == expected


@pytest.mark.parametrize("transport", ["xhr-streaming", "eventsource", "htmlfile", "xhr-polling"])
async def test_a_silent_server_that_never_sent_a_heartbeat_is_asked_and_lives_on(
    tmp_path: Path, transport: str
) -> None:
    """Tornado sends no `h` on a stream. A prelude is none either."""
    backend = Backend()
    settings = over(transport, more='silence_timeout = "40ms"')
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await backend.until_requested("info", 4)
        backend.push('a["well"]')
        assert await program.line() == "well"
        assert bridge.chat.supervisor.epoch == 1


@pytest.mark.parametrize("answer", [_failing, _missing])
async def test_any_answer_to_the_question_is_life(
    tmp_path: Path, answer: Callable[[Peer], Awaitable[None]]
) -> None:
    backend = Backend(info=answer)
    settings = over("xhr-streaming", more='silence_timeout = "40ms"')
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await backend.until_requested("info", 3)
        assert bridge.chat.supervisor.epoch == 1


@pytest.mark.parametrize("answer", [_hanging, _closing])
async def test_a_silent_server_that_does_not_answer_the_question_is_dead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: Callable[[Peer], Awaitable[None]]
) -> None:
    backend = Backend(info=answer)
    settings = over("xhr-streaming", more='silence_timeout = "40ms"\nconnect_timeout = "200ms"')
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await bridge.opened(epoch=2)
        closed = events(caplog, "closed")[0]
        assert closed["cause"] == "silence"
        assert "GET /info was not answered" in str(closed["reason"])


async def test_where_heartbeats_had_come_silence_is_death(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def receive(peer: Peer) -> None:
        if len(backend.session_ids) == 1:
            await bring(peer, "o", "h", end=False)
        else:
            await bring(peer, "o", end=False)

    backend = Backend(receive=receive)
    settings = over("xhr-streaming", more='silence_timeout = "60ms"')
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await until(lambda: events(caplog, "closed"))
        assert not backend.named("info")
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["reason"]) == ("silence", "nothing came for 0.06 s")
        await bridge.opened(epoch=2)
