"""What becomes of each message on its way to the server (delivery.md, "Local programs to the server")."""

from collections import Counter
from dataclasses import replace

import pytest

from sockjs_bridge.bridge import dispatcher as dispatcher_module
from sockjs_bridge.bridge.batch import Batch, Burst, count_messages, utf8_bytes
from sockjs_bridge.bridge.dispatcher import Dispatcher
from sockjs_bridge.bridge.outbox import Outbox, QueueLimits
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.endpoints.receipts import Receipts
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog
from tests.hand_loop import HandLoop
from tests.writer import Writer

LIMITS = QueueLimits(4, 1000)
MUCH = 1 << 20


class Core:
    """A dispatcher, and a connection that is open when a test says so and takes `room` messages."""

    def __init__(self, loop: HandLoop, limits: QueueLimits = LIMITS) -> None:
        self.stats = SessionStats()
        self.queue = Outbox(limits)
        self.made_room = 0
        self.dispatcher = Dispatcher(self.queue, self.stats, loop.time, self._make_room, EventLog(loop.time))
        self.writer = Writer()
        self.room = 1_000_000
        self.sent: list[str] = []
        self.batches: list[Batch] = []

    def _make_room(self) -> None:
        self.made_room += 1

    def offer(self, *messages: str) -> int:
        """Offer messages, each its own id."""
        return self.dispatcher.offer([*messages], self.writer.receipts(messages))

    def open(self, room: int = 1_000_000) -> None:
        self.room = room
        self.dispatcher.attach(self)
        self.flush()

    def send(self, messages: list[str], receipts: Receipts | None) -> bool:
        if self.room < len(messages):
            return False
        self._write(Batch.of(Burst(messages, utf8_bytes(messages), 0.0, receipts)))
        return True

    def flush(self) -> None:
        while self.room > 0 and self.queue.messages:
            batch = self.dispatcher.take(1)
            if not batch.messages:
                return
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        self.room -= len(batch.messages)
        self.sent += batch.messages
        self.batches.append(batch)
        self.dispatcher.note_written(batch)

    def break_off(self) -> None:
        """The connection breaks; nothing that it took was confirmed."""
        self.dispatcher.detach()
        bursts = [burst for batch in self.batches for burst in batch.bursts]
        self.batches = []
        self.dispatcher.doubt(bursts, count_messages(bursts), "a test")

    def confirm(self) -> None:
        bursts = [burst for batch in self.batches for burst in batch.bursts]
        self.batches = []
        self.dispatcher.confirm(bursts, count_messages(bursts))

    @property
    def waiting(self) -> list[str]:
        return [message for burst in self.queue._bursts for message in burst.messages]

    def assert_adds_up(self) -> None:
        waiting = self.queue.messages - self.queue.resends
        assert self.stats.messages_accepted == (
            self.stats.messages_sent + waiting + sum(self.stats.queue_dropped.values())
        )


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> HandLoop:
    loop = HandLoop()
    loop.replace_in(monkeypatch, dispatcher_module)
    return loop


def letters(count: int, start: str = "a") -> list[str]:
    return [chr(ord(start) + index) for index in range(count)]


# --- the ordinary way -------------------------------------------------------------------------------------


def test_a_message_that_can_go_out_at_once_never_waits(loop: HandLoop) -> None:
    core = Core(loop)
    core.open()
    assert core.offer("a") == 1
    core.confirm()
    assert core.writer.fates == {"a": ["sent", "confirmed"]}
    assert (core.stats.messages_confirmed, core.stats.bytes_sent) == (1, 1)
    core.assert_adds_up()


def test_a_message_that_waits_is_queued_then_sent(loop: HandLoop) -> None:
    core = Core(loop)
    core.offer("a")
    assert core.writer.fates == {"a": ["queued"]}
    core.open()
    core.confirm()
    assert core.writer.fates == {"a": ["queued", "sent", "confirmed"]}
    core.assert_adds_up()


def test_nothing_overtakes_what_waits(loop: HandLoop) -> None:
    core = Core(loop)
    core.open(room=1)
    core.offer("a")
    core.offer("b")
    core.offer("c")
    core.room = 10
    core.offer("d")
    assert core.sent == letters(4)


