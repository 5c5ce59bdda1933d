"""A raw ZeroMQ socket in the event loop, without a future or a task for each message."""

import asyncio
from collections.abc import Callable

import zmq


class PolledSocket:
    """Calls back when a socket can be read or written.

    The descriptor of a ZeroMQ socket is edge-triggered: it tells of a change once, and whatever comes
    while we use the socket may never be told. So EVENTS is looked at again after each use: `look_again`.
    The callbacks work without blocking and may stop early; they are called again.
    """

    def __init__(self, raw: zmq.Socket[bytes]) -> None:
        self.raw = raw
        self.is_reading = False
        """Whether `receive` is to be called when there is something to read."""
        self.is_waiting_to_send = False
        """Whether `flush` is to be called when something can be sent."""
        self._receive: Callable[[], None] | None = None
        self._flush: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_look: asyncio.Handle | None = None

    def start(
        self, receive: Callable[[], None] | None = None, flush: Callable[[], None] | None = None
    ) -> None:
        """Watch the socket on the running loop."""
        self._receive, self._flush = receive, flush
        self.is_reading = receive is not None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.raw.fileno(), self._look)
        self.look_again()

    def look_again(self) -> None:
        """After any use of the socket: plan a look if there is more to do."""
        if self._next_look is None and not self.raw.closed and self._loop is not None and self._due():
            self._next_look = self._loop.call_soon(self._look)

    def close(self, linger_ms: int = 0) -> None:
        """Stop watching and close; what libzmq holds may take `linger_ms` to leave. Twice is no harm."""
        if self.raw.closed:
            return
        if self._loop is not None:
            self._loop.remove_reader(self.raw.fileno())
        if self._next_look is not None:
            self._next_look.cancel()
        self.raw.close(linger_ms)

    def _due(self) -> int:
        wanted = (zmq.POLLIN if self.is_reading else 0) | (zmq.POLLOUT if self.is_waiting_to_send else 0)
        return int(self.raw.getsockopt(zmq.EVENTS)) & wanted

    def _look(self) -> None:
        # The descriptor may call while a planned look waits for its turn.
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        if self.raw.closed:
            return
        due = self._due()
        if due & zmq.POLLOUT and self._flush is not None:
            self._flush()
        if due & zmq.POLLIN and self._receive is not None and not self.raw.closed:
            self._receive()
        if due:
            self.look_again()
