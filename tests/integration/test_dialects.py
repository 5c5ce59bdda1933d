r"""Servers that do it in their own way, over HTTP: what docs and protocol tests say of each, as it stands on the wire.

tests/transcripts.py tells how to read a transcript. WebSocket is in test_dialects_websocket.py, and
test_dialects_table.py tells which test covers which line of the protocol.
"""

from pathlib import Path

import pytest

from tests.in_process import Program, Running, events, one_session, running
from tests.scripted_http import over
from tests.transcripts import playing

SENT_GO = """
> POST xhr_send
> Content-Type: text/plain;charset=UTF-8
>> ["go"]
< HTTP/1.1 204 No Content
<
"""


async def says_go(bridge: Running) -> Program:
    """A program whose message shows the server that it is there."""
    program = await bridge.client()
    await program.send(b"go\n")
    return program


async def test_vertx_sends_the_prelude_with_the_first_frame(tmp_path: Path) -> None:
    text = (
        SENT_GO
        + r"""
    > POST xhr_streaming
    < HTTP/1.1 200 OK
    < content-type: application/javascript; charset=UTF-8
    < access-control-allow-origin: *
    < transfer-encoding: chunked
    <
    <| {h*2048}\no\n
    ~ xhr_send
    <| a["hello"]\n
    ...
    """
    )
    async with (
        playing(text) as (server, _),
        running(one_session(server.url(), over("xhr-streaming")), tmp_path) as bridge,
    ):
        program = await says_go(bridge)
        assert await program.line() == "hello"


async def test_vertx_echoes_the_whole_cookie_header(tmp_path: Path) -> None:
    """As one Set-Cookie, in which `theme=dark` is no attribute that a browser would know."""
    text = r"""
    > POST xhr
    > Cookie: lb=1; theme=dark
    < HTTP/1.1 200 OK
    < set-cookie: lb=1; theme=dark;path=/
    < content-length: 2
    <
    << o\n
    > POST xhr
    > Cookie: lb=1; theme=dark
    < HTTP/1.1 200 OK
    < set-cookie: JSESSIONID=dummy;path=/
    < content-length: 2
    <
    << h\n
    > POST xhr
    > Cookie: lb=1; theme=dark; JSESSIONID=dummy
    ~ xhr_send
    < HTTP/1.1 200 OK
    < content-length: 11
    <
    << a["hello"]\n
    > POST xhr
    ...
    """
    cookies = over("xhr-polling", more='cookies = { lb = "1", theme = "dark" }')
    async with (
        playing(SENT_GO + text) as (server, _),
        running(one_session(server.url(), cookies), tmp_path) as bridge,
    ):
        program = await says_go(bridge)
        assert await program.line() == "hello"


async def test_vertx_refuses_a_request_without_origin(tmp_path: Path) -> None:
    """With a fixed origin it does, and so does webpack-dev-server: tried once more, as a page of the server."""
    text = """
    > POST xhr_streaming
    > Origin:
    < HTTP/1.1 403 Forbidden
    < content-length: 0
    <
    > POST xhr_streaming
    > Origin: http://127.0.0.1:{port}
    < HTTP/1.1 200 OK
    < transfer-encoding: chunked
    <
    <| {h*2048}\\no\\n
    ...
    """
    async with (
        playing(text) as (server, played),
        running(one_session(server.url(), over("xhr-streaming")), tmp_path) as bridge,
    ):
        await bridge.opened()
        assert len(played.session_ids) == 2


async def test_go_spring_and_octoprint_refuse_a_foreign_origin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the user's own, and is not exchanged for another one behind his back."""
    text = """
    > POST xhr_streaming
    > Origin: http://page.example
    < HTTP/1.1 403 Forbidden
    < Content-Length: 0
    <
    > POST xhr
    > Origin: http://page.example
    < HTTP/1.1 403 Forbidden
    < Content-Length: 0
    <
    and so on
    """
    settings = over("xhr-streaming", "xhr-polling", more='origin = "http://page.example"')
    async with playing(text) as (server, played), running(one_session(server.url(), settings), tmp_path):
        await played.until_over()
        assert [name for _, name in played.requests[:2]] == ["xhr_streaming", "xhr"]
        assert "an origin may be missing" in str(events(caplog, "cannot connect")[0]["message"])


async def test_spring_sends_an_unescaped_close_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """So does tornado."""
    text = r"""
    > POST xhr_streaming
    < HTTP/1.1 200
    < Content-Type: application/javascript;charset=UTF-8
    < Transfer-Encoding: chunked
    <
    <| {h*2048}\n
    <| o\n
    <| c[1011,"no "session" any more"]\n
    <|
    and so on
    """
    async with (
        playing(text) as (server, played),
        running(one_session(server.url(), over("xhr-streaming")), tmp_path),
    ):
        await played.until_requested(2)
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"]) == ("server_closed", 1011)
        assert closed["reason"] == 'no "session" any more'
        assert len(played.session_ids) == 2


