"""Measure what one stalled client among ten costs the nine others: messages a second, with and without it.

usage: python -m tests.bench.stalled_client [pause|drop-oldest|disconnect] [SECONDS]

A ratio in one run, as everything in this folder. No test: a busy machine changes it.
"""

import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.bridge_process import BridgeStarter
from tests.faults.configuration import HEAD, port_of, session
from tests.faults.server_module import running_server

_HEALTHY = 9


def _read_all(sock: socket.socket, counts: list[int], index: int) -> None:
    with suppress(OSError):
        while piece := sock.recv(1 << 18):
            counts[index] += len(piece)


def _measure(port: int, seconds: float, *, stalled: bool) -> float:
    """Bytes a second that the slowest of the healthy clients got."""
    with ExitStack() as running:
        if stalled:
            running.enter_context(socket.create_connection(("127.0.0.1", port)))
        clients = [
            running.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(_HEALTHY)
        ]
        counts = [0] * _HEALTHY
        for index, sock in enumerate(clients):
            threading.Thread(target=_read_all, args=(sock, counts, index), daemon=True).start()
        time.sleep(1.0)  # the stalled client's buffers have to fill
        before, begun = list(counts), time.monotonic()
        time.sleep(seconds)
        lasted = time.monotonic() - begun
        got = min(now - then for now, then in zip(counts, before, strict=True))
        for sock in clients:
            sock.shutdown(socket.SHUT_RDWR)
    return got / lasted


def main() -> None:
    policy = sys.argv[1] if len(sys.argv) > 1 else "drop-oldest"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server("flood_server") as server_port,
        BridgeStarter(Path(folder)) as start_bridge,
    ):
        url = f"http://127.0.0.1:{server_port}/flood"
        bridge = start_bridge(HEAD + session(url, "websocket", "", listener=f'slow_client = "{policy}"'))
        port = port_of(bridge)
        bridge.wait_open()
        ratios = []
        for _ in range(3):
            alone = _measure(port, seconds, stalled=False)
            beside = _measure(port, seconds, stalled=True)
            ratios.append(beside / alone)
            print(
                f"{policy}: {alone / 1e6:.1f} MB/s each without, {beside / 1e6:.1f} MB/s with a stalled client"
            )
        print(f"{policy}: the healthy ones keep {sorted(ratios)[1]:.0%}, in the middle one of three")


if __name__ == "__main__":
    main()
