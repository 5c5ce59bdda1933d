"""`mode = "dedicated"`: each client has its own upstream session, opened with it and closed with it."""

import asyncio
import gc
import json
import socket
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from sockjs_bridge.endpoints.base import ClientBudget
from sockjs_bridge.errors import ConfigError
from tests.in_process import Program, Running, events, one_session, running, until
from tests.scripted import CLOSE, PING, PONG, TEXT, Peer, ScriptedServer, scripted
from tests.scripted_http import HTTP_TRANSPORTS, Backend, over

DEDICATED = 'mode = "dedicated"'
# A client that closes has sent an end of its stream, as one that still reads would.
QUICK_EOF = 'eof_linger = "50ms"'


class Echo:
    """The script of a server that sends everything back, and keeps what each session said."""

    def __init__(self) -> None:
        self.said: defaultdict[str, list[str]] = defaultdict(list)
        self.closes: dict[str, int] = {}
        self.peers: dict[str, Peer] = {}

    async def __call__(self, peer: Peer) -> None:
        await peer.open_session()
        name = peer.session_id
        self.peers[name] = peer
        while True:
            opcode, payload = await peer.receive_frame()
            if opcode == PING:
                await peer.send_frame(PONG, payload)
            elif opcode == TEXT:
                messages = json.loads(payload)
                self.said[name] += messages
                await peer.send_text("a" + json.dumps(messages))
            elif opcode == CLOSE:
                self.closes[name] = int.from_bytes(payload[:2], "big") if payload else 1005
                await peer.send_frame(CLOSE, payload)
                return


def config(server: ScriptedServer, session: str = "", listener: str = "") -> str:
    return one_session(server.url(), session, f"{DEDICATED}\n{listener}")


def add_up(bridge: Running) -> None:
    """Both sums of the law, over all sessions that there were."""
    stats = bridge.chat.hub.stats
    waiting = bridge.chat.count_waiting(asyncio.get_running_loop().time())
    assert stats.messages_accepted == (
        stats.messages_sent + waiting.messages - waiting.resends + stats.queue_dropped.total()
    )
    found = bridge.dedicated().count_delivery()
    assert found.offered == found.delivered + found.buffered + sum(found.dropped.values())


async def gone(bridge: Running) -> None:
    """Wait until nothing is left of any client."""
    await until(lambda: not bridge.dedicated()._pairs)
    assert bridge.dedicated().clients == 0
    assert bridge.chat.privates.queues == []


async def test_echoes_of_many_clients_do_not_mix(tmp_path: Path) -> None:
    echo = Echo()
    async with scripted(echo) as server, running(config(server), tmp_path) as bridge:
        programs = [await bridge.client() for _ in range(50)]
        await asyncio.gather(
            *[
                program.send(b"".join(b"%d of %d\n" % (message, number) for message in range(100)))
                for number, program in enumerate(programs)
            ]
        )
        for number, program in enumerate(programs):
            assert await program.lines(100) == [f"{message} of {number}" for message in range(100)]
        assert len(echo.said) == 50, "each has a session id of its own"
        assert bridge.dedicated().describe() | {"address": ""} == {
            "type": "tcp",
            "address": "",
            "framing": "lines",
            "mode": "dedicated",
            "clients": 50,
            "sessions": 50,
            "offered": 5000,
            "delivered": 5000,
            "buffered": 0,
            "dropped": 0,
        }
        stats = bridge.chat.hub.stats
        assert (stats.messages_accepted, stats.messages_sent, stats.messages_received) == (5000, 5000, 5000)
        assert stats.connects == {("websocket", "opened"): 50}
        add_up(bridge)


