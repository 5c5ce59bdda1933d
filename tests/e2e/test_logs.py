"""The log: few lines while all is well, few lines while nothing is, and each of them says something."""

import json
import re
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bridge_process import (
    WEBSOCKET_AT_ONCE,
    BridgeStarter,
    HandshakeServer,
    LineClient,
    LogLine,
    pass_on,
    smallest,
    wait_until,
)
from tests.real_servers import RealServer


def at_info(lines: list[LogLine]) -> list[str]:
    return [line["message"] for line in lines if line["level"] == "info"]


def test_a_healthy_start_is_told_in_few_lines(server: RealServer, start_bridge: BridgeStarter) -> None:
    bridge = start_bridge(smallest(server.url("/echo")))
    bridge.wait_open()
    lines = bridge.log
    starts, listening, connecting, opened = at_info(lines)
    assert starts.startswith("sockjs-bridge ")
    assert listening.startswith("listening on 127.0.0.1:")
    assert connecting == f"connecting to {server.url('/echo')}"
    assert opened == "open"
    assert len(lines) <= 6
    assert not [line for line in lines if line["level"] != "info"]
    assert lines[0]["pid"] == bridge.pid
    assert (lines[-1]["session"], lines[-1]["transport"], lines[-1]["epoch"]) == ("chat", "websocket", 1)


def test_each_line_is_one_json_object_with_its_time_in_utc(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(smallest(server.url("/echo")))
    bridge.wait_open()
    assert bridge.stop() == 0
    lines = [json.loads(line) for line in bridge.stderr.splitlines()]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert bridge.stdout == ""


def test_a_client_is_told_when_it_comes_and_when_it_goes(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(smallest(server.url("/echo")))
    bridge.wait_open()
    before = len(bridge.log)
    with LineClient(bridge.port) as client:
        client.send(*("a line" for _ in range(500)))
        assert len(client.read(500)) == 500
        name = client.local_name
    bridge.wait_for_log("client out", client=name, clients=0)
    # Nothing for the five hundred messages.
    assert at_info(bridge.log[before:]) == ["client in", "client out"]


def test_a_restart_of_the_server_is_two_lines(
    real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server("tornado")
    # Later than the server takes to be back.
    bridge = start_bridge(smallest(server.url("/echo")) + '[sessions.chat.reconnect]\ninitial = "2s"\n')
    bridge.wait_open()
    before = len(bridge.log)
    server.restart()
    bridge.wait_open(epoch=2)
    closed, opened = bridge.log[before:]
    assert closed["level"] == opened["level"] == "info"
    assert re.fullmatch(r"closed; next try in [23]\.\d s", closed["message"])
    assert (closed["cause"], closed["code"], closed["epoch"]) == ("transport_lost", 1006, 1)
    assert (opened["message"], opened["epoch"]) == ("open", 2)


def test_a_server_that_stays_away_does_not_fill_the_log(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    away = threading.Event()
    let_through = pass_on(server.port)

    def answer(head: bytes, sock: socket.socket) -> None:
        if not away.is_set():
            let_through(head, sock)

    with HandshakeServer(answer) as gateway:
        url = f"http://127.0.0.1:{gateway.port}/echo"
        config = smallest(url, session=WEBSOCKET_AT_ONCE)
        bridge = start_bridge(config + '[sessions.chat.reconnect]\ninitial = "20ms"\nmax = "40ms"\n')
        bridge.wait_open()
        before = len(bridge.log)
        away.set()
        gateway.hang_up()
        wait_until(lambda: len(gateway.requests) > 25, "25 more attempts")
        away.clear()
        opened = bridge.wait_open(epoch=2)
        lines = bridge.log[before:]
        assert [line["message"].partition(":")[0].partition(";")[0] for line in lines] == [
            "closed",
            "cannot connect",
            "open",
        ]
        assert lines[1]["level"] == "warning"
        assert re.search(r"; next try in 0\.\d s$", lines[1]["message"])
        # All requests but four: the two that opened a session, the one that was told, perhaps one under way.
        assert len(gateway.requests) - 4 <= opened["held_back"] <= len(gateway.requests) - 3
        assert bridge.stop() == 0


def test_the_next_outage_is_told_again(
    real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server("tornado")
    bridge = start_bridge(
        smallest(server.url("/echo")) + '[sessions.chat.reconnect]\ninitial = "50ms"\nmax = "100ms"\n'
    )
    for epoch in (1, 2):
        bridge.wait_open(epoch)
        server.kill()
        bridge.wait_for_log("cannot connect", nth=epoch)
        server.restart()
    bridge.wait_open(3)


def test_messages_that_nobody_hears_are_one_line_and_are_counted(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(smallest(server.url("/echo")) + 'direction = "to-server"\n')
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        client.send("one")
        bridge.wait_for_log("messages came while no program was connected")
        for number in range(50):
            client.send(f"more {number}")
    bridge.wait_for_log("client out")
    assert bridge.stop() == 0
    assert len(bridge.log_lines("messages came while no program was connected")) == 1
    last = bridge.log[-1]
    assert last["sent"] == 51
    assert last["dropped"] == last["received"] >= 1


@pytest.mark.parametrize("level", ["warning", "error"])
def test_a_higher_level_is_silent_while_all_is_well(
    level: str, server: RealServer, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(f'[log]\nlevel = "{level}"\n' + smallest(server.url("/echo")))
    # There is no line to wait for.
    wait_until(lambda: bridge.handles_signals, "the process handles signals")
    assert bridge.stop() == 0
    assert bridge.stderr == ""


def test_frames_are_told_at_debug_only(server: RealServer, start_bridge: BridgeStarter) -> None:
    bridge = start_bridge('[log]\nlevel = "debug"\n' + smallest(server.url("/echo")))
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        client.send("find me")
        assert client.read(1) == ["find me"]
    assert "find me" in bridge.wait_for_log("sending", level="debug")["content"]
    assert "find me" in bridge.wait_for_log("received frames", level="debug", nth=2)["frames"]


def test_a_reload_to_debug_tells_frames_of_the_session_that_is_open(
    server: RealServer, start_bridge: BridgeStarter, tmp_path: Path
) -> None:
    """To see a fault is often only possible as long as the connection that has it is there."""
    config = smallest(server.url("/echo"))
    bridge = start_bridge(config)
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        client.send("before")
        assert client.read(1) == ["before"]
        (tmp_path / "bridge.toml").write_text('[log]\nlevel = "debug"\n' + config)
        bridge.send_signal(signal.SIGHUP)
        bridge.wait_for_log("reloaded")
        client.send("find me")
        assert client.read(1) == ["find me"]
    assert "find me" in bridge.wait_for_log("sending")["content"]
    assert "find me" in bridge.wait_for_log("received frames")["frames"]
    assert len(bridge.log_lines("open")) == 1


def test_text_is_for_people(server: RealServer, start_bridge: BridgeStarter) -> None:
    bridge = start_bridge('[log]\nformat = "text"\n' + smallest(server.url("/echo")))
    bridge.wait_for_text(" INFO chat: open transport=websocket epoch=1\n")
    assert bridge.stop() == 0
    stamp = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO ")
    assert all(stamp.match(line) for line in bridge.stderr.splitlines())
