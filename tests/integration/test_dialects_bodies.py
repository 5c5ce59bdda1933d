r"""How servers and what stands before them shape a response: headers, lengths, the ends of bodies."""

import gzip
import zlib
from pathlib import Path

import pytest

from tests.in_process import Program, Running, events, one_session, running
from tests.scripted_http import over
from tests.transcripts import playing

SENT_GO = """
> POST xhr_send
>> ["go"]
< HTTP/1.1 204 No Content
<
"""


async def says_go(bridge: Running) -> Program:
    """A program whose message shows the server that it is there."""
    program = await bridge.client()
    await program.send(b"go\n")
    return program


async def test_headers_of_an_idle_poll_come_with_its_first_byte(tmp_path: Path) -> None:
    """Far beyond connect_timeout and open_timeout: only `/info` shows that the server is there."""
    text = r"""
    > POST xhr
    < HTTP/1.1 200 OK
    < Content-Length: 2
    <
    << o\n
    > POST xhr
    ~ info 4
    < HTTP/1.1 200 OK
    < Content-Length: 10
    <
    << a["late"]\n
    > POST xhr
    ...
    """
    asked = """
    > GET info
    < HTTP/1.1 200 OK
    < Content-Length: 2
    <
    << {}
    """
    limits = 'connect_timeout = "200ms"\nopen_timeout = "200ms"\nsilence_timeout = "100ms"'
    settings = over("xhr-polling", more=limits)
    async with (
        playing(text + SENT_GO + 50 * asked) as (server, _),
        running(one_session(server.url(), settings), tmp_path) as bridge,
    ):
        program = await says_go(bridge)
        assert await program.line() == "late"
        assert bridge.chat.supervisor.epoch == 1


async def test_a_server_of_http_1_0_has_no_chunks(tmp_path: Path) -> None:
    """The end of the connection ends its body, which is a clean end."""
    text = r"""
    > POST xhr_streaming
    < HTTP/1.0 200 OK
    < Content-Type: application/javascript
    <
    << {h*2048}\n
    << o\n
    ~ xhr_send
    << a["one"]\n
    x
    > POST xhr_streaming
    < HTTP/1.0 200 OK
    <
    << {h*2048}\na["two"]\n
    ...
    """
    async with (
        playing(text + SENT_GO) as (server, played),
        running(one_session(server.url(), over("xhr-streaming")), tmp_path) as bridge,
    ):
        program = await says_go(bridge)
        assert await program.lines(2) == ["one", "two"]
        assert len(played.session_ids) == 1


async def test_leftovers_of_frames_do_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """White space, empty frames, `a[]`, runs of `h`, a broken `a`, no delimiter behind the last frame."""
    text = r"""
    > POST xhr_streaming
    < HTTP/1.1 200 OK
    < Transfer-Encoding: chunked
    <
    <| {h*2048}\n
    <| o\n
    ~ xhr_send
    <| \n\r\n  \n
    <| a[]\nhhh\nh\n
    <|   a["spaced"]  \r\n
    <| a["broken]\n
    <| a["lone \ud800"]\n
    <| a["last"]
    <|
    > POST xhr_streaming
    ...
    """
    async with (
        playing(text + SENT_GO) as (server, played),
        running(one_session(server.url(), over("xhr-streaming")), tmp_path) as bridge,
    ):
        program = await says_go(bridge)
        assert await program.lines(3) == ["spaced", "lone \ufffd", "last"]
        await played.until_over()
        assert len(played.session_ids) == 1
        assert bridge.chat.hub.stats.frames_dropped == 1
        assert events(caplog, "left out a frame")
        assert bridge.listener().counts.encoding.surrogates_replaced == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_proxy_compresses_although_it_was_asked_not_to(tmp_path: Path, encoding: str) -> None:
    def packed(body: bytes) -> str:
        data = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
        return "".join(f"\\x{byte:02x}" for byte in data)

    text = rf"""
    > POST xhr
    > Accept-Encoding: identity
    < HTTP/1.1 200 OK
    < Content-Encoding: {encoding}
    < Transfer-Encoding: chunked
    <
    <| {packed(b"o" + bytes([10]))}
    <|
    > POST xhr
    ~ xhr_send
    < HTTP/1.1 200 OK
    < Content-Encoding: {encoding}
    < Transfer-Encoding: chunked
    <
    <| {packed(b'a["unpacked"]' + bytes([10]))}
    <|
    > POST xhr
    ...
    """
    async with (
        playing(text + SENT_GO) as (server, _),
        running(one_session(server.url(), over("xhr-polling")), tmp_path) as bridge,
    ):
        program = await says_go(bridge)
        assert await program.line() == "unpacked"


async def test_cookies_of_a_sticky_proxy_come_with_a_404(tmp_path: Path) -> None:
    text = r"""
    > POST xhr
    > Cookie:
    < HTTP/1.1 404 Not Found
    < Set-Cookie: route=a.b|c==/1; Path=/; HttpOnly
    < Content-Length: 0
    <
    > POST xhr
    > Cookie: route=a.b|c==/1
    < HTTP/1.1 200 OK
    < Content-Length: 2
    <
    << o\n
    > POST xhr
    ...
    """
    async with (
        playing(text) as (server, played),
        running(one_session(server.url(), over("xhr-polling")), tmp_path) as bridge,
    ):
        await bridge.opened()
        assert len(played.session_ids) == 2


@pytest.mark.parametrize("value", ['"in quotes"', 'half"quoted', "a=b==", "comma,and space"])
@pytest.mark.parametrize("transport", ["xhr-polling", "websocket"])
async def test_the_value_of_a_cookie_comes_back_as_it_was(tmp_path: Path, transport: str, value: str) -> None:
    """As from a browser, for which quotes are part of the value."""
    text = rf"""
    > GET info
    < HTTP/1.1 200 OK
    < Set-Cookie: route={value}; Path=/
    < Content-Length: 2
    <
    << {{}}
    > POST xhr
    > Cookie: route={value}
    ...
    > GET websocket
    > Cookie: route={value}
    < HTTP/1.1 101 Switching Protocols
    < Upgrade: websocket
    < Connection: Upgrade
    < Sec-WebSocket-Accept: {{accept}}
    <
    ...
    """
    async with (
        playing(text) as (server, played),
        running(one_session(server.url(), over(transport, info=True)), tmp_path),
    ):
        await played.until_requested(1)


async def test_jsonp_is_sent_as_a_form_field(tmp_path: Path) -> None:
    """Every server takes that. The answer `ok` means nothing."""
    text = r"""
    > GET jsonp
    < HTTP/1.1 200 OK
    < Content-Type: application/javascript; charset=UTF-8
    < Content-Length: 14
    <
    << /**/jp("o");\r\n
    > GET jsonp
    ~ jsonp_send
    < HTTP/1.1 200 OK
    < Content-Length: 27
    <
    << jp("a[\"hello & bye\"]");\r\n
    > GET jsonp
    ...
    > POST jsonp_send
    > Content-Type: application/x-www-form-urlencoded
    >> d=%5B%22a%26b+%25%3D%22%5D
    < HTTP/1.1 200 OK
    < Content-Length: 2
    <
    << ok
    """
    async with (
        playing(text) as (server, _),
        running(one_session(server.url(), over("jsonp-polling")), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await program.send(b"a&b %=\n")
        assert await program.line() == "hello & bye"