def test_where_messages_are_kept_all_go_through_the_queue(loop: HandLoop) -> None:
    core = Core(loop, replace(LIMITS, resend_in_doubt=True))
    core.open()
    core.offer("a")
    assert core.writer.fates == {"a": ["queued", "sent"]}


# --- overflow -----------------------------------------------------------------------------------------------


def test_pause_takes_what_there_is_room_for_and_leaves_the_rest_to_the_writer(loop: HandLoop) -> None:
    core = Core(loop)
    assert core.offer(*letters(10)) == 4
    assert core.offer(*letters(6, "e")) == 0
    assert core.writer.fates == {key: ["queued"] for key in letters(4)}
    assert not core.stats.dropped
    core.assert_adds_up()


def test_reject_is_done_with_all_and_tells_so(loop: HandLoop, caplog: pytest.LogCaptureFixture) -> None:
    core = Core(loop, replace(LIMITS, overflow="reject"))
    assert core.offer(*letters(6)) == 6
    assert core.offer("g") == 1
    assert core.writer.fates == {
        **{key: ["queued"] for key in letters(4)},
        **{key: ["rejected"] for key in letters(3, "e")},
    }
    assert set(core.writer.reasons.values()) == {DropReason.QUEUE_FULL}
    assert (core.stats.messages_accepted, core.stats.dropped) == (4, {DropReason.QUEUE_FULL: 3})
    assert not core.stats.queue_dropped, "they were never accepted"
    assert "rejected messages of a program" in caplog.text
    core.assert_adds_up()


def test_reject_refuses_nothing_while_the_server_keeps_up(loop: HandLoop) -> None:
    core = Core(loop, replace(LIMITS, overflow="reject", resend_in_doubt=True))
    core.open()
    assert core.offer(*letters(20)) == 20
    assert core.sent == letters(20)


def test_drop_oldest_makes_room_for_the_new(loop: HandLoop, caplog: pytest.LogCaptureFixture) -> None:
    core = Core(loop, replace(LIMITS, overflow="drop-oldest"))
    core.offer("a", "b", "c")
    assert core.offer("d", "e", "f") == 3
    assert core.waiting == letters(4, "c")
    assert core.writer.fates["a"] == core.writer.fates["b"] == ["queued", "dropped"]
    assert core.writer.reasons == dict.fromkeys("ab", DropReason.QUEUE_FULL)
    assert core.stats.queue_dropped == core.stats.dropped == {DropReason.QUEUE_FULL: 2}
    assert "gave up the oldest" in caplog.text
    core.assert_adds_up()


def test_drop_oldest_keeps_the_end_of_a_burst_that_is_larger_than_the_queue(loop: HandLoop) -> None:
    core = Core(loop, replace(LIMITS, overflow="drop-oldest"))
    core.offer("z")
    assert core.offer(*letters(11)) == 11
    assert core.waiting == letters(4, "h")
    assert core.writer.fates["a"] == ["queued", "dropped"]
    assert core.stats.queue_dropped == {DropReason.QUEUE_FULL: 8}
    core.assert_adds_up()


def test_a_burst_far_larger_than_the_queue_costs_no_more_than_its_messages(loop: HandLoop) -> None:
    """Looking at all that is left for each message would take hours here."""
    core = Core(loop, QueueLimits(1, 1000, overflow="drop-oldest"))
    assert core.offer(*map(str, range(50_000))) == 50_000
    assert core.waiting == ["49999"]
    core.assert_adds_up()


def test_drop_oldest_by_bytes(loop: HandLoop) -> None:
    core = Core(loop, QueueLimits(100, 10, overflow="drop-oldest"))
    core.offer("aaaa", "bbbb")
    assert core.offer("cccccc") == 1
    assert core.waiting == ["bbbb", "cccccc"]
    assert core.offer("d" * 11) == 1, "an empty queue takes one of any size"
    assert core.waiting == ["d" * 11]
    core.assert_adds_up()


