"""One program connected to a listener: its bytes in, its bytes out."""

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from sockjs_bridge.endpoints.accept_loop import Peer
from sockjs_bridge.endpoints.answering import Answering
from sockjs_bridge.endpoints.envelope import EnvelopeDecoder
from sockjs_bridge.endpoints.http_guard import Finding, HttpGuard
from sockjs_bridge.endpoints.tcp_input import TcpInput
from sockjs_bridge.endpoints.tcp_options import SlowClient
from sockjs_bridge.endpoints.tcp_output import TcpOutput
from sockjs_bridge.errors import DropReason
from sockjs_bridge.tcp_info import is_dead

if TYPE_CHECKING:
    from sockjs_bridge.endpoints.tcp_acceptor import TcpAcceptor
    from sockjs_bridge.endpoints.tcp_group import TcpGroup

_GUARD_TEXT = {
    Finding.HTTP: "a client speaks HTTP, as a web page would; closed it",
    Finding.TLS: "a client speaks TLS on a plain port; closed it",
}
_LINGER_AT_MOST = 5
_LAST_WORDS_SECONDS = 1.0


class TcpClient(asyncio.Protocol):
    """A client of a TcpAcceptor. All methods run on the event loop; none is called for each message."""

    def __init__(self, acceptor: "TcpAcceptor", peer: Peer) -> None:
        self._acceptor = acceptor
        self._options = acceptor.options
        self._loop = asyncio.get_running_loop()
        self._guard = HttpGuard() if acceptor.options.reject_http else None
        self._eof_at: float | None = None
        self._is_leaving = False
        self._is_finishing = False
        self._last_words: asyncio.TimerHandle | None = None
        self._input_waits = False
        self._abort_reason = DropReason.CLIENT_GONE
        self._transport: asyncio.Transport
        self._group: TcpGroup
        self._input: TcpInput
        self.output: TcpOutput
        self.accepted = False
        self.host = peer.host
        self.peer = peer.name
        self.certificate: str | None = None
        """The name in its certificate, where it had to show one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The listener has accepted a program."""
        self._transport = cast("asyncio.Transport", transport)
        self.certificate = transport.get_extra_info("certificate")
        group = self._acceptor.admit(self)
        if group is None:
            self._transport.close()
            return
        self.accepted = True
        self._group = group
        self.output = TcpOutput(self._transport, group.wording)
        decoder = self._options.format.make_decoder(self._options.max_message_bytes)
        answering = Answering(self._loop, self._answer) if isinstance(decoder, EnvelopeDecoder) else None
        self._input = TcpInput(self, group, decoder, answering)
        group.join(self)

    @property
    def _socket(self) -> socket.socket:
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Bytes from the program."""
        if self._guard is not None:
            data = self._guarded(self._guard, data)
        if data and (self._is_finishing or not self._is_closing):
            self._input.feed(data)

    def eof_received(self, *, is_cut_off: bool = False) -> bool:
        """The program sends no more; answers whether it is served on.

        `is_cut_off` where it is not sure that it meant to: then what it wrote last is not taken for whole.
        """
        if not self.accepted:
            return False
        if self._guard is not None:
            self._input.feed(self._guard.end())
            self._guard = None
            if self._is_closing:
                return self.output.has_queue
        self._input.end(is_cut_off=is_cut_off)
        if self._is_finishing:
            self._eof_at = self._loop.time()
            return self.output.has_queue
        if not self._options.serves_after_eof:
            self._is_leaving = True
            self._group.stop_delivery(self)
            return self.output.has_queue
        self._eof_at = self._loop.time()
        self._group.watch_half_closed(self)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone. What the queue has not taken yet stays until there is room."""
        if self._last_words is not None:
            self._last_words.cancel()
        if self.accepted:
            self._input.stop_answering()
            self._group.dismiss(self, error, self._abort_reason)
            self.output.forget()

    def pause_writing(self) -> None:
        """The kernel does not take everything at once."""
        self.output.pause(self._group.burst)
        self._group.note_pace()
        self._judge(was_over=False)

    def resume_writing(self) -> None:
        """The kernel has taken all that it was given."""
        self.output.resume()
        self._group.note_pace()
        if not self.output.is_behind and self._is_leaving:
            self._end()
        self.note_progress()

    def send(self, data: bytes, messages: int, *, is_replay: bool = False) -> None:
        """Send a burst of whole messages, or events and answers (`messages` is 0); it waits where it has to."""
        was_over = self._is_over
        self.output.send(data, messages, is_replay=is_replay)
        if self.output.is_behind:
            self._judge(was_over=was_over)

    def note_progress(self) -> None:
        """The program has read something; or the server must be read again, though this one is a bit behind."""
        if self.output.live_unsent_bytes <= self._options.client_buffer_bytes // 4:
            self._group.note_caught_up(self)
            if self._input_waits:
                self._input_waits = False
                self.resume_reading()

    def offer_held(self) -> bool:
        """Offer again what the queue had no room for; True when all of it was taken."""
        return self._input.offer_held()

    def stop_input(self) -> int:
        """Take nothing more of this program: its input is read and forgotten from now on.

        Unread bytes would turn the close of the socket into a reset, which destroys what the program
        has not read yet. Returns how many messages were held back and are given up now.
        """
        self._input_waits = False
        return self._input.stop()

    def pause_reading(self) -> None:
        """Let what the program writes wait in the kernel."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless something else is waited for."""
        if self._eof_at is None and not (self._is_closing or self._input_waits or self._input.is_holding):
            self._transport.resume_reading()

    def finish(self) -> None:
        """Close as `close` does, but let the program end what it is writing: it is read, and forgotten.

        Unread bytes would turn the close into a reset, as `stop_input` says; call that before.
        """
        self._is_leaving = self._is_finishing = True
        self._group.stop_delivery(self)
        if not self.output.is_behind:
            self._end()

    def close(self) -> None:
        """Close once everything delivered has been sent."""
        self._is_leaving = True
        self._is_finishing = False
        self._group.stop_delivery(self)
        if self.output.has_queue:
            self._transport.pause_reading()
        else:
            self._transport.close()

    def abort(self, reason: DropReason = DropReason.CLIENT_GONE) -> None:
        """Close at once; what was not delivered yet counts as dropped for `reason`."""
        self._abort_reason = reason
        self._group.stop_delivery(self)
        self._transport.abort()

    def half_closed_is_over(self, now: float, last_output: float) -> bool:
        """Whether a program that sends no more has been served for long enough, or is gone."""
        if self._eof_at is None or is_dead(self._socket):
            return True
        if not self._options.lingers:
            return False
        linger = self._options.eof_linger
        return (
            now >= max(last_output, self._eof_at) + linger or now >= self._eof_at + linger * _LINGER_AT_MOST
        )

    def _end(self) -> None:
        """Everything has been sent."""
        if self._is_finishing and self._eof_at is None and self._transport.can_write_eof():
            self._transport.write_eof()
            self._last_words = self._loop.call_later(_LAST_WORDS_SECONDS, self._transport.close)
        else:
            self._transport.close()

    @property
    def _is_closing(self) -> bool:
        return self._is_leaving or self._transport.is_closing()

    @property
    def _is_over(self) -> bool:
        return self.output.live_unsent_bytes > self._options.client_buffer_bytes

    def _judge(self, *, was_over: bool) -> None:
        """More waits than before: do what `slow_client` says where it is more than `client_buffer`."""
        match self._options.slow_client:
            case SlowClient.PAUSE:
                if self._is_over:
                    self._hold_up()
            case SlowClient.DROP_OLDEST:
                if self._is_over:
                    dropped = self.output.drop_oldest(self._options.client_buffer_bytes)
                    if any(dropped):
                        self._group.note_dropped(self, *dropped)
            case SlowClient.DISCONNECT:
                # Even a client that reads can not take a burst of more than client_buffer at once.
                if was_over and not self._transport.is_closing():
                    self._group.cut(self, "a client fell behind by client_buffer; closed it")

    def _hold_up(self) -> None:
        if self._input.answers and not self._input_waits:
            # Whoever does not read the answers is not read: else they would fill the memory.
            self._input_waits = True
            self._transport.pause_reading()
        if self._options.sends:
            self._group.note_slow(self)

    def _answer(self, lines: bytes) -> None:
        if not self._is_closing:
            self._group.note_output()
            self.send(lines, 0)

    def _guarded(self, guard: HttpGuard, data: bytes) -> bytes:
        finding, released = guard.feed(data)
        if finding is Finding.PROGRAM:
            self._guard = None
        elif finding is not Finding.UNDECIDED:
            self._group.log.repeated(_GUARD_TEXT[finding], client=self.peer)
            self.abort()
        return released
