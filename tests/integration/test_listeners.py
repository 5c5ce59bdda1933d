"""Local programs, well-behaved and otherwise, on real sockets."""

import asyncio
import json
import resource
import socket
import stat
import struct
from pathlib import Path

import pytest

from tests.in_process import events, one_session, running, until
from tests.scripted import Peer, scripted


async def echo(peer: Peer) -> None:
    await peer.open_session()
    await peer.echo()


async def test_every_client_gets_every_message(tmp_path: Path) -> None:
    async with scripted(echo) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened()
        programs = [await bridge.client() for _ in range(3)]
        for number, program in enumerate(programs):
            await program.send(f"from {number}\n".encode())
            for other in programs:
                assert await other.line() == f"from {number}"


async def test_partial_lines_are_kept_until_they_end(tmp_path: Path) -> None:
    async with scripted(echo) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened()
        one, other = await bridge.client(), await bridge.client()
        await one.send(b"begun ")
        await other.send(b"whole\n")
        assert await one.line() == "whole"
        await one.send(b"and ended\r\n\n\r\n")
        assert await other.lines(2) == ["whole", "begun and ended"]


async def test_binary_garbage_is_replaced_counted_and_hurts_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted(echo) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened()
        garbage, fine = await bridge.client(), await bridge.client()
        await garbage.send(bytes(range(128, 256)) + b"\0\x01\n")
        await fine.send(b"fine\n")
        assert await fine.lines(2) == ["\ufffd" * 128 + "\0\x01", "fine"]
        assert bridge.listener().counts.invalid_utf8 == 1
        assert events(caplog, "invalid UTF-8")


async def test_a_line_of_100_megabytes_is_skipped_to_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted(echo) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(100):
            await program.send(b"x" * 1_000_000)
        await program.send(b"\nnext\n")
        assert await program.line() == "next"
        assert bridge.dropped == {"oversize": 1}
        assert events(caplog, "larger than max_message_size")[0]["size_bytes"] == 100_000_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KiB


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: localhost:9000\r\n\r\n",
        b'POST /x HTTP/1.1\r\nContent-Length: 12\r\n\r\n{"evil": 1}\n',
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    ],
)
@pytest.mark.parametrize("slice_bytes", [1, 100])
async def test_browsers_are_turned_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, request_bytes: bytes, slice_bytes: int
) -> None:
    """Web pages can reach loopback ports: not a byte of theirs reaches the server."""
    async with scripted(echo) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened()
        browser, program = await bridge.client(), await bridge.client()
        browser.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request_bytes), slice_bytes):
            if browser.writer.transport.is_closing():
                break
            browser.writer.write(request_bytes[start : start + slice_bytes])
            await asyncio.sleep(0)
        assert await browser.closed() == b""
        await program.send(b"HELLO WORLD\n")
        assert await program.line() == "HELLO WORLD"
        assert bridge.chat.hub.stats.messages_sent == 1
        assert events(caplog, "a client speaks")


async def test_a_client_that_says_nothing_for_ever_is_served_and_disturbs_nobody(tmp_path: Path) -> None:
    async with scripted(echo) as server, running(one_session(server.url()), tmp_path) as bridge:
        await bridge.opened()
        silent, talking = await bridge.client(), await bridge.client()
        await talking.send(b"hello\n")
        assert await silent.line() == "hello"


async def test_max_clients(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener="max_clients = 1"), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        host, port = bridge.listener().name.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        writer.close()
        assert events(caplog, "max_clients")[0]["clients"] == 1
        await program.send(b"still here\n")
        assert await program.line() == "still here"


async def test_half_close_serves_the_answer_and_then_closes(tmp_path: Path) -> None:
    """What `echo hi | nc -N localhost 9000` does: the last line may lack its LF."""
    listener = 'eof_linger = "500ms"'
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        program.writer.write(b"one\ntwo")
        program.writer.write_eof()
        assert await program.closed() == b"one\ntwo\n"
        await until(lambda: bridge.listener().clients == 0)


