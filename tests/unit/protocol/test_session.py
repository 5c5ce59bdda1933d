"""One incarnation of a session: what it reports, and when nothing more (protocol sections 2 and 5)."""

from collections.abc import Callable

import pytest

from sockjs_bridge.errors import Cause
from sockjs_bridge.protocol.events import (
    FrameDropped,
    HeartbeatReceived,
    MessagesReceived,
    SessionClosed,
    SessionOpened,
)
from sockjs_bridge.protocol.session import DROPPED, Session, State


def opened() -> Session:
    session = Session()
    session.receive_connected()
    assert session.receive_frames([b"o"]) == [SessionOpened()]
    return session


def opened_raw() -> Session:
    session = Session(framed=False)
    assert session.receive_connected() == [SessionOpened()]
    return session


def state_of(session: Session) -> State:
    """A call, because a type checker takes it that an attribute stays what it was seen to be."""
    return session.state


# --- opening ----------------------------------------------------------------------------------------------


def test_a_session_is_connecting_until_its_open_frame() -> None:
    session = Session()
    assert session.receive_connected() == []
    assert state_of(session) is State.CONNECTING
    assert session.receive_frames([b"o"]) == [SessionOpened()]
    assert state_of(session) is State.OPEN


def test_rule_w_only_after_o_may_anything_be_sent() -> None:
    """Section 4: a sender looks at `state`, and nothing before `o` makes it OPEN."""
    session = Session()
    session.receive_connected()
    session.receive_frames([b"h" * 2048 + b"\n", b"h", b"", b'a["early"]', b"rubbish"])
    assert state_of(session) is State.CONNECTING
    session.receive_frames([b"o"])
    assert state_of(session) is State.OPEN


def test_rule_w_nothing_may_be_sent_once_we_are_leaving_or_the_session_has_ended() -> None:
    session = opened()
    session.close()
    assert state_of(session) is State.CLOSING
    session.receive_frames([b'c[3000,"Go away!"]'])
    assert state_of(session) is State.CLOSED
    session.close()
    assert state_of(session) is State.CLOSED


def test_messages_behind_the_open_frame_in_one_read_are_delivered() -> None:
    assert Session().receive_frames([b"o", b'a["x"]', b'a["y"]']) == [
        SessionOpened(),
        MessagesReceived(["x"]),
        MessagesReceived(["y"]),
    ]


def test_messages_before_the_open_frame_are_dropped_and_reported() -> None:
    session = Session()
    assert session.receive_frames([b'a["early"]']) == [
        FrameDropped("messages came before the open frame", 10)
    ]
    assert session.receive_frames([b"o", b'a["x"]']) == [SessionOpened(), MessagesReceived(["x"])]


def test_an_empty_array_before_the_open_frame_is_nothing() -> None:
    assert Session().receive_frames([b"a[]"]) == []


# --- section 2, the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leave",
    [pytest.param(lambda session: None, id="open"), pytest.param(Session.close, id="closing")],
)
def test_rule_w_a_second_open_frame_aborts(leave: Callable[[Session], None]) -> None:
    """Section 2: the server has lost the session and begun another one."""
    session = opened()
    leave(session)
    assert session.receive_frames([b"o"]) == [
        SessionClosed(Cause.SESSION_LOST, DROPPED, "a second open frame came")
    ]
    assert state_of(session) is State.CLOSED


def test_rule_w_nothing_follows_a_second_open_frame() -> None:
    session = Session()
    events = session.receive_frames([b"o", b'a["x"]', b"o", b'a["of another session"]', b"h"])
    assert events[:2] == [SessionOpened(), MessagesReceived(["x"])]
    assert events[2:] == [SessionClosed(Cause.SESSION_LOST, DROPPED, "a second open frame came")]
    assert session.receive_frames([b'a["of another session"]']) == []


def test_rule_w_the_first_open_frame_is_no_second_one_even_when_we_are_leaving() -> None:
    session = Session()
    session.close()
    assert session.receive_frames([b"o"]) == []
    assert state_of(session) is State.CLOSING
    assert session.receive_frames([b"o"]) == [
        SessionClosed(Cause.SESSION_LOST, DROPPED, "a second open frame came")
    ]


def test_section_2_a_heartbeat_is_reported() -> None:
    assert opened().receive_frames([b"h"]) == [HeartbeatReceived()]


def test_heartbeats_of_one_read_in_a_row_say_no_more_than_one() -> None:
    assert opened().receive_frames([b"h", b"h", b'a["x"]', b"h"]) == [
        HeartbeatReceived(),
        MessagesReceived(["x"]),
        HeartbeatReceived(),
    ]


def test_section_2_runs_of_h_are_ignored_even_before_the_open_frame() -> None:
    session = Session()
    assert session.receive_frames([b"h" * 2048 + b"\n"]) == []
    assert session.receive_frames([b"o\n"]) == [SessionOpened()]


