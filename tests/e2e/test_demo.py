"""`sockjs-bridge demo`: what somebody sees who tries the program for the first time."""

import errno
import fcntl
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, run_command
from tests.e2e.netcat import Netcat, ask_netcat, need_netcat

PORT = 9000
"""The demo's own, and the one that its text tells people to use."""


@pytest.fixture(autouse=True)
def port_for_us_alone() -> Iterator[None]:
    """Wait for the tests of other processes that need the port too; skip where somebody else holds it."""
    lock_file = Path(tempfile.gettempdir()) / f"sockjs-bridge-tests-port-{PORT}-{os.getuid()}"
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            hold_port().close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            pytest.skip(f"port {PORT} is taken by another program")
        yield


def hold_port() -> socket.socket:
    return socket.create_server(("127.0.0.1", PORT))


# The demo's server is a library's, which warns of what it should do better. Users are not shown that, nor are we.
AS_FOR_USERS = {"PYTHONWARNINGS": ""}


def start_demo(start_bridge: BridgeStarter) -> BridgeProcess:
    demo = start_bridge.start("demo", environment=AS_FOR_USERS)
    demo.wait_for_text(f"listening on 127.0.0.1:{PORT}")
    demo.wait_for_text("open transport=websocket")
    return demo


def test_netcat_gets_its_own_line_back(start_bridge: BridgeStarter) -> None:
    need_netcat()
    demo = start_demo(start_bridge)
    asked = ask_netcat("hello", "-N", "localhost", str(PORT))
    assert (asked.stdout, asked.returncode) == ("hello\n", 0)
    assert demo.stop(signal.SIGINT) == 0


def test_two_netcats_chat_and_ctrl_c_ends_it(start_bridge: BridgeStarter) -> None:
    need_netcat()
    demo = start_demo(start_bridge)
    assert f"nc localhost {PORT}" in demo.stdout
    assert "Ctrl-C" in demo.stdout
    with Netcat("localhost", str(PORT)) as anna, Netcat("localhost", str(PORT)) as ben:
        demo.wait_for_text("clients=2")
        anna.say("hello from anna")
        assert ben.hear(1) == anna.hear(1) == ["hello from anna"]
        ben.say("hello from ben")
        assert anna.hear(2) == ben.hear(2) == ["hello from anna", "hello from ben"]
        assert demo.stop(signal.SIGINT) == 0
    assert "stopped sent=2 received=2 dropped=0" in demo.stderr


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with hold_port():
        done = run_command("demo", folder=tmp_path, environment=AS_FOR_USERS)
    assert done.returncode == 78
    assert done.stderr == f"sockjs-bridge demo: cannot bind 127.0.0.1:{PORT}: address already in use\n"
