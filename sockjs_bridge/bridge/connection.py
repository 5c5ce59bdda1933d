"""Connection: one attempt. A Session on a transport, from the first byte to the last."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from sockjs_bridge.bridge.batch import Batch, Burst, utf8_bytes
from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.liveness_watch import LivenessWatch
from sockjs_bridge.bridge.login_guide import LoginGuide, LoginPlan
from sockjs_bridge.bridge.posting import Posting
from sockjs_bridge.bridge.tracking import Tracking
from sockjs_bridge.endpoints.receipts import MessageFate, Receipts
from sockjs_bridge.errors import Cause, ConnectError, LoginError, Obstacle
from sockjs_bridge.log import EventLog
from sockjs_bridge.protocol.events import (
    AttemptFailed,
    FrameDropped,
    HeartbeatReceived,
    MessagesReceived,
    SessionClosed,
    SessionEvent,
    SessionOpened,
)
from sockjs_bridge.protocol.frames import NO_STATUS
from sockjs_bridge.protocol.session import DROPPED, Session, State
from sockjs_bridge.transports.base import Fate, SendResult, Transport, TransportClosed

NORMAL_CLOSURE = 1000
_SEND_BYTES = 64 * 1024
# A request is dear and its messages cheap: all that fit into one body, with room for escapes.
_POST_BYTES = 448 * 1024
_LAST_ANSWER_SECONDS = 1.0
# The answer to our Close has our code, or none. Another one is the server's own Close, which may have crossed ours.
_CODES_OF_ANSWERS = {NORMAL_CLOSURE, NO_STATUS}
_MESSAGE_TOO_BIG = 1009


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Times in seconds; 0 turns the last two off."""

    connect_timeout: float = 10.0
    open_timeout: float = 10.0
    silence_timeout: float = 60.0
    ping_interval: float = 20.0


class ConnectionWatcher(Protocol):
    """Who hears of what a connection goes through."""

    def note_opened(self) -> None:
        """The session is open."""

    def note_login_begun(self) -> None:
        """The open session logs in once more."""

    def note_ready(self) -> None:
        """Messages of programs may flow."""