def test_over_http_a_payload_may_hold_several_frames_one_a_line() -> None:
    session = Session(by_lines=True)
    assert session.receive_frames([b'hh\no\na["1"]\nh\n']) == [
        SessionOpened(),
        MessagesReceived(["1"]),
        HeartbeatReceived(),
    ]
    assert session.receive_frames([b'a["2"]\na["3"]']) == [MessagesReceived(["2", "3"])]
    assert session.receive_frames([b'a["4"]', b'a["5"]']) == [MessagesReceived(["4", "5"])]
    assert session.receive_frames([b'a["6"]\na[7]\na["\\x"]\nc[3000,"Go"]\na["8"]']) == [
        MessagesReceived(["6"]),
        MessagesReceived(["7"]),
        FrameDropped("its array of messages is not valid JSON", 7),
        SessionClosed(Cause.SERVER_CLOSED, 3000, "Go"),
    ]


def test_over_websocket_a_line_break_ends_no_frame() -> None:
    assert opened().receive_frames([b'a["1",\n"2"]']) == [MessagesReceived(["1", "2"])]


def test_section_2_elements_that_are_not_strings_are_forwarded_as_compact_json() -> None:
    """OctoPrint sends objects."""
    assert opened().receive_frames([b'a[{"a": 1.0}]', b'a["x", null]']) == [
        MessagesReceived(['{"a":1.0}']),
        MessagesReceived(["x", "null"]),
    ]


def test_section_2_m_is_one_message() -> None:
    assert opened().receive_frames([b'm"hello"']) == [MessagesReceived(["hello"])]


@pytest.mark.parametrize(
    ("payload", "cause", "code", "reason"),
    [
        (b'c[3000,"Go away!"]', Cause.SERVER_CLOSED, 3000, "Go away!"),
        (
            b'c[2010,"Another connection still open"]',
            Cause.SESSION_BUSY,
            2010,
            "Another connection still open",
        ),
        (b'c[1002,"Connection interrupted"]', Cause.INTERRUPTED, 1002, "Connection interrupted"),
        (b'c[3000,"no "way""]', Cause.SERVER_CLOSED, 3000, 'no "way"'),
    ],
    ids=repr,
)
def test_rule_w_a_close_frame_aborts(payload: bytes, cause: Cause, code: int, reason: str) -> None:
    """Section 2: abort the session after it; section 5: its code is the one that is reported."""
    session = opened()
    assert session.receive_frames([payload]) == [SessionClosed(cause, code, reason)]
    assert state_of(session) is State.CLOSED


def test_rule_w_nothing_follows_a_close_frame() -> None:
    session = opened()
    events = session.receive_frames([b'a["last"]', b'c[3000,"x"]', b'a["never"]', b"o", b"h", b'c[3001,"y"]'])
    assert events == [MessagesReceived(["last"]), SessionClosed(Cause.SERVER_CLOSED, 3000, "x")]
    assert session.receive_frames([b'a["never"]']) == []
    assert session.receive_frames([b"o"]) == []
    assert session.receive_closed(Cause.TRANSPORT_LOST, DROPPED) == []
    assert session.receive_connected() == []
    assert state_of(session) is State.CLOSED


@pytest.mark.parametrize("before", [[], [b"h" * 2048 + b"\n"]], ids=["before the prelude", "before o"])
def test_section_2_accepts_c_before_o_and_before_the_prelude(before: list[bytes]) -> None:
    session = Session()
    session.receive_frames(before)
    assert session.receive_frames([b'c[2010,"Another connection still open"]\n']) == [
        SessionClosed(Cause.SESSION_BUSY, 2010, "Another connection still open")
    ]


# --- section 2, lenient parsing ---------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b" \r\n", b"a[]", b"a[ ]"], ids=repr)
def test_section_2_empty_frames_and_empty_arrays_are_ignored(payload: bytes) -> None:
    """On a websocket an empty text is ignored (section 3)."""
    session = opened()
    assert session.receive_frames([payload]) == []
    assert session.receive_frames([payload, b'a["x"]', payload]) == [MessagesReceived(["x"])]
    assert session.receive_frames([payload, b"h", payload]) == [HeartbeatReceived()]


def test_a_read_without_any_frame_is_nothing() -> None:
    assert opened().receive_frames([]) == []
    assert Session().receive_frames([]) == []


def test_section_2_surrounding_white_space_is_stripped() -> None:
    session = Session()
    assert session.receive_frames([b" o\r\n"]) == [SessionOpened()]
    assert session.receive_frames([b' a["x"]\n']) == [MessagesReceived(["x"])]


def test_section_2_a_malformed_a_is_dropped_and_the_session_goes_on() -> None:
    """The event is what is logged and counted; it tells the size, never the text."""
    session = opened()
    assert session.receive_frames([b'a["x"]', b'a["broken', b'a["y"]']) == [
        MessagesReceived(["x"]),
        FrameDropped("its array of messages is not valid JSON", 9),
        MessagesReceived(["y"]),
    ]
    assert state_of(session) is State.OPEN


