"""A port that nobody else gets while its server is away."""

import socket
from typing import Self


class KeptPort:
    """A port of 127.0.0.1. Whoever connects is refused, unless somebody listens there, which takes SO_REUSEADDR.

    Without it the system may give the port of a server that has just been killed to any program of another test.
    """

    def __init__(self) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind(("127.0.0.1", 0))
        self.number: int = self._sock.getsockname()[1]

    def close(self) -> None:
        """Give it back."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
