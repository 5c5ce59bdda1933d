"""What one stalled client costs nine healthy ones under `slow_client = "drop-oldest"`: a ratio, within one run.

    python tests/bench/slow_client.py [MESSAGES [ROUNDS]]

The flood server of cost.py, the bridge and this process with ten clients. In each round the flood comes twice: while
all ten read, and while one of them does not. The rate is what a healthy client gets in a second, the CPU the bridge's
own. (The flood is faster than ten clients in one process read: they too may lose messages, so they are not counted to
the last one.) The goal is a rate of at least 0.90 of the undisturbed one.
"""

import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
CLIENTS = 10


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def read_all(clients: list[socket.socket]) -> int:
    """Until each of them has got END, the end of the flood, which is never dropped; returns the lines of all."""
    lines = 0
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(1 << 20)
                assert data, "a healthy client was closed"
                lines += data.count(b"\n")
                if data.endswith(b"END\n"):
                    selector.unregister(key.fileobj)
    return lines


def flood(pid: int, clients: list[socket.socket], messages: int) -> tuple[float, float]:
    """Lines a second for each client, and microseconds of the bridge's CPU a message."""
    cpu, began = cpu_seconds(pid), time.perf_counter()
    clients[0].sendall(f"go {messages}\n".encode())
    lines = read_all(clients)
    took = time.perf_counter() - began
    return lines / len(clients) / took, (cpu_seconds(pid) - cpu) / messages * 1e6


def measure(pid: int, port: int, messages: int, rounds: int) -> None:
    healthy = [connect(port) for _ in range(CLIENTS - 1)]
    ratios, costs = [], []
    for number in range(rounds):
        tenth = connect(port)
        time.sleep(0.2)  # until the bridge has accepted it; a measurement needs no more than that
        everyone_reads = flood(pid, [*healthy, tenth], messages)
        if number == 0:  # the first flood warms everything up
            everyone_reads = flood(pid, [*healthy, tenth], messages)
        one_is_stalled = flood(pid, healthy, messages)
        tenth.close()
        ratios.append(one_is_stalled[0] / everyone_reads[0])
        costs.append(one_is_stalled[1] / everyone_reads[1])
        print(
            f"all read: {everyone_reads[0]:.0f} messages/s, {everyone_reads[1]:.2f} us; "
            f"one stalled: {one_is_stalled[0]:.0f} messages/s, {one_is_stalled[1]:.2f} us of CPU a message"
        )
    print(f"rate with one stalled client: {statistics.median(ratios):.2f} of that without (goal: 0.90)")
    print(f"CPU with one stalled client: {statistics.median(costs):.2f} of that without")


def main(messages: int, rounds: int) -> None:
    server = subprocess.Popen([sys.executable, HERE / "cost.py", "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}/flood"
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(
            f'[sessions.bench]\nurl = "{url}"\n'
            '[[sessions.bench.tcp]]\nlisten = "0"\nslow_client = "drop-oldest"\n'
        )
        config.flush()
        command = [sys.executable, "-m", "sockjs_bridge", "--config", config.name]
        bridge = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert bridge.stderr is not None
        try:
            port = next(
                line["message"].rpartition(":")[2]
                for line in map(json.loads, bridge.stderr)
                if "listening" in line["message"]
            )
            measure(bridge.pid, int(port), messages, rounds)
        finally:
            bridge.terminate()
            bridge.communicate()
            server.terminate()
            server.wait()


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*given, *(100_000, 5)[len(given) :])
