"""Starts the SockJS servers of others, each a process of its own in its own environment.

`make servers` fills the environments; tests/conformance/servers/ holds what runs in them. Tests get servers by
the fixtures in tests/conftest.py, and take from here the names and the type.
"""

import json
import os
import select
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.kept_port import KeptPort

_PROJECT = Path(__file__).resolve().parent.parent
_SCRIPTS = _PROJECT / "tests" / "conformance" / "servers"
_ENVIRONMENTS = _PROJECT / ".cache" / "servers"

SERVER_NAMES = ("node", "tornado", "aio")
"""For `@pytest.mark.parametrize("name", SERVER_NAMES)`. Beside them, "protocols" speaks those of config/recipes on top."""

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 10.0


class ServerMissingError(Exception):
    """The environment of a server is not there. The text says what to do about it."""


class ServerStartError(Exception):
    """A server did not get as far as listening. Its own words are on standard error."""


@dataclass(frozen=True, slots=True)
class _Program:
    command: tuple[str, ...]
    environment: dict[str, str]


def _find_program(name: str) -> _Program:
    """Return how to run the server `name`; raise ServerMissingError where `make servers` has not been."""
    if name == "protocols":
        return _Program((_find_program("aio").command[0], str(_SCRIPTS / "aio_protocols.py")), {})
    home = _ENVIRONMENTS / name
    if name == "node":
        node, modules = shutil.which("node"), home / "node_modules"
        if node is None:
            raise ServerMissingError("node is not installed, so there is no sockjs-node to test against")
        if not (modules / "sockjs").is_dir():
            raise ServerMissingError("sockjs-node is not installed: run `make servers`")
        return _Program((node, str(_SCRIPTS / "node_echo.js")), {"NODE_PATH": str(modules)})
    python = home / "bin" / "python"
    if not python.exists():
        raise ServerMissingError(f"the {name} server is not installed: run `make servers`")
    return _Program((str(python), str(_SCRIPTS / f"{name}_echo.py")), {})


class RealServer:
    """One running server on 127.0.0.1. Its methods block for as long as the process takes (restart: up to a second).

    In a test where the event loop has to turn meanwhile: `await asyncio.to_thread(server.restart)`.
    """

    def __init__(self, name: str, tls: Mapping[str, str] | None = None) -> None:
        """Start the server `name`, one of SERVER_NAMES or "protocols", on a free port, and wait until it listens.

        `tls` are files, for "node" only: `cert`, `key`, and `ca` where clients need a certificate of that authority.
        """
        self.name = name
        self._program = _find_program(name)
        self._scheme = "https" if tls else "http"
        if tls:
            self._program.environment["ECHO_TLS"] = json.dumps(dict(tls))
        self._kept = KeptPort()
        self.port = self._kept.number
        self.version = ""
        self.process = self._start()

    def url(self, path: str) -> str:
        """Return the address of `path`, which begins with a slash."""
        return f"{self._scheme}://127.0.0.1:{self.port}{path}"

    def kill(self) -> None:
        """End the process as a crash does (SIGKILL). Harmless where it has already ended."""
        self.process.kill()
        self._reap()

    def wait_dead(self) -> None:
        """Wait until the process has ended by itself, as after the message "die"; TimeoutExpired where it does not."""
        self._reap()

    def restart(self) -> None:
        """Kill the process where it still runs, and start a new one on the same port."""
        self.kill()
        self.process = self._start()

    def __enter__(self) -> Self:
        """Do nothing: the server already runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.kill()
        self._kept.close()

    def _start(self) -> "subprocess.Popen[str]":
        # An own group, so that Ctrl-C ends the tests in their order. The pipe is how the server learns of our death.
        process = subprocess.Popen(
            [*self._program.command, str(self.port), "--until-stdin-closes"],
            env=os.environ | self._program.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            words = json.loads(_read_line(process))
        except (ServerStartError, ValueError) as exc:
            process.kill()
            _close(process)
            self._kept.close()
            raise ServerStartError(f"the {self.name} server did not start: {exc}") from exc
        assert words["port"] == self.port
        self.version = words["version"]
        return process

    def _reap(self) -> None:
        self.process.wait(_STOP_TIMEOUT)
        _close(self.process)


def _read_line(process: "subprocess.Popen[str]") -> str:
    """Return the first line that the process prints, which is short enough to come in one piece."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], _START_TIMEOUT)[0]:
        raise ServerStartError(f"no word from it in {_START_TIMEOUT:.0f} seconds")
    if not (line := process.stdout.readline()):
        raise ServerStartError(f"it ended with code {process.wait(_STOP_TIMEOUT)}")
    return line


def _close(process: "subprocess.Popen[str]") -> None:
    process.wait(_STOP_TIMEOUT)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
