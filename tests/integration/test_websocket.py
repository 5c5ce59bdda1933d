"""The WebSocket transports, byte by byte, against a scripted server."""

import base64
import json
from pathlib import Path

import pytest

from tests.in_process import events, one_session, running, until
from tests.scripted import BINARY, CONTINUATION, PING, PONG, TEXT, Peer, scripted, websocket_frame


async def echo(peer: Peer) -> None:
    await peer.open_session()
    await peer.echo()


async def test_address_and_handshake(tmp_path: Path) -> None:
    """Protocol section 1: <base>/<server>/<session>/websocket, with the query that was configured."""
    session = 'server_id = "042"\nheaders = { X-Team = "blue" }\norigin = "http://page.example"\n'
    async with scripted(echo) as server:
        url = server.url("/some/echo/?key=a%2Fb").replace("//", "//user:p%40ss@", 1)
        async with running(one_session(url, session), tmp_path) as bridge:
            await bridge.opened()
            peer = server.peers[0]
            path, _, query = peer.path.partition("?")
            base, server_id, session_id, transport = path.rsplit("/", 3)
            assert (base, server_id, transport, query) == ("/some/echo", "042", "websocket", "key=a%2Fb")
            assert len(session_id) >= 16
            assert session_id.isalnum()
            assert session_id.islower()
            assert peer.headers["host"] == f"127.0.0.1:{server.port}"
            assert peer.headers["x-team"] == "blue"
            assert peer.headers["origin"] == "http://page.example"
            assert peer.headers["user-agent"].startswith("sockjs-bridge/")
            assert base64.b64decode(peer.headers["authorization"].removeprefix("Basic ")) == b"user:p@ss"


