r"""Servers that do it in their own way over WebSocket, as it stands on the wire: see tests/transcripts.py."""

from pathlib import Path

import pytest

from tests.in_process import events, one_session, running, until
from tests.scripted_http import over
from tests.transcripts import playing

HANDSHAKE = """
    < HTTP/1.1 101 Switching Protocols
    < Upgrade: websocket
    < Connection: Upgrade
    < Sec-WebSocket-Accept: {accept}
    <
"""


async def test_actix_leaves_the_socket_open_after_c(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """So the bridge closes it."""
    text = rf"""
    > GET websocket
    {HANDSHAKE}
    <| o
    <| c[3000,"Go away!"]
    >c 1000
    ...
    > GET websocket
    ~ websocket
    {HANDSHAKE}
    <| o
    ...
    """
    async with (
        playing(text) as (server, _),
        running(one_session(server.url(), over("websocket")), tmp_path) as bridge,
    ):
        await bridge.opened(epoch=2)
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"]) == ("server_closed", 3000)


@pytest.mark.parametrize(
    ("last_frame", "cause", "code"),
    [('<| c[3000,"Go away!"]', "server_closed", 3000), ("", "transport_lost", 1006)],
)
async def test_netty_drops_tcp_without_a_close_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, last_frame: str, cause: str, code: int
) -> None:
    """So does go: the code of `c` counts first, and 1006 where there is none."""
    text = rf"""
    > GET websocket
    {HANDSHAKE}
    <| o
    {last_frame}
    x
    > GET websocket
    {HANDSHAKE}
    <| o
    ...
    """
    async with (
        playing(text) as (server, _),
        running(one_session(server.url(), over("websocket")), tmp_path) as bridge,
    ):
        await bridge.opened(epoch=2)
        closed = events(caplog, "closed")[0]
        assert (closed["cause"], closed["code"]) == (cause, code)


async def test_go_has_no_raw_websocket_404(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = rf"""
    > GET echo/websocket
    < HTTP/1.1 404 Not Found
    < Content-Type: text/plain; charset=utf-8
    < Content-Length: 19
    <
    << 404 page not found\n
    > GET websocket
    {HANDSHAKE}
    <| o
    ...
    """
    settings = over("websocket-raw", "websocket")
    async with playing(text) as (server, _), running(one_session(server.url(), settings), tmp_path) as bridge:
        await bridge.opened()
        assert events(caplog, "open")[-1]["transport"] == "websocket"


async def test_octoprint_sends_objects(tmp_path: Path) -> None:
    text = rf"""
    > GET websocket
    {HANDSHAKE}
    <| o
    >> ["go"]
    <| a[{{"connected": {{"version": "1.10.2"}}}}]
    ...
    """
    async with (
        playing(text) as (server, _),
        running(one_session(server.url(), over("websocket")), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await program.send(b"go\n")
        assert await program.line() == '{"connected":{"version":"1.10.2"}}'


async def test_spring_sends_an_unescaped_close_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = rf"""
    > GET websocket
    {HANDSHAKE}
    <| o
    <| c[1011,"no "session" any more"]
    >c 1000
    and so on
    """
    async with (
        playing(text) as (server, played),
        running(one_session(server.url(), over("websocket")), tmp_path),
    ):
        await played.until_requested(2)
        closed = events(caplog, "closed")[0]
        assert (closed["code"], closed["reason"]) == (1011, 'no "session" any more')


async def test_actix_takes_exactly_one_message(tmp_path: Path) -> None:
    text = rf"""
    > GET websocket
    {HANDSHAKE}
    <| o
    >> ["one"]
    >> ["two"]
    >> ["three"]
    <| a["three came"]
    ...
    """
    settings = over("websocket", more="batch_bytes = 0")
    async with playing(text) as (server, _), running(one_session(server.url(), settings), tmp_path) as bridge:
        program = await bridge.client()
        await program.send(b"one\ntwo\nthree\n")
        assert await program.line() == "three came"


async def test_spring_on_tomcat_closes_1009_over_8192(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages are joined below it; one that is larger alone ends a session once, and not for ever."""
    text = rf"""
    > GET websocket
    {HANDSHAKE}
    <| o
    >> ["{{a*2000}}","{{b*2000}}"]
    <| a["joined"]
    >> ["{{c*9000}}"]
    <c 1009 The decoded text message was too big
    x
    > GET websocket
    {HANDSHAKE}
    <| o
    >> ["next"]
    <| a["next came"]
    ...
    """
    async with (
        playing(text) as (server, played),
        running(one_session(server.url(), over("websocket")), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await program.send(b"a" * 2000 + b"\n" + b"b" * 2000 + b"\n")
        assert await program.line() == "joined"
        await program.send(b"c" * 9000 + b"\n")
        await until(lambda: bridge.chat.supervisor.epoch == 1 and not bridge.chat.supervisor.is_open)
        await program.send(b"next\n")
        assert await program.line() == "next came"
        assert events(caplog, "closed")[0]["code"] == 1009
        assert len(played.session_ids) == 2


async def test_sticky_servers_set_their_cookie_with_101(tmp_path: Path) -> None:
    """And errors: what came with any answer goes with every request."""
    text = r"""
    > GET websocket
    > Cookie:
    < HTTP/1.1 500 Internal Server Error
    < Set-Cookie: first=1; Path=/
    < Content-Length: 0
    <
    x
    > GET websocket
    > Cookie: first=1
    < HTTP/1.1 101 Switching Protocols
    < Upgrade: websocket
    < Connection: Upgrade
    < Set-Cookie: second=2; Path=/
    < Sec-WebSocket-Accept: {accept}
    <
    <| o
    x
    > GET websocket
    > Cookie: first=1; second=2
    ...
    """
    async with (
        playing(text) as (server, played),
        running(one_session(server.url(), over("websocket")), tmp_path),
    ):
        await played.until_over()
