"""The programs of a TLS listener that are still in the handshake: how many, and for how long."""

from typing import TYPE_CHECKING

from sockjs_bridge.endpoints.base import ClientBudget

if TYPE_CHECKING:
    from sockjs_bridge.endpoints.tcp_acceptor import TcpAcceptor
    from sockjs_bridge.endpoints.tls_connection import TlsConnection

HANDSHAKE_SECONDS = 10.0
"""A handshake that takes longer is given up."""


class Handshakes:
    """Lets connections begin a handshake where there is room among the clients and the file descriptors.

    Strangers may begin handshakes and never end them: where there is no room, the oldest has to go, so that
    they keep nobody out.
    """

    def __init__(self, acceptor: "TcpAcceptor", budget: ClientBudget) -> None:
        self._acceptor = acceptor
        self._budget = budget
        self._pending: dict[TlsConnection, None] = {}

    def enter(self, connection: "TlsConnection", address: str) -> bool:
        """Somebody has connected from this numeric address; answers whether the handshake may begin."""
        acceptor = self._acceptor
        if not acceptor.allows(address, connection.peer):
            return False
        room = acceptor.options.max_clients - acceptor.clients
        if room <= 0:
            acceptor.refuse("max_clients are connected", connection.peer)
            return False
        if len(self._pending) >= room:
            self._cut_oldest()
        while not self._budget.take():
            if not self._cut_oldest():
                acceptor.refuse("no file descriptors left (raise the limit of open files)", connection.peer)
                return False
        self._pending[connection] = None
        return True

    def leave(self, connection: "TlsConnection") -> None:
        """The handshake has ended, in one way or another."""
        if connection in self._pending:
            del self._pending[connection]
            self._budget.give_back()

    def fail(self, connection: "TlsConnection", problem: str) -> None:
        """There will be no TLS with this one."""
        if connection in self._pending:
            self.leave(connection)
            self._acceptor.refuse(f"the TLS handshake failed: {problem}", connection.peer)

    def close(self) -> None:
        """The listener stops."""
        for connection in list(self._pending):
            self.leave(connection)
            connection.abort()

    def _cut_oldest(self) -> bool:
        oldest = next(iter(self._pending), None)
        if oldest is None:
            return False
        self.fail(oldest, "it had not ended when others needed the place")
        oldest.abort()
        return True
