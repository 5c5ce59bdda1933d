"""The door of a TCP listener: its sockets, and who may come in."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from sockjs_bridge.endpoints.address import ListenAddress, UnixAddress
from sockjs_bridge.endpoints.base import ClientBudget
from sockjs_bridge.endpoints.binding import BACKLOG, unlink_own
from sockjs_bridge.endpoints.tcp_client import TcpClient
from sockjs_bridge.endpoints.tcp_options import TcpCounts, TcpOptions
from sockjs_bridge.log import EventLog

if TYPE_CHECKING:
    from sockjs_bridge.endpoints.tcp_group import TcpGroup


class TcpAcceptor:
    """Accepts programs, up to `max_clients`, and brings each to a group.

    `sockets` listen already. What is counted here is of the listener, whatever groups come and go.
    """

    def __init__(
        self, options: TcpOptions, sockets: list[socket.socket], budget: ClientBudget, log: EventLog
    ) -> None:
        self.options = options
        self.log = log
        self.counts = TcpCounts()
        self.clients = 0
        """How many programs are connected."""
        self.name = _bound_name(options.address, sockets[0])
        """The bound address, such as `127.0.0.1:9000` or `unix:/run/chat.sock`."""
        self._sockets = sockets
        self._inode = os.lstat(options.address.path).st_ino if isinstance(options.address, UnixAddress) else 0
        self._budget = budget
        self._servers: list[asyncio.Server] = []
        self._gave_sockets = False
        self._find_group: Callable[[TcpClient], TcpGroup | None]

    async def start(self, find_group: "Callable[[TcpClient], TcpGroup | None]") -> None:
        """Begin to accept. `find_group` gives the group of a new client, or None to refuse it.

        Raises OSError.
        """
        self._find_group = find_group
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            # Not create_unix_server: on Python 3.13 it removes the socket's file at its end, which may be another's
            # by then, after a reload or of the service manager.
            self._servers.append(
                await loop.create_server(lambda: TcpClient(self), sock=sock, backlog=BACKLOG)
            )
        self.log.info(f"listening on {self.name}", framing=self.options.format.name)

    def give_sockets(self) -> list[socket.socket]:
        """The listening sockets, for another listener in place of this one: who connects meanwhile waits."""
        self._gave_sockets = True
        return [sock.dup() for sock in self._sockets]

    def stop(self) -> None:
        """Accept no new client; the others are served on."""
        for server in self._servers:
            server.close()
        if not self._gave_sockets and isinstance(self.options.address, UnixAddress):
            unlink_own(self.options.address.path, self._inode)

    def admit(self, client: TcpClient) -> "TcpGroup | None":
        """A program has connected; its group, or None where it may not stay."""
        if self.clients >= self.options.max_clients:
            self.log.repeated(
                "refused a client: max_clients are connected", client=client.peer, clients=self.clients
            )
            return None
        if not self._budget.take():
            self.log.repeated(
                "refused a client: no file descriptors left (raise the limit of open files)",
                client=client.peer,
            )
            return None
        group = self._find_group(client)
        if group is None:
            self._budget.give_back()
            return None
        self.clients += 1
        self.log.info("client in", client=client.peer, clients=self.clients)
        return group

    def dismiss(self, client: TcpClient, error: Exception | None, undelivered_messages: int) -> None:
        """A program that was admitted has left."""
        self.clients -= 1
        self._budget.give_back()
        self.log.info(
            "client out",
            client=client.peer,
            clients=self.clients,
            error=str(error) if error else None,
            undelivered_messages=undelivered_messages or None,
        )


def _bound_name(address: ListenAddress, sock: socket.socket) -> str:
    if isinstance(address, UnixAddress):
        return str(address)
    bound = sock.getsockname()
    if not isinstance(bound, tuple):
        return f"unix:{bound}"
    host, port = bound[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
