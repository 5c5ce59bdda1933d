"""Session: one incarnation of a SockJS session, from the first byte to the last, without I/O."""

from enum import StrEnum

from sockjs_bridge.errors import Cause, FrameError
from sockjs_bridge.protocol.events import (
    FrameDropped,
    HeartbeatReceived,
    MessagesReceived,
    SessionClosed,
    SessionEvent,
    SessionOpened,
)
from sockjs_bridge.protocol.frames import (
    CloseFrame,
    HeartbeatFrame,
    MessageFrame,
    OpenFrame,
    decode_frame,
    decode_message_burst,
    decode_message_lines,
)

ANOTHER_CONNECTION_OPEN = 2010
CONNECTION_INTERRUPTED = 1002
_CAUSE_OF_CODE = {
    ANOTHER_CONNECTION_OPEN: Cause.SESSION_BUSY,
    CONNECTION_INTERRUPTED: Cause.INTERRUPTED,
}
DROPPED = 1006
"""Close code for a connection that ended without a word (RFC 6455 section 7.4.1)."""


class State(StrEnum):
    """Where a session stands. Only an open one may send (rule W of protocol section 4)."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Session:
    """Turns what a transport receives into events, by the rules of protocol sections 2 and 5.

    Every `receive_*` returns the events that follow from it, in order. After SessionClosed nothing
    follows any more, whatever comes in. `framed` is false for a raw WebSocket, whose payloads are
    the messages themselves and which is open as soon as it is connected. With `by_lines`, as
    over some HTTP transports, a payload may hold several frames, one a line.
    """

    __slots__ = ("_by_lines", "_framed", "_seen_open", "replaced", "state")

    def __init__(self, *, framed: bool = True, by_lines: bool = False) -> None:
        self._framed = framed
        self._by_lines = by_lines
        self._seen_open = False
        self.state = State.CONNECTING
        self.replaced = 0
        """Messages of a raw WebSocket in which invalid UTF-8 was replaced by U+FFFD."""

    def receive_connected(self) -> list[SessionEvent]:
        """The transport is connected."""
        return [] if self._framed or self.state is not State.CONNECTING else self._opened()

    def receive_frames(self, payloads: list[bytes]) -> list[SessionEvent]:
        """The payloads of one read, in order."""
        if self.state is State.CLOSED:
            return []
        if not self._framed:
            messages_came = MessagesReceived([self._text(payload) for payload in payloads])
            return [*self.receive_connected(), messages_came]
        if self.state is not State.CONNECTING:
            if self._by_lines and len(payloads) == 1:
                messages = decode_message_lines(payloads[0])
            else:
                messages = decode_message_burst(payloads)
            if messages is not None:
                return [MessagesReceived(messages)] if messages else []
        if self._by_lines:
            payloads = [line for payload in payloads for line in payload.split(b"\n")]
        return self._receive_each(payloads)

    def receive_closed(self, cause: Cause, code: int, reason: str = "") -> list[SessionEvent]:
        """The transport ended, or somebody above ended it for `cause`."""
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        return [SessionClosed(cause, code, reason)]

    def close(self) -> None:
        """We are leaving: nothing more may be sent, what still arrives is delivered."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSING

    def _receive_each(self, payloads: list[bytes]) -> list[SessionEvent]:
        events: list[SessionEvent] = []
        for payload in payloads:
            try:
                frame = decode_frame(payload)
            except FrameError as error:
                _drop(events, str(error), len(payload))
                continue
            match frame:
                case MessageFrame(messages) if self.state is State.CONNECTING:
                    if messages:
                        _drop(events, "messages came before the open frame", len(payload))
                case MessageFrame(messages):
                    if messages:
                        events.append(MessagesReceived(messages))
                case HeartbeatFrame():
                    # A run of them says no more than one.
                    if not events or type(events[-1]) is not HeartbeatReceived:
                        events.append(HeartbeatReceived())
                case OpenFrame() if not self._seen_open:
                    self._seen_open = True
                    if self.state is State.CONNECTING:
                        events += self._opened()
                case OpenFrame():
                    # Rule W: the server has lost the session and begun another one.
                    return events + self.receive_closed(
                        Cause.SESSION_LOST, DROPPED, "a second open frame came"
                    )
                case CloseFrame(code, reason):
                    cause = _CAUSE_OF_CODE.get(code, Cause.SERVER_CLOSED)
                    return events + self.receive_closed(cause, code, reason)
        return events

    def _opened(self) -> list[SessionEvent]:
        self.state = State.OPEN
        return [SessionOpened()]

    def _text(self, payload: bytes) -> str:
        try:
            return payload.decode()
        except UnicodeDecodeError:
            self.replaced += 1
            return payload.decode(errors="replace")


def _drop(events: list[SessionEvent], problem: str, size_bytes: int) -> None:
    """Leave out a frame. A server that sends tens of thousands of them in one read makes one event, not as many."""
    last = events[-1] if events else None
    if type(last) is FrameDropped and last.problem == problem:
        events[-1] = FrameDropped(problem, last.size_bytes + size_bytes, last.frames + 1)
    else:
        events.append(FrameDropped(problem, size_bytes))
