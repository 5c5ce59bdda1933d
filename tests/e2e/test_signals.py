"""How the program ends: by signals, with a drain, or because no server is there."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, LineClient, smallest, wait_until
from tests.real_servers import RealServer

NOBODY = "http://127.0.0.1:1/echo"
QUICK = '[sessions.chat.reconnect]\ninitial = "100ms"\nmax = "200ms"\n'


def drain_within(seconds: float) -> str:
    return f'[bridge]\ndrain_timeout = "{seconds}s"\n'


def queue_for_nobody(bridge: BridgeProcess, client: LineClient, count: int) -> None:
    """Let messages wait in the bridge for a server that is not there."""
    bridge.wait_for_log("cannot connect")
    client.send(*(f"waiting {number}" for number in range(count)))
    bridge.wait_for_log("client in")


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_what_was_written_just_before_the_signal_still_reaches_the_server(
    number: signal.Signals, transport: str, server: RealServer, start_bridge: BridgeStarter
) -> None:
    lines = [f"{number.name} {index}" for index in range(5000)]
    watching = start_bridge(smallest(server.url("/chat")) + 'direction = "from-server"\n')
    ending = start_bridge(smallest(server.url("/chat"), session=f'transports = ["{transport}"]\n'))
    watching.wait_open()
    ending.wait_open()
    with LineClient(watching.port) as watcher, LineClient(ending.port) as writer:
        watching.wait_for_log("client in")
        ending.wait_for_log("client in")
        writer.send(*lines)
        ending.send_signal(number)
        assert watcher.read(len(lines)) == lines
        assert ending.wait_exit() == 0
        # The program hears what came back before the end, whole lines only, and then an end that is no reset.
        heard = writer.read_rest()
        assert heard == lines[: len(heard)]
    assert ending.log_lines(f"{number.name}: stopping")
    assert ending.log_lines("closed", cause="stopping", code=1000)
    last = ending.log[-1]
    assert (last["message"], last["sent"], last["dropped"]) == ("stopped", len(lines), 0)
    assert last["seconds"] < 8


def test_a_client_that_is_connected_and_silent_does_not_hold_up_the_end(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(smallest(server.url("/echo")))
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        bridge.wait_for_log("client in")
        assert bridge.stop() == 0
        assert client.read_rest() == []
    assert bridge.log[-1]["seconds"] < 1


def test_a_stop_takes_more_than_the_queue_holds_while_it_has_time(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    # Much of it is still with the kernel when the signal comes.
    lines = [f"{index} ".ljust(100, "x") for index in range(30_000)]
    bridge = start_bridge(smallest(server.url("/echo")) + "[sessions.chat.queue]\nmax_messages = 1000\n")
    bridge.wait_open()
    with LineClient(bridge.port) as client, ThreadPoolExecutor() as threads:
        bridge.wait_for_log("client in")
        heard = threads.submit(client.read_rest)
        client.send(*lines)
        assert bridge.stop() == 0
        assert lines[: len(heard.result())] == heard.result()
    assert (bridge.log[-1]["sent"], bridge.log[-1]["dropped"]) == (len(lines), 0)


def test_what_a_stop_can_not_send_is_counted(start_bridge: BridgeStarter) -> None:
    config = drain_within(1) + smallest(NOBODY) + "[sessions.chat.queue]\nmax_messages = 100\n"
    bridge = start_bridge(config)
    with LineClient(bridge.port) as client:
        queue_for_nobody(bridge, client, 1000)
        assert bridge.stop() == 0
    queued = bridge.log_lines("messages could not be sent before the stop", reason="stopped")[0]["messages"]
    late = bridge.log_lines("messages of clients came too late to be taken", reason="stopped")[0]["messages"]
    assert (queued, late) == (100, 900)
    assert bridge.log[-1]["dropped"] == 1000
    assert bridge.log[-1]["reasons"] == "stopped 1000"


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
def test_a_stop_waits_for_a_server_that_is_slow_to_read(
    transport: str, real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server("tornado")
    watching = start_bridge(smallest(server.url("/chat")) + 'direction = "from-server"\n')
    ending = start_bridge(smallest(server.url("/chat"), session=f'transports = ["{transport}"]\n'))
    watching.wait_open()
    ending.wait_open()
    lines = [f"line {index}" for index in range(1000)]
    with LineClient(watching.port) as watcher, LineClient(ending.port) as writer:
        watching.wait_for_log("client in")
        ending.wait_for_log("client in")
        server.process.send_signal(signal.SIGSTOP)
        writer.send(*lines)
        ending.send_signal(signal.SIGTERM)
        ending.wait_for_log("SIGTERM: stopping")
        wakes = threading.Timer(2, server.process.send_signal, [signal.SIGCONT])
        wakes.start()
        assert ending.wait_exit() == 0
        wakes.join()
        # This one is served after all that the server had to read before.
        last_word = start_bridge(smallest(server.url("/chat")))
        last_word.wait_open()
        with LineClient(last_word.port) as after:
            after.send("the end")
            heard = watcher.read(1)
            while heard[-1] != "the end":
                heard += watcher.read(1)
    assert ending.log[-1]["sent"] == len(lines)
    assert heard == [*lines, "the end"]


def test_a_client_that_does_not_read_holds_up_the_end_no_longer_than_the_drain_timeout(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    # More than the kernel buffers for the two ends of a connection on one machine.
    lines = ["x" * 50_000] * 300
    bridge = start_bridge(drain_within(1) + smallest(server.url("/chat")) + 'client_buffer = "64MiB"\n')
    bridge.wait_open()
    with LineClient(bridge.port) as watcher, LineClient(bridge.port) as stubborn:
        bridge.wait_for_log("client in", clients=2)
        assert watcher.exchange(lines) == lines
        began = time.monotonic()
        assert bridge.stop() == 0
        assert time.monotonic() - began < 2
    note = bridge.log_lines("a client did not read until the end", client=stubborn.local_name)[0]
    assert note["undelivered_bytes"] > 0


def test_a_second_sigint_leaves_at_once(start_bridge: BridgeStarter) -> None:
    bridge = start_bridge(drain_within(60) + smallest(NOBODY) + QUICK)
    with LineClient(bridge.port) as client:
        queue_for_nobody(bridge, client, 1)
        bridge.send_signal(signal.SIGINT)
        bridge.wait_for_log("SIGINT: stopping")
        # A second SIGTERM is no hurry: service managers send it twice.
        bridge.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert bridge.stop(signal.SIGINT) == 130
        assert time.monotonic() - began < 2
    assert bridge.log[-1]["message"].startswith("second SIGINT")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_drain_without_a_server_ends_in_time_and_counts_what_it_leaves(
    number: signal.Signals, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(drain_within(1) + smallest(NOBODY) + QUICK)
    with LineClient(bridge.port) as client:
        queue_for_nobody(bridge, client, 3)
        began = time.monotonic()
        assert bridge.stop(number) == 0
        assert 0.3 < time.monotonic() - began < 1.8
    assert bridge.log_lines("messages could not be sent before the stop", messages=3, reason="stopped")
    last = bridge.log[-1]
    assert (last["message"], last["sent"], last["dropped"]) == ("stopped", 0, 3)
    assert last["seconds"] <= 1.1


def test_a_drain_that_finds_the_server_back_sends_what_waits(
    real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server("tornado")
    server.kill()
    bridge = start_bridge(drain_within(14) + smallest(server.url("/echo")) + QUICK)
    with LineClient(bridge.port) as client:
        queue_for_nobody(bridge, client, 10)
        bridge.send_signal(signal.SIGTERM)
        bridge.wait_for_log("SIGTERM: stopping")
        server.restart()
        assert bridge.wait_exit() == 0
    assert (bridge.log[-1]["sent"], bridge.log[-1]["dropped"]) == (10, 0)


def test_a_server_that_hangs_does_not_hold_up_the_end(
    real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server("tornado")
    bridge = start_bridge(drain_within(3) + smallest(server.url("/echo")))
    bridge.wait_open()
    server.process.send_signal(signal.SIGSTOP)
    assert bridge.stop() == 0
    assert bridge.log[-1]["seconds"] <= 3


def test_sighup_with_the_same_file_changes_nothing(server: RealServer, start_bridge: BridgeStarter) -> None:
    bridge = start_bridge(smallest(server.url("/echo")))
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        bridge.send_signal(signal.SIGHUP)
        bridge.wait_for_log("reloaded")
        client.send("still there")
        assert client.read(1) == ["still there"]
    assert not bridge.log_lines("closed")
    assert bridge.stop() == 0


def test_sigterm_while_the_first_connection_is_being_made(
    real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server("tornado")
    server.process.send_signal(signal.SIGSTOP)
    bridge = start_bridge(smallest(server.url("/echo")))
    bridge.wait_for_log("connecting to ")
    assert bridge.stop() == 0
    assert bridge.log[-1]["seconds"] < 1


def test_sigterm_before_anything_is_set_up_is_kept_until_then(
    start_bridge: BridgeStarter, tmp_path: Path
) -> None:
    # Whoever reads the configuration has to wait for this test to write it.
    config = tmp_path / "pipe.toml"
    os.mkfifo(config)
    bridge = start_bridge.start("--config", config)
    wait_until(lambda: bridge.blocks_sigterm, "SIGTERM is blocked")
    bridge.send_signal(signal.SIGTERM)
    config.write_text(smallest(NOBODY), encoding="utf-8")
    assert bridge.wait_exit() == 0
    assert bridge.log_lines("SIGTERM: stopping")
    assert bridge.log[-1]["message"] == "stopped"


def test_without_a_server_startup_fail_is_exit_code_69(start_bridge: BridgeStarter) -> None:
    bridge = start_bridge('[bridge]\nstartup = "fail"\n' + smallest(NOBODY))
    assert bridge.wait_exit() == 69
    failed = bridge.log_lines("cannot connect: ")[0]
    assert failed["level"] == "warning"
    assert "cannot reach 127.0.0.1 port 1: connection refused" in failed["message"]
    assert bridge.log_lines('session chat did not open, and startup is "fail"', level="error")
    assert bridge.log[-1]["message"] == "stopped"


def test_with_a_server_startup_fail_goes_on_and_survives_its_death(
    real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server("tornado")
    bridge = start_bridge('[bridge]\nstartup = "fail"\n' + smallest(server.url("/echo")) + QUICK)
    bridge.wait_open()
    server.kill()
    bridge.wait_for_log("cannot connect")
    server.restart()
    bridge.wait_open(epoch=2)
    assert bridge.stop() == 0


def test_a_session_that_has_used_up_its_attempts_is_exit_code_69(start_bridge: BridgeStarter) -> None:
    bridge = start_bridge(smallest(NOBODY) + QUICK + "max_attempts = 2\n")
    assert bridge.wait_exit() == 69
    assert bridge.log_lines("gave up after 2 failed rounds", level="error", session="chat")
    assert bridge.log[-1]["message"] == "stopped"


def test_one_session_that_has_given_up_does_not_end_the_others(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    lost = smallest(NOBODY).replace("sessions.chat", "sessions.lost")
    lost += '[sessions.lost.reconnect]\ninitial = "50ms"\nmax_attempts = 1\n'
    bridge = start_bridge(smallest(server.url("/echo")) + lost)
    bridge.wait_for_log("gave up", session="lost")
    bridge.wait_for_log("open", session="chat")
    with LineClient(bridge.port) as client:
        client.send("hi")
        assert client.read(1) == ["hi"]
    assert bridge.stop() == 0


def test_nobody_can_connect_once_the_drain_has_begun(start_bridge: BridgeStarter) -> None:
    bridge = start_bridge(drain_within(2) + smallest(NOBODY) + QUICK)
    port = bridge.port
    with LineClient(port) as client:
        queue_for_nobody(bridge, client, 1)
        bridge.send_signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                LineClient(port).close()
            except ConnectionError:
                return True
            return False

        wait_until(refused, "the listener is closed", timeout=1)
        assert bridge.wait_exit() == 0
