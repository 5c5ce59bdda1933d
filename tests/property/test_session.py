"""Session: the grouping into reads changes nothing, and its rules hold in every order of what can happen."""

from collections.abc import Iterable
from itertools import chain

from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

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
    Frame,
    HeartbeatFrame,
    MessageFrame,
    OpenFrame,
    decode_frame,
)
from sockjs_bridge.protocol.session import Session, State
from tests.property import wire

BURSTS = st.lists(st.lists(wire.ANY_FRAME, max_size=4), max_size=5)
OPEN_BURSTS = st.lists(st.lists(wire.TALK, max_size=4), max_size=5).map(lambda bursts: [[b"o"], *bursts])
RAW_BURSTS = st.lists(st.lists(st.binary(max_size=6), min_size=1, max_size=4), max_size=5)


def joined(events: Iterable[SessionEvent]) -> list[SessionEvent]:
    """The events with neighbours of one kind put together: how they are grouped is no promise."""
    result: list[SessionEvent] = []
    for event in events:
        match event, result:
            case MessagesReceived(messages), [*_, MessagesReceived(before)]:
                result[-1] = MessagesReceived(before + messages)
            case HeartbeatReceived(), [*_, HeartbeatReceived()]:
                pass
            case FrameDropped(why, more, count), [*_, FrameDropped(same, size, frames)] if why == same:
                result[-1] = FrameDropped(why, size + more, frames + count)
            case _:
                result.append(event)
    return result


def received(bursts: Iterable[list[bytes]], *, framed: bool = True) -> list[SessionEvent]:
    session = Session(framed=framed)
    events = session.receive_connected()
    for burst in bursts:
        events += session.receive_frames(burst)
    return joined(events)


def one_by_one(bursts: list[list[bytes]]) -> list[list[bytes]]:
    return [[payload] for burst in bursts for payload in burst]


@given(BURSTS | OPEN_BURSTS)
@example([[b"o"], [b'a["x"]', b'a[{"y":1}]', b"h", b'a["\\ud800"]']])
@example([[b"o", b'a["x"]', b"o", b'a["y"]']])
def test_any_grouping_into_reads_gives_the_same_events(bursts: list[list[bytes]]) -> None:
    assert received(bursts) == received(one_by_one(bursts)) == received([list(chain.from_iterable(bursts))])


@given(RAW_BURSTS)
def test_any_grouping_of_raw_messages_gives_the_same_events(bursts: list[list[bytes]]) -> None:
    assert received(bursts, framed=False) == received(one_by_one(bursts), framed=False)


@given(BURSTS | OPEN_BURSTS)
def test_nothing_follows_the_end(bursts: list[list[bytes]]) -> None:
    events = received(bursts)
    assert SessionClosed not in map(type, events[:-1])


@given(BURSTS | OPEN_BURSTS)
def test_no_message_comes_before_the_session_is_open(bursts: list[list[bytes]]) -> None:
    kinds = list(map(type, received(bursts)))
    assert kinds.count(SessionOpened) <= 1
    if MessagesReceived in kinds:
        assert kinds.index(SessionOpened) < kinds.index(MessagesReceived)


class SessionMachine(RuleBasedStateMachine):
    """A framed session beside a model that looks at one frame at a time."""

    @initialize()
    def begin(self) -> None:
        self.session = Session()
        self.events: list[SessionEvent] = []
        self.expected: list[SessionEvent] = []
        self.is_open = self.is_over = self.is_leaving = False

    @rule()
    def connect(self) -> None:
        assert self.session.receive_connected() == []

    @rule(payloads=st.lists(wire.TALK, max_size=4))
    def receive_talk(self, payloads: list[bytes]) -> None:
        self._receive(payloads)

    @rule(payloads=st.lists(wire.ANY_FRAME, max_size=3))
    def receive_anything(self, payloads: list[bytes]) -> None:
        self._receive(payloads)

    @precondition(lambda self: not self.is_open)
    @rule(behind=st.lists(wire.TALK, max_size=2))
    def receive_open(self, behind: list[bytes]) -> None:
        self._receive([b"o", *behind])

    @rule()
    def leave(self) -> None:
        self.session.close()
        self.is_leaving = True

    @rule(cause=st.sampled_from(list(Cause)), code=st.integers(1000, 4999))
    def end(self, cause: Cause, code: int) -> None:
        self.events += self.session.receive_closed(cause, code, "ended")
        self._expect_end(SessionClosed(cause, code, "ended"))

    @invariant()
    def reports_what_the_model_expects(self) -> None:
        assert joined(self.events) == joined(self.expected)

    @invariant()
    def stands_where_the_model_stands(self) -> None:
        if self.is_over:
            assert self.session.state is State.CLOSED
        elif self.is_leaving:
            assert self.session.state is State.CLOSING
        else:
            assert self.session.state is (State.OPEN if self.is_open else State.CONNECTING)

    def _receive(self, payloads: list[bytes]) -> None:
        self.events += self.session.receive_frames(payloads)
        for payload in payloads:
            try:
                self._expect(decode_frame(payload), len(payload))
            except FrameError as error:
                self._expect_event(FrameDropped(str(error), len(payload)))

    def _expect(self, frame: Frame | None, size_bytes: int) -> None:
        match frame:
            case MessageFrame([_, *_] as messages) if self.is_open or self.is_leaving:
                self._expect_event(MessagesReceived(messages))
            case MessageFrame([_, *_]):
                self._expect_event(FrameDropped("messages came before the open frame", size_bytes))
            case HeartbeatFrame():
                self._expect_event(HeartbeatReceived())
            case OpenFrame() if self.is_open:
                self._expect_end(SessionClosed(Cause.SESSION_LOST, 1006, "a second open frame came"))
            case OpenFrame():
                self.is_open = True
                if not self.is_leaving:
                    self._expect_event(SessionOpened())
            case CloseFrame(code, reason):
                cause = {2010: Cause.SESSION_BUSY, 1002: Cause.INTERRUPTED}.get(code, Cause.SERVER_CLOSED)
                self._expect_end(SessionClosed(cause, code, reason))

    def _expect_event(self, event: SessionEvent) -> None:
        if not self.is_over:
            self.expected.append(event)

    def _expect_end(self, event: SessionClosed) -> None:
        self._expect_event(event)
        self.is_over = True


TestSessionMachine = SessionMachine.TestCase
