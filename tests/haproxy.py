"""Runs HAProxy in front of servers that are told apart by their ports.

It listens three times: once for each way to keep a session on its server, and once without any.
"""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Self

from tests.bridge_process import wait_until
from tests.real_servers import ServerMissingError

COOKIE = "cookie"
URI = "uri"
NOT_STICKY = "not-sticky"

_BALANCE = {
    COOKIE: "balance roundrobin\n cookie SRV insert indirect nocache",
    URI: "balance uri depth 2\n hash-type consistent",
    NOT_STICKY: "balance roundrobin",
}
# `logasap`: a request is logged when its answer begins, for a stream may never end.
# `http-no-delay`: otherwise a small piece of an answer that goes on waits 200 ms for more to go with it.
# `inter 1s`: a check may take as long as that, so a busy machine makes no server look dead. Until a death has been
# noticed, `redispatch` hands requests that cannot connect to the other server at once.
_HEAD = """\
global
 log stdout format raw local0
 nbthread 1
defaults
 mode http
 log global
 log-format "request %b %s %HM %HP %ST"
 option logasap
 option redispatch 1
 option http-no-delay
 timeout connect 5s
 timeout client 1m
 timeout server 1m
 timeout tunnel 1h
 default-server check inter 1s fastinter 100ms downinter 100ms fall 2 rise 1
"""
_REQUEST = re.compile(r"^request (\S+) (\S+) \S+ (\S+) \d+$", re.MULTILINE)
_STOP_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class PassedOn:
    """A request that HAProxy handed to a server; `server` is the server's port."""

    balance: str
    server: str
    path: str


class HaProxy:
    """A running HAProxy. `ports` has the port of each listener."""

    def __init__(self, folder: Path, servers: Sequence[int]) -> None:
        """Start it before the servers at these ports, with its files in `folder`. Raises ServerMissingError."""
        # Debian keeps it where only root's PATH looks.
        program = shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        if program is None:
            raise ServerMissingError("haproxy is not installed, so there is no load balancer to test behind")
        self._log = folder / "haproxy.log"
        config = folder / "haproxy.cfg"
        with ExitStack() as until_inherited, self._log.open("wb") as log:
            # It takes over sockets that listen already: no port has to be guessed, and none can be lost to others.
            sockets = {name: until_inherited.enter_context(_listen()) for name in _BALANCE}
            self.ports = {name: int(sock.getsockname()[1]) for name, sock in sockets.items()}
            parts = [_part(name, sock.fileno(), servers) for name, sock in sockets.items()]
            config.write_text(_HEAD + "".join(parts), encoding="ascii")
            self._process = subprocess.Popen(
                # It does not outlive the tests, however these end.
                ["setpriv", "--pdeathsig", "KILL", program, "-db", "-f", config],
                pass_fds=[sock.fileno() for sock in sockets.values()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def passed_on(self, balance: str, below: str) -> list[PassedOn]:
        """Return the requests so far through one listener whose path begins so."""
        found = [PassedOn(balance, server, path) for balance, server, path in _REQUEST.findall(self._text)]
        return [one for one in found if one.balance == balance and one.path.startswith(below)]

    def ask(self, balance: str, path: str) -> None:
        """Make a request as a stranger does: without a cookie. What the answer is does not matter."""
        connection = HTTPConnection("127.0.0.1", self.ports[balance], timeout=_STOP_TIMEOUT)
        connection.request("GET", path)
        connection.getresponse().read()
        connection.close()

    def wait_noticed(self, server: int, state: str) -> None:
        """Wait until it has noticed that a server is "DOWN", or "UP" again. Servers start up, and that is no news."""
        lines = [f"Server {name}/{server} is {state}" for name in _BALANCE]
        wait_until(lambda: all(line in self._text for line in lines), f"HAProxy sees {server} {state}")

    def __enter__(self) -> Self:
        """Do nothing: it runs, and its sockets listen."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and print what it wrote: pytest shows that where a test has failed."""
        self._process.kill()
        self._process.wait(_STOP_TIMEOUT)
        print(f"--- what HAProxy wrote:\n{self._text}")

    @property
    def _text(self) -> str:
        return self._log.read_text(encoding="utf-8")


def _listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=128)


def _part(name: str, descriptor: int, servers: Sequence[int]) -> str:
    cookies = {port: f" cookie {port}" if name == COOKIE else "" for port in servers}
    lines = [f"server {port} 127.0.0.1:{port}{cookies[port]}" for port in servers]
    return "\n ".join([f"listen {name}", f"bind fd@{descriptor}", _BALANCE[name], *lines]) + "\n"
