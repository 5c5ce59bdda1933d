"""A spool that fills up while the server is away takes no more memory than the queue may have, and 60 MiB."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.bridge_process import BridgeStarter, wait_until
from tests.faults.accounts import Accounts
from tests.faults.configuration import HEAD, QUICK, admin_port, port_of, session
from tests.faults.process_facts import MIB, memory_bytes
from tests.faults.server_module import running_server

SPARE = 60 * MIB
QUEUE = 8 * MIB
SPOOL = 64 * MIB
LINE_BYTES = 200
BURST = 500


def write_numbered(sock: socket.socket, is_enough: threading.Event) -> Callable[[], int]:
    """Write numbered lines as fast as they are read, in a thread, then "END"; returns what waits and tells how many."""
    written = 0

    def write() -> None:
        nonlocal written
        with suppress(OSError):
            while not is_enough.is_set():
                lines = [
                    f"{number} ".ljust(LINE_BYTES - 1, "x")
                    for number in range(written + 1, written + 1 + BURST)
                ]
                written += BURST
                sock.sendall(("\n".join(lines) + "\n").encode())
            sock.sendall(b"END\n")

    thread = threading.Thread(target=write, daemon=True)
    thread.start()

    def finish() -> int:
        thread.join(120.0)
        assert not thread.is_alive()
        return written

    return finish


@pytest.mark.timeout(300)
def test_server_away_until_the_spool_is_full(start_bridge: BridgeStarter, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        away = nobody.getsockname()[1]
    queue = (
        f'queue = {{ spool = "{tmp_path / "chat.spool"}", spool_max_bytes = {SPOOL}, max_bytes = {QUEUE}, '
        "max_messages = 10000000 }\n"
    )
    bridge = start_bridge(
        HEAD + session(f"http://127.0.0.1:{away}/count", "websocket", QUICK + queue, listener="")
    )
    admin = admin_port(bridge)
    idle = memory_bytes(bridge.pid)
    is_enough = threading.Event()
    with socket.create_connection(("127.0.0.1", port_of(bridge)), 120.0) as sock:
        finish = write_numbered(sock, is_enough)
        full = SPOOL * LINE_BYTES / (LINE_BYTES + 60)
        wait_until(lambda: Accounts.read(admin).sum("queue_bytes") > full, "the spool is full", timeout=120)
        away_most = memory_bytes(bridge.pid, "VmHWM")
        on_disk = (tmp_path / "chat.spool").stat().st_size
        is_enough.set()
        with running_server("counting_server", str(away)):
            written = finish()
            answer = sock.makefile("r").readline()
        most = memory_bytes(bridge.pid, "VmHWM")
        bridge_sums = Accounts.read(admin).upwards("chat")
    print(
        f"{(away_most - idle) / MIB:.1f} MiB more than idle while it filled, {(most - idle) / MIB:.1f} MiB with the"
        f" way back; the file has {on_disk / MIB:.1f} MiB; {written} messages"
    )
    assert answer == f"DONE {written} 0\n"
    assert written * LINE_BYTES > full
    assert on_disk <= SPOOL * 1.25
    assert most - idle <= QUEUE + SPARE
    bridge_sums.check()
