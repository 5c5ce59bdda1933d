"""Runs the program as a user does: a process of its own, a configuration file, signals, and a log to read.

BridgeProcess is the program, LineClient a local program that talks to it, HandshakeServer something that only
looks like a server: a proxy before a real one, or a fault. All of them block, and fail instead of hanging.
"""

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Self

import sockjs_bridge

_PACKAGE_FOLDER = Path(sockjs_bridge.__file__).resolve().parent.parent
_THIS_CODE = (sys.executable, "-m", "sockjs_bridge")
_PREFIX = "SOCKJS_BRIDGE_"
_LONG_ENOUGH = 15.0
_LOOK_SECONDS = 0.01
_HEAD_END = b"\r\n\r\n"

LogLine = dict[str, Any]
"""One line of the log. A line that is not JSON has only "message"; that it is not is looked at when all is over."""


WEBSOCKET_AT_ONCE = 'transports = ["websocket"]\ninfo = false\n'
"""Keys of a session whose first request is the handshake, and whose only one."""


def smallest(url: str, listen: str = "127.0.0.1:0", session: str = "") -> str:
    """Return the configuration of four lines that the documentation begins with; `session` adds keys."""
    return f'[sessions.chat]\nurl = "{url}"\n{session}[[sessions.chat.tcp]]\nlisten = "{listen}"\n'


def wait_until(holds: Callable[[], bool], what: str, timeout: float = _LONG_ENOUGH) -> None:
    """Wait until `holds()` is true; fail with `what` was waited for."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {timeout:g} s: {what}")
        time.sleep(_LOOK_SECONDS)


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without anything that configures the program, and with `more`."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(_PREFIX)}
    path = os.pathsep.join(filter(None, [str(_PACKAGE_FOLDER), inherited.get("PYTHONPATH")]))
    # Warnings, also of files that nobody closed, come on standard error, where BridgeStarter finds them.
    return inherited | {"PYTHONPATH": path, "PYTHONWARNINGS": "always"} | dict(more or {})


def run_command(
    *arguments: str | Path, folder: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command line to its end, in `folder`; for what is expected to end by itself."""
    return subprocess.run(
        [*_THIS_CODE, *map(str, arguments)],
        cwd=folder,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LONG_ENOUGH,
        check=False,
    )


