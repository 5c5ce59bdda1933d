"""`sockjs-bridge connect`: pipes, files, and how it ends."""

import asyncio
import fcntl
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_args

import pytest

from sockjs_bridge.cli_arguments import FRAMINGS, TRANSPORTS
from sockjs_bridge.config.models import TransportName
from sockjs_bridge.endpoints import framing
from tests.bridge_process import HandshakeServer, clean_environment
from tests.real_servers import SERVER_NAMES, RealServer
from tests.scripted import Peer, scripted

LONG_ENOUGH = 20.0
COMMAND = [sys.executable, "-m", "sockjs_bridge", "connect"]
NOBODY = "http://127.0.0.1:1/echo"
Shared = Callable[[str], RealServer]


def connect(*arguments: str, given: bytes | None = b"", **more: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run it to its end. `given` None leaves standard input to `more`."""
    if given is not None:
        more["input"] = given
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=clean_environment(),
        capture_output="stdout" not in more,
        timeout=LONG_ENOUGH,
        check=False,
        **more,
    )
    assert b"Traceback" not in (done.stderr or b""), done.stderr
    assert b"Warning:" not in (done.stderr or b""), done.stderr
    return done


@contextmanager
def connected(*arguments: str, **more: Any) -> "Iterator[subprocess.Popen[bytes]]":
    """Start it with pipes, and see to it that it ends."""
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process: subprocess.Popen[bytes] = subprocess.Popen(
        [*COMMAND, *arguments], env=clean_environment(), **streams | more
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_lines(process: "subprocess.Popen[bytes]", count: int) -> list[bytes]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(count)]


def write(process: "subprocess.Popen[bytes]", data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


# --- pipes and files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_what_is_piped_in_comes_back(name: str, shared_server: Shared) -> None:
    done = connect(shared_server(name).url("/echo"), "--linger", "0.5", given=b"hi\nthere")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hi\nthere\n", b"")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_transport_can_be_chosen(transport: str, shared_server: Shared) -> None:
    done = connect(
        shared_server("node").url("/echo"), "--transport", transport, "--once", "1", "-v", given=b"hi\n"
    )
    assert (done.returncode, done.stdout) == (0, b"hi\n")
    assert f"open transport={transport}" in done.stderr.decode()


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming"])
def test_a_file_goes_through_whole_and_in_order(
    transport: str, shared_server: Shared, tmp_path: Path
) -> None:
    given, came = tmp_path / "given", tmp_path / "came"
    given.write_text("".join(f"{number} {'x' * 40}\n" for number in range(60_000)))
    with given.open("rb") as stdin, came.open("wb") as stdout:
        done = connect(
            shared_server("node").url("/echo"),
            *("--transport", transport, "--once", "60000"),
            given=None,
            stdin=stdin,
            stdout=stdout,
        )
    assert done.returncode == 0
    assert came.read_bytes() == given.read_bytes()


def test_files_are_appended_to_as_the_shell_asks(server: RealServer, tmp_path: Path) -> None:
    came = tmp_path / "came"
    came.write_text("before\n")
    with came.open("ab") as stdout:
        connect(server.url("/echo"), "--once", "1", given=b"after\n", stdout=stdout)
    assert came.read_text() == "before\nafter\n"


@pytest.mark.parametrize("name", FRAMINGS)
def test_each_framing_is_that_of_the_listeners(name: str, server: RealServer) -> None:
    messages = ["one", "zwei"]
    data = framing.FRAMINGS[name].make_encoder(framing.EncodingCounts())(messages)
    done = connect(server.url("/echo"), "--framing", name, "--once", "2", given=data)
    assert (done.returncode, done.stdout) == (0, data)


def test_input_that_is_not_in_the_framing_is_wrong_usage(server: RealServer) -> None:
    done = connect(server.url("/echo"), "--framing", "netstring", "--linger", "5", given=b"2:hi,what")
    assert done.returncode == 64
    assert b"not in this framing" in done.stderr


def test_once_leaves_after_exactly_so_many_messages(server: RealServer) -> None:
    with connected(server.url("/echo"), "--once", "2") as process:
        write(process, b"a\nb\nc\n")  # and the input stays open
        assert process.wait(LONG_ENOUGH) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b"a\nb\n"


def test_once_waits_beyond_the_end_of_the_input() -> None:
    async def late(peer: Peer) -> None:
        await peer.open_session()
        await asyncio.sleep(2.5)  # longer than the default of --linger
        await peer.send_text('a["late"]')
        await peer.stay()

    async def run() -> None:
        async with scripted(late) as server:
            done = await asyncio.to_thread(connect, server.url(), "--once", "1")
        assert (done.returncode, done.stdout) == (0, b"late\n")

    asyncio.run(run())


def test_once_with_linger_tells_that_it_was_not_reached(server: RealServer) -> None:
    done = connect(server.url("/echo"), "--once", "2", "--linger", "0.3", given=b"only one\n")
    assert (done.returncode, done.stdout) == (69, b"only one\n")
    assert b"fewer messages than --once" in done.stderr


def test_it_stays_for_answers_until_linger_passes_without_one() -> None:
    async def slow(peer: Peer) -> None:
        await peer.open_session()
        assert await peer.receive_messages() == ["count"]
        for number in range(4):
            await asyncio.sleep(0.4)
            await peer.send_text(f'a["{number}"]')
        await peer.stay()

    async def run() -> None:
        async with scripted(slow) as server:
            begun = time.monotonic()
            done = await asyncio.to_thread(connect, server.url(), "--linger", "1", given=b"count\n")
        assert (done.returncode, done.stdout) == (0, b"0\n1\n2\n3\n")
        assert time.monotonic() - begun > 2.5

    asyncio.run(run())


def test_the_server_is_left_with_a_close_frame_after_all_was_sent() -> None:
    heard: list[str] = []
    codes: list[int] = []

    async def listen(peer: Peer) -> None:
        await peer.open_session()
        while len(heard) < 3000:
            heard.extend(await peer.receive_messages())
        codes.append(await peer.receive_close())

    async def run() -> None:
        async with scripted(listen) as server:
            given = "".join(f"{number}\n" for number in range(3000)).encode()
            done = await asyncio.to_thread(connect, server.url(), "--linger", "0", given=given)
        assert done.returncode == 0

    asyncio.run(run())
    assert heard == [str(number) for number in range(3000)]
    assert codes == [1000]


def test_a_closed_output_ends_it_quietly(server: RealServer) -> None:
    with connected(server.url("/echo")) as process:
        write(process, b"1\n2\n3\n")
        assert read_lines(process, 1) == [b"1\n"]
        assert process.stdout is not None
        process.stdout.close()  # no further message has to come for it to be seen
        assert process.wait(LONG_ENOUGH) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_full_disk_is_told(server: RealServer) -> None:
    with Path("/dev/full").open("wb") as stdout, connected(server.url("/echo"), stdout=stdout) as process:
        write(process, b"hi\n")
        assert process.wait(LONG_ENOUGH) == 69
        assert process.stderr is not None
        assert b"the output cannot be written: no space left on device" in process.stderr.read()


def test_nobody_sets_the_streams_of_others_to_non_blocking(server: RealServer) -> None:
    to_it, from_us = os.pipe()
    from_it, to_us = os.pipe()
    try:
        with connected(server.url("/echo"), stdin=to_it, stdout=to_us) as process:
            os.write(from_us, b"hi\n")
            assert os.read(from_it, 100) == b"hi\n"
            for descriptor in (to_it, to_us):
                assert not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK
            process.terminate()
            assert process.wait(LONG_ENOUGH) == 0
    finally:
        for descriptor in (to_it, from_us, from_it, to_us):
            os.close(descriptor)


# --- back-pressure ---------------------------------------------------------------------------------------------


def test_output_that_is_not_read_stops_the_reading_of_the_server() -> None:
    frame = "a" + json.dumps(["x" * 64 * 1024])
    total = 1000  # 64 MB: no buffer on the way holds so much
    sent = 0

    async def flood(peer: Peer) -> None:
        nonlocal sent
        await peer.open_session()
        for _ in range(total):
            await peer.send_text(frame)
            sent += 1
        await peer.stay()

    def read_late(url: str) -> tuple[int, int]:
        with connected(url, "--once", str(total)) as process:
            before = -1
            deadline = time.monotonic() + LONG_ENOUGH
            while before != sent or not sent:
                assert time.monotonic() < deadline
                before = sent
                time.sleep(0.5)
            stuck_at = sent
            lines = read_lines(process, total)
            assert {len(line) for line in lines} == {64 * 1024 + 1}
            assert process.wait(LONG_ENOUGH) == 0
            return stuck_at, len(lines)

    async def run() -> None:
        async with scripted(flood) as server:
            stuck_at, came = await asyncio.to_thread(read_late, server.url())
        assert stuck_at < total / 2
        assert came == total

    asyncio.run(run())


def test_a_server_that_does_not_read_stops_the_reading_of_the_input() -> None:
    reads = asyncio.Event()
    heard = 0
    total = 600

    async def late(peer: Peer) -> None:
        nonlocal heard
        await peer.open_session()
        await reads.wait()
        while heard < total:
            heard += len(await peer.receive_messages())
        await peer.send_text('a["all"]')
        await peer.stay()

    def write_much(url: str, let_read: Callable[[], object]) -> int:
        line = b"y" * 65535 + b"\n"
        with connected(url, "--once", "1") as process:
            assert process.stdin is not None
            descriptor = process.stdin.fileno()
            os.set_blocking(descriptor, False)
            left = memoryview(line * total)  # 39 MB
            written = 0
            while select.select([], [descriptor], [], 1.5)[1]:
                with suppress(BlockingIOError):
                    written += os.write(descriptor, left[written : written + 65536])
            stuck_at = written
            let_read()
            os.set_blocking(descriptor, True)
            process.stdin.write(left[written:])
            process.stdin.close()
            assert read_lines(process, 1) == [b"all\n"]
            assert process.wait(LONG_ENOUGH) == 0
            return stuck_at

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with scripted(late) as server:
            stuck_at = await asyncio.to_thread(
                write_much, server.url(), lambda: loop.call_soon_threadsafe(reads.set)
            )
        assert stuck_at < total * 65536 * 0.75
        assert heard == total

    asyncio.run(run())


# --- how it ends -----------------------------------------------------------------------------------------------


def test_what_was_tried_is_told_with_the_status(server: RealServer) -> None:
    done = connect(server.url("/nowhere"), given=b"hi\n")
    assert (done.returncode, done.stdout) == (69, b"")
    stderr = done.stderr.decode()
    for transport in ("websocket", "xhr-streaming", "xhr-polling"):
        assert re.search(f"404 Not Found .* transport={transport}\n", stderr)
        assert f"{transport} (http_status)" in stderr
    assert "there is no further try" in stderr.splitlines()[-1]


def test_nothing_of_the_input_is_read_before_a_session_is_open(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(b"one\ntwo\n")
    with given.open("rb") as stdin:
        assert connect(NOBODY, given=None, stdin=stdin).returncode == 69
        assert stdin.read() == b"one\ntwo\n"


def test_a_server_that_refuses_the_connection_is_told_once() -> None:
    done = connect(NOBODY)
    assert done.returncode == 69
    assert b"cannot reach 127.0.0.1 port 1: connection refused" in done.stderr


def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    async def silent(peer: Peer) -> None:
        await peer.until_closed()

    async def run() -> None:
        async with scripted(silent, plays_info=True) as server:
            begun = time.monotonic()
            done = await asyncio.to_thread(connect, server.url(), "--timeout", "1")
        assert done.returncode == 69
        assert time.monotonic() - begun < 8
        assert b"no session could be opened" in done.stderr

    asyncio.run(run())


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_the_end_that_the_server_makes_is_told_with_its_code(name: str, shared_server: Shared) -> None:
    with connected(shared_server(name).url("/close")) as process:  # the input stays open
        assert process.wait(LONG_ENOUGH) == 69
        assert process.stderr is not None
        assert process.stderr.read() == (
            b"sockjs-bridge connect: the session has ended: server_closed 3000 (Go away!)\n"
        )


def test_the_end_that_the_server_makes_is_fine_once_all_was_said(shared_server: Shared) -> None:
    done = connect(shared_server("node").url("/bulk"), "--linger", "10", given=b"close\n")
    assert done.returncode == 0
    assert done.stdout == b"m0\nm1\nm2\nm3\nm4\n"
    assert b"server_closed 4001 (" in done.stderr


def test_a_server_that_ends_it_before_once_is_reached_is_a_failure(shared_server: Shared) -> None:
    done = connect(shared_server("node").url("/bulk"), "--once", "9", given=b"close\n")
    assert done.returncode == 69


def test_what_a_server_says_cannot_drive_a_terminal() -> None:
    async def rude(peer: Peer) -> None:
        await peer.open_session()
        await peer.send_text("c" + json.dumps([3000, "\x1b]0;owned\x07"]))

    async def run() -> None:
        async with scripted(rude) as server:
            done = await asyncio.to_thread(connect, server.url(), "-v")
        assert b"\x1b" not in done.stderr
        assert b"owned" in done.stderr
        assert b"next try" not in done.stderr

    asyncio.run(run())


def test_a_crash_of_the_server_is_told_and_no_next_try_announced(
    real_server: Callable[[str], RealServer],
) -> None:
    server = real_server("node")
    with connected(server.url("/echo"), "-v") as process:
        write(process, b"hi\n")
        assert read_lines(process, 1) == [b"hi\n"]
        server.kill()
        assert process.wait(LONG_ENOUGH) == 69
        assert process.stderr is not None
        stderr = process.stderr.read()
    assert b"the session has ended: transport_lost 1006" in stderr
    assert b"next try" not in stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_make_it_leave_politely(number: signal.Signals, code: int) -> None:
    codes: list[int] = []

    async def echo_once(peer: Peer) -> None:
        await peer.open_session()
        await peer.send_text("a" + json.dumps(await peer.receive_messages()))
        codes.append(await peer.receive_close())

    def interrupt(url: str) -> None:
        with connected(url) as process:
            write(process, b"hi\n")
            assert read_lines(process, 1) == [b"hi\n"]
            process.send_signal(number)
            assert process.wait(LONG_ENOUGH) == code
            assert process.stderr is not None
            assert process.stderr.read() == b""

    async def run() -> None:
        async with scripted(echo_once) as server:
            await asyncio.to_thread(interrupt, server.url())

    asyncio.run(run())
    assert codes == [1000]


def test_a_signal_ends_the_first_try_too() -> None:
    arrived = asyncio.Event()

    async def silent(peer: Peer) -> None:
        arrived.set()
        await peer.until_closed()

    async def run() -> None:
        async with scripted(silent, plays_info=True) as server:
            with connected(server.url()) as process:
                await arrived.wait()
                process.send_signal(signal.SIGINT)
                assert await asyncio.to_thread(process.wait, 5) == 130

    asyncio.run(run())


# --- arguments -------------------------------------------------------------------------------------------------


def test_the_names_are_those_of_the_configuration() -> None:
    assert set(TRANSPORTS) == set(get_args(TransportName))
    assert set(FRAMINGS) == set(framing.FRAMINGS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "URL"),
        (("gopher://x",), "URL: must begin with http://"),
        (("http://x", "-H", "t0ken"), '--header: must be "Name: value" or @FILE'),
        (("http://x", "-H", "Upgrade: t0ken"), "--header: Upgrade: is set by the bridge itself"),
        (("http://x", "-H", "A: 1", "-H", "a: t0ken"), "--header: a is given twice"),
        (("http://x", "-H", "@/nowhere"), "--header: /nowhere: no such file"),
        (("http://x", "--origin", "t0ken"), "--origin: must be"),
        (("http://x", "--transport", "websocket", "--transport", "websocket"), "--transport: names"),
        (("http://x", "--transport", "carrier-pigeon"), "--transport"),
        (("http://x", "--once", "0"), "--once"),
        (("http://x", "--timeout", "0"), "--timeout"),
        (("http://x", "--linger", "-1"), "--linger"),
        (("http://x", "--linger", "nan"), "--linger"),
    ],
    ids=str,
)
def test_wrong_usage_is_exit_code_64(arguments: tuple[str, ...], words: str) -> None:
    done = connect(*arguments)
    assert (done.returncode, done.stdout) == (64, b"")
    stderr = done.stderr.decode()
    assert words in stderr
    assert "SOCKJS_BRIDGE" not in stderr
    if "carrier" not in stderr and "--origin" not in stderr:
        assert "t0ken" not in stderr


def test_no_secret_has_to_be_on_the_command_line_and_none_is_told(server: RealServer, tmp_path: Path) -> None:
    def forbid(head: bytes, sock: Any) -> None:
        sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with HandshakeServer(forbid) as gateway:
        (tmp_path / "url").write_text(f"http://mia:p4ssword@127.0.0.1:{gateway.port}/echo?token=t0ken-q\n")
        (tmp_path / "headers").write_text("X-Key: t0ken-h\nCookie: sid=t0ken-c; other=1\n")
        done = connect(f"@{tmp_path / 'url'}", "-H", f"@{tmp_path / 'headers'}", "-v")
    assert done.returncode == 69
    assert "X-Key: t0ken-h" in gateway.requests[-1]
    assert "sid=t0ken-c" in gateway.requests[-1]
    assert "token=t0ken-q" in gateway.requests[-1]
    assert "Authorization: Basic" in gateway.requests[-1]
    stderr = done.stderr.decode()
    assert "403 Forbidden" in stderr
    for secret in ("t0ken", "p4ssword", "mia"):
        assert secret not in stderr


def test_the_environment_of_a_daemon_does_not_disturb_it(server: RealServer) -> None:
    environment = clean_environment({"SOCKJS_BRIDGE_SESSIONS__CHAT__URL": "nonsense"})
    done = subprocess.run(
        [*COMMAND, server.url("/echo"), "--once", "1"],
        env=environment,
        input=b"hi\n",
        capture_output=True,
        timeout=LONG_ENOUGH,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"hi\n")


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from sockjs_bridge.cli import main\n"
        "try: main(['connect', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'aiohttp', 'pydantic', 'picows', 'asyncio', 'orjson'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert "exit codes:" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