async def test_spring_writes_html_and_jsonp_as_javascript_strings(tmp_path: Path) -> None:
    """With escapes that JSON does not have."""
    text = r"""
    > GET htmlfile
    < HTTP/1.1 200
    < Content-Type: text/html;charset=UTF-8
    < Transfer-Encoding: chunked
    <
    <| <!doctype html>\n<html><head></head><body><h2>Don't panic!</h2><script>{ *1024}</script>\r\n
    <| <script>\np("o");\n</script>\r\n
    ~ xhr_send
    <| <script>\np("a[\"it\'s \u003Cb\u003E \\\"here\\\"\"]");\n</script>\r\n
    ...
    """
    async with (
        playing(SENT_GO + text) as (server, _),
        running(one_session(server.url(), over("htmlfile")), tmp_path) as bridge,
    ):
        program = await says_go(bridge)
        assert await program.line() == 'it\'s <b> "here"'


async def test_spring_refuses_another_transport_in_the_same_session(tmp_path: Path) -> None:
    """404, so each transport that is tried has a session of its own."""
    text = r"""
    > POST xhr_streaming
    < HTTP/1.1 200
    < Transfer-Encoding: chunked
    <
    <| {h*2048}\n
    ...
    > POST xhr
    < HTTP/1.1 200
    < Content-Length: 2
    <
    << o\n
    > POST xhr
    ...
    """
    settings = over("xhr-streaming", "xhr-polling", more='open_timeout = "200ms"')
    async with (
        playing(text) as (server, played),
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        await bridge.opened()
        await played.until_over()
        first, second = played.session_ids
        assert played.requests == [(first, "xhr_streaming"), (second, "xhr"), (second, "xhr")]


async def test_octoprint_sends_objects(tmp_path: Path) -> None:
    text = r"""
    > POST xhr_streaming
    < HTTP/1.1 200 OK
    < Transfer-Encoding: chunked
    <
    <| {h*2048}\n
    <| o\n
    ~ xhr_send
    <| a[{"connected": {"version": "1.10.2", "debug": false}}]\n
    <| a["text", 1.50, null]\n
    <| m{"one":  1}\n
    ...
    """
    async with (
        playing(SENT_GO + text) as (server, _),
        running(one_session(server.url(), over("xhr-streaming")), tmp_path) as bridge,
    ):
        program = await says_go(bridge)
        assert await program.lines(5) == [
            '{"connected":{"version":"1.10.2","debug":false}}',
            "text",
            "1.50",
            "null",
            '{"one":1}',
        ]


async def test_sockjs_node_encodes_percent_signs_of_eventsource(tmp_path: Path) -> None:
    """So do sockjs-go from 3.0.1 on and Erlang: `auto` takes `%25` for `%`."""
    text = r"""
    > GET eventsource
    < HTTP/1.1 200 OK
    < Content-Type: text/event-stream; charset=UTF-8
    < Transfer-Encoding: chunked
    <
    <| \r\n
    <| data: o\r\n\r\n
    ~ xhr_send
    <| data: a["100%25, %2525"]\r\n\r\n
    ...
    """
    async with (
        playing(SENT_GO + text) as (server, _),
        running(one_session(server.url(), over("eventsource")), tmp_path) as bridge,
    ):
        program = await says_go(bridge)
        assert await program.line() == "100%, %25"


async def test_tornado_does_not_encode_percent_signs_of_eventsource(tmp_path: Path) -> None:
    """Nor do aio-libs, Spring and Vert.x: the first `%` that is no `%25` shows it."""
    text = r"""
    > GET eventsource
    < HTTP/1.1 200 OK
    < Content-Type: text/event-stream; charset=UTF-8
    <
    << \r\ndata: o\r\n\r\n
    ~ xhr_send
    << data: a["100%, %0A"]\r\n\r\n
    << data: a["%25"]\r\n\r\n
    ...
    """
    async with (
        playing(SENT_GO + text) as (server, _),
        running(one_session(server.url(), over("eventsource")), tmp_path) as bridge,
    ):
        program = await says_go(bridge)
        assert await program.lines(2) == ["100%, %0A", "%25"]


async def test_aio_closes_before_the_open_frame_and_before_the_prelude(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = r"""
    > POST xhr_streaming
    < HTTP/1.1 200 OK
    < Transfer-Encoding: chunked
    <
    <| c[3000,"Go away!"]\n
    <|
    and so on
    """
    async with (
        playing(text) as (server, played),
        running(one_session(server.url(), over("xhr-streaming")), tmp_path),
    ):
        await played.until_requested(2)
        assert len(played.session_ids) == 2
        failure = str(events(caplog, "cannot connect")[0]["message"])
        assert "ended before the session was open: server_closed 3000 (Go away!)" in failure


async def test_a_second_receiver_is_answered_2010(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = r"""
    > POST xhr
    < HTTP/1.1 200 OK
    < Content-Length: 2
    <
    << o\n
    > POST xhr
    < HTTP/1.1 200 OK
    < Content-Length: 40
    <
    << c[2010,"Another connection still open"]\n
    and so on
    """
    async with (
        playing(text) as (server, played),
        running(one_session(server.url(), over("xhr-polling")), tmp_path),
    ):
        await played.until_requested(3)
        assert len(played.session_ids) == 2
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"]) == ("session_busy", 2010)
