"""`nc`, the local program that everybody has."""

import os
import shutil
import subprocess
import threading
from functools import cache
from typing import Self

import pytest

from tests.bridge_process import wait_until

_LONG_ENOUGH = 15.0


@cache
def _is_installed() -> bool:
    path = shutil.which("nc")
    if path is None:
        return False
    words = subprocess.run([path, "-h"], capture_output=True, text=True, check=False)
    return "OpenBSD" in words.stderr + words.stdout


def need_netcat() -> None:
    """Skip the test where there is no netcat that knows -N and -U."""
    if not _is_installed():
        why = "there is no OpenBSD netcat: on Debian and Ubuntu, apt-get install netcat-openbsd"
        # What a developer may do without, CI may not: a skip there would look like a pass.
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)


class Netcat:
    """A running `nc` that somebody types into."""

    def __init__(self, *arguments: str) -> None:
        """Start `nc` with these arguments."""
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            ["nc", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def is_running(self) -> bool:
        """Whether the bridge has not closed it."""
        return self._process.poll() is None

    def say(self, *lines: str) -> None:
        """Type lines."""
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines))
        self._process.stdin.flush()

    def hear(self, count: int) -> list[str]:
        """Wait until so many lines have been printed since the start; return all."""
        wait_until(lambda: len(self.lines) >= count, f"{count} lines from nc, which has {len(self.lines)}")
        return list(self.lines)

    def __enter__(self) -> Self:
        """Do nothing: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self._process.wait(_LONG_ENOUGH)
        self._reader.join(_LONG_ENOUGH)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.removesuffix("\n"))


def ask_netcat(line: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Do what `echo line | nc arguments` does in a shell; it has to end by itself."""
    return subprocess.run(
        ["nc", *arguments],
        input=f"{line}\n",
        capture_output=True,
        text=True,
        timeout=_LONG_ENOUGH,
        check=False,
    )
