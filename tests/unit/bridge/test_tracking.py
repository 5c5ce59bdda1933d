"""What was written over a WebSocket is confirmed by PONGs, or in doubt (delivery.md, "Local programs to the server")."""

import logging
from dataclasses import replace

import pytest

from sockjs_bridge.bridge import dispatcher as dispatcher_module
from sockjs_bridge.bridge import tracking as tracking_module
from sockjs_bridge.bridge.batch import Batch, Burst, utf8_bytes
from sockjs_bridge.bridge.dispatcher import Dispatcher
from sockjs_bridge.bridge.outbox import Outbox, QueueLimits
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.bridge.tracking import CONFIRM_SECONDS, Tracking
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog
from tests.hand_loop import HandLoop
from tests.writer import Writer

LIMITS = QueueLimits(10, 1000)
RESEND = replace(LIMITS, resend_in_doubt=True)


class Line:
    """One connection, and the PINGs that it sent."""

    def __init__(self, loop: HandLoop, limits: QueueLimits = LIMITS, *, asks: bool = True) -> None:
        self.stats = SessionStats()
        self.queue = Outbox(limits)
        self.dispatcher = Dispatcher(self.queue, self.stats, loop.time, lambda: None, EventLog(loop.time))
        self.pings: list[int] = []
        self.tracking = Tracking(self.dispatcher, self.pings.append, asks=asks)
        self.writer = Writer()

    def write(self, *messages: str, ids: bool = False) -> None:
        """Write messages, as from the queue; with `ids` each is its own."""
        receipts = self.writer.receipts(messages) if ids else None
        self.tracking.note_written(Batch.of(Burst([*messages], utf8_bytes([*messages]), 0.0, receipts)))

    def pong(self, number: int) -> bool:
        return self.tracking.receive_pong(b"%d" % number)

    @property
    def waiting(self) -> list[str]:
        return self.queue.take(1 << 20).messages


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> HandLoop:
    loop = HandLoop()
    loop.replace_in(monkeypatch, tracking_module, dispatcher_module)
    return loop


# --- PINGs ------------------------------------------------------------------------------------------------


def test_unconfirmed_messages_cause_one_ping_within_a_second(loop: HandLoop) -> None:
    line = Line(loop)
    line.write("a")
    line.write("b")
    loop.pass_time(CONFIRM_SECONDS - 0.01)
    assert line.pings == []
    loop.pass_time(0.02)
    assert line.pings == [1]
    loop.pass_time(60.0)
    assert line.pings == [1]


def test_each_second_of_writing_has_its_ping(loop: HandLoop) -> None:
    line = Line(loop)
    for _ in range(3):
        line.write("a")
        loop.pass_time(CONFIRM_SECONDS)
    assert line.pings == [1, 2, 3]


def test_a_ping_that_was_sent_anyway_makes_another_one_needless(loop: HandLoop) -> None:
    line = Line(loop)
    line.write("a")
    number = line.tracking.next_ping()
    loop.pass_time(CONFIRM_SECONDS)
    assert line.pings == []
    line.write("b")
    line.pong(number)
    loop.pass_time(CONFIRM_SECONDS)
    assert line.pings == [number + 1]


def test_where_all_is_confirmed_nothing_is_asked(loop: HandLoop) -> None:
    line = Line(loop)
    line.write("a")
    line.pong(line.tracking.next_ping())
    loop.pass_time(CONFIRM_SECONDS)
    assert line.pings == []


def test_without_pings_nothing_is_asked(loop: HandLoop) -> None:
    line = Line(loop, asks=False)
    line.write("a")
    loop.pass_time(60.0)
    line.tracking.ask_last()
    assert (line.pings, loop.pending) == ([], 0)


def test_before_the_end_what_is_unconfirmed_gets_a_last_ping(loop: HandLoop) -> None:
    line = Line(loop)
    line.tracking.ask_last()
    assert line.pings == []
    line.write("a")
    line.tracking.ask_last()
    assert line.pings == [1]


def test_at_the_end_the_timer_is_gone(loop: HandLoop) -> None:
    line = Line(loop)
    line.write("a")
    line.tracking.finish()
    assert loop.pending == 0


