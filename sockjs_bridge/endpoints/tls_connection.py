"""TLS between the event loop and a program: to the loop a protocol, to its TcpClient a transport.

Not the loop's own TLS: that one begins the handshake before anybody can look at the address, and the
write buffer that it tells of leaves out what the socket below it holds, so that no promise could be kept
about what a client was given.
"""

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, cast

from sockjs_bridge.endpoints.server_tls import certificate_name, explain
from sockjs_bridge.endpoints.tls_handshakes import HANDSHAKE_SECONDS, Handshakes

if TYPE_CHECKING:
    from sockjs_bridge.endpoints.tcp_client import TcpClient

_RECORD_BYTES = 16 << 10
"""What fits into one record of TLS."""
_MOST_UNREAD_CONTROL_BYTES = 64 << 10


class TlsConnection(asyncio.Protocol, asyncio.Transport):
    """The server's side of TLS on one connection. The client hears of it when the handshake is done.

    As a transport it keeps what TcpOutput relies on: a write goes to the kernel at once, the first byte that
    the kernel does not take is told by `pause_writing` within that write, and nothing is buffered beyond it.
    """

    def __init__(self, client: "TcpClient", context: ssl.SSLContext, handshakes: Handshakes) -> None:
        self._client = client
        self._handshakes = handshakes
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._socket: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._is_up = False
        self._is_behind = False
        self._has_ended = False
        self._has_answered = False
        self._has_said_end = False
        self._records: list[tuple[int, int]] = []
        self._control_bytes = 0
        self._error: Exception | None = None
        self.peer = client.peer

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected: begin the handshake, if they may."""
        self._socket = cast("asyncio.Transport", transport)
        self._socket.set_write_buffer_limits(0)
        if not self._handshakes.enter(self, self._client.host):
            self._socket.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes from the program."""
        self._incoming.write(data)
        if self._is_up or self._shake_hands():
            self._read()

    def eof_received(self) -> bool:
        """The program has closed its half of the connection below TLS."""
        if not self._is_up:
            # A client that does not like our certificate should say so, but some just hang up.
            about = "; it may not accept our certificate (tls.cert)" if self._has_answered else ""
            self._refuse(f"it closed the connection{about}")
        elif not self._has_ended:
            # It may have been anybody who cut this off, in the midst of a message.
            self._end(is_cut_off=True)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        if self._is_up:
            self._client.connection_lost(self._error or error)
        else:
            self._handshakes.fail(self, str(error) if error else "the connection was lost")
        # It holds us, and Python looks for such circles rarely: let go of it, and of what is large.
        del self._client, self._tls, self._incoming, self._outgoing

    def pause_writing(self) -> None:
        """The kernel does not take everything."""
        self._is_behind = True
        if self._is_up:
            self._client.pause_writing()

    def resume_writing(self) -> None:
        """The kernel has taken everything."""
        self._is_behind = False
        self._control_bytes = 0
        if self._is_up:
            self._client.resume_writing()

    # What the client calls.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As of the socket below; `certificate` is the name in the client's certificate."""
        if name == "certificate":
            return certificate_name(self._tls.getpeercert())
        return self._socket.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer but that of the socket below, and the first byte in it is told of."""
        assert high == 0, low  # noqa: S101  # nothing else is there

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send; on a connection that has broken it is forgotten."""
        if self._socket.is_closing():
            return
        if not self._is_behind:
            self._records.clear()
        left = memoryview(data)
        try:
            while left:
                before = self._outgoing.pending
                size = self._tls.write(left[:_RECORD_BYTES])
                self._records.append((size, self._outgoing.pending - before))
                left = left[size:]
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._socket.write(self._outgoing.read())

    def get_write_buffer_size(self) -> int:
        """Bytes, before encryption, of the records that the kernel has not taken to their ends."""
        encrypted = self._socket.get_write_buffer_size()
        size_bytes = 0
        for size, size_encrypted in reversed(self._records):
            if encrypted <= 0:
                break
            size_bytes += size
            encrypted -= size_encrypted
        return size_bytes

    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._socket.is_closing()

    def pause_reading(self) -> None:
        """Let what the program writes wait in the kernel."""
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._socket.resume_reading()

    def can_write_eof(self) -> bool:
        """Always."""
        return True

    def write_eof(self) -> None:
        """Tell the program that nothing more will come, after what was written; what it writes is still read."""
        if not self._socket.is_closing():
            self._say_end()
            self._socket.write_eof()

    def close(self) -> None:
        """Close after what was written, with the end that TLS has for it."""
        if not self._socket.is_closing():
            self._say_end()
            self._socket.close()

    def abort(self) -> None:
        """Close at once."""
        self._socket.abort()

    def _shake_hands(self) -> bool:
        """Go on with the handshake; answers whether it is done."""
        if self._socket.is_closing():
            return False
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send_control()
            return False
        except ssl.SSLError as error:
            self._refuse(explain(error))
            return False
        self._send_control()
        if self._is_behind or self._socket.is_closing():
            self._refuse("it does not read")
            return False
        self._stop_timer()
        self._handshakes.leave(self)
        self._is_up = True
        self._client.connection_made(self)
        return True

    def _read(self) -> None:
        chunks: list[bytes] = []
        has_ended = False
        failure: ssl.SSLError | None = None
        try:
            while not has_ended and (self._incoming.pending or self._tls.pending()):
                chunk = self._tls.read(_RECORD_BYTES)
                chunks.append(chunk)
                has_ended = not chunk
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            has_ended = True
        except ssl.SSLError as error:
            failure = error
        self._send_control()
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if data and not self._socket.is_closing():
            self._client.data_received(data)
        if failure is not None:
            self._fail(failure)
        elif has_ended:
            self._end(is_cut_off=False)

    def _end(self, *, is_cut_off: bool) -> None:
        """The program sends no more. Where something waits for it, the client closes after that."""
        if self._has_ended or self._socket.is_closing():
            return
        self._has_ended = True
        if not self._client.eof_received(is_cut_off=is_cut_off):
            self.close()

    def _say_end(self) -> None:
        if self._has_said_end:
            return
        with contextlib.suppress(ssl.SSLError):  # it waits for the answer, which nobody needs
            self._tls.unwrap()
        self._send_control()
        self._has_said_end = True

    def _send_control(self) -> None:
        """Send what TLS itself has to say."""
        data = self._outgoing.read()
        if not data or self._has_said_end:
            return
        self._has_answered = True
        self._socket.write(data)
        if self._is_behind:
            self._control_bytes += len(data)
            if self._control_bytes > _MOST_UNREAD_CONTROL_BYTES:
                # Such as the refusal of a renegotiation, which may be asked for without end.
                self._error = ssl.SSLError("it asks and asks, and does not read the answers")
                self._socket.abort()

    def _give_up(self) -> None:
        self._refuse(f"it took longer than {HANDSHAKE_SECONDS:g} s")

    def _refuse(self, problem: str) -> None:
        """There is no TLS with this one: say so to both sides."""
        self._handshakes.fail(self, problem)
        self._send_control()
        self._socket.abort()

    def _fail(self, error: ssl.SSLError) -> None:
        """The program broke the rules of TLS after the handshake."""
        self._error = ssl.SSLError(f"TLS failed: {explain(error)}")
        self._send_control()
        self._socket.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
