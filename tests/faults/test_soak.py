"""Traffic and comings and goings without end: descriptors, threads, tasks and memory stay as they were.

In the long form there are tens of millions of messages and thousands of clients.
"""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from tests.bridge_process import BridgeStarter, wait_until
from tests.faults.accounts import Accounts
from tests.faults.configuration import HEAD, admin_port, port_of, session
from tests.faults.conftest import ServerStarter
from tests.faults.process_facts import MIB, descriptors, memory_bytes, threads
from tests.faults.server_module import running_server
from tests.in_process import one_session, running, until
from tests.scripted import Peer, scripted

CLIENTS = 200
LONG_CLIENTS = 5000
MESSAGES = 500_000
LONG_MESSAGES = 30_000_000
GROWTH = 8 * MIB
"""What the allocator may keep on top of what the first tenth needed."""


@pytest.mark.timeout(7200)
def test_descriptors_threads_and_memory_stay_flat(start_bridge: BridgeStarter, is_long: bool) -> None:
    clients = LONG_CLIENTS if is_long else CLIENTS
    messages = LONG_MESSAGES if is_long else MESSAGES
    with running_server("flood_server") as server_port:
        bridge = start_bridge(
            HEAD + session(f"http://127.0.0.1:{server_port}/flood", "websocket", "", listener="")
        )
        port, admin = port_of(bridge), admin_port(bridge)
        bridge.wait_open()
        begun, came = time.monotonic(), 0

        def received() -> int:
            return Accounts.read(admin).sum("messages_total", direction="from_server")

        def come_and_go(until_clients: int, until_messages: int) -> None:
            nonlocal came
            while came < until_clients or received() < until_messages:
                with socket.create_connection(("127.0.0.1", port), 15) as sock:
                    sock.settimeout(15)
                    sock.sendall(b"hello\n")
                    assert sock.recv(65536).startswith(b"x")
                came += 1
            wait_until(lambda: Accounts.read(admin).sum("clients") == 0, "all clients have gone")

        come_and_go(clients // 10, messages // 10)
        before = descriptors(bridge.pid), threads(bridge.pid)
        used = memory_bytes(bridge.pid, "VmHWM")
        come_and_go(clients, messages)
        grown = memory_bytes(bridge.pid, "VmHWM") - used
        print(
            f"{came} clients and {received()} messages in {time.monotonic() - begun:.0f} s; "
            f"{grown / MIB:.1f} MiB more than after the first tenth"
        )
        wait_until(
            lambda: (descriptors(bridge.pid), threads(bridge.pid)) == before,
            "descriptors and threads as before",
        )
        assert grown <= GROWTH * (4 if is_long else 2)


async def test_tasks_stay_flat(tmp_path: Path, is_long: bool) -> None:
    """Sessions that break, and clients that come and go, leave no task behind."""
    rounds = 1000 if is_long else 50

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await peer.send_text('a["hello"]')
        await peer.receive_messages()
        peer.reset()

    # Else each client would be served for eof_linger after it has gone.
    keys = 'on_eof = "close"'
    async with scripted(script) as server, running(one_session(server.url(), "", keys), tmp_path) as bridge:
        counts = []
        for number in range(rounds):
            await bridge.opened(epoch=number + 1)
            program = await bridge.client()
            await program.send(b"break\n")
            await bridge.opened(epoch=number + 2)
            program.close()
            await until(lambda: bridge.listener().clients == 0)
            counts.append(len(asyncio.all_tasks()))
        print(f"{rounds} rounds: {min(counts)} to {max(counts)} tasks")
        # Connections that are being given up have a task for a moment.
        assert max(counts[-10:]) <= max(counts[:10]) + 2


def test_breaks_leave_no_descriptor(
    start_bridge: BridgeStarter, fault_server: ServerStarter, is_long: bool
) -> None:
    server = fault_server()
    bridge = start_bridge(
        HEAD + session(server.url(), "xhr-streaming", 'reconnect = { initial = "10ms", max = "20ms" }')
    )
    number = server.wait_session(0)
    before = descriptors(bridge.pid)
    for _ in range(200 if is_long else 20):
        server.fault("rst")
        number = server.wait_session(number, shown=False)
    server.wait_session(number - 1)
    wait_until(lambda: descriptors(bridge.pid) <= before + 1, "no more descriptors than before")