async def test_all_of_a_session_share_the_server_id_and_the_jar(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept_websocket(f"Set-Cookie: seen={peer.number}; Path=/\r\n")
        await peer.send_text("o")
        await peer.stay()

    async with (
        scripted(script) as server,
        running(config(server, "cookies = { a = 'b' }"), tmp_path) as bridge,
    ):
        for number in range(1, 4):
            await bridge.client()
            await until(lambda wanted=number: bridge.dedicated().sessions == wanted)  # type: ignore[misc]  # mypy takes the default for an argument
        assert len({peer.path.split("/")[-3] for peer in server.peers}) == 1
        assert [peer.headers["cookie"] for peer in server.peers] == ["a=b", "a=b; seen=1", "a=b; seen=2"]


async def test_a_client_that_leaves_takes_its_session_along(tmp_path: Path) -> None:
    echo = Echo()
    async with scripted(echo) as server, running(config(server, "", QUICK_EOF), tmp_path) as bridge:
        stays, leaves = await bridge.client(), await bridge.client()
        await until(lambda: bridge.dedicated().sessions == 2)
        await leaves.send(b"one\ntwo\n")
        leaves.close()
        await until(lambda: echo.closes)
        [(name, code)] = echo.closes.items()
        assert (code, echo.said[name]) == (1000, ["one", "two"])
        await stays.send(b"still here\n")
        assert await stays.line() == "still here"
        assert bridge.chat.hub.stats.closes == {"stopping": 1}
        add_up(bridge)


async def test_what_a_client_wrote_before_the_session_opened_is_sent_after_it_has_left(
    tmp_path: Path,
) -> None:
    go = asyncio.Event()
    echo = Echo()

    async def script(peer: Peer) -> None:
        await go.wait()
        await echo(peer)

    async with scripted(script) as server, running(config(server, "", QUICK_EOF), tmp_path) as bridge:
        program = await bridge.client()
        await program.send(b"one\ntwo\n")
        await until(lambda: bridge.chat.hub.stats.messages_accepted == 2)
        program.close()
        await until(lambda: bridge.dedicated().clients == 0)
        go.set()
        await until(lambda: echo.closes)
        assert list(echo.said.values()) == [["one", "two"]]
        assert list(echo.closes.values()) == [1000]
        await gone(bridge)


async def test_what_the_queue_had_no_room_for_is_sent_after_its_writer_has_left(tmp_path: Path) -> None:
    go = asyncio.Event()
    echo = Echo()

    async def script(peer: Peer) -> None:
        await go.wait()
        await echo(peer)

    async with (
        scripted(script) as server,
        running(config(server, "queue.max_messages = 10"), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await program.send(b"".join(b"%d\n" % number for number in range(1000)))
        await until(lambda: bridge.dedicated().is_holding_back)
        program.writer.transport.abort()
        go.set()
        await until(lambda: echo.closes)
        [said] = echo.said.values()
        assert said == [str(number) for number in range(len(said))]
        await gone(bridge)
        stats = bridge.chat.hub.stats
        assert stats.messages_accepted == stats.messages_sent == len(said) > 10
        add_up(bridge)


async def test_a_session_that_is_lost_closes_its_client_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    echo = Echo()
    async with scripted(echo) as server, running(config(server), tmp_path) as bridge:
        loses, stays = await bridge.client(), await bridge.client()
        await until(lambda: bridge.dedicated().sessions == 2)
        await loses.send(b"mine\n")
        assert await loses.line() == "mine"
        [name] = echo.said
        await echo.peers[name].send_text('a["last words"]')
        echo.peers[name].reset()
        assert await loses.closed() in {b"", b"last words\n"}, "a reset may destroy them"
        await stays.send(b"still here\n")
        assert await stays.line() == "still here"
        await until(lambda: bridge.dedicated().clients == 1)
        assert len(server.peers) == 2, "it does not connect anew"
        [closed] = events(caplog, "closed")
        assert closed["cause"] == "transport_lost"
        assert str(closed["client"]).startswith("127.0.0.1:")
        add_up(bridge)


async def test_everything_delivered_is_read_before_the_client_is_closed(tmp_path: Path) -> None:
    """Also by a client that goes on writing, and reads late: unread bytes would make the close a reset."""

    async def script(peer: Peer) -> None:
        await peer.open_session()
        for number in range(200):
            await peer.send_text("a" + json.dumps([f"{number} {'x' * 5000}"]))
        await peer.send_text('c[3000,"Go away!"]')
        await peer.until_closed()

    async with scripted(script) as server, running(config(server), tmp_path) as bridge:
        program = await bridge.client()
        program.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport, in fact
        await until(lambda: bridge.chat.hub.stats.closes)
        await program.send(b"is anybody there?\n" * 1000)
        await until(lambda: bridge.dropped.get("stopped") == 1000)
        program.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        lines = (await program.closed()).splitlines()
        assert [int(line.split()[0]) for line in lines] == list(range(200))
        await gone(bridge)
        assert bridge.chat.hub.stats.closes == {"server_closed": 1}
        add_up(bridge)


async def test_envelope_clients_hear_of_their_session(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.open_session()
        assert await peer.receive_messages() == ["hi"]
        await peer.send_text('a["x"]')
        await peer.send_text('c[3000,"Go away!"]')
        await peer.until_closed()

    listener = 'framing = "envelope"'
    async with scripted(script) as server, running(config(server, "", listener), tmp_path) as bridge:
        for _ in range(2):
            program = await bridge.client()
            await program.send(b'{"data":"hi","id":7}\n')
            lines = [json.loads(line) for line in (await program.closed()).splitlines()]
            boot = bridge.daemon.process.boot
            acks = [line for line in lines if line["event"] == "ack"]
            assert {ack["status"] for ack in acks} <= {"queued", "sent", "in-doubt", "confirmed"}
            assert acks
            assert [line for line in lines if line not in acks] == [
                {"event": "connected", "session": "chat", "boot": boot, "epoch": 1, "transport": "websocket"},
                {"event": "message", "session": "chat", "boot": boot, "epoch": 1, "seq": 1, "data": "x"},
                {
                    "event": "disconnected",
                    "session": "chat",
                    "epoch": 1,
                    "cause": "server_closed",
                    "code": 3000,
                    "reason": "Go away!",
                },
            ]
        await gone(bridge)


async def test_a_server_that_is_away_at_first(tmp_path: Path) -> None:
    echo = Echo()
    async with scripted(echo) as server:
        await server.stop()
        async with running(config(server, "queue.max_messages = 10"), tmp_path) as bridge:
            program = await bridge.client()
            await program.send(b"".join(b"%d\n" % number for number in range(100)))
            await until(lambda: bridge.dedicated().is_holding_back)
            await until(lambda: bridge.chat.hub.stats.connects["websocket", "unreachable"] > 2)
            assert bridge.chat.count_waiting(0.0).messages == 10
            add_up(bridge)
            await server.start()
            assert await program.lines(100) == [str(number) for number in range(100)]
            assert bridge.chat.supervisor.status.last_failure is not None
            add_up(bridge)


async def test_attempts_that_are_used_up_close_the_client(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer("500 Internal Server Error")

    reconnect = 'reconnect.max_attempts = 2\nqueue.overflow = "reject"'
    async with scripted(script) as server:
        toml = config(server, reconnect).replace("reconnect = {", "reconnect = { max_attempts = 2,", 1)
        toml = toml.replace("reconnect.max_attempts = 2\n", "")
        async with running(toml, tmp_path) as bridge:
            for _ in range(2):
                program = await bridge.client()
                await program.send(b"one\ntwo\n")
                assert await program.closed() == b""
            await gone(bridge)
            assert len(server.peers) == 4
            logged = events(caplog, "gave up")
            assert len(logged) == 1, "repeats are held back"
            assert str(logged[0]["client"]).startswith("127.0.0.1:")
            assert len(events(caplog, "cannot connect")) == 1
            add_up(bridge)
            assert not bridge.daemon._end.done(), "new clients may fare better"


@pytest.mark.parametrize("hesitates", [False, True])
async def test_a_client_that_closes_its_half_gets_its_answer(tmp_path: Path, *, hesitates: bool) -> None:
    """Also where the session takes longer to open than `eof_linger`."""
    go = asyncio.Event()
    echo = Echo()

    async def script(peer: Peer) -> None:
        if hesitates:
            await go.wait()
        await echo(peer)

    listener = 'eof_linger = "300ms"'
    async with scripted(script) as server, running(config(server, "", listener), tmp_path) as bridge:
        program = await bridge.client()
        await program.send(b"hi")
        program.writer.write_eof()
        if hesitates:
            await until(lambda: bridge.chat.hub.stats.messages_accepted)
            await asyncio.sleep(0.6)  # twice eof_linger: time is the subject
            go.set()
        assert await program.closed() == b"hi\n"
        await until(lambda: echo.closes)
        assert list(echo.closes.values()) == [1000]
        await gone(bridge)


async def test_a_slow_client_holds_up_nobody_else(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.open_session()
        [messages] = await peer.receive_messages()
        for number in range(int(messages)):
            await peer.send_text("a" + json.dumps([f"{number} {'x' * 5000}"]))
        await peer.stay()

    listener = 'client_buffer = "64KiB"\nstall_timeout = "8s"'
    async with scripted(script) as server, running(config(server, "", listener), tmp_path) as bridge:
        slow, quick = await bridge.client(), await bridge.client()
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport, in fact
        await slow.send(b"4000\n")
        pairs = list(bridge.dedicated()._pairs)
        await until(lambda: pairs[0].session.hub.is_blocked)  # type: ignore[attr-defined]  # a PrivateSession
        await quick.send(b"2000\n")
        assert [int(line.split()[0]) for line in await quick.lines(2000)] == list(range(2000))
        assert pairs[0].session.hub.is_blocked  # type: ignore[attr-defined]  # as above
        add_up(bridge)
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        assert [int(line.split()[0]) for line in await slow.lines(4000)] == list(range(4000))


async def test_a_client_that_never_reads_what_its_session_left_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockjs_bridge.endpoints.dedicated._PATIENCE_SECONDS", 0.1)

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await peer.send_text("a" + json.dumps(["x" * 15_000_000]))
        await peer.send_text('c[3000,"Go away!"]')
        await peer.until_closed()

    async with (
        scripted(script) as server,
        running(config(server, "", 'client_buffer = "32MiB"'), tmp_path) as bridge,
    ):
        program = await bridge.client()
        program.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport, in fact
        await until(lambda: bridge.chat.hub.stats.closes)
        await gone(bridge)
        assert bridge.dropped == {"slow_client": 1}
        assert bridge.dedicated().count_delivery().dropped == {"slow_client": 1}
        add_up(bridge)


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_http_transports(tmp_path: Path, transport: str) -> None:
    backend = Backend()
    async with (
        scripted(backend, plays_info=True) as server,
        running(one_session(server.url(), over(transport), f"{DEDICATED}\n{QUICK_EOF}"), tmp_path) as bridge,
    ):
        programs = [await bridge.client() for _ in range(5)]
        await until(lambda: bridge.dedicated().sessions == 5)
        for number, program in enumerate(programs):
            await program.send(b"from %d\n" % number)
        await until(lambda: bridge.chat.hub.stats.messages_confirmed == 5)
        assert sorted(message for sent in backend.sent for message in sent) == [
            f"from {number}" for number in range(5)
        ]
        assert len(backend.session_ids) == 5
        add_up(bridge)
        for program in programs[1:]:
            program.close()
        await until(lambda: bridge.dedicated().sessions == 1)
        assert bridge.dedicated().clients == 1


async def test_a_stop_sends_and_closes_all_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    echo = Echo()
    async with scripted(echo) as server:
        async with running(config(server), tmp_path) as bridge:
            programs = [await bridge.client() for _ in range(20)]
            await until(lambda: bridge.dedicated().sessions == 20)
            for program in programs:
                program.writer.write(b"at the last moment\n")
            stats = bridge.chat.hub.stats
        assert list(echo.said.values()) == [["at the last moment"]] * 20
        assert list(echo.closes.values()) == [1000] * 20
        for program in programs:
            assert await program.closed() in {b"at the last moment\n", b""}
        [stopped] = events(caplog, "stopped")
        assert (stopped["sent"], stopped["received"]) == (20, stats.messages_received)


async def test_a_stop_gives_up_what_no_server_takes(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.until_closed()

    async with scripted(script) as server:
        async with running(config(server), tmp_path) as bridge:
            programs = [await bridge.client() for _ in range(3)]
            for program in programs:
                await program.send(b"hi\n")
            await until(lambda: bridge.chat.hub.stats.messages_accepted == 3)
            stats = bridge.chat.hub.stats
        assert stats.queue_dropped == {"stopped": 3}
        for program in programs:
            assert await program.closed() == b""


async def test_limits_of_a_listener(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    echo = Echo()
    async with (
        scripted(echo) as server,
        running(config(server, "", f"{QUICK_EOF}\nmax_clients = 2"), tmp_path) as bridge,
    ):
        first, _ = await bridge.client(), await bridge.client()
        await until(lambda: bridge.dedicated().sessions == 2)
        port = int(bridge.dedicated().name.rpartition(":")[2])
        refused = Program(*await asyncio.open_connection("127.0.0.1", port))
        assert await refused.closed() == b""
        refused.close()
        assert len(events(caplog, "max_clients are connected")) == 1
        assert len(server.peers) == 2
        first.close()
        await until(lambda: bridge.dedicated().clients == 1)
        await bridge.client()
        await until(lambda: len(server.peers) == 3)


async def test_descriptors_are_reserved_for_the_sessions_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    echo = Echo()
    async with scripted(echo) as server, running(config(server, "", QUICK_EOF), tmp_path) as bridge:
        budget: ClientBudget = bridge.dedicated()._budget
        budget.limit = 9
        program = await bridge.client()
        await until(lambda: bridge.dedicated().sessions == 1)
        assert budget.used == 5
        port = int(bridge.dedicated().name.rpartition(":")[2])
        refused = Program(*await asyncio.open_connection("127.0.0.1", port))
        assert await refused.closed() == b""
        refused.close()
        assert len(events(caplog, "no file descriptors left for its session")) == 1
        assert budget.used == 5
        program.close()
        await gone(bridge)
        assert budget.used == 0


async def test_shared_and_dedicated_listeners_side_by_side(tmp_path: Path) -> None:
    echo = Echo()
    async with scripted(echo) as server:
        toml = one_session(server.url()) + f'[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\n{DEDICATED}\n'
        async with running(toml, tmp_path) as bridge:
            await bridge.opened()
            shared, other, own = await bridge.client(), await bridge.client(), await bridge.client(1)
            await until(lambda: bridge.dedicated(1).sessions == 1)
            await own.send(b"own\n")
            assert await own.line() == "own"
            await shared.send(b"shared\n")
            assert await shared.line() == await other.line() == "shared"
            assert sorted(echo.said.values()) == [["own"], ["shared"]]
            assert bridge.chat.supervisor.epoch == 1
            bridge.chat.supervisor.reconnect()
            await bridge.opened(epoch=2)
            await own.send(b"own again\n")
            assert await own.line() == "own again", "a reconnect is of the shared session"


async def test_without_a_shared_session_all_is_well(tmp_path: Path) -> None:
    async with scripted(Echo()) as server:
        toml = '[admin]\nlisten = "127.0.0.1:0"\n' + config(server)
        toml = toml.replace("[bridge]\n", '[bridge]\nstartup = "fail"\n')
        async with running(toml, tmp_path) as bridge:
            assert server.peers == []
            assert bridge.daemon._summary() == "1/1 sessions open"
            port = bridge.admin_port()
            assert (await ask(port, "GET", "/healthz")) == (200, "1/1 sessions open\n")
            assert (await ask(port, "GET", "/healthz?session=chat")) == (200, "on_demand\n")
            status, text = await ask(port, "POST", "/api/v1/sessions/chat/reconnect")
            assert (status, json.loads(text)) == (
                409,
                {"error": "session chat has nothing to reconnect: each client has its own"},
            )
            program = await bridge.client()
            await program.send(b"hi\n")
            assert await program.line() == "hi"
            document = json.loads((await ask(port, "GET", "/api/v1/status"))[1])
            [chat] = document["sessions"]
            assert (chat["state"], chat["transport"], chat["epoch"]) == ("on_demand", "", 0)
            assert chat["messages"]["to_server"] == 1
            [listener] = chat["listeners"]
            assert (listener["clients"], listener["sessions"]) == (1, 1)
            metrics = (await ask(port, "GET", "/metrics"))[1]
            assert 'sockjs_bridge_session_up{session="chat"} 1.0' in metrics
            labels = f'listener="{listener["address"]}",session="chat"'
            assert f"sockjs_bridge_dedicated_sessions{{{labels}}} 1.0" in metrics
            page = (await ask(port, "GET", "/"))[1]
            assert "on demand" in page
            assert "1 client, 1 session" in page
            assert "data-reconnect=" not in page


async def ask(port: int, method: str, path: str) -> tuple[int, str]:
    """A request to the admin listener: status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Sockjs-Bridge: 1\r\nConnection: close\r\n\r\n".encode()
    )
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


async def test_a_reload_leaves_connected_clients_with_what_they_began_with(tmp_path: Path) -> None:
    echo = Echo()
    async with scripted(echo) as server, running(config(server), tmp_path) as bridge:
        old = await bridge.client()
        await until(lambda: bridge.dedicated().sessions == 1)
        bridge.file.write_text(config(server, 'headers = { X-New = "yes" }').replace(":0", ":0"))
        lines = await bridge.daemon.reload()
        assert lines == [
            "session chat: headers changed; dedicated clients that are connected go on as they began"
        ]
        new = await bridge.client()
        await until(lambda: bridge.dedicated().sessions == 2)
        assert [peer.headers.get("x-new") for peer in server.peers] == [None, "yes"]
        for program in (old, new):
            await program.send(b"hi\n")
            assert await program.line() == "hi"


async def test_a_reload_ends_the_clients_of_a_listener_that_changed(tmp_path: Path) -> None:
    echo = Echo()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with scripted(echo) as server:
        toml = config(server).replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"')
        async with running(toml, tmp_path) as bridge:
            program = await bridge.client()
            await until(lambda: bridge.dedicated().sessions == 1)
            await program.send(b"hi\n")
            assert await program.line() == "hi"
            bridge.file.write_text(toml + "max_clients = 5\n")
            assert await bridge.daemon.reload() == [f"session chat: tcp 127.0.0.1:{port} changed"]
            assert await program.closed() == b""
            await until(lambda: echo.closes)
            assert list(echo.closes.values()) == [1000]
            again = await bridge.client()
            await again.send(b"again\n")
            assert await again.line() == "again"


async def test_a_reload_from_shared_to_dedicated_and_back(tmp_path: Path) -> None:
    echo = Echo()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with scripted(echo) as server:
        shared = one_session(server.url()).replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"')
        async with running(shared, tmp_path) as bridge:
            await bridge.opened()
            program = await bridge.client()
            bridge.file.write_text(shared + DEDICATED)
            assert await bridge.daemon.reload() == [
                "session chat: has no shared session any more",
                f"session chat: tcp 127.0.0.1:{port} changed",
            ]
            assert await program.closed() == b""
            await until(lambda: len(echo.closes) == 1)
            assert not bridge.chat.supervisor.is_open
            own = await bridge.client()
            await own.send(b"own\n")
            assert await own.line() == "own"
            bridge.file.write_text(shared)
            assert await bridge.daemon.reload() == [
                "session chat: has a shared session now",
                f"session chat: tcp 127.0.0.1:{port} changed",
            ]
            assert await own.closed() == b""
            await bridge.opened()
            again = await bridge.client()
            await again.send(b"again\n")
            assert await again.line() == "again"


async def test_what_outlives_a_client_is_an_error(tmp_path: Path) -> None:
    async with scripted(Echo()) as server, running(config(server), tmp_path) as bridge:
        bridge.file.write_text(config(server, f'cookie_file = "{tmp_path}/jar"'))
        with pytest.raises(ConfigError, match="not possible with cookie_file"):
            await bridge.daemon.reload()


async def test_clients_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    echo = Echo()
    async with scripted(echo) as server, running(config(server, "", QUICK_EOF), tmp_path) as bridge:

        async def come_and_go(number: int) -> None:
            program = await bridge.client()
            await program.send(b"hi\n")
            assert await program.line() == "hi"
            if number % 2:
                program.close()
            else:
                name = next(name for name, peer in echo.peers.items() if name not in echo.closes)
                echo.closes[name] = 0
                echo.peers[name].close()
            assert await program.closed() == b""
            program.close()
            await gone(bridge)

        for number in range(20):
            await come_and_go(number)
        before = await settled()
        assert before[2]["DedicatedListener"], "they are counted"
        repeats = len(bridge.chat.log._repeats)
        for number in range(200):
            await come_and_go(number)
        after = await settled()
        assert after[:2] == before[:2]
        assert not after[2] - before[2]
        assert len(bridge.chat.log._repeats) == repeats
        assert bridge.chat.hub.stats.messages_sent == 220
        add_up(bridge)


async def settled() -> tuple[int, int, Counter[str]]:
    """Descriptors, tasks and objects of ours that there are once nothing ends any more."""
    before = -1, -1
    while before != (before := (count_descriptors(), len(asyncio.all_tasks()))):
        await asyncio.sleep(0.2)  # closing handshakes, timers
    gc.collect()
    kinds = [type(each) for each in gc.get_objects()]
    return *before, Counter(
        kind.__name__ for kind in kinds if str(kind.__module__).startswith("sockjs_bridge.")
    )


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
