"""One program connected to a listener: its bytes in, its bytes out."""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from sockjs_bridge.endpoints.http_guard import Finding, HttpGuard
from sockjs_bridge.errors import DropReason, FramingError
from sockjs_bridge.tcp_info import is_dead

if TYPE_CHECKING:
    from sockjs_bridge.endpoints.tcp import TcpListener

_GUARD_TEXT = {
    Finding.HTTP: "a client speaks HTTP, as a web page would; closed it",
    Finding.TLS: "a client speaks TLS on a plain port; closed it",
}
_LINGER_AT_MOST = 5


class TcpClient(asyncio.Protocol):
    """A client of a TcpListener. All methods run on the event loop; none is called for each message."""

    def __init__(self, listener: "TcpListener") -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._decoder = listener.options.framing.make_decoder(listener.options.max_message_bytes)
        self._guard = HttpGuard() if listener.options.reject_http else None
        self._held: list[str] = []
        self._eof_at: float | None = None
        self._transport: asyncio.Transport
        self.accepted = False
        self.write: Callable[[bytes], None]
        """Deliver encoded messages."""
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The listener has accepted a program."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"
        self.write = self._transport.write
        self.accepted = self._listener.admit(self)
        if not self.accepted:
            self._transport.close()
            return
        if isinstance(peer, tuple):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._transport.set_write_buffer_limits(self._listener.options.client_buffer_bytes)

    @property
    def _socket(self) -> socket.socket:
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were delivered and that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def data_received(self, data: bytes) -> None:
        """Bytes from the program."""
        if self._guard is not None:
            data = self._guarded(self._guard, data)
        if data and not self._transport.is_closing():
            self._feed(data)

    def eof_received(self) -> bool:
        """The program sends no more; answers whether it is served on."""
        if self._guard is not None:
            self._feed(self._guard.end())
            self._guard = None
            if self._transport.is_closing():
                return False
        replaced = self._decoder.invalid_utf8
        self._take(self._decoder.end())
        self._report(replaced)
        if not self.accepted or not self._listener.serves_after_eof:
            self._listener.stop_delivery(self)
            return False
        self._eof_at = self._loop.time()
        self._listener.watch_half_closed(self)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone. What the queue has not taken yet stays until there is room."""
        if self.accepted:
            self._listener.dismiss(self, error)

    def pause_writing(self) -> None:
        """The program does not read fast enough."""
        self._listener.note_slow(self)

    def resume_writing(self) -> None:
        """The program has caught up."""
        self._listener.note_caught_up(self)

    def offer_held(self) -> bool:
        """Offer again what the queue had no room for; True when all of it was taken."""
        taken = self._listener.intake.offer(self._held)
        self._held = self._held[taken:]
        if self._held:
            return False
        self._resume_reading()
        return True

    def stop_input(self) -> int:
        """Take nothing more of this program: its input is read and forgotten from now on.

        Unread bytes would turn the close of the socket into a reset, which destroys what the program
        has not read yet. Returns how many messages were held back and are given up now.
        """
        given_up, self._held = len(self._held), []
        self._resume_reading()
        return given_up

    def close(self) -> None:
        """Close once everything delivered has been sent."""
        self._listener.stop_delivery(self)
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._listener.stop_delivery(self)
        self._transport.abort()

    def half_closed_is_over(self, now: float, last_output: float) -> bool:
        """Whether a program that sends no more has been served for long enough, or is gone."""
        if self._eof_at is None or is_dead(self._socket):
            return True
        if not self._listener.lingers:
            return False
        linger = self._listener.options.eof_linger
        return (
            now >= max(last_output, self._eof_at) + linger or now >= self._eof_at + linger * _LINGER_AT_MOST
        )

    def _guarded(self, guard: HttpGuard, data: bytes) -> bytes:
        finding, released = guard.feed(data)
        if finding is Finding.PROGRAM:
            self._guard = None
        elif finding is not Finding.UNDECIDED:
            self._listener.log.repeated(_GUARD_TEXT[finding], client=self.peer)
            self.abort()
        return released

    def _feed(self, data: bytes) -> None:
        replaced = self._decoder.invalid_utf8
        try:
            messages = self._decoder.feed(data)
        except FramingError:
            messages = []  # the decoder keeps the error, also when messages come before it
        if messages:
            self._take(messages)
        if self._decoder.dropped or self._decoder.invalid_utf8 > replaced:
            self._report(replaced)
        if self._decoder.error is not None:
            self._listener.count_dropped(DropReason.INVALID, 1)
            self._listener.log.warning(
                f"a client broke the framing: {self._decoder.error}; closed it", client=self.peer
            )
            self.close()

    def _take(self, messages: list[str]) -> None:
        if not messages:
            return
        if self._listener.discards_input:
            self._listener.note_discarded(messages)
            return
        taken = self._listener.intake.offer(messages) if not self._held else 0
        if taken == len(messages):
            return
        if not self._held:
            self._transport.pause_reading()
            self._listener.wait_for_room(self)
        self._held += messages[taken:]

    def _resume_reading(self) -> None:
        if not self._transport.is_closing() and self._eof_at is None:
            self._transport.resume_reading()

    def _report(self, replaced_before: int) -> None:
        """Tell the listener what was wrong with the bytes that have just been decoded."""
        for dropped in self._decoder.dropped:
            self._listener.report_dropped(self, dropped)
        self._decoder.dropped.clear()
        if self._decoder.invalid_utf8 > replaced_before:
            self._listener.note_invalid_utf8(self, self._decoder.invalid_utf8 - replaced_before)