async def test_every_attempt_has_a_session_id_of_its_own(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 4:
            await peer.stay()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened(epoch=4)
        paths = [peer.path.split("/") for peer in server.peers[:4]]
        assert len({path[3] for path in paths}) == 4
        assert len({path[2] for path in paths}) == 1, "the server id stays"


async def test_cookies_come_from_any_answer_and_go_into_every_request(tmp_path: Path) -> None:
    """Protocol section 5, rule W: like a browser; hosts that are addresses, values unquoted."""

    async def script(peer: Peer) -> None:
        await peer.read_request()
        if peer.number == 1:
            await peer.answer(
                "503 Busy", 'Set-Cookie: lb=node"1; Path=/\r\nSet-Cookie: gone=1; Max-Age=0\r\n'
            )
        elif peer.number == 2:
            await peer.accept_websocket("Set-Cookie: JSESSIONID=abc==; Path=/; HttpOnly\r\n")
            await peer.send_text("o")
        else:
            await peer.open_session()
            await peer.stay()

    session = 'cookies = { theme = "dark" }'
    async with scripted(script) as server, running(one_session(server.url(), session), tmp_path) as bridge:
        await bridge.opened(epoch=2)
        sent = [set(peer.headers["cookie"].split("; ")) for peer in server.peers[:3]]
        assert sent == [
            {"theme=dark"},
            {"theme=dark", 'lb=node"1'},
            {"theme=dark", 'lb=node"1', "JSESSIONID=abc=="},
        ]


async def test_pings_are_answered_also_between_the_fragments_of_a_message(tmp_path: Path) -> None:
    pongs = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        assert await peer.receive_messages() == ["go"]
        await peer.send_frame(PING, b"one")
        pongs.append(await peer.receive_frame())
        await peer.send_frame(TEXT, b'a["fra', fin=False)
        await peer.send_frame(PING, b"two")
        pongs.append(await peer.receive_frame())
        await peer.send_frame(CONTINUATION, b"gmen", fin=False)
        await peer.send_frame(CONTINUATION, b'ted"]')
        await peer.stay()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        program = await bridge.client()
        await program.send(b"go\n")
        assert await program.line() == "fragmented"
        assert pongs == [(PONG, b"one"), (PONG, b"two")]


@pytest.mark.parametrize("kind", ["websocket", "websocket-raw"])
async def test_we_ping_on_both_kinds(tmp_path: Path, kind: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        if kind == "websocket":
            await peer.send_text("o")
        assert (await peer.receive_frame())[0] == PING
        await peer.send_frame(PONG, b"")
        assert (await peer.receive_frame())[0] == PING
        await peer.send_text('a["two"]')
        await peer.stay()

    session = f'transports = ["{kind}"]\nping_interval = "30ms"'
    async with scripted(script) as server, running(one_session(server.url(), session), tmp_path) as bridge:
        program = await bridge.client()
        assert "two" in await program.line()


async def test_waiting_messages_share_frames_up_to_batch_bytes(tmp_path: Path) -> None:
    """Protocol section 4: Spring on Tomcat refuses a frame over 8192 characters, so they stay below."""
    frames: list[list[str]] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        while sum(map(len, frames)) < 400:
            frames.append(await peer.receive_messages())
        await peer.stay()

    messages = [f"{number} " + "x" * 100 for number in range(400)]
    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        await program.send("".join(f"{message}\n" for message in messages).encode())
        await until(lambda: sum(map(len, frames)) == 400)
        assert [message for frame in frames for message in frame] == messages
        assert len(frames) < 20
        assert all(len(json.dumps(frame, separators=(",", ":"))) <= 8000 for frame in frames)


async def test_batch_bytes_0_puts_every_message_into_a_frame_of_its_own(tmp_path: Path) -> None:
    """Actix takes exactly one message in a frame."""
    frames: list[list[str]] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        while len(frames) < 3:
            frames.append(await peer.receive_messages())
        await peer.stay()

    async with (
        scripted(script) as server,
        running(one_session(server.url(), "batch_bytes = 0"), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"a\nb\nc\n")
        await until(lambda: len(frames) == 3)
        assert frames == [["a"], ["b"], ["c"]]


async def test_raw_has_no_frames_of_sockjs(tmp_path: Path) -> None:
    """A url that ends in /websocket means it; binary content is taken as UTF-8 (Vert.x)."""
    received = []

    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        received.extend([await peer.receive_frame(), await peer.receive_frame()])
        await peer.send(
            websocket_frame(TEXT, b"o")
            + websocket_frame(BINARY, "binär".encode())
            + websocket_frame(BINARY, b"\xff!")
            + websocket_frame(TEXT, b'c[3000,"text"]')
        )
        await peer.stay()

    async with (
        scripted(script) as server,
        running(one_session(server.url("/echo/websocket")), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send("plain\nänd\n".encode())
        assert await program.lines(4) == ["o", "binär", "\ufffd!", 'c[3000,"text"]']
        assert received == [(TEXT, b"plain"), (TEXT, "änd".encode())]
        assert server.peers[0].path == "/echo/websocket"


async def test_escapes_and_surrogates_both_ways(tmp_path: Path) -> None:
    """Protocol section 2 and 4: any character may come escaped; the listed ones are sent escaped."""
    texts = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        texts.append((await peer.receive_frame())[1])
        await peer.send_text('a["\\u0041\\ud83d\\ude00\\ud800"]')
        await peer.stay()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        await program.send("\u200c\x7f😀\n".encode())
        assert await program.line() == "A😀\ufffd"
        assert texts == ['["\\u200c\\u007f😀"]'.encode()]
        assert bridge.listener().counts.encoding.surrogates_replaced == 1


async def test_local_clients_stay_and_what_they_send_meanwhile_goes_out_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[str] = []

    async def script(peer: Peer) -> None:
        if peer.number in {2, 3}:
            await peer.answer("503 Busy")
            return
        await peer.open_session()
        while len(received) < 1001:
            received.extend(await peer.receive_messages())
            if received == ["first"]:
                return
        await peer.stay()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"first\n")
        await until(lambda: not bridge.chat.supervisor.is_open)
        await program.send("".join(f"{number}\n" for number in range(1000)).encode())
        await until(lambda: len(received) == 1001)
        assert received == ["first", *map(str, range(1000))]
        assert bridge.listener().clients == 1
        assert bridge.chat.supervisor.epoch == 2
        assert events(caplog, "open")[-1]["epoch"] == 2


async def test_server_that_pings_and_does_not_read_gets_the_last_answer_only(tmp_path: Path) -> None:
    """All of them would fill the memory; RFC 6455 section 5.5.3 asks for the last."""
    sent = 300_000
    pongs: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        for first in range(0, sent, 1000):
            await peer.send(
                b"".join(websocket_frame(PING, b"%0125d" % n) for n in range(first, first + 1000))
            )
        while not pongs or int(pongs[-1]) != sent - 1:
            opcode, payload = await peer.receive_frame()
            assert opcode == PONG
            pongs.append(payload)
        await peer.send_text('a["still here"]')
        await peer.stay()

    async with (
        scripted(script) as server,
        running(one_session(server.url(), "ping_interval = 0\n"), tmp_path) as bridge,
    ):
        program = await bridge.client()
        assert await program.line() == "still here"
    numbers = [int(pong) for pong in pongs]
    assert numbers == sorted(set(numbers))
    assert len(numbers) < sent / 2


async def test_message_in_fragments_of_a_byte_and_of_none(tmp_path: Path) -> None:
    text = b'a["' + b"x" * 5000 + b'"]'

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await peer.send_frame(TEXT, b"", fin=False)
        for byte in text:
            await peer.send(
                websocket_frame(CONTINUATION, bytes([byte]), fin=False)
                + websocket_frame(CONTINUATION, b"", fin=False)
            )
        await peer.send_frame(CONTINUATION, b"")
        await peer.stay()

    async with scripted(script) as server, running(one_session(server.url()), tmp_path) as bridge:
        program = await bridge.client()
        assert await program.line() == "x" * 5000
