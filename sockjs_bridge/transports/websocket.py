"""The two WebSocket transports, framed and raw, on picows: callbacks, no task for each message."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import cast

import picows
from picows import WSCloseCode, WSFrame, WSMsgType, WSTransport
from yarl import URL

from sockjs_bridge.errors import Cause, ConnectError, Obstacle
from sockjs_bridge.protocol.frames import NO_STATUS, encode_messages
from sockjs_bridge.protocol.session import DROPPED
from sockjs_bridge.tcp_info import seconds_since_last_data
from sockjs_bridge.transports.base import LONGEST_TURN_SECONDS, Receiver, TransportClosed
from sockjs_bridge.transports.cookies import SessionCookies
from sockjs_bridge.transports.dial import dial, plain_reason
from sockjs_bridge.transports.handshake import cookies_of_refusal, explain, hear_out, let_go

NORMAL_CLOSURE = 1000
PROTOCOL_ERROR = 1002
INVALID_TEXT = 1007
TOO_BIG = 1009
_CLOSE_SECONDS = 1.0
_LONGEST_CONTROL_BYTES = 125  # RFC 6455 section 5.5
_LONGEST_REASON_BYTES = _LONGEST_CONTROL_BYTES - 2  # the code comes first
_READ_BUFFER_BYTES = 128 * 1024
# Of the kernel. Left to itself it grows to 32 MiB while reading is paused; picows doubles its own buffer until one
# read takes all of that, and keeps it. So much a round trip is still many times what a session carries.
_RECEIVE_BUFFER_BYTES = 256 * 1024
_READS_AT_ONCE = 4
# picows doubles its buffer whenever a read has filled it, so a read can bring megabytes: not all of it is decoded
# at once.
_LONGEST_BURST = 512
# picows would log what is reported here anyway, with other words.
_picows_log = logging.getLogger("picows.client")
_picows_log.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """Settings of one connection; sizes in bytes. `headers` go out as they are."""

    url: URL
    framed: bool
    headers: Mapping[str, str]
    max_frame_bytes: int
    batch_bytes: int
    tls: ssl.SSLContext | None = None


class WebSocketTransport:
    """A `Transport` over one WebSocket connection."""

    def __init__(self, options: WebSocketOptions, cookies: SessionCookies) -> None:
        self._options = options
        self._cookies = cookies
        self._sock: socket.socket | None = None
        self._ws: WSTransport
        self._listener: _Listener | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[TransportClosed] = asyncio.get_running_loop().create_future()
        self.is_http = False
        self.unanswered = None
        self.reached = False
        self.replaced = 0
        """Messages in which a lone surrogate had to be replaced: a raw WebSocket cannot carry them."""

    @property
    def can_send(self) -> bool:
        """Whether the connection is open and the server keeps up."""
        return self._listener is not None and self._listener.writable and not self._is_ending

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        if self._listener is None or self._ws.is_disconnected:
            return 0
        return self._ws.underlying_transport.get_write_buffer_size()

    @property
    def _is_ending(self) -> bool:
        # picows lets a send pass silently in both states.
        return self._ws.is_disconnected or self._ws.is_close_frame_sent

    async def connect(self, receiver: Receiver) -> None:
        """Connect and shake hands. Raises ConnectError; the caller bounds the time."""
        url = self._options.url
        self._sock = sock = await dial(url.raw_host or "", url.port or 0)
        self.reached = True
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        try:
            spare = sock.dup()
        except OSError as error:  # no descriptors left
            sock.close()
            raise ConnectError(
                Obstacle.UNREACHABLE, f"no socket for the server: {plain_reason(error)}"
            ) from error
        with spare:
            await self._shake_hands(sock, spare, receiver)

    async def _shake_hands(self, sock: socket.socket, spare: socket.socket, receiver: Receiver) -> None:
        url = self._options.url
        listener = _Listener(receiver, self._options, self._connected, self._ended)
        try:
            _, listening = await picows.ws_connect(
                lambda _request, _response: listener,
                "ws" + str(url).removeprefix("http"),
                ssl_context=self._options.tls,
                socket_factory=lambda _url: sock,
                websocket_handshake_timeout=None,
                logger_name=_picows_log,
                enable_auto_pong=False,
                max_frame_size=self._options.max_frame_bytes,
                extra_headers=self._handshake_headers(),
                max_redirects=0,
                read_buffer_init_size=_READ_BUFFER_BYTES,
                use_aiofastnet=False,
            )
        except (picows.WSHandshakeError, ssl.SSLError, OSError) as error:
            self._cookies.store(url, cookies_of_refusal(error))
            if isinstance(error, picows.WSHandshakeError):
                await hear_out(spare)
            let_go(sock, spare)
            raise explain(error) from error
        except asyncio.CancelledError:
            # picows leaves a connection that waits for its handshake open when it is cancelled.
            let_go(sock, spare)
            raise
        # picows returns as if connected, but without a listener, when the peer hung up meanwhile.
        if cast("picows.WSListener | None", listening) is None:
            let_go(sock, spare)
            raise ConnectError(
                Obstacle.HANDSHAKE, "the server closed the connection during the WebSocket handshake"
            )

    async def wait_closed(self) -> TransportClosed:
        """Wait for the end of the connection, or until it is abandoned."""
        return await self._ended

    def send(self, batch: list[str]) -> None:
        """Write messages: framed, joined up to `batch_bytes`; raw, one by one."""
        if self._options.framed:
            for array in encode_messages(batch, self._options.batch_bytes):
                self._ws.send(WSMsgType.TEXT, array)
        else:
            for message in batch:
                self._ws.send(WSMsgType.TEXT, self._utf8(message))

    def send_ping(self, number: int) -> None:
        """Send a PING that holds the number."""
        if not self._is_ending:
            self._ws.send_ping(b"%d" % number)

    def pause_reading(self) -> None:
        """Stop reading from the socket."""
        if self._listener is not None and not self._ws.is_disconnected:
            self._listener.pause_reading(self._ws)

    def resume_reading(self) -> None:
        """Read again."""
        if self._listener is not None and not self._ws.is_disconnected:
            self._listener.resume_reading(self._ws)

    def seconds_since_last_byte(self) -> float | None:
        """Seconds since the last byte came in: parts of a large frame are seen by the kernel alone."""
        return seconds_since_last_data(self._sock) if self._sock else None

    def close(self, code: int, within: float) -> None:
        """Send a Close frame, and hang up when it is answered or after `within` seconds."""
        if self._listener is not None:
            self._listener.close(self._ws, code, "", within)
        elif self._sock is not None:
            _hang_up(self._sock)

    def abandon(self, code: int) -> None:
        """Close without waiting for the server's side of it."""
        if not self._ended.done():
            self._ended.set_result(TransportClosed(Cause.TRANSPORT_LOST, DROPPED))
        self.close(code, _CLOSE_SECONDS)

    async def _watch(self, ws: WSTransport, listener: "_Listener") -> None:
        """Wait for picows to be done with the connection, and take from it how that came about."""
        try:
            (error,) = await asyncio.gather(ws.wait_disconnected(), return_exceptions=True)
        except asyncio.CancelledError:
            # The loop ends: the timer that would hang up on a server that does not answer a Close never runs.
            ws.disconnect(False)
            raise
        if self._ended.done():
            return
        if isinstance(error, picows.WSProtocolError):
            code = int(cast("int", error.code))
            self._ended.set_result(TransportClosed(Cause.PROTOCOL_VIOLATION, code, str(error)))
        elif error is not None:  # a fault of ours, in a callback: wait_closed raises it
            self._ended.set_exception(error)
        else:
            self._ended.set_result(listener.outcome or TransportClosed(Cause.TRANSPORT_LOST, DROPPED))

    def _connected(self, ws: WSTransport, listener: "_Listener") -> None:
        """The handshake is done; the first frames may come before `connect` goes on."""
        self._cookies.store(self._options.url, ws.response.headers.getall("Set-Cookie", []))
        self._ws, self._listener = ws, listener
        self._watcher = asyncio.get_running_loop().create_task(
            self._watch(ws, listener), name="websocket-watch"
        )

    def _handshake_headers(self) -> dict[str, str]:
        headers = dict(self._options.headers)
        cookies = self._cookies.header(self._options.url)
        if cookies:
            headers["Cookie"] = cookies
        return headers

    def _utf8(self, message: str) -> bytes:
        try:
            return message.encode()
        except UnicodeEncodeError:
            self.replaced += 1
            return message.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