# --- PONGs ------------------------------------------------------------------------------------------------


def test_a_pong_confirms_and_tells_the_writer(loop: HandLoop) -> None:
    line = Line(loop)
    line.write("a", "b", ids=True)
    line.write("c")
    number = line.tracking.next_ping()
    line.write("d", ids=True)
    assert line.pong(number)
    assert line.stats.messages_confirmed == 3
    assert line.writer.fates == {"a": ["sent", "confirmed"], "b": ["sent", "confirmed"], "d": ["sent"]}
    assert not line.pong(number)
    assert line.stats.messages_confirmed == 3


@pytest.mark.parametrize("payload", [b"", b"2", b"0", b"-1", b"1 ", b"\xb9", b"one", b"9" * 125])
def test_a_pong_that_answers_no_ping_of_ours_confirms_nothing(loop: HandLoop, payload: bytes) -> None:
    line = Line(loop)
    line.write("a")
    assert not line.tracking.receive_pong(payload)
    assert line.tracking.next_ping() == 1
    assert not line.tracking.receive_pong(payload)
    assert line.stats.messages_confirmed == 0
    assert line.tracking.receive_pong(b"1")


# --- the end of a connection -------------------------------------------------------------------------------


def test_a_break_leaves_exactly_the_unconfirmed_in_doubt(
    loop: HandLoop, caplog: pytest.LogCaptureFixture
) -> None:
    line = Line(loop)
    line.write("a", ids=True)
    line.pong(line.tracking.next_ping())
    line.write("b", ids=True)
    line.write("c")
    line.tracking.finish()
    assert (line.stats.messages_sent, line.stats.messages_confirmed, line.stats.messages_in_doubt) == (
        3,
        1,
        2,
    )
    assert line.writer.fates == {"a": ["sent", "confirmed"], "b": ["sent", "in-doubt"]}
    assert line.queue.messages == 0
    assert "not sent again" in caplog.text


def test_where_all_is_confirmed_a_break_leaves_nothing_in_doubt(
    loop: HandLoop, caplog: pytest.LogCaptureFixture
) -> None:
    line = Line(loop)
    line.write("a")
    line.pong(line.tracking.next_ping())
    line.tracking.finish()
    assert line.stats.messages_in_doubt == 0
    assert not caplog.records


def test_an_answer_to_our_close_confirms_everything(loop: HandLoop) -> None:
    line = Line(loop, RESEND)
    line.write("a", ids=True)
    line.tracking.finish(answered=True)
    assert (line.stats.messages_confirmed, line.stats.messages_in_doubt) == (1, 0)
    assert line.writer.fates == {"a": ["sent", "confirmed"]}
    assert line.queue.offer(["x"] * 11, 0.0) == 10, "nothing is held any more"


# --- resend_in_doubt ---------------------------------------------------------------------------------------


def test_what_is_in_doubt_comes_back_first_and_in_order(loop: HandLoop) -> None:
    line = Line(loop, RESEND)
    line.write("a", "b", ids=True)
    line.write("c")
    line.dispatcher.offer(["later"])
    line.tracking.finish()
    assert (line.queue.messages, line.queue.resends) == (4, 3)
    assert line.waiting == ["a", "b", "c", "later"]
    assert line.writer.fates == {"a": ["sent", "in-doubt"], "b": ["sent", "in-doubt"]}


def test_unconfirmed_messages_count_against_the_bounds(loop: HandLoop) -> None:
    line = Line(loop, RESEND)
    line.write(*"abcdefg")
    assert line.queue.offer(["x"] * 10, 0.0) == 3
    assert line.pong(line.pings[-1])
    assert line.queue.offer(["x"] * 10, 0.0) == 7


def test_half_full_of_unconfirmed_asks_at_once_and_once(loop: HandLoop) -> None:
    line = Line(loop, RESEND)
    line.write(*"abcd")
    assert line.pings == []
    line.write("e")
    assert line.pings == [1]
    line.write(*"fghi")
    assert line.pings == [1]
    line.pong(1)
    assert line.pings == [1], "four are left"
    line.write("j")
    assert line.pings == [1, 2]
    line.write(*"klmno")
    line.pong(2)
    assert line.pings == [1, 2, 3]