def test_drop_oldest_waits_where_unconfirmed_messages_fill_the_queue(loop: HandLoop) -> None:
    core = Core(loop, replace(LIMITS, overflow="drop-oldest", resend_in_doubt=True))
    held = Batch([], ["x"] * 3, 3)
    core.queue.hold(held)
    assert core.offer("a", "b", "c") == 3
    assert core.waiting == ["c"]
    core.queue.hold(Batch([], ["y"], 1))
    assert core.offer("d") == 0
    core.queue.release(held)
    assert core.offer("d") == 1
    assert core.waiting == ["d"]
    core.assert_adds_up()


# --- max_age ------------------------------------------------------------------------------------------------


def test_what_has_waited_too_long_expires_and_makes_room(
    loop: HandLoop, caplog: pytest.LogCaptureFixture
) -> None:
    core = Core(loop, replace(LIMITS, max_age=10.0))
    core.offer("a", "b")
    loop.pass_time(5.0)
    core.offer("c")
    loop.pass_time(5.0)
    assert core.waiting == letters(3), "not yet older than that"
    loop.pass_time(0.1)
    assert core.waiting == ["c"]
    assert core.made_room == 1
    assert core.writer.fates == {"a": ["queued", "expired"], "b": ["queued", "expired"], "c": ["queued"]}
    assert core.writer.reasons == dict.fromkeys("ab", DropReason.EXPIRED)
    assert core.stats.queue_dropped == {DropReason.EXPIRED: 2}
    assert "longer than queue.max_age" in caplog.text
    loop.pass_time(5.0)
    assert core.waiting == []
    assert loop.pending == 0
    core.assert_adds_up()


def test_what_is_too_old_is_never_sent(loop: HandLoop) -> None:
    core = Core(loop, replace(LIMITS, max_age=10.0))
    core.offer("a")
    loop.now += 11.0  # the timer is late
    core.offer("b")
    core.open()
    assert core.sent == ["b"]
    core.assert_adds_up()


def test_what_comes_back_has_kept_its_age(loop: HandLoop) -> None:
    core = Core(loop, replace(LIMITS, max_age=10.0))
    core.offer("a")
    batch = core.dispatcher.take(MUCH)
    loop.pass_time(6.0)
    core.offer("b")
    core.dispatcher.put_back(batch.bursts)
    loop.pass_time(4.1)
    assert core.waiting == ["b"]
    assert core.writer.fates["a"] == ["queued", "expired"]


def test_without_max_age_there_is_no_timer(loop: HandLoop) -> None:
    core = Core(loop)
    core.offer("a")
    assert loop.pending == 0


# --- in doubt ---------------------------------------------------------------------------------------------


def test_in_doubt_is_counted_told_and_not_sent_again(
    loop: HandLoop, caplog: pytest.LogCaptureFixture
) -> None:
    core = Core(loop)
    core.open()
    core.offer("a", "b")
    core.break_off()
    assert core.waiting == []
    assert core.writer.fates == {key: ["sent", "in-doubt"] for key in "ab"}
    assert (core.stats.messages_in_doubt, core.stats.messages_sent) == (2, 2)
    assert "a test; they are not sent again" in caplog.text
    core.assert_adds_up()


def test_with_resend_each_message_counts_once_however_often_it_is_in_doubt(loop: HandLoop) -> None:
    core = Core(loop, replace(LIMITS, resend_in_doubt=True))
    core.open()
    core.offer("a", "b")
    core.break_off()
    core.offer("c")
    core.assert_adds_up()
    core.open()
    assert core.sent == ["a", "b", "a", "b", "c"]
    core.break_off()
    core.assert_adds_up()
    core.open()
    core.confirm()
    stats = core.stats
    assert (stats.messages_accepted, stats.messages_sent, stats.messages_resent) == (3, 3, 2 + 3)
    assert (stats.messages_in_doubt, stats.messages_confirmed) == (3, 3)
    assert core.writer.fates["a"] == ["queued", *["sent", "in-doubt"] * 2, "sent", "confirmed"]
    assert core.writer.fates["c"] == ["queued", "sent", "in-doubt", "sent", "confirmed"]
    core.assert_adds_up()


