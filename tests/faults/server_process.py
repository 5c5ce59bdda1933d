"""Starts a fault server, a process of its own, and commands it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests.bridge_process import wait_until
from tests.faults.journal import Journal, read_journal
from tests.kept_port import KeptPort

_PROJECT = Path(__file__).resolve().parent.parent.parent


class FaultServerProcess:
    """A fault server on 127.0.0.1; it keeps its port and its journal when it is started again."""

    def __init__(self, folder: Path, name: str = "server") -> None:
        self._file = folder / f"{name}.journal"
        self._kept = KeptPort()
        self.port = self._kept.number
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def url(self, *, raw: bool = False) -> str:
        """The base URL; `raw` for the raw WebSocket."""
        return f"http://127.0.0.1:{self.port}/echo" + ("/websocket" if raw else "")

    def journal(self) -> Journal:
        """What has happened so far."""
        return read_journal(self._file)

    def journal_lines(self) -> list[list[Any]]:
        """The entries so far, as they are: for a test where messages may come twice."""
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def fault(self, name: str, code: int = 3000) -> int:
        """Break the newest session; returns its number."""
        return int(self._command(fault=name, code=code)["session"])

    def speak(self, on: bool) -> None:
        """Let sessions send messages, or not."""
        self._command(speak=on)

    def kill(self) -> None:
        """End the process as a crash does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def restart(self) -> None:
        """Start it again, on the same port."""
        self._process = self._start()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def wait_session(self, after: int, *, shown: bool = True) -> int:
        """Wait for a session that is newer than `after`, and by default until it has shown life both ways."""

        def is_there() -> bool:
            journal = self.journal()
            last = journal.last_session
            return last > after and (not shown or last in journal.shown)

        wait_until(is_there, f"a session after session {after}")
        return self.journal().last_session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._kept.close()

    def _start(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fault_server", str(self.port), str(self._file)],
            cwd=_PROJECT,
            env=os.environ | {"PYTHONPATH": str(_PROJECT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["port"] == self.port
        return process

    def _command(self, **order: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