def test_without_resending_nothing_counts_against_the_bounds(loop: HandLoop) -> None:
    line = Line(loop)
    line.write(*"abcdefghijkl", ids=True)
    assert line.pings == []
    assert line.queue.offer(["x"] * 10, 0.0) == 10


def test_a_server_that_answers_no_ping_while_the_queue_fills_is_reported(
    loop: HandLoop, caplog: pytest.LogCaptureFixture
) -> None:
    line = Line(loop, RESEND)
    line.write(*"abcde")
    line.tracking.next_ping()
    assert "answers no PING" in caplog.text
    assert line.stats.messages_confirmed == 0


def test_after_1009_the_largest_is_left_out_and_the_rest_sent_again(
    loop: HandLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """Protocol section 4: the same message would bring the same end about, for ever."""
    line = Line(loop, RESEND)
    line.write("a", "b" * 50, "c", ids=True)
    line.write("d" * 49, ids=True)
    line.tracking.finish(too_big=True)
    assert line.stats.dropped == {DropReason.REFUSED: 1}
    assert not line.stats.queue_dropped, "it stays counted as written"
    assert (line.stats.messages_sent, line.stats.messages_in_doubt) == (4, 3)
    assert line.waiting == ["a", "c", "d" * 49]
    assert line.writer.fates["b" * 50] == ["sent", "dropped"]
    assert line.writer.reasons == {"b" * 50: DropReason.REFUSED}
    assert "refuses a message" in caplog.text


def test_after_1009_a_lone_message_leaves_nothing_to_send_again(
    loop: HandLoop, caplog: pytest.LogCaptureFixture
) -> None:
    line = Line(loop, RESEND)
    line.write("a")
    line.tracking.finish(too_big=True)
    assert (line.queue.messages, line.stats.messages_in_doubt) == (0, 0)
    assert "in doubt" not in caplog.text


def test_1009_without_resending_leaves_all_of_them_in_doubt(loop: HandLoop) -> None:
    line = Line(loop)
    line.write("a", "b", ids=True)
    line.tracking.finish(too_big=True)
    assert line.stats.messages_in_doubt == 2
    assert not line.stats.dropped


@pytest.mark.parametrize("after", [RESEND, LIMITS])
def test_a_reload_counts_from_the_next_write_on(loop: HandLoop, after: QueueLimits) -> None:
    """What was written before `resend_in_doubt` was switched on was not kept; switched off, nothing comes back."""
    line = Line(loop, LIMITS if after is RESEND else RESEND)
    line.write("a", ids=True)
    line.dispatcher.set_limits(after)
    line.write("b", ids=True)
    line.tracking.finish()
    assert line.stats.messages_in_doubt == 2
    assert line.writer.fates == {"a": ["sent", "in-doubt"], "b": ["sent", "in-doubt"]}
    assert line.waiting == (["b"] if after is RESEND else [])
    assert line.queue.offer(["x"] * 11, 0.0) == 10, "nothing is held any more"


# --- receipts ---------------------------------------------------------------------------------------------


def test_the_memory_for_receipts_is_bounded_where_no_ping_is_answered(
    loop: HandLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_module, "_MOST_WITH_RECEIPTS", 4)
    line = Line(loop)
    line.write("a", ids=True)
    line.write("b", "c", ids=True)
    assert line.pings == [1], "half of them: asked at once"
    line.write("d", "e", ids=True)
    assert line.writer.fates["a"] == ["sent", "in-doubt"]
    assert line.writer.fates["b"] == ["sent"]
    line.tracking.finish()
    assert {fates[-1] for fates in line.writer.fates.values()} == {"in-doubt"}
    assert all(len(fates) == 2 for fates in line.writer.fates.values())
    assert line.stats.messages_in_doubt == 5


def test_many_receipts_are_asked_for_again_with_each_pong(
    loop: HandLoop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(tracking_module, "_MOST_WITH_RECEIPTS", 4)
    line = Line(loop)
    line.write("a", "b", ids=True)
    line.write("c", "d", ids=True)
    assert line.pings == [1]
    line.pong(1)
    assert line.pings == [1, 2]
    line.pong(2)
    assert line.pings == [1, 2]
    assert not caplog.records