async def test_output_prolongs_the_linger_but_not_for_ever(tmp_path: Path) -> None:
    async def chatty(peer: Peer) -> None:
        await peer.open_session()
        while True:
            await peer.send_text('a["tick"]')
            await asyncio.sleep(0.01)

    listener = 'eof_linger = "200ms"'
    async with (
        scripted(chatty) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        program = await bridge.client()
        program.writer.write_eof()
        assert (await program.closed()).count(b"tick\n") >= 5


async def test_on_eof_close(tmp_path: Path) -> None:
    listener = 'on_eof = "close"'
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        program, other = await bridge.client(), await bridge.client()
        program.writer.write(b"last words")
        program.writer.write_eof()
        await program.closed()
        assert await other.line() == "last words"


async def test_direction_from_server_discards_input_and_does_not_mind_eof(tmp_path: Path) -> None:
    async def speak_when_the_other_writes(peer: Peer) -> None:
        await peer.open_session()
        await peer.echo()

    second = '[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\n'
    listener = f'direction = "from-server"\neof_linger = "10ms"\n{second}'
    async with (
        scripted(speak_when_the_other_writes) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        reading, writing = await bridge.client(0), await bridge.client(1)
        await reading.send(b"not wanted\n")
        reading.writer.write_eof()
        await until(lambda: bridge.listener().counts.discarded == 1)
        await asyncio.sleep(0.1)  # far beyond its linger, which is not for this direction
        await writing.send(b"wanted\n")
        assert await reading.line() == "wanted"
        assert bridge.chat.hub.stats.messages_sent == 1


async def test_a_reader_that_died_behind_its_eof_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop never reports the death of a half-closed peer: the kernel's state of the connection does."""
    monkeypatch.setattr("sockjs_bridge.endpoints.tcp_half_closed._SWEEP_SECONDS", 0.02)
    listener = 'direction = "from-server"'
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        dying, living = await bridge.client(), await bridge.client()
        for program in (dying, living):
            program.writer.write_eof()
        await asyncio.sleep(0.1)  # several sweeps: both are there, and stay
        assert bridge.listener().clients == 2
        sock: socket.socket = dying.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        dying.close()
        await until(lambda: bridge.listener().clients == 1)
        assert not living.reader.at_eof()


async def test_direction_to_server_gets_nothing_and_is_no_consumer(tmp_path: Path) -> None:
    listener = 'direction = "to-server"'
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        program.writer.write(b"go\n")
        program.writer.write_eof()
        assert await program.closed() == b""
        await until(lambda: bridge.dropped == {"no_consumer": 1})


@pytest.mark.parametrize(
    ("framing", "sent", "received"),
    [
        ("json", b'"a\\nb"\n"c"\n', b'"a\\nb"\n"c"\n'),
        ("nul", b"a\nb\0c\0", b"a\nb\0c\0"),
        ("netstring", b"3:a\nb,1:c,", b"3:a\nb,1:c,"),
        ("length32", b"\0\0\0\x03a\nb\0\0\0\x01c", b"\0\0\0\x03a\nb\0\0\0\x01c"),
    ],
)
async def test_framings(tmp_path: Path, framing: str, sent: bytes, received: bytes) -> None:
    listener = f'framing = "{framing}"'
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(sent)
        assert await program.reader.readexactly(len(received)) == received


async def test_a_stream_that_lost_its_framing_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener='framing = "netstring"'), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"5:hello,oops")
        assert await program.closed() == b""
        assert events(caplog, "broke the framing")


async def test_several_sessions_and_several_listeners(tmp_path: Path) -> None:
    async def tell_the_path(peer: Peer) -> None:
        await peer.open_session()
        while True:
            await peer.receive_messages()
            await peer.send_text(json.dumps([peer.path.split("/")[1]]).replace("[", "a[", 1))

    async with scripted(tell_the_path) as server:
        toml = ""
        for name in ("left", "right"):
            listener = f'[[sessions.{name}.tcp]]\nlisten = "0"\n'
            toml += f'[sessions.{name}]\nurl = "{server.url("/" + name)}"\n{listener}{listener}'
        async with running(toml, tmp_path) as bridge:
            await until(lambda: all(each.supervisor.is_open for each in bridge.daemon.bridges.values()))
            clients = [
                await bridge.client(listener, session) for session in ("left", "right") for listener in (0, 1)
            ]
            await clients[0].send(b"?\n")
            await clients[3].send(b"?\n")
            assert [await client.line() for client in clients] == ["left", "left", "right", "right"]


async def test_unix_socket_is_born_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "chat.sock"
    listener = f'[[sessions.chat.tcp]]\nlisten = "unix:{path}"\nsocket_mode = "0640"\n'
    async with scripted(echo) as server:
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            await bridge.opened()
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"over a file\n")
            assert await reader.readline() == b"over a file\n"
            writer.close()
        assert not path.exists()


