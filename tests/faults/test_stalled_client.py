"""One stalled client among ten: the healthy ones wait at most one stall_timeout. Here time is the subject."""

import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from tests.bridge_process import BridgeStarter, wait_until
from tests.faults.configuration import HEAD, port_of, session
from tests.faults.server_module import running_server
from tests.faults.tcp_proxy import DOWN, TcpProxy, Way

STALL_TIMEOUT = 1.0
MARGIN = 1.0
"""Seconds for a busy machine."""
HEALTHY = 9
RATE = Way(bytes_per_second=2e6, slice_bytes=32768)
"""Quick enough to fill the buffers of the system in seconds, slow enough for nine readers in one process."""


class Reader:
    """A client that reads all there is, and notes its longest wait in seconds."""

    def __init__(self, port: int) -> None:
        self.longest_wait = 0.0
        self.size_bytes = 0
        self.is_closed = False
        self._socket = socket.create_connection(("127.0.0.1", port), 15)
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        before = 0.0
        with suppress(OSError):
            while piece := self._socket.recv(1 << 16):
                now = time.monotonic()
                self.longest_wait = max(self.longest_wait, now - (before or now))
                before = now
                self.size_bytes += len(piece)
        self.is_closed = True

    def leave(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(15)
        self._socket.close()


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming"])
def test_healthy_clients_wait_at_most_one_stall_timeout(start_bridge: BridgeStarter, transport: str) -> None:
    with (
        running_server("flood_server") as server_port,
        TcpProxy(server_port) as proxy,
        ExitStack() as running,
    ):
        proxy.set(DOWN, RATE)
        listener = f'slow_client = "pause"\nstall_timeout = {STALL_TIMEOUT}\n'
        bridge = start_bridge(
            HEAD + session(f"http://127.0.0.1:{proxy.port}/flood", transport, "", listener=listener)
        )
        port = port_of(bridge)
        bridge.wait_open()
        healthy = [Reader(port) for _ in range(HEALTHY)]
        stalled = running.enter_context(socket.socket())
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", port))
        bridge.wait_for_log("a client", timeout=40, reason="slow_client")
        before = [reader.size_bytes for reader in healthy]
        wait_until(
            lambda: all(r.size_bytes > n + (1 << 20) for r, n in zip(healthy, before, strict=True)),
            "the healthy clients go on to get messages",
        )
        longest = max(reader.longest_wait for reader in healthy)
        print(f"{transport}: the longest wait was {longest:.2f} s")
        assert not any(reader.is_closed for reader in healthy), "a healthy client was disconnected"
        for reader in healthy:
            reader.leave()
        assert longest <= STALL_TIMEOUT + MARGIN
        assert not bridge.log_lines("closed"), "the session broke"