def test_what_was_not_kept_whole_is_not_sent_again(loop: HandLoop, caplog: pytest.LogCaptureFixture) -> None:
    core = Core(loop, replace(LIMITS, resend_in_doubt=True))
    core.dispatcher.doubt([Burst(["a"], 1, 0.0)], 2, "a test")
    assert core.waiting == []
    assert core.stats.messages_in_doubt == 2
    assert "not sent again" in caplog.text


@pytest.mark.parametrize("how", ["expired", "displaced", "stopped"])
def test_what_is_in_doubt_and_given_up_stays_counted_as_written(loop: HandLoop, how: str) -> None:
    core = Core(loop, replace(LIMITS, resend_in_doubt=True, max_age=10.0, overflow="drop-oldest"))
    core.open()
    core.offer("a")
    core.break_off()
    match how:
        case "expired":
            loop.pass_time(11.0)
        case "displaced":
            core.offer(*letters(4, "b"))
        case "stopped":
            core.dispatcher.give_up_rest()
    assert core.writer.fates["a"][-1] == ("expired" if how == "expired" else "dropped")
    assert (core.stats.messages_sent, core.stats.messages_in_doubt, core.stats.messages_resent) == (1, 1, 0)
    assert not core.stats.dropped
    assert "a" not in core.waiting
    core.assert_adds_up()


def test_a_message_that_the_server_refuses_is_left_out(loop: HandLoop) -> None:
    core = Core(loop)
    core.offer("a")
    core.dispatcher.refuse(core.dispatcher.take(MUCH).bursts[0])
    assert core.writer.fates == {"a": ["queued", "dropped"]}
    assert core.stats.queue_dropped == core.stats.dropped == {DropReason.REFUSED: 1}
    core.assert_adds_up()


# --- the end, and a reload ---------------------------------------------------------------------------------


def test_what_can_not_be_sent_before_the_stop_is_counted_and_told(
    loop: HandLoop, caplog: pytest.LogCaptureFixture
) -> None:
    core = Core(loop, replace(LIMITS, max_age=10.0))
    core.offer("a", "")
    core.offer("b")
    core.dispatcher.give_up_rest()
    assert core.writer.fates == {key: ["queued", "dropped"] for key in ["a", "", "b"]}
    assert core.stats.queue_dropped == Counter({DropReason.STOPPED: 3})
    assert (core.queue.messages, loop.pending) == (0, 0)
    (record,) = caplog.records
    assert record.fields == {"reason": "stopped", "messages": 3, "in_doubt": None}  # type: ignore[attr-defined]  # by EventLog
    core.assert_adds_up()


def test_nothing_to_give_up_is_nothing_to_tell(loop: HandLoop, caplog: pytest.LogCaptureFixture) -> None:
    Core(loop).dispatcher.give_up_rest()
    assert not caplog.records


def test_larger_bounds_let_the_writers_go_on(loop: HandLoop) -> None:
    core = Core(loop)
    core.offer(*letters(4))
    core.dispatcher.set_limits(replace(LIMITS, max_messages=6))
    assert core.made_room == 1
    assert core.offer(*letters(3, "e")) == 2


def test_smaller_bounds_keep_what_waits(loop: HandLoop) -> None:
    core = Core(loop)
    core.offer(*letters(4))
    core.dispatcher.set_limits(replace(LIMITS, max_messages=1))
    assert core.offer("e") == 0
    core.open()
    assert core.sent == letters(4)


def test_a_new_max_age_counts_for_what_waits_already(loop: HandLoop) -> None:
    core = Core(loop)
    core.offer("a")
    loop.pass_time(60.0)
    core.dispatcher.set_limits(replace(LIMITS, max_age=100.0))
    loop.pass_time(39.0)
    assert core.waiting == ["a"]
    core.dispatcher.set_limits(replace(LIMITS, max_age=30.0))
    loop.pass_time(0.1)
    assert core.waiting == []
    core.offer("b")
    core.dispatcher.set_limits(LIMITS)
    assert loop.pending == 0
