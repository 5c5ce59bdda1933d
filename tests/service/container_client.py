"""Programs for run_docker.py that talk to a bridge over TCP, run beside it in a container.

usage:  container_client.py lines PORT             sends the lines of its input, prints as many that come back
        container_client.py load PORT AWAY SECONDS floods the bridge both ways, and fills the queue behind port AWAY
"""

import json
import socket
import sys
import threading
import time

_BURST = 5000
_LINE = b"x" * 199 + b"\n"
_TIMEOUT_SECONDS = 60.0
_STUCK_SECONDS = 1.0


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS)


def lines(port: int) -> None:
    """Send and read lines."""
    text = sys.stdin.buffer.read()
    with _connect(port) as sock, sock.makefile("rb") as answers:
        sock.sendall(text)
        for _ in text.splitlines():
            sys.stdout.buffer.write(answers.readline())


def load(port: int, away: int, seconds: float) -> None:
    """Go on for so long, then wait for what is still under way. Print how many messages went, and how many came.

    The far server is tests/bench/cost.py: it answers "go N" with N messages and "END", counts all others, and answers
    "END" with their number.
    """
    told = {"written": 0, "arrived": 0, "asked_for": 0, "came": 0, "stuck_bytes": _fill(away)}
    idle = [_connect(port) for _ in range(10)]  # they never read
    with _connect(port) as sock:
        reader = threading.Thread(target=_count, args=(sock, told))
        reader.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sock.sendall(f"go {_BURST}\n".encode() + _LINE * _BURST)
            told["written"] += _BURST
            told["asked_for"] += _BURST + 1
        sock.sendall(b"END\n")
        reader.join(_TIMEOUT_SECONDS)
    for each in idle:
        each.close()
    print(json.dumps(told))


def _count(sock: socket.socket, told: dict[str, int]) -> None:
    with sock.makefile("rb", 1 << 20) as answers:
        for line in answers:
            if line.startswith(b"DONE "):
                told["arrived"] = int(line.split()[1])
                return
            told["came"] += 1


def _fill(port: int) -> int:
    """Write to a session whose server is away until nothing is taken any more; return the number of bytes."""
    sock = _connect(port)
    sock.settimeout(_STUCK_SECONDS)
    taken = 0
    try:
        while True:
            taken += sock.send(b"x" * 4095 + b"\n")
    except TimeoutError:
        _stuck.append(sock)  # it stays connected
        return taken


_stuck: list[socket.socket] = []

if __name__ == "__main__":
    if sys.argv[1] == "lines":
        lines(int(sys.argv[2]))
    else:
        load(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
