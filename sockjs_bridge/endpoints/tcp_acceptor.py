"""The door of a TCP listener: its sockets, and who may come in."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from sockjs_bridge.endpoints.accept_loop import AcceptLoop, Peer
from sockjs_bridge.endpoints.address import ListenAddress, UnixAddress
from sockjs_bridge.endpoints.allow_list import AllowList
from sockjs_bridge.endpoints.base import ClientBudget
from sockjs_bridge.endpoints.binding import unlink_own
from sockjs_bridge.endpoints.server_tls import ServerTls
from sockjs_bridge.endpoints.tcp_client import TcpClient
from sockjs_bridge.endpoints.tcp_options import TcpCounts, TcpOptions
from sockjs_bridge.endpoints.tls_connection import TlsConnection
from sockjs_bridge.endpoints.tls_handshakes import Handshakes
from sockjs_bridge.log import EventLog

if TYPE_CHECKING:
    from sockjs_bridge.endpoints.tcp_group import TcpGroup


class TcpAcceptor:
    """Accepts programs, up to `max_clients`, and brings each to a group.

    `sockets` listen already. What is counted here is of the listener, whatever groups come and go.
    With `tls`, a program is admitted when its handshake is done.
    """

    def __init__(
        self,
        options: TcpOptions,
        sockets: list[socket.socket],
        budget: ClientBudget,
        log: EventLog,
        tls: ServerTls | None = None,
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
        self._tls = tls
        self._handshakes = Handshakes(self, budget)
        self._allow = AllowList(options.allow) if options.allow else None
        self._loops: list[AcceptLoop] = []
        self._gave_sockets = False
        self._find_group: Callable[[TcpClient], TcpGroup | None]

    def start(self, find_group: "Callable[[TcpClient], TcpGroup | None]") -> None:
        """Begin to accept. `find_group` gives the group of a new client, or None to refuse it."""
        self._find_group = find_group
        self._loops = [AcceptLoop(sock, self._new_connection, self.name, self.log) for sock in self._sockets]
        for loop in self._loops:
            loop.start()
        tls = "on" if self._tls is not None else None
        self.log.info(f"listening on {self.name}", framing=self.options.format.name, tls=tls)

    def give_sockets(self) -> list[socket.socket]:
        """The listening sockets, for another listener in place of this one: who connects meanwhile waits."""
        self._gave_sockets = True
        return [sock.dup() for sock in self._sockets]

    def stop(self) -> None:
        """Accept no new client; the others are served on."""
        for loop in self._loops:
            loop.stop()
        self._handshakes.close()
        if not self._gave_sockets and isinstance(self.options.address, UnixAddress):
            unlink_own(self.options.address.path, self._inode)

    def allows(self, address: str, peer: str) -> bool:
        """Whether a program may come from this numeric address; one that may not is told of as `peer`."""
        if self._allow is None or self._allow.allows(address):
            return True
        self.refuse("its address is not in allow", peer)
        return False

    def refuse(self, why: str, peer: str) -> None:
        """A program is not let in."""
        self.counts.refused += 1
        self.log.repeated(f"refused a client: {why}", client=peer, listener=self.name)

    def admit(self, client: TcpClient) -> "TcpGroup | None":
        """A program has connected; its group, or None where it may not stay."""
        if self._allow is not None and not self.allows(client.host, client.peer):
            return None
        if self.clients >= self.options.max_clients:
            self.counts.refused += 1
            self.log.repeated(
                "refused a client: max_clients are connected", client=client.peer, clients=self.clients
            )
            return None
        if not self._budget.take():
            self.counts.refused += 1
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
        self.log.info("client in", client=client.peer, clients=self.clients, certificate=client.certificate)
        return group

    def _new_connection(self, peer: Peer) -> asyncio.Protocol:
        client = TcpClient(self, peer)
        return client if self._tls is None else TlsConnection(client, self._tls.context, self._handshakes)

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
