"""Reload on a running daemon: who keeps what, and that it is all or nothing."""

import asyncio
import errno
import signal
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import zmq

from sockjs_bridge.errors import BridgeError, Cause, ConfigError
from tests.in_process import Running, events, running, until
from tests.real_servers import RealServer


@pytest.fixture(scope="module")
def server() -> Iterator[RealServer]:
    with RealServer("aio") as server:
        yield server


def chat(server: RealServer, session: str = "", listener: str = "", more: str = "") -> str:
    return (
        '[bridge]\ndrain_timeout = "1s"\n'
        f'[sessions.chat]\nurl = "{server.url("/echo")}"\ntransports = ["websocket"]\n{session}\n'
        f'[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\n{listener}\n{more}\n'
    )


async def reload(bridge: Running, text: str) -> list[str]:
    bridge.file.write_text(text)
    return await bridge.daemon.reload()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_an_unchanged_session_and_its_programs_notice_nothing(
    server: RealServer, tmp_path: Path
) -> None:
    async with running(chat(server), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        supervisor = bridge.chat.supervisor
        more = f'[sessions.more]\nurl = "{server.url("/echo")}"'
        assert await reload(bridge, chat(server, more=more)) == ["session more: added"]
        await until(lambda: bridge.daemon.bridges["more"].supervisor.is_open)
        assert bridge.chat.supervisor is supervisor
        assert bridge.chat.supervisor.epoch == 1
        await program.send(b"still here\n")
        assert await program.line() == "still here"
        assert await reload(bridge, chat(server)) == ["session more: removed"]
        assert list(bridge.daemon.bridges) == ["chat"]
        await program.send(b"and now\n")
        assert await program.line() == "and now"


async def test_a_changed_upstream_keeps_the_programs_and_what_they_sent(
    server: RealServer, tmp_path: Path
) -> None:
    async with running(chat(server), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        bridge.file.write_text(chat(server, session='headers = { X-New = "1" }'))
        change = asyncio.create_task(bridge.daemon.reload())
        for number in range(200):
            await program.send(b"%d\n" % number)
            await asyncio.sleep(0.001)
        assert await change == ["session chat: connects anew (headers changed)"]
        await program.send(b"end\n")
        echoed: list[int] = []
        while (line := await program.line()) != "end":
            echoed.append(int(line))
        # What it had read when it was left, this server does not answer any more.
        assert echoed == sorted(set(echoed))
        stats = bridge.chat.hub.stats
        assert (stats.messages_sent, dict(stats.dropped)) == (201, {})
        assert bridge.chat.supervisor.epoch == 2
        assert dict(bridge.chat.hub.stats.closes) == {"reload": 1}
        assert bridge.listener().clients == 1


async def test_a_changed_listener_keeps_the_session_and_its_address(
    server: RealServer, tmp_path: Path
) -> None:
    port = free_port()
    plain = chat(server).replace("127.0.0.1:0", f"127.0.0.1:{port}")
    async with running(plain, tmp_path) as bridge:
        await bridge.opened()
        old = await bridge.client()
        changed = plain.replace(
            f'listen = "127.0.0.1:{port}"', f'listen = "127.0.0.1:{port}"\nframing = "json"'
        )
        assert await reload(bridge, changed) == [f"session chat: tcp 127.0.0.1:{port} changed"]
        assert await old.closed() == b""
        new = await bridge.client()
        await new.send(b'"by json"\n')
        assert await new.line() == '"by json"'
        assert bridge.chat.supervisor.epoch == 1


async def test_who_connects_during_the_exchange_of_a_listener_is_served(
    server: RealServer, tmp_path: Path
) -> None:
    port = free_port()
    plain = chat(server).replace("127.0.0.1:0", f"127.0.0.1:{port}")
    async with running(plain, tmp_path) as bridge:
        await bridge.opened()

        async def keep_connecting() -> int:
            served = 0
            while served < 30:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                served += 1
                writer.close()
                del reader
                await asyncio.sleep(0.001)
            return served

        connecting = asyncio.create_task(keep_connecting())
        for size in range(1, 6):
            await reload(bridge, plain.replace(f':{port}"', f':{port}"\nmax_clients = {100 + size}'))
        assert await connecting == 30


async def test_a_unix_socket_stays_when_its_listener_changes_and_goes_when_it_goes(
    server: RealServer, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    plain = chat(server).replace("127.0.0.1:0", f"unix:{path}")
    async with running(plain, tmp_path) as bridge:
        await reload(bridge, plain.replace(f'{path}"', f'{path}"\nmax_clients = 5'))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()
        await reload(bridge, chat(server))
        assert not path.exists()


async def test_a_unix_socket_gets_its_new_mode(server: RealServer, tmp_path: Path) -> None:
    path = tmp_path / "s"
    plain = chat(server).replace("127.0.0.1:0", f"unix:{path}")
    async with running(plain, tmp_path) as bridge:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await reload(bridge, plain.replace(f'{path}"', f'{path}"\nsocket_mode = "0660"'))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_a_changed_listener_makes_the_file_anew_that_somebody_has_removed(
    server: RealServer, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    plain = chat(server).replace("127.0.0.1:0", f"unix:{path}")
    async with running(plain, tmp_path) as bridge:
        path.unlink()
        await reload(bridge, plain.replace(f'{path}"', f'{path}"\nmax_clients = 5'))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()


async def test_several_listeners_of_port_0_stay_several(server: RealServer, tmp_path: Path) -> None:
    more = '[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\nmax_clients = {}\n'
    async with running(chat(server, more=more.format(5)), tmp_path) as bridge:
        before = {bridge.listener(index).name for index in range(2)}
        changed = chat(server, listener="max_clients = 6", more=more.format(7) + more.format(8))
        await reload(bridge, changed)
        after = {bridge.listener(index).name for index in range(3)}
        assert len(after) == 3
        assert before < after


async def test_an_address_goes_from_one_session_to_another(server: RealServer, tmp_path: Path) -> None:
    port = free_port()
    one = chat(server).replace("127.0.0.1:0", f"127.0.0.1:{port}")
    async with running(one, tmp_path) as bridge:
        await bridge.opened()
        other = one.replace("sessions.chat", "sessions.other")
        lines = await reload(bridge, other)
        assert lines == ["session chat: removed", "session other: added"]
        await until(lambda: bridge.daemon.bridges["other"].supervisor.is_open)
        program = await bridge.client(session="other")
        await program.send(b"mine now\n")
        assert await program.line() == "mine now"


async def test_a_zeromq_address_is_used_again(server: RealServer, tmp_path: Path) -> None:
    port = free_port()

    def with_pub(options: str) -> str:
        pub = f'[[sessions.chat.zmq]]\ntype = "pub"\nendpoint = "tcp://127.0.0.1:{port}"\n{options}\n'
        return chat(server, more=pub)

    context = zmq.Context[zmq.Socket[bytes]]()
    subscriber = context.socket(zmq.SUB)
    subscriber.subscribe(b"chat")
    subscriber.connect(f"tcp://127.0.0.1:{port}")
    try:
        async with running(with_pub(""), tmp_path) as bridge:
            await bridge.opened()
            await until(lambda: bridge.chat.endpoints[1].consumers == 1)
            program = await bridge.client()
            lines = await reload(bridge, with_pub('layout = "meta"'))
            assert lines == [f"session chat: pub tcp://127.0.0.1:{port} changed"]
            # A subscriber subscribes again when its program uses the socket, not before.
            await until(lambda: subscriber.poll(0) == 0 and bridge.chat.endpoints[1].consumers == 1)
            await program.send(b"hello\n")
            await until(lambda: subscriber.poll(0))
            frames = subscriber.recv_multipart()
            assert (frames[0], len(frames), frames[-1]) == (b"chat", 3, b"hello")
            assert bridge.chat.supervisor.epoch == 1
    finally:
        context.destroy(linger=0)


@pytest.mark.parametrize("what", ["syntax", "value", "taken address"])
async def test_what_cannot_be_used_changes_nothing(
    server: RealServer, what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text, problem = {
            "syntax": ("[sessions", "bridge.toml"),
            "value": (chat(server, listener='framing = "morse"'), "sessions.chat.tcp[0].framing"),
            "taken address": (
                chat(
                    server,
                    session='headers = { A = "b" }',
                    more=f'[[sessions.chat.tcp]]\nlisten = "127.0.0.1:{port}"\n[sessions.new]\nurl = "http://h/x"',
                ),
                f"cannot bind 127.0.0.1:{port}: address already in use",
            ),
        }[what]
        async with running(chat(server), tmp_path) as bridge:
            await bridge.opened()
            program = await bridge.client()
            with pytest.raises(ConfigError) as caught:
                await reload(bridge, text)
            assert problem in str(caught.value)
            assert events(caplog, "reload failed")
            assert list(bridge.daemon.bridges) == ["chat"]
            assert (bridge.chat.supervisor.epoch, len(bridge.chat.endpoints)) == (1, 1)
            await program.send(b"as before\n")
            assert await program.line() == "as before"
            assert bridge.daemon.reloads == {"ok": 0, "failed": 1}
            assert await reload(bridge, chat(server)) == []


async def test_a_key_that_cannot_be_read_changes_nothing(server: RealServer, tmp_path: Path) -> None:
    port = free_port()
    plain = chat(server, more=f'[[sessions.chat.zmq]]\ntype = "pull"\nendpoint = "tcp://127.0.0.1:{port}"\n')
    curve = f'curve = {{ secret_key_file = "{tmp_path}/none", allow = ["{"a" * 40}"] }}\n'
    async with running(plain, tmp_path) as bridge:
        await bridge.opened()
        with pytest.raises(ConfigError) as caught:
            await reload(bridge, plain.replace('"websocket"', '"websocket", "xhr-polling"') + curve)
        where = "sessions.chat.zmq[0].curve.secret_key_file"
        assert str(caught.value) == f"{where}: {tmp_path}/none: no such file or directory"
        assert (bridge.chat.supervisor.epoch, len(bridge.chat.endpoints)) == (1, 2)


async def test_sockets_that_cannot_be_taken_over_change_nothing(
    server: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_none() -> list[socket.socket]:
        raise OSError(errno.EMFILE, "Too many open files")

    async with running(chat(server), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        monkeypatch.setattr(bridge.listener().acceptor, "give_sockets", give_none)
        with pytest.raises(ConfigError, match=r"sessions\.chat\.tcp\[0\]\.listen: .*Too many open files"):
            await reload(bridge, chat(server, session='headers = { A = "b" }', listener="max_clients = 5"))
        await program.send(b"as before\n")
        assert await program.line() == "as before"
        assert bridge.chat.supervisor.epoch == 1


async def test_a_session_that_has_failed_tries_again(server: RealServer, tmp_path: Path) -> None:
    port = free_port()
    away = f'[sessions.away]\nurl = "http://127.0.0.1:{port}/x"\nreconnect = {{ max_attempts = 1 }}'
    async with running(chat(server, more=away), tmp_path) as bridge:
        await until(lambda: bridge.daemon.bridges["away"].supervisor.has_given_up)
        assert await bridge.daemon.reload() == ["session away: had failed, tries again"]
        await until(lambda: sum(bridge.daemon.bridges["away"].hub.stats.connects.values()) == 2)


async def test_sessions_are_handed_over_together(
    server: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One server that does not answer would make the next session wait, and a stop for all of them."""
    text = chat(server, more=f'[sessions.more]\nurl = "{server.url("/echo")}"')
    async with running(text, tmp_path) as bridge:
        both = asyncio.Barrier(2)

        def meet_first(really: Callable[[Cause], Awaitable[None]]) -> Callable[[Cause], Awaitable[None]]:
            async def hand_over(cause: Cause) -> None:
                await both.wait()
                await really(cause)

            return hand_over

        for each in bridge.daemon.bridges.values():
            monkeypatch.setattr(each.supervisor, "hand_over", meet_first(each.supervisor.hand_over))
        lines = await reload(
            bridge, text.replace("[sessions.chat]", "[defaults]\nbatch_bytes = 1\n[sessions.chat]")
        )
        assert len(lines) == 2


async def test_whoever_asks_during_a_stop_is_told_so_at_once(
    server: RealServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(chat(server), tmp_path) as bridge:
        await bridge.opened()
        bridge.daemon.stop()
        with pytest.raises(BridgeError, match="is stopping") as caught:
            await bridge.daemon.reload()
        assert not isinstance(caught.value, ConfigError)
        assert not events(caplog, "stopped")
        assert not events(caplog, "reload failed")


async def test_the_bounds_of_the_queue_hold_at_once(server: RealServer, tmp_path: Path) -> None:
    async with running(chat(server), tmp_path) as bridge:
        await bridge.opened()
        await reload(bridge, chat(server, session="queue.max_messages = 2"))
        assert bridge.chat.supervisor.epoch == 1
        assert bridge.chat.hub.queue.offer(["a", "b", "c"], 0.0) == 2


async def test_sighup_reloads(server: RealServer, tmp_path: Path) -> None:
    async with running(chat(server), tmp_path) as bridge:
        bridge.file.write_text(chat(server, more=f'[sessions.more]\nurl = "{server.url("/echo")}"'))
        bridge.daemon.receive_signal(signal.SIGHUP)
        await until(lambda: "more" in bridge.daemon.bridges)
        bridge.file.write_text("nonsense")
        bridge.daemon.receive_signal(signal.SIGHUP)
        await until(lambda: bridge.daemon.reloads == {"ok": 1, "failed": 1})


async def test_many_reloads_leave_nothing_behind(server: RealServer, tmp_path: Path) -> None:
    async with running(chat(server), tmp_path) as bridge:
        await bridge.opened()

        async def turn(number: int) -> None:
            await reload(
                bridge, chat(server, session=f'headers = {{ N = "{number}" }}', listener="max_clients = 7")
            )
            await reload(bridge, chat(server, more=f'[sessions.more]\nurl = "{server.url("/echo")}"'))
            await reload(bridge, chat(server))
            await bridge.opened()

        await turn(0)
        await until(lambda: len(asyncio.all_tasks()) <= 6)
        descriptors = open_descriptors()
        for number in range(10):
            await turn(number)
        await until(lambda: open_descriptors() <= descriptors)
