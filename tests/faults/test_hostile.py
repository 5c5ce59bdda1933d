"""One hostile session costs the others of the same bridge nothing: all is delivered, and soon."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge_process import BridgeStarter, wait_until
from tests.faults.accounts import Accounts
from tests.faults.configuration import HEAD, QUICK, admin_port, port_of, session
from tests.faults.conftest import ServerStarter
from tests.faults.hostile_server import ANSWER, STREAM, WEBSOCKET
from tests.faults.process_facts import MIB, cpu_seconds, memory_bytes
from tests.faults.programs import NumberedProgram

_PROJECT = Path(__file__).resolve().parent.parent.parent
SECONDS = 1.5
LONG_SECONDS = 15.0
LONGEST_WAIT = 1.0
"""Seconds between two pieces at a healthy program, which gets a message every 10 ms."""
MEMORY = 16 * MIB + 60 * MIB
"""max_frame_size and 60 MiB more than the idle process."""

CASES = [
    *(("websocket", name) for name in (*WEBSOCKET, *ANSWER)),
    *(("xhr-streaming", name) for name in (*STREAM, *ANSWER)),
]


@pytest.fixture
def hostile_port() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.hostile_server"],
        cwd=_PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        yield json.loads(process.stdout.readline())["port"]
        process.stdin.close()
        process.wait(15)


@pytest.mark.parametrize(("transport", "name"), CASES, ids=["-".join(case) for case in CASES])
def test_the_other_sessions_do_not_notice(
    start_bridge: BridgeStarter,
    fault_server: ServerStarter,
    hostile_port: int,
    transport: str,
    name: str,
    long: bool,
) -> None:
    server = fault_server()
    bridge = start_bridge(
        HEAD
        + session(server.url(), "websocket", QUICK.replace("silence_timeout = \"1s\"", ""), name="healthy")
        + session(f"http://127.0.0.1:{hostile_port}/{name}", transport, QUICK, name="hostile")
    )
    admin = admin_port(bridge)
    with NumberedProgram(port_of(bridge, "healthy"), "a") as program:
        server.wait_session(0)
        idle = memory_bytes(bridge.pid)
        cpu = cpu_seconds(bridge.pid)
        time.sleep(LONG_SECONDS if long else SECONDS)  # so long it is under attack
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
