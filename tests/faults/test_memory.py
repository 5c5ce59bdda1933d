"""Memory stays within the configured bounds and 60 MiB, whoever does not read and however much is written."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, wait_until
from tests.faults.accounts import Accounts
from tests.faults.configuration import HEAD, admin_port, port_of, session
from tests.faults.process_facts import MIB, memory_bytes
from tests.faults.server_module import running_server

SPARE = 60 * MIB
QUEUE = 8 * MIB
CLIENT_BUFFER = MIB
SECONDS = 4.0
LONG_SECONDS = 60.0
LINE = b"x" * 199 + b"\n"


def idle_bytes(bridge: BridgeProcess) -> int:
    """The memory of a bridge that has started and does nothing."""
    bridge.wait_for_log("admin listening on ")
    return memory_bytes(bridge.pid)


def most_since(bridge: BridgeProcess, seconds: float) -> int:
    """The most memory that was used, after so long."""
    time.sleep(seconds)
    return memory_bytes(bridge.pid, "VmHWM")


def flood(sock: socket.socket, seconds: float) -> Callable[[], int]:
    """Write as fast as the bridge reads, in a thread; returns what waits for its end and tells the bytes."""
    burst = LINE * 500
    sock.settimeout(0.2)
    written = 0
    end = time.monotonic() + seconds

    def write() -> None:
        nonlocal written
        with suppress(OSError):
            while time.monotonic() < end:
                with suppress(TimeoutError):
                    written += sock.send(burst)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()

    def finish() -> int:
        thread.join(seconds + 15.0)
        return written

    return finish


@pytest.mark.timeout(300)
def test_server_away_and_a_writer_at_full_speed(start_bridge: BridgeStarter, is_long: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        away = nobody.getsockname()[1]
    bridge = start_bridge(
        HEAD
        + session(
            f"http://127.0.0.1:{away}/echo", "websocket", "queue = { max_messages = 10000000 }", listener=""
        )
    )
    idle = idle_bytes(bridge)
    seconds = LONG_SECONDS if is_long else SECONDS
    with socket.create_connection(("127.0.0.1", port_of(bridge))) as sock:
        finish = flood(sock, seconds)
        most = most_since(bridge, seconds)
        written = finish()
        queued = Accounts.read(admin_port(bridge)).sum("queue_bytes")
    print(
        f"{(most - idle) / MIB:.1f} MiB more than idle; {written / MIB:.1f} MiB written, {queued} bytes wait"
    )
    assert QUEUE * 0.9 < queued <= QUEUE, "the queue was not filled"
    assert most - idle <= QUEUE + SPARE


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("transport", "path"),
    [("websocket", "/flood"), ("xhr-streaming", "/flood"), ("xhr-streaming", "/endless")],
    ids=["websocket", "xhr-streaming", "xhr-streaming-endless"],
)
def test_stalled_reader_and_a_fast_server(
    start_bridge: BridgeStarter, transport: str, path: str, is_long: bool
) -> None:
    """It reads nothing at all, and comes again whenever it is disconnected for that."""
    with running_server("flood_server") as server_port:
        bridge = start_bridge(
            HEAD
            + session(
                f"http://127.0.0.1:{server_port}{path}", transport, "", listener='stall_timeout = "500ms"'
            )
        )
        idle = idle_bytes(bridge)
        port, admin = port_of(bridge), admin_port(bridge)
        clients = 0
        end = time.monotonic() + (LONG_SECONDS if is_long else SECONDS)
        while time.monotonic() < end:
            with socket.create_connection(("127.0.0.1", port)):
                clients += 1
                seen = clients
                wait_until(
                    lambda: len(bridge.log_lines("client out")) >= seen or time.monotonic() > end,  # noqa: B023  # waited for here
                    "the stalled reader is disconnected",
                )
        most = memory_bytes(bridge.pid, "VmHWM")
        received = Accounts.read(admin).sum("messages_total", direction="from_server")
        print(f"{(most - idle) / MIB:.1f} MiB more than idle; {clients} clients, {received} messages")
        assert received > 10_000, "the server was not fast"
        # A pause begins only behind a response; up to twice client_buffer may be held until then.
        assert most - idle <= 2 * CLIENT_BUFFER + SPARE