class BridgeProcess:
    """The running program. What it writes is collected; each failure shows it."""

    def __init__(
        self,
        *arguments: str | Path,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = _THIS_CODE,
    ) -> None:
        """Start it in `folder`; `program` may be an installed one. Nothing is waited for."""
        self._news = threading.Condition()
        self._stdout: list[str] = []
        self._stderr: list[str] = []
        self._lines: list[LogLine] = []
        self._process = subprocess.Popen(
            [*program, *map(str, arguments)],
            cwd=folder,
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._readers = [
            self._start_reader(self._process.stdout, self._stdout.append),
            self._start_reader(self._process.stderr, self._add_log_line),
        ]

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def stdout(self) -> str:
        """Everything on standard output so far."""
        with self._news:
            return "".join(self._stdout)

    @property
    def stderr(self) -> str:
        """Everything on standard error so far."""
        with self._news:
            return "".join(self._stderr)

    @property
    def log(self) -> list[LogLine]:
        """The log lines so far."""
        with self._news:
            return list(self._lines)

    @property
    def port(self) -> int:
        """The port of the first listener, as the log names it."""
        address = self.wait_for_log("listening on ")["message"].removeprefix("listening on ")
        return int(address.rpartition(":")[2])

    @property
    def handles_signals(self) -> bool:
        """Whether it has come so far that a SIGTERM makes it drain."""
        return self._has_sigterm("SigCgt")

    @property
    def blocks_sigterm(self) -> bool:
        """Whether it has come so far that a SIGTERM is kept until it can be handled."""
        return self._has_sigterm("SigBlk")

    def log_lines(self, beginning: str = "", **fields: object) -> list[LogLine]:
        """Return the lines so far whose message begins so, and that have these fields (`level="info"`)."""
        return [line for line in self.log if _fits(line, beginning, fields)]

    def wait_for_log(
        self, beginning: str, *, nth: int = 1, timeout: float = _LONG_ENOUGH, **fields: object
    ) -> LogLine:
        """Wait for the nth log line, counted from the start, that `log_lines` would find; return it."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                found = [line for line in self._lines if _fits(line, beginning, fields)]
                if len(found) >= nth:
                    return found[nth - 1]
                left = deadline - time.monotonic()
                if left <= 0 or not self._readers[1].is_alive():
                    break
                self._news.wait(min(left, 0.2))
        raise self.failure(
            f"no log line {nth} that begins with {beginning!r} and has {fields} in {timeout:g} s"
        )

    def wait_for_text(self, text: str) -> None:
        """Wait until this stands somewhere on standard error or standard output; for what is no JSON line."""
        wait_until(lambda: text in self.stderr + self.stdout, f"{text!r} in the output")

    def wait_open(self, epoch: int = 1) -> LogLine:
        """Wait until a session has been opened so many times."""
        return self.wait_for_log("open", epoch=epoch)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, and to nothing else."""
        self._process.send_signal(number)

    def wait_exit(self, timeout: float = _LONG_ENOUGH) -> int:
        """Wait until the process has ended by itself and all it wrote is here; return its exit code."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(f"still running after {timeout:g} s") from None
        for reader in self._readers:
            reader.join(_LONG_ENOUGH)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = _LONG_ENOUGH) -> int:
        """Ask it to end; return its exit code."""
        self.send_signal(number)
        return self.wait_exit(timeout)

    def failure(self, what: str) -> AssertionError:
        """Return an error that shows what the process wrote."""
        code = self._process.poll()
        state = "it still runs" if code is None else f"it has ended with {code}"
        return AssertionError(f"{what}; {state}. Standard error:\n{''.join(self._stderr)}")

    def __enter__(self) -> Self:
        """Do nothing: it already runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it at once, if it still runs, and print what it wrote: pytest shows that where a test has failed."""
        self._process.kill()
        self._process.wait(_LONG_ENOUGH)
        for reader in self._readers:
            reader.join(_LONG_ENOUGH)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        print(f"--- standard error of the bridge, process {self.pid}:\n{self.stderr}")

    def _has_sigterm(self, field: str) -> bool:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        mask = int(status.partition(f"{field}:")[2].split()[0], 16)
        return bool(mask >> (signal.SIGTERM - 1) & 1)

    def _start_reader(self, pipe: "IO[str] | None", keep: Callable[[str], None]) -> threading.Thread:
        assert pipe is not None

        def read() -> None:
            for line in pipe:
                with self._news:
                    keep(line)
                    self._news.notify_all()
            with self._news:
                self._news.notify_all()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    def _add_log_line(self, text: str) -> None:
        self._stderr.append(text)
        try:
            self._lines.append(json.loads(text))
        except ValueError:
            self._lines.append({"message": text.rstrip("\n")})


class BridgeStarter:
    """Starts any number of bridges for one test; at its end none is left, and none has had a fault of its own."""

    def __init__(self, folder: Path) -> None:
        """Configuration files go into `folder`."""
        self._folder = folder
        self._bridges: list[BridgeProcess] = []
        self._running = ExitStack()

    def __call__(self, config: str, *, environment: Mapping[str, str] | None = None) -> BridgeProcess:
        """Write a configuration file and start the program with it."""
        file = self._folder / f"bridge{len(self._bridges) or ''}.toml"
        file.write_text(config, encoding="utf-8")
        return self.start("--config", file, environment=environment)

    def start(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> BridgeProcess:
        """Start the program with these arguments."""
        bridge = BridgeProcess(*arguments, folder=self._folder, environment=environment)
        self._bridges.append(self._running.enter_context(bridge))
        return bridge

    def __enter__(self) -> Self:
        """Nothing runs yet."""
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        """End all of them. Raise AssertionError where one wrote a traceback or a warning of Python."""
        self._running.close()
        for bridge in self._bridges:
            assert "Traceback" not in bridge.stderr, bridge.stderr
            assert "Warning:" not in bridge.stderr, bridge.stderr


class LineClient:
    """A local program: writes and reads lines over TCP."""

    def __init__(self, port: int) -> None:
        """Connect to a listener on 127.0.0.1."""
        self._socket = socket.create_connection(("127.0.0.1", port), _LONG_ENOUGH)
        self._file = self._socket.makefile("rb")
        self.local_name = "{}:{}".format(*self._socket.getsockname())
        """How the log of the bridge names this client."""

    def send(self, *lines: str) -> None:
        """Write lines, in one piece."""
        self.send_bytes("".join(f"{line}\n" for line in lines).encode())

    def send_bytes(self, data: bytes) -> None:
        """Write something that may be no line."""
        self._socket.sendall(data)

    def end_input(self) -> None:
        """Send no more, but stay to read."""
        self._socket.shutdown(socket.SHUT_WR)

    def read(self, count: int) -> list[str]:
        """Read so many lines; fewer only where the bridge has closed, or cut the connection."""
        lines: list[str] = []
        with suppress(ConnectionResetError):
            while len(lines) < count and (line := self._file.readline()):
                lines.append(line.decode().removesuffix("\n"))
        return lines

    def exchange(self, lines: Sequence[str], count: int | None = None) -> list[str]:
        """Write lines while reading `count` of them, as many as are written if it is not given."""
        writer = threading.Thread(target=self.send, args=lines, daemon=True)
        writer.start()
        answers = self.read(len(lines) if count is None else count)
        writer.join(_LONG_ENOUGH)
        return answers

    def read_rest(self) -> list[str]:
        """Read until the bridge closes."""
        return self.read(sys.maxsize)

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        """Do nothing: it is connected."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self.close()


class HandshakeServer:
    """Takes connections on 127.0.0.1, notes the head of each request, and hands it to `answer` in a thread."""

    def __init__(self, answer: Callable[[bytes, socket.socket], None], port: int = 0) -> None:
        """Listen; port 0 lets the system pick one. When `answer` returns, the connection is closed."""
        self.requests: list[str] = []
        self._open: set[socket.socket] = set()
        requests, still_open = self.requests, self._open

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                sock: socket.socket = self.request
                still_open.add(sock)
                with suppress(OSError):
                    head = read_head(sock)
                    requests.append(head.decode("latin-1"))
                    answer(head, sock)
                still_open.discard(sock)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        """Break the connections that are open."""
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        """Do nothing: it listens."""
        return self

    def __exit__(self, *_: object) -> None:
        """Break all connections, and wait for all threads."""
        self._server.shutdown()
        self._thread.join()
        self.hang_up()
        self._server.server_close()


def read_head(sock: socket.socket) -> bytes:
    """Read the head of an HTTP message with what follows it in the same piece; all there is where it ends early."""
    head = b""
    while _HEAD_END not in head and (piece := sock.recv(65536)):
        head += piece
    return head


def pass_on(port: int, *headers: str) -> Callable[[bytes, socket.socket], None]:
    """Return an `answer` for HandshakeServer: a proxy before the server at `port` that adds headers to answers."""
    added = "".join(f"\r\n{header}" for header in headers).encode() + _HEAD_END

    def answer(head: bytes, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port), _LONG_ENOUGH) as server:
            server.settimeout(None)
            server.sendall(head)
            client.sendall(read_head(server).replace(_HEAD_END, added, 1))
            upwards = threading.Thread(target=_pump, args=(client, server), daemon=True)
            upwards.start()
            _pump(server, client)
            upwards.join(_LONG_ENOUGH)

    return answer


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    for sock in (source, sink):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _fits(line: LogLine, beginning: str, fields: Mapping[str, object]) -> bool:
    return str(line.get("message", "")).startswith(beginning) and all(
        line.get(name) == value for name, value in fields.items()
    )
