"""The clients of a TCP listener that send no more, and are served on for a while (config.md, `eof_linger`)."""

import asyncio

from sockjs_bridge.endpoints.tcp_client import TcpClient
from sockjs_bridge.endpoints.tcp_options import TcpOptions

_SWEEP_SECONDS = 30.0
_SWEEPS_PER_LINGER = 4


class HalfClosedClients:
    """Looks from time to time who of them is gone, or was served for long enough, and closes those.

    Where they wait for a session of their own, `awaits_opening`, no answer can come before the first change of it:
    until then nobody was served for long enough.
    """

    def __init__(self, options: TcpOptions, *, awaits_opening: bool) -> None:
        self._awaits_opening = awaits_opening
        self._interval = options.eof_linger / _SWEEPS_PER_LINGER if options.lingers else _SWEEP_SECONDS
        self._clients: set[TcpClient] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_output = 0.0

    def add(self, client: TcpClient) -> None:
        """It sends no more."""
        self._clients.add(client)
        if self._timer is None:
            self._plan()

    def remove(self, client: TcpClient) -> None:
        """It has left, if it was one of these."""
        self._clients.discard(client)

    def note_output(self) -> None:
        """Something was written to clients: these are served for a while longer."""
        if self._clients:
            self._last_output = asyncio.get_running_loop().time()

    def note_change(self) -> None:
        """The session has opened or closed."""
        self._awaits_opening = False
        self.note_output()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._sweep)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._awaits_opening:
            self._last_output = now
        for client in list(self._clients):
            if client.half_closed_is_over(now, self._last_output):
                self._clients.discard(client)
                client.close()
        self._timer = None
        if self._clients:
            self._plan()