class _Listener(picows.WSListener):
    """Receives the callbacks of picows. One read's frames are collected and handed on together."""

    __slots__ = (
        "_burst",
        "_closing",
        "_connected",
        "_ended",
        "_fragments",
        "_fragments_are_text",
        "_framed",
        "_gives_way",
        "_is_paused",
        "_loop",
        "_max_message_bytes",
        "_owed_pong",
        "_reads",
        "_receiver",
        "_took",
        "_ws",
        "outcome",
        "writable",
    )

    def __init__(
        self,
        receiver: Receiver,
        options: WebSocketOptions,
        connected: Callable[[WSTransport, "_Listener"], None],
        ended: asyncio.Future[TransportClosed],
    ) -> None:
        self._receiver = receiver
        self._connected = connected
        self._ended = ended
        self._framed = options.framed
        self._max_message_bytes = options.max_frame_bytes
        self._burst: list[bytes] = []
        self._fragments: bytearray | None = None
        self._fragments_are_text = True
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._is_paused = self._gives_way = False
        self._reads, self._took = 0, 0.0
        self._owed_pong: bytes | None = None
        self._ws: WSTransport
        self.writable = True
        self.outcome: TransportClosed | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self._ws = transport
        self._connected(transport, self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A whole WebSocket frame has arrived. It is valid during this call only."""
        payload = frame.get_payload_as_bytes()
        # Asking picows for the kind of a frame and its reserved bits costs as much as all the rest. A whole
        # frame of this size is no control frame, and what it holds is checked as a SockJS frame anyway.
        if self._framed and len(payload) > _LONGEST_CONTROL_BYTES and frame.fin and self._fragments is None:
            self._burst.append(payload)
        else:
            self._receive_checked(transport, frame, payload)
        if len(self._burst) == _LONGEST_BURST:
            self._flush(transport)
        if frame.last_in_buffer:
            self._flush(transport)
            self._reads += 1
            if self._reads == _READS_AT_ONCE or self._took > LONGEST_TURN_SECONDS:
                self._give_way(transport)

    def _receive_checked(self, transport: WSTransport, frame: WSFrame, payload: bytes) -> None:
        kind = frame.msg_type
        if self.outcome is not None:
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._violation(
                transport, PROTOCOL_ERROR, "a reserved bit is set, though no extension was agreed on"
            )
        elif kind is WSMsgType.TEXT and frame.fin and self._fragments is None:
            self._burst.append(payload)
        else:
            self._receive_special(transport, kind, frame, payload)

    def pause_reading(self, transport: WSTransport) -> None:
        """Stop reading from the socket until `resume_reading`."""
        self._is_paused = True
        transport.underlying_transport.pause_reading()

    def resume_reading(self, transport: WSTransport) -> None:
        """Read again, at once or when others have had their turn."""
        self._is_paused = False
        if not self._gives_way:
            transport.underlying_transport.resume_reading()

    def _give_way(self, transport: WSTransport) -> None:
        """Stop reading until the next turn.

        The loop would read on up to 32 times: others would wait, and a program that can not keep up is
        heard of only at the end of the turn.
        """
        if not self._gives_way and not transport.is_disconnected:
            self._gives_way = True
            self._reads, self._took = 0, 0.0
            transport.underlying_transport.pause_reading()
            self._loop.call_soon(self._go_on, transport)

    def _go_on(self, transport: WSTransport) -> None:
        self._gives_way = False
        if not self._is_paused and not transport.is_disconnected:
            transport.underlying_transport.resume_reading()

    def pause_writing(self) -> None:
        """The server does not read fast enough."""
        self.writable = False

    def resume_writing(self) -> None:
        """The server has caught up."""
        self.writable = True
        if self._owed_pong is not None:
            payload, self._owed_pong = self._owed_pong, None
            self._ws.send_pong(payload)
        self._receiver.resume_sending()

    def close(self, transport: WSTransport, code: int, reason: str, within: float = _CLOSE_SECONDS) -> None:
        """Begin the closing handshake, if it has not begun."""
        if transport.is_disconnected or self._closing:
            return
        self._closing = True
        transport.send_close(cast("WSCloseCode", code), reason.encode()[:_LONGEST_REASON_BYTES])
        # A peer that does not answer, or does not even read, must not hold the connection open.
        asyncio.get_running_loop().call_later(within, transport.disconnect, False)

    def _receive_special(
        self, transport: WSTransport, kind: WSMsgType, frame: WSFrame, payload: bytes
    ) -> None:
        if kind is WSMsgType.PING:
            if self.writable:
                transport.send_pong(payload)
            else:
                # One that pings and does not read would fill the memory. The last one is answered (RFC 6455, 5.5.3).
                self._owed_pong = payload
            self._receiver.receive_ping()
        elif kind is WSMsgType.PONG:
            self._receiver.receive_pong(payload)
        elif kind is WSMsgType.CLOSE:
            self._receive_close(transport, frame)
        elif kind is WSMsgType.CONTINUATION and self._fragments is None:
            self._violation(transport, PROTOCOL_ERROR, "a continuation came without a beginning")
        elif kind is not WSMsgType.CONTINUATION and self._fragments is not None:
            self._violation(transport, PROTOCOL_ERROR, "a message began inside another one")
        else:
            self._receive_data(transport, kind, frame.fin, payload)

    def _receive_data(self, transport: WSTransport, kind: WSMsgType, fin: bool, payload: bytes) -> None:
        """A fragment, or a whole binary message."""
        if self._fragments is None:
            self._fragments, self._fragments_are_text = bytearray(), kind is WSMsgType.TEXT
        # Not a list of them: there may be millions, of a byte each or of none.
        self._fragments += payload
        if len(self._fragments) > self._max_message_bytes:
            self._violation(transport, TOO_BIG, f"a message is larger than {self._max_message_bytes} bytes")
            return
        if not fin:
            return
        payload, self._fragments = bytes(self._fragments), None
        if self._fragments_are_text:
            self._burst.append(payload)
        else:
            # Binary content is taken as UTF-8 without the check that text gets (protocol section 1).
            self._flush(transport)
            self._receiver.receive_frames([payload])

    def _receive_close(self, transport: WSTransport, frame: WSFrame) -> None:
        self._flush(transport)
        if self.outcome is None:
            code = int(cast("int", frame.get_close_code())) or NO_STATUS
            reason = frame.get_close_reason() or ""
            self._conclude(TransportClosed(Cause.SERVER_CLOSED, code, reason))
        self.close(transport, NORMAL_CLOSURE, "")
        transport.disconnect()

    def _flush(self, transport: WSTransport) -> None:
        burst = self._burst
        if not burst or self.outcome is not None:
            return
        begun = monotonic()
        self._burst = []
        self._hand_on(transport, burst)
        self._took += monotonic() - begun

    def _hand_on(self, transport: WSTransport, burst: list[bytes]) -> None:
        if all(map(bytes.isascii, burst)):
            self._receiver.receive_frames(burst)
            return
        valid = _valid_utf8(burst)
        if valid:
            self._receiver.receive_frames(valid)
        if len(valid) < len(burst):
            self._violation(transport, INVALID_TEXT, "a text message is not valid UTF-8")

    def _violation(self, transport: WSTransport, code: int, problem: str) -> None:
        # What came before it, in the same read, was well-formed and is delivered.
        self._flush(transport)
        if self.outcome is not None:
            return
        self._fragments = None  # the connection may linger for a second, and others follow it meanwhile
        self._conclude(TransportClosed(Cause.PROTOCOL_VIOLATION, code, problem))
        self.close(transport, code, problem)

    def _conclude(self, outcome: TransportClosed) -> None:
        """Nothing that still comes counts; the closing handshake goes on in the background."""
        self.outcome = outcome
        if not self._ended.done():
            self._ended.set_result(outcome)


def _valid_utf8(burst: list[bytes]) -> list[bytes]:
    """The messages before the first that is not UTF-8: all of them, nearly always."""
    for index, payload in enumerate(burst):
        try:
            payload.decode()
        except UnicodeDecodeError:
            return burst[:index]
    return burst


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):  # it may be disconnected already
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
