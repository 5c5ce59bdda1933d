"""What a message costs: CPU microseconds of the bridge, both ways, and the round trip.

    python tests/bench/cost.py [MESSAGES [SPOOL_FOLDER]]

A flood server (picows), the bridge and this client are three processes on loopback. CPU is the bridge's own, user and
system, so it holds on a busy machine where wall time does not. Messages are JSON of 200 bytes, one a frame from the
server. Linux only: it reads /proc.
"""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import picows
import uvloop

PAD = "x" * 166
MESSAGE = '{"seq":1,"type":"update","pad":"' + PAD + '"}'
TICKS = os.sysconf("SC_CLK_TCK")
BURST = 1000
ROUND_TRIPS = 2000


class Flood(picows.WSListener):
    """Sends N messages on "go N", answers "END" with how many messages came, echoes "echo"."""

    count = 0

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        transport.send(picows.WSMsgType.TEXT, b"o")

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.CLOSE:
            transport.disconnect()
        if frame.msg_type is not picows.WSMsgType.TEXT:
            return
        for message in json.loads(frame.get_payload_as_bytes()):
            if message.startswith("go "):
                one = b"a" + json.dumps([MESSAGE]).encode()
                for _ in range(int(message[3:])):
                    transport.send(picows.WSMsgType.TEXT, one)
                self.say(transport, "END")
            elif message == "END":
                self.say(transport, f"DONE {self.count}")
                self.count = 0
            elif message == "echo":
                self.say(transport, message)
            else:
                self.count += 1

    def pause_writing(self) -> None:
        """Nothing: a flood is meant to fill the buffer."""

    def resume_writing(self) -> None:
        """Nothing, as above."""

    @staticmethod
    def say(transport: picows.WSTransport, text: str) -> None:
        transport.send(picows.WSMsgType.TEXT, b"a" + json.dumps([text]).encode())


async def serve() -> None:
    server = await picows.ws_create_server(lambda _request: Flood(), "127.0.0.1", 0, use_aiofastnet=False)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def read_until(client: socket.socket, word: bytes) -> bytes:
    """Everything up to the line that holds `word`; only the end of it is kept."""
    end = b""
    while word not in end or not end.endswith(b"\n"):
        end = (end + client.recv(1 << 20))[-64:]
    return end


def connect(bridge: subprocess.Popen[str]) -> socket.socket:
    assert bridge.stderr is not None
    port = next(
        line["message"].rpartition(":")[2]
        for line in map(json.loads, bridge.stderr)
        if "listening" in line["message"]
    )
    client = socket.create_connection(("127.0.0.1", int(port)))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def measure(pid: int, client: socket.socket, messages: int) -> None:
    client.sendall(b"echo\n")
    read_until(client, b"echo")
    before = cpu_seconds(pid)
    client.sendall(f"go {messages}\n".encode())
    read_until(client, b"END")
    received = cpu_seconds(pid) - before
    blob = f"{MESSAGE}\n".encode() * BURST
    before, began = cpu_seconds(pid), time.perf_counter()
    for _ in range(messages // BURST):
        client.sendall(blob)
    client.sendall(b"END\n")
    done = int(read_until(client, b"DONE").split()[-1])
    sent, lasted = cpu_seconds(pid) - before, time.perf_counter() - began
    assert done == messages, f"{done} of {messages} messages reached the server"
    trips = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        client.sendall(b"echo\n")
        read_until(client, b"echo")
        trips.append(time.perf_counter() - began)
    print(
        f"from the server {received / messages * 1e6:.2f} us, to the server {sent / messages * 1e6:.2f} us of CPU a message,"
        f" {messages / lasted:,.0f} messages/s"
    )
    print(f"round trip, median {statistics.median(trips) * 1e6:.0f} us")


def run_bridge(server_port: str, queue: str, messages: int) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(
            f'[sessions.bench]\nurl = "http://127.0.0.1:{server_port}/flood"\n{queue}\n'
            '[[sessions.bench.tcp]]\nlisten = "0"\n'
        )
        config.flush()
        command = [sys.executable, "-m", "sockjs_bridge", "--config", config.name]
        bridge = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            measure(bridge.pid, connect(bridge), messages)
        finally:
            bridge.terminate()
            bridge.wait()


def main(messages: int, spool_folder: str | None) -> None:
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    try:
        run_bridge(port, "", messages)
        if spool_folder is not None:
            print("with a spool:")
            with tempfile.TemporaryDirectory(dir=spool_folder) as folder:
                run_bridge(port, f'queue.spool = "{folder}/bench.spool"', messages)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
    else:
        main(
            int(sys.argv[1]) // BURST * BURST if len(sys.argv) > 1 else 200_000,
            sys.argv[2] if len(sys.argv) > 2 else None,
        )
