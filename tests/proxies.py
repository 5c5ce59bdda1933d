"""Runs the proxies of others, from their Debian packages: HTTP by CONNECT, and SOCKS5.

`PROXIES` names them. Each listens on 127.0.0.1, wants a login where it is given one, and tells where it connected.
"""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.bridge_process import wait_until
from tests.real_servers import ServerMissingError

PROXIES = ("tinyproxy", "squid", "microsocks")
USER, PASSWORD = "bridge", "hunter2"
SCHEMES = {"tinyproxy": "http", "squid": "http", "microsocks": "socks5"}

_TRIES = 10
_START_SECONDS = 15.0
_LOOK_SECONDS = 0.02
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
_SQUID_LOGIN = "/usr/lib/squid/basic_ncsa_auth"
_CONNECTED = {
    "tinyproxy": r"Request \(file descriptor \d+\): CONNECT \S+:{port} ",
    "squid": r"TCP_TUNNEL/200 \d+ CONNECT \S+:{port} ",
    "microsocks": r"connected to \S+:{port}$",
}
_TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Timeout 600
LogLevel Connect
MaxClients 100
Allow 127.0.0.1
"""
# A tunnel is in its access log when it has ended.
_SQUID = """\
http_port 127.0.0.1:{port}
pid_filename none
cache deny all
access_log stdio:{folder}/access.log
cache_log {folder}/cache.log
coredump_dir {folder}
shutdown_lifetime 0 seconds
"""
_SQUID_WITH_LOGIN = f"""\
auth_param basic program {_SQUID_LOGIN} {{folder}}/passwords
auth_param basic children 1
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
"""


@dataclass(frozen=True)
class _Plan:
    command: list[str]
    files: dict[str, str]


class ProxyServer:
    """A running proxy; `login` is whether it wants USER and PASSWORD."""

    def __init__(self, name: str, *, login: bool = False) -> None:
        """Start it. Raises ServerMissingError where it is not installed."""
        program = shutil.which(name, path=_PATH)
        if program is None or (name == "squid" and not Path(_SQUID_LOGIN).exists()):
            raise ServerMissingError(f"{name} is not installed, so there is no such proxy to test with")
        self.name = name
        self._login = login
        # Of its own, since squid gives up root, and then sees no folder of the tests.
        self._files = tempfile.TemporaryDirectory()
        self._folder = Path(self._files.name)
        self._folder.chmod(0o777)
        # None of them takes port 0 and tells which one it got: another process may be quicker.
        for _ in range(_TRIES):
            self.port = _free_port()
            self._process = self._start(program)
            if self._listens():
                return
            self._end()
        raise AssertionError(f"{name} did not start:\n{self.log}")

    @property
    def url(self) -> str:
        """The value of `proxy`, with the login that it wants."""
        return self.url_with(f"{USER}:{PASSWORD}@" if self._login else "")

    def url_with(self, login: str) -> str:
        """The value of `proxy` with something else before the host."""
        return f"{SCHEMES[self.name]}://{login}127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything that it wrote."""
        found = [self._folder / "output", self._folder / "access.log", self._folder / "cache.log"]
        return "".join(file.read_text(errors="replace") for file in found if file.exists())

    def connections_to(self, port: int) -> list[str]:
        """The lines of its log about connections to a port. squid writes them when they end."""
        pattern = re.compile(f".*{_CONNECTED[self.name].format(port=port)}.*", re.MULTILINE)
        found: list[str] = pattern.findall(self.log)
        # tinyproxy logs a request also where it refuses it.
        return found[: self.log.count("Established connection")] if self.name == "tinyproxy" else found

    def __enter__(self) -> Self:
        """Do nothing: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and print what it wrote: pytest shows that where a test has failed."""
        self._end()
        print(f"--- what {self.name} wrote:\n{self.log}")
        self._files.cleanup()

    def _start(self, program: str) -> "subprocess.Popen[bytes]":
        plan = self._plan(program)
        for name, content in plan.files.items():
            (self._folder / name).write_text(content, encoding="ascii")
        with (self._folder / "output").open("ab") as output:
            return subprocess.Popen(
                # It does not outlive the tests, however these end.
                ["setpriv", "--pdeathsig", "KILL", *plan.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _plan(self, program: str) -> _Plan:
        if self.name == "microsocks":
            login = ["-u", USER, "-P", PASSWORD] if self._login else []
            return _Plan([program, "-i", "127.0.0.1", "-p", str(self.port), *login], {})
        if self.name == "tinyproxy":
            text = _TINYPROXY.format(port=self.port)
            text += f"BasicAuth {USER} {PASSWORD}\n" if self._login else ""
            return _Plan([program, "-d", "-c", str(self._folder / "config")], {"config": text})
        text = _SQUID + (_SQUID_WITH_LOGIN if self._login else "http_access allow all\n")
        files = {"config": text.format(port=self.port, folder=self._folder)}
        files["passwords"] = f"{USER}:{_hashed(PASSWORD)}\n"
        return _Plan([program, "-N", "-f", str(self._folder / "config")], files)

    def _listens(self) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                time.sleep(_LOOK_SECONDS)  # one that lost the port to another process ends about now
                return self._process.poll() is None
            time.sleep(_LOOK_SECONDS)
        return False

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(_START_SECONDS)


def wait_connected(proxy: ProxyServer, port: int) -> None:
    """Wait until the log of a proxy has a connection to this port."""
    wait_until(lambda: bool(proxy.connections_to(port)), f"{proxy.name} has connected to {port}")


def _hashed(password: str) -> str:
    command = ["openssl", "passwd", "-apr1", password]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