def test_a_frame_of_no_kind_is_dropped_and_the_session_goes_on() -> None:
    session = opened()
    assert session.receive_frames([b"?"]) == [FrameDropped("it begins like no SockJS frame", 1)]
    assert session.receive_frames([b'a["y"]']) == [MessagesReceived(["y"])]


def test_frames_that_are_left_out_in_a_row_make_one_event_for_each_reason() -> None:
    burst = [b"?", b"??", b'a["broken', b"?", b'a["y"]', b"?"]
    assert opened().receive_frames(burst) == [
        FrameDropped("it begins like no SockJS frame", 3, frames=2),
        FrameDropped("its array of messages is not valid JSON", 9),
        FrameDropped("it begins like no SockJS frame", 1),
        MessagesReceived(["y"]),
        FrameDropped("it begins like no SockJS frame", 1),
    ]


def test_rule_w_any_character_may_arrive_escaped_and_a_lone_surrogate_is_valid() -> None:
    events = opened().receive_frames([b'a["\\u0068\\u0069"]', b'a["\\ud800"]'])
    assert events == [MessagesReceived(["hi"]), MessagesReceived(["\ud800"])]


def test_the_plain_arrays_of_one_read_are_one_event() -> None:
    assert opened().receive_frames([b'a["x"]', b'a["y","z"]']) == [MessagesReceived(["x", "y", "z"])]


# --- raw WebSocket ----------------------------------------------------------------------------------------


def test_rule_w_a_raw_websocket_is_open_as_soon_as_it_is_connected() -> None:
    """Section 1: no open frame, no heartbeats, no SockJS framing."""
    session = Session(framed=False)
    assert state_of(session) is State.CONNECTING
    assert session.receive_connected() == [SessionOpened()]
    assert state_of(session) is State.OPEN
    assert session.receive_connected() == []


def test_rule_w_the_messages_of_a_raw_websocket_are_taken_as_they_are() -> None:
    """What looks like a frame is none."""
    payloads = [b"o", b"h", b'a["x"]', b'c[3000,"x"]', b"", b" x\n", "\u20ac".encode()]
    session = opened_raw()
    assert session.receive_frames(payloads) == [MessagesReceived([payload.decode() for payload in payloads])]
    assert state_of(session) is State.OPEN


def test_messages_that_come_with_the_handshake_open_a_raw_websocket() -> None:
    assert Session(framed=False).receive_frames([b"x"]) == [SessionOpened(), MessagesReceived(["x"])]


def test_invalid_utf8_of_a_raw_websocket_is_replaced_and_counted() -> None:
    """Section 1: Vert.x may deliver binary frames; they are taken as UTF-8."""
    session = opened_raw()
    assert session.replaced == 0
    assert session.receive_frames([b"caf\xe9", b"caf\xc3\xa9", b"\xff\xff"]) == [
        MessagesReceived(["caf\ufffd", "caf\u00e9", "\ufffd\ufffd"])
    ]
    assert session.replaced == 2


def test_rule_w_a_raw_websocket_that_has_ended_reports_nothing() -> None:
    session = opened_raw()
    session.receive_closed(Cause.TRANSPORT_LOST, DROPPED)
    assert session.receive_frames([b"x"]) == []
    assert session.receive_connected() == []


# --- ending -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Session, opened, opened_raw], ids=["connecting", "open", "raw"])
def test_the_end_of_the_transport_ends_the_session_once(make: Callable[[], Session]) -> None:
    session = make()
    assert session.receive_closed(Cause.TRANSPORT_LOST, DROPPED, "reset") == [
        SessionClosed(Cause.TRANSPORT_LOST, 1006, "reset")
    ]
    assert state_of(session) is State.CLOSED
    assert session.receive_closed(Cause.STOPPING, 1000) == []


def test_section_5_the_code_of_the_close_frame_comes_first() -> None:
    """The code of the WebSocket that follows it is not reported."""
    session = opened()
    events = session.receive_frames([b'c[3000,"Go away!"]']) + session.receive_closed(
        Cause.SERVER_CLOSED, 1000
    )
    assert events == [SessionClosed(Cause.SERVER_CLOSED, 3000, "Go away!")]


def test_an_open_frame_does_not_open_a_session_that_is_leaving() -> None:
    session = Session()
    session.close()
    assert session.receive_frames([b"o"]) == []
    assert session.state is State.CLOSING


def test_what_still_arrives_while_we_are_leaving_is_delivered() -> None:
    session = opened()
    session.close()
    assert session.receive_frames([b'a["x"]']) == [MessagesReceived(["x"])]
    assert session.receive_frames([b"h", b'a["y"]']) == [HeartbeatReceived(), MessagesReceived(["y"])]
    assert state_of(session) is State.CLOSING
    assert session.receive_closed(Cause.STOPPING, 1000) == [SessionClosed(Cause.STOPPING, 1000)]


def test_a_raw_websocket_delivers_while_we_are_leaving() -> None:
    session = opened_raw()
    session.close()
    assert session.receive_frames([b"x"]) == [MessagesReceived(["x"])]
    assert state_of(session) is State.CLOSING
