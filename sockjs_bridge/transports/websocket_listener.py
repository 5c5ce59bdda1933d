"""What picows calls for one WebSocket: frames in, the closing handshake, and when not to read on."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import cast

import picows
from picows import WSCloseCode, WSFrame, WSMsgType, WSTransport

from sockjs_bridge.errors import Cause
from sockjs_bridge.protocol.frames import NO_STATUS
from sockjs_bridge.transports.base import LONGEST_TURN_SECONDS, Receiver, TransportClosed

NORMAL_CLOSURE = 1000
PROTOCOL_ERROR = 1002
INVALID_TEXT = 1007
TOO_BIG = 1009
CLOSE_SECONDS = 1.0
"""How long a peer has to answer a Close of which nothing is expected any more."""
_LONGEST_CONTROL_BYTES = 125  # RFC 6455 section 5.5
_LONGEST_REASON_BYTES = _LONGEST_CONTROL_BYTES - 2  # the code comes first
_READS_AT_ONCE = 4
# picows doubles its buffer whenever a read has filled it, so a read can bring megabytes: not all of it is decoded
# at once.
_LONGEST_BURST = 512


class WebSocketListener(picows.WSListener):
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
        connected: Callable[[WSTransport, "WebSocketListener"], None],
        ended: asyncio.Future[TransportClosed],
        *,
        framed: bool,
        max_message_bytes: int,
    ) -> None:
        self._receiver = receiver
        self._connected = connected
        self._ended = ended
        self._framed = framed
        self._max_message_bytes = max_message_bytes
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

    def close(self, transport: WSTransport, code: int, reason: str, within: float = CLOSE_SECONDS) -> None:
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
