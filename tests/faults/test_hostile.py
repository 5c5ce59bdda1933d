"""One hostile session costs the others of the same bridge nothing: all is delivered, and soon."""

import time
from collections.abc import Iterator

import pytest

from tests.bridge_process import BridgeStarter, wait_until
from tests.faults.accounts import Accounts
from tests.faults.configuration import HEAD, QUICK, admin_port, port_of, session
from tests.faults.conftest import ServerStarter
from tests.faults.hostile_server import ANSWER, STREAM, WEBSOCKET
from tests.faults.process_facts import MIB, cpu_seconds, memory_bytes
from tests.faults.programs import NumberedProgram
from tests.faults.server_module import running_server

PATIENT = 'silence_timeout = "30s"\nping_interval = "10s"\n'
SECONDS = 1.5
LONG_SECONDS = 15.0
LONGEST_WAIT = 5.0
"""Seconds between two pieces at a healthy program, which gets a message every 10 ms. On an idle machine it is
half a second at most: one read of the smallest frames."""
MEMORY = 3 * 16 * MIB + 60 * MIB
"""Three copies of the largest frame (as bytes, as text, decoded), and 60 MiB more than the idle process."""

CASES = [
    *(("websocket", name) for name in (*WEBSOCKET, *ANSWER)),
    *(("xhr-streaming", name) for name in (*STREAM, *ANSWER)),
]
SHORT = {
    "websocket": {
        "garbage",
        "slices",
        "large-frame",
        "empty-frames",
        "small-fragments",
        "pings",
        "deep",
        "endless-header",
    },
    "xhr-streaming": {"slices", "large-frame", "small-chunks", "empty-frames", "deep", "endless-header"},
}
"""What CI runs of it."""


@pytest.fixture
def hostile_port() -> Iterator[int]:
    with running_server("hostile_server") as port:
        yield port


@pytest.mark.parametrize(("transport", "name"), CASES, ids=["-".join(case) for case in CASES])
def test_the_other_sessions_do_not_notice(
    start_bridge: BridgeStarter,
    fault_server: ServerStarter,
    hostile_port: int,
    transport: str,
    name: str,
    is_long: bool,
) -> None:
    if not is_long and name not in SHORT[transport]:
        pytest.skip("only with --long")
    server = fault_server()
    bridge = start_bridge(
        HEAD
        + session(server.url(), "websocket", PATIENT, name="healthy")
        + session(f"http://127.0.0.1:{hostile_port}/{name}", transport, QUICK, name="hostile")
    )
    admin = admin_port(bridge)
    with NumberedProgram(port_of(bridge, "healthy"), "a") as program:
        server.wait_session(0)
        idle = memory_bytes(bridge.pid)
        cpu = cpu_seconds(bridge.pid)
        time.sleep(LONG_SECONDS if is_long else SECONDS)  # so long it is under attack
        cpu = cpu_seconds(bridge.pid) - cpu
        program.stop_writing()
        wait_until(
            lambda: server.journal().received.count.get("a") == program.written,
            "all that the program wrote has arrived",
        )
        server.speak(False)
        sent = server.journal().sent[1]
        wait_until(lambda: program.got.last.get("s1") == sent, "all that the server sent has arrived")
        program.check()
        most = memory_bytes(bridge.pid, "VmHWM") - idle
        print(
            f"{transport} {name}: longest wait {program.longest_wait:.3f} s, {most / MIB:.1f} MiB more, "
            f"cpu {cpu:.1f} s, {Accounts.read(admin).sum('connects_total', session='hostile')} attempts"
        )
        assert program.got.gaps == {"s1": 0}
        assert len(server.journal().opened) == 1, "the healthy session broke"
        assert program.longest_wait < LONGEST_WAIT
        assert most < MEMORY
    attempts = bridge.log_lines("open", session="hostile") + bridge.log_lines("cannot connect")
    assert attempts, "the hostile server was never reached"