class Connection:
    """Runs one attempt; it is the transport's `Receiver` and, once open, the hub's `Link`."""

    def __init__(
        self,
        transport: Transport,
        session: Session,
        hub: Hub,
        limits: ConnectionLimits,
        watcher: ConnectionWatcher,
        log: EventLog,
        plan: LoginPlan | None = None,
    ) -> None:
        self._transport = transport
        self._session = session
        self._hub = hub
        self._limits = limits
        self._watcher = watcher
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._watch = LivenessWatch(
            transport,
            limits.silence_timeout,
            limits.ping_interval,
            next_ping=self._next_ping,
            declare_dead=lambda why: self._finish(Cause.SILENCE, why),
        )
        self.reads_on = transport.is_http
        self._outgoing: Posting | Tracking = (
            Posting(hub.dispatcher)
            if transport.is_http
            else Tracking(hub.dispatcher, self._watch.send_ping, asks=bool(limits.ping_interval))
        )
        self._guide = LoginGuide(plan, self, log) if plan is not None else None
        self.login_error: LoginError | None = None
        """Why a login has failed, if that was the end."""
        self._open_timer: asyncio.TimerHandle | None = None
        self._failure: AttemptFailed | None = None
        self._was_open = False
        self._leaving_for: Cause | None = None
        self._end_of_transport: TransportClosed | None = None
        self._closed: SessionClosed | None = None

    async def run(self) -> AttemptFailed | SessionClosed:
        """Connect and stay until the end; tells how it ended."""
        try:
            return await self._connect() or await self._stay()
        finally:
            self._end()

    async def _connect(self) -> AttemptFailed | None:
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                await self._transport.connect(self)
        except TimeoutError:
            limit = f"within connect_timeout ({self._limits.connect_timeout:g} s)"
            if self._transport.reached:
                return AttemptFailed(Obstacle.HANDSHAKE, f"connected, but no answer to the handshake {limit}")
            return AttemptFailed(Obstacle.UNREACHABLE, f"no answer {limit}")
        except ConnectError as error:
            return AttemptFailed(error.obstacle, error.detail, error.status)
        return None

    async def _stay(self) -> AttemptFailed | SessionClosed:
        try:
            self._watch.plan()
            self._handle(self._session.receive_connected())
            if self._session.state is State.CONNECTING:
                self._open_timer = self._loop.call_later(self._limits.open_timeout, self._open_timed_out)
            self._hub.make_room()
            closed = self._transport.wait_closed()
            end = await (closed if self._guide is None else self._guide.run(closed))
            self._end_of_transport = end
        finally:
            self._transport.abandon(NORMAL_CLOSURE)
        if end.failure is not None and self._failure is None:
            self._failure = AttemptFailed(end.failure.obstacle, end.failure.detail, end.failure.status)
        cause, code = (self._leaving_for, NORMAL_CLOSURE) if self._leaving_for else (end.cause, end.code)
        self._handle(self._session.receive_closed(cause, code, end.reason))
        return self._result()

    def close(self, within: float, cause: Cause = Cause.STOPPING) -> None:
        """Leave politely: Close frame 1000. `run` returns when it is answered, or after `within` seconds."""
        self._leaving_for = cause
        self._session.close()
        self._transport.close(NORMAL_CLOSURE, within)

    def ask_for_confirmation(self) -> None:
        """Ask now whether the server has read what was sent, where such a question is possible and open."""
        if isinstance(self._outgoing, Tracking):
            self._outgoing.ask_last()

    @property
    def is_confirmed(self) -> bool:
        """Whether nothing that was sent waits for an answer."""
        if isinstance(self._outgoing, Tracking):
            return self._outgoing.is_confirmed
        return not self._outgoing.is_under_way

    @property
    def has_flushed(self) -> bool:
        """Whether the kernel has taken everything that was sent."""
        return self._transport.unsent_bytes == 0

    def receive_frames(self, payloads: list[bytes]) -> None:
        """Frames from the transport, those of one read."""
        now = self._loop.time()
        self._watch.note_bytes(now)
        self._hub.stats.last_receive_at = now
        self._hub.stats.bytes_received += sum(map(len, payloads))
        if self._log.is_debugging():
            self._log.debug("received frames", frames=str(payloads))
        self._handle(self._session.receive_frames(payloads))

    def receive_ping(self) -> None:
        """The server has sent a PING."""
        self._watch.note_heartbeat()

    def receive_pong(self, payload: bytes = b"") -> None:
        """The server has answered a PING, or over HTTP a question."""
        if isinstance(self._outgoing, Tracking):
            self._watch.note_pong()
            if self._outgoing.receive_pong(payload):
                self._hub.make_room()
        else:
            self._watch.note_answer()

    def receive_send_result(self, result: SendResult) -> None:
        """A request to send has been answered, or has failed."""
        if isinstance(self._outgoing, Posting):
            self._outgoing.settle(result)
        if result.fate is Fate.ACCEPTED:
            self.resume_sending()

    def resume_sending(self) -> None:
        """The server keeps up again."""
        if self._guide is not None:
            self._guide.flush()
        self._hub.make_room()

    def send(self, messages: list[str], receipts: Receipts | None) -> bool:
        """Send messages at once, if the session is open and the server keeps up."""
        if self._session.state is not State.OPEN or not self._transport.can_send:
            return False
        size_bytes = utf8_bytes(messages)
        if receipts is not None and self._transport.is_http:
            receipts.report(MessageFate.QUEUED)  # until the server has answered
        # Over a WebSocket nothing has to travel with most messages.
        travels = receipts is not None or self._transport.is_http
        bursts = [Burst(messages, size_bytes, self._loop.time(), receipts)] if travels else []
        self._send(Batch(bursts, messages, size_bytes))
        return True

    def send_own(self, messages: list[str]) -> bool:
        """Send messages that are no program's: nobody waits for them, and they are not sent again."""
        if self._session.state is not State.OPEN or not self._transport.can_send:
            return False
        self._hand_over(messages)
        self._hub.stats.own_messages += len(messages)
        return True

    def begin_login(self) -> None:
        """The server has asked for another login."""
        self._hub.pause_sending()
        self._watcher.note_login_begun()

    def become_ready(self) -> None:
        """There is nothing more to do before messages of programs may flow."""
        self._watcher.note_ready()
        self._hub.begin_sending()

    def fail_login(self, error: LoginError) -> None:
        """The login has failed, which ends the session."""
        if self._leaving_for is not None:
            return
        self.login_error = error
        self._finish(Cause.LOGIN_FAILED, error.detail)

    def flush(self) -> None:
        """Send what waits, in pieces, until the server stops keeping up."""
        dispatcher = self._hub.dispatcher
        about_bytes = _POST_BYTES if self._transport.is_http else _SEND_BYTES
        while dispatcher.queue.messages and self._session.state is State.OPEN and self._transport.can_send:
            batch = dispatcher.take(about_bytes)
            if not batch.messages:
                return
            self._send(batch)

    def pause_reading(self) -> None:
        """A program cannot keep up."""
        self._watch.suspend()
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """All programs keep up."""
        self._watch.resume()
        self._transport.resume_reading()

    def _send(self, batch: Batch) -> None:
        if isinstance(self._outgoing, Posting):
            self._outgoing.begin(batch)
            self._hand_over(batch.messages)
        else:
            self._hand_over(batch.messages)
            self._outgoing.note_written(batch)

    def _hand_over(self, messages: list[str]) -> None:
        if self._log.is_debugging():
            self._log.debug("sending", content=str(messages))
        self._transport.send(messages)

    def _next_ping(self) -> int:
        return self._outgoing.next_ping() if isinstance(self._outgoing, Tracking) else 0

    def _handle(self, events: list[SessionEvent]) -> None:
        for event in events:
            if type(event) is MessagesReceived:  # quicker than a match, and nearly always so
                self._hub.deliver(event.messages)
                if self._guide is not None:
                    self._guide.receive(event.messages)
                continue
            match event:
                case HeartbeatReceived():
                    self._watch.note_heartbeat()
                case SessionOpened():
                    self._on_opened()
                case FrameDropped(problem, size_bytes, frames):
                    self._hub.stats.frames_dropped += frames
                    text = f"left out a frame from the server: {problem}"
                    self._log.repeated(text, size_bytes=size_bytes, frames=frames if frames > 1 else None)
                case SessionClosed():
                    self._on_closed(event)

    def _on_closed(self, event: SessionClosed) -> None:
        if self._guide is not None:
            if event.cause is Cause.SERVER_CLOSED and self._leaving_for is None:
                self.login_error = self._guide.cut_off(f"{event.code} {event.reason}".rstrip())
                if self.login_error is not None:
                    event = SessionClosed(Cause.LOGIN_FAILED, event.code, self.login_error.detail)
            self._guide.end()
        self._closed = event
        self._watch.stop()
        self._hub.detach()
        self._hub.end_epoch(event.cause, event.code, event.reason)
        self._leave_transport()

    def _leave_transport(self) -> None:
        if isinstance(self._outgoing, Posting) and self._outgoing.is_under_way:
            # The frame may be quicker than the answer to the request that it is about.
            self._transport.close(NORMAL_CLOSURE, _LAST_ANSWER_SECONDS)
        else:
            self._transport.abandon(NORMAL_CLOSURE)

    def _on_opened(self) -> None:
        self._was_open = True
        self._cancel_open_timer()
        self._watcher.note_opened()
        self._hub.attach(self, is_ready=False)
        if self._guide is None:
            self.become_ready()
        else:
            self._guide.begin()

    def _open_timed_out(self) -> None:
        limit = self._limits.open_timeout
        self._failure = AttemptFailed(
            Obstacle.NOT_OPENED, f"connected, but no open frame came within {limit:g} s"
        )
        self._finish(Cause.OPEN_TIMEOUT, "no open frame came")

    def _finish(self, cause: Cause, reason: str) -> None:
        self._handle(self._session.receive_closed(cause, DROPPED, reason))

    def _cancel_open_timer(self) -> None:
        if self._open_timer is not None:
            self._open_timer.cancel()
            self._open_timer = None

    def _end(self) -> None:
        if self._guide is not None:
            self._guide.end()
        self._hub.detach()
        self._settle()
        self._cancel_open_timer()
        self._watch.stop()
        replaced = self._session.replaced + self._transport.replaced
        if replaced:
            self._hub.stats.text_replaced += replaced
            self._log.repeated("text that no UTF-8 can carry was replaced by U+FFFD", messages=replaced)

    def _settle(self) -> None:
        """Nothing more will be known of what was sent."""
        if isinstance(self._outgoing, Posting):
            if self._transport.unanswered is not None:
                self._outgoing.settle(self._transport.unanswered)
            return
        end = self._end_of_transport
        if end is None or end.cause is not Cause.SERVER_CLOSED:
            self._outgoing.finish()
            return
        answered = self._leaving_for is not None and end.code in _CODES_OF_ANSWERS
        self._outgoing.finish(answered=answered, too_big=end.code == _MESSAGE_TOO_BIG)

    def _result(self) -> AttemptFailed | SessionClosed:
        closed = self._closed or SessionClosed(Cause.TRANSPORT_LOST, DROPPED)
        if self._was_open:
            return closed
        if self._failure is not None:
            return self._failure
        reason = f" ({closed.reason})" if closed.reason else ""
        detail = f"ended before the session was open: {closed.cause} {closed.code}{reason}"
        return AttemptFailed(Obstacle.LOST, detail)
