"""Runs the program on a terminal of its own."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

from tests.bridge_process import clean_environment

LONG_ENOUGH = 20.0
_COMMAND = [sys.executable, "-m", "sockjs_bridge"]


class OnTerminal:
    """A command on a terminal, and what stands on its screen."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [*_COMMAND, *arguments], clean_environment({"TERM": "xterm"}))
        self.name = Path(f"/proc/{self.pid}/fd/0").readlink()
        self.screen = ""
        self.code: int | None = None

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def flags(self) -> int:
        """The local modes of the terminal."""
        modes = termios.tcgetattr(self._descriptor)[3]
        assert isinstance(modes, int)
        return modes

    def read_until(self, pattern: str) -> None:
        deadline = time.monotonic() + LONG_ENOUGH
        while not re.search(pattern, self.screen, re.DOTALL):
            assert time.monotonic() < deadline, f"{pattern!r} is not on the screen: {self.screen!r}"
            if select.select([self._descriptor], [], [], 0.1)[0]:
                self.screen += os.read(self._descriptor, 65536).decode()

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def forget(self) -> None:
        self.screen = ""

    def wait(self) -> int:
        """Read to the end; returns the exit code."""
        with suppress(OSError):  # EIO: nobody has the terminal open any more
            while data := os.read(self._descriptor, 65536):
                self.screen += data.decode()
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def __enter__(self) -> "OnTerminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._descriptor)