async def test_full_queue_stops_reading_and_loses_nothing(tmp_path: Path) -> None:
    """The default `overflow = "pause"`: the writer waits, every message arrives, in order."""
    received: list[str] = []
    may_open = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        await may_open.wait()
        await peer.send_text("o")
        while True:
            received.extend(await peer.receive_messages())

    queue = "queue = { max_messages = 10 }"
    async with scripted(script) as server, running(one_session(server.url(), queue), tmp_path) as bridge:
        one, other = await bridge.client(), await bridge.client()
        await one.send("".join(f"one {number}\n" for number in range(1000)).encode())
        await other.send("".join(f"other {number}\n" for number in range(1000)).encode())
        await until(lambda: bridge.chat.hub.queue.messages == 10)
        assert not received
        may_open.set()
        await until(lambda: len(received) == 2000)
        for name in ("one", "other"):
            assert [text for text in received if text.startswith(name)] == [
                f"{name} {n}" for n in range(1000)
            ]


async def test_what_a_client_wrote_is_sent_although_it_is_gone(tmp_path: Path) -> None:
    """Held back by a full queue, then reset by its client: it was read, so it is ours to deliver."""
    received: list[str] = []
    may_open = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        await may_open.wait()
        await peer.send_text("o")
        while True:
            received.extend(await peer.receive_messages())

    queue = "queue = { max_messages = 1 }"
    async with scripted(script) as server, running(one_session(server.url(), queue), tmp_path) as bridge:
        writer, watcher = await bridge.client(), await bridge.client()
        await writer.send(b"1\n2\n3\nunfinished")
        await until(lambda: bridge.listener().is_holding_back)
        writer.writer.write_eof()
        may_open.set()
        await until(lambda: len(received) == 4)
        assert received == ["1", "2", "3", "unfinished"]
        watcher.close()


async def test_a_stop_still_takes_what_was_written_before_it(tmp_path: Path) -> None:
    """More than the queue holds: what waits in the kernel and in the clients goes out too."""
    received: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        while True:
            received.extend(await peer.receive_messages())

    lines = [f"{number} {'x' * 100}" for number in range(20_000)]
    queue = "queue = { max_messages = 100 }"
    async with scripted(script) as server:
        async with running(one_session(server.url(), queue), tmp_path) as bridge:
            await bridge.opened()
            program = await bridge.client()
            program.writer.write("".join(f"{line}\n" for line in lines).encode())
            await until(lambda: bridge.chat.hub.stats.messages_accepted)
        dropped = bridge.dropped.get("stopped", 0)
    assert received == lines[: len(received)]
    # What the program had not handed to the kernel when it was told to go is its own.
    assert len(received) + dropped <= len(lines)
    assert dropped == 0


async def test_slow_server_stops_the_writers_and_loses_nothing(tmp_path: Path) -> None:
    """What the server does not take waits in the queue, then in the program: not in our memory."""
    received: list[str] = []
    may_read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await may_read.wait()
        while len(received) < 30_000:
            received.extend(await peer.receive_messages())
        await peer.stay()

    lines = [f"{number} {'x' * 1000}" for number in range(30_000)]
    queue = 'queue = { max_bytes = "1MiB" }'
    async with scripted(script) as server, running(one_session(server.url(), queue), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        writing = asyncio.create_task(program.send("".join(f"{line}\n" for line in lines).encode()))
        outbox = bridge.chat.hub.queue
        await until(lambda: outbox.size_bytes > 900_000)
        assert outbox.size_bytes <= 1 << 20
        assert not received
        may_read.set()
        await until(lambda: len(received) == len(lines))
        await writing
        assert received == lines


async def test_slow_client_stops_the_server_and_loses_nothing(tmp_path: Path) -> None:
    """`slow_client = "pause"`: while one does not read, the server is not read; then it goes on."""
    total = 20_000

    async def flood(peer: Peer) -> None:
        await peer.open_session()
        assert await peer.receive_messages() == ["go"]
        for number in range(total):
            await peer.send_text(f'a["{number} {"x" * 500}"]')
        await peer.stay()

    listener = 'client_buffer = "64KiB"\nstall_timeout = "8s"'
    async with (
        scripted(flood) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        program.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport, in fact
        await program.send(b"go\n")
        await until(lambda: bridge.chat.hub.is_blocked)
        program.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for number in range(total):
            assert (await program.line()).startswith(f"{number} ")
        assert bridge.dropped == {}


async def test_a_client_that_never_reads_is_cut_after_stall_timeout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:

    async def flood(peer: Peer) -> None:
        await peer.open_session()
        while True:
            await peer.send_text(f'a["{"x" * 5000}"]')

    listener = 'client_buffer = "64KiB"\nstall_timeout = "50ms"'
    async with (
        scripted(flood) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        stalled = await bridge.client()
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: bridge.listener().clients == 0)
        cut = events(caplog, "did not read for stall_timeout")[0]
        assert cut["reason"] == "slow_client"
        assert not bridge.chat.hub.is_blocked
        healthy = await bridge.client()
        assert len(await healthy.line()) == 5000
        assert bridge.chat.supervisor.epoch == 1
