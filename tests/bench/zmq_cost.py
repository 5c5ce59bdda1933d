"""What a message costs through ZeroMQ: CPU microseconds of the bridge, beside a plain pyzmq loop in the same run.

    python -m tests.bench.zmq_cost [MESSAGES] [ROUNDS]

From a WebSocket to a `pub` endpoint with one subscriber, and from a `pull` endpoint to the WebSocket. The plain loops
do the ZeroMQ half only: `send_multipart([topic, data])` and `recv()`, nothing else. Every process stands alone; CPU is
that of the whole process, libzmq's thread included, user and system. Linux only: it reads /proc.
"""

import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import zmq

from tests.bench.cost import BURST, MESSAGE, cpu_seconds

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]
DATA = MESSAGE.encode()
END = b"END"
UNBOUNDED = 0


def plain_pub(context: Context, port: str, messages: int) -> None:
    pub = context.socket(zmq.PUB)
    pub.setsockopt(zmq.SNDHWM, UNBOUNDED)
    pub.connect(f"tcp://127.0.0.1:{port}")
    input()
    for _ in range(messages):
        pub.send_multipart([b"bench", DATA])
    pub.send_multipart([b"bench", END])
    input()


def plain_pull(context: Context, port: str, messages: int) -> None:
    pull = context.socket(zmq.PULL)
    pull.connect(f"tcp://127.0.0.1:{port}")
    for _ in range(messages):
        pull.recv()
    print("done", flush=True)
    input()


@contextlib.contextmanager
def plain(role: str, port: int, messages: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.bench.zmq_cost", role, str(port), str(messages)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def bound(context: Context, kind: int) -> tuple[Socket, int]:
    peer = context.socket(kind)
    peer.setsockopt(zmq.RCVHWM, UNBOUNDED)
    peer.setsockopt(zmq.SNDHWM, UNBOUNDED)
    if kind == zmq.SUB:
        peer.subscribe(b"bench")
    return peer, peer.bind_to_random_port("tcp://127.0.0.1")


def count_until(sub: Socket, word: bytes) -> int:
    received = 0
    while sub.recv_multipart()[1] != word:
        received += 1
    return received


def push_all(push: Socket, messages: int) -> None:
    for _ in range(messages):
        push.send(DATA)


def plain_costs(context: Context, messages: int) -> tuple[float, float]:
    sub, port = bound(context, zmq.SUB)
    with plain("pub", port, messages) as loop:
        sub.poll(500)
        before = cpu_seconds(loop.pid)
        say(loop)
        count = count_until(sub, END)
        assert count == messages, f"{count} of {messages} reached the subscriber"
        publishing = cpu_seconds(loop.pid) - before
    sub.close(0)
    push, port = bound(context, zmq.PUSH)
    with plain("pull", port, messages) as loop:
        push.poll(5000, zmq.POLLOUT)
        before = cpu_seconds(loop.pid)
        push_all(push, messages)
        assert loop.stdout is not None
        loop.stdout.readline()
        pulling = cpu_seconds(loop.pid) - before
    push.close(0)
    return publishing / messages * 1e6, pulling / messages * 1e6


def bridge_costs(pid: int, sub: Socket, push: Socket, messages: int) -> tuple[float, float]:
    before = cpu_seconds(pid)
    push.send(b"go %d" % messages)
    count = count_until(sub, END)
    received = cpu_seconds(pid) - before
    assert count == messages, f"{count} of {messages} reached the subscriber"
    before = cpu_seconds(pid)
    push_all(push, messages)
    push.send(END)
    done = sub.recv_multipart()[1]
    sent = cpu_seconds(pid) - before
    assert done == b"DONE %d" % messages, f"{done!r} of {messages} reached the server"
    return received / messages * 1e6, sent / messages * 1e6


def main(messages: int, rounds: int) -> None:
    context = zmq.Context()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.cost", "serve"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    sub, sub_port = bound(context, zmq.SUB)
    push, push_port = bound(context, zmq.PUSH)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(
            f'[sessions.bench]\nurl = "http://127.0.0.1:{port}/flood"\n'
            f'[[sessions.bench.zmq]]\ntype = "pub"\nbind = false\nendpoint = "tcp://127.0.0.1:{sub_port}"\nhwm = {messages}\n'
            f'[[sessions.bench.zmq]]\ntype = "pull"\nbind = false\nendpoint = "tcp://127.0.0.1:{push_port}"\n'
        )
        config.flush()
        bridge = subprocess.Popen([sys.executable, "-m", "sockjs_bridge", "--config", config.name])
        try:
            push.send(b"echo")
            count_until(sub, b"echo")
            columns: list[list[float]] = [[], [], [], []]
            for _ in range(rounds):
                figures = (
                    *bridge_costs(bridge.pid, sub, push, messages),
                    *plain_costs(context, messages),
                )
                for column, figure in zip(columns, figures, strict=True):
                    column.append(figure)
        finally:
            bridge.terminate()
            bridge.wait()
            server.terminate()
            server.wait()
            context.destroy(0)
    into, out, pub, pull = map(statistics.median, columns)
    print(f"CPU us a message, median of {rounds} rounds of {messages}")
    print(f"WebSocket to pub: {into:.2f}   plain pyzmq, publishing only: {pub:.2f}")
    print(f"pull to WebSocket: {out:.2f}   plain pyzmq, pulling only: {pull:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] in (["pub"], ["pull"]):
        role = plain_pub if sys.argv[1] == "pub" else plain_pull
        role(zmq.Context(), sys.argv[2], int(sys.argv[3]))
    else:
        count = int(sys.argv[1]) // BURST * BURST if len(sys.argv) > 1 else 100_000
        main(count, int(sys.argv[2]) if len(sys.argv) > 2 else 5)
