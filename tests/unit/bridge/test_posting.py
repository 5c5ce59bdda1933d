"""What becomes of messages that an HTTP request carried (protocol section 4, delivery.md)."""

from dataclasses import replace

import pytest

from sockjs_bridge.bridge.batch import Batch
from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.outbox import Outbox, QueueLimits
from sockjs_bridge.bridge.posting import Posting
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog
from sockjs_bridge.transports.base import Fate, SendResult
from tests.writer import Writer

NOW = 100.0


@pytest.fixture
def hub() -> Hub:
    return Hub(Outbox(QueueLimits(10, 1000)), SessionStats(), lambda: NOW, EventLog(lambda: NOW))


@pytest.fixture
def resending(hub: Hub) -> Hub:
    hub.dispatcher.set_limits(replace(hub.queue.limits, resend_in_doubt=True))
    return hub


@pytest.fixture
def posting(hub: Hub) -> Posting:
    return Posting(hub.dispatcher)


def begin(hub: Hub, posting: Posting, messages: list[str], writer: Writer | None = None) -> Batch:
    assert hub.offer(messages, None if writer is None else writer.receipts(messages)) == len(messages)
    batch = hub.queue.take(1000)
    posting.begin(batch)
    return batch


def waiting(hub: Hub) -> list[list[str]]:
    batches = []
    while hub.queue.messages:
        batches.append(hub.queue.take(1000).messages)
    return batches


def assert_adds_up(hub: Hub) -> None:
    """Accepted = written + queued + under way + dropped (delivery.md)."""
    stats = hub.stats
    waiting = hub.queue.messages + stats.messages_in_flight - hub.queue.resends - stats.resends_in_flight
    assert stats.messages_accepted == stats.messages_sent + waiting + sum(stats.queue_dropped.values())


def test_under_way_a_message_is_neither_written_nor_queued(hub: Hub, posting: Posting) -> None:
    begin(hub, posting, ["a", "b"])
    assert (hub.stats.messages_in_flight, hub.stats.messages_sent, hub.queue.messages) == (2, 0, 0)
    assert_adds_up(hub)


def test_200_and_204_make_it_written(hub: Hub, posting: Posting) -> None:
    begin(hub, posting, ["a", "bb"])
    posting.settle(SendResult(Fate.ACCEPTED, 2, [], []))
    assert (hub.stats.messages_sent, hub.stats.bytes_sent, hub.stats.messages_in_flight) == (2, 3, 0)
    assert_adds_up(hub)


def test_what_was_refused_goes_back_to_the_head_of_the_queue(hub: Hub, posting: Posting) -> None:
    begin(hub, posting, ["a", "b", "c"])
    hub.offer(["later"])
    posting.settle(SendResult(Fate.REFUSED, 1, ["b"], ["c"]))
    assert (hub.stats.messages_sent, hub.stats.bytes_sent) == (1, 1)
    assert_adds_up(hub)
    assert waiting(hub) == [["b", "c", "later"]]


def test_after_400_and_413_the_messages_go_one_by_one(hub: Hub, posting: Posting) -> None:
    begin(hub, posting, ["a", "b", "c"])
    posting.settle(SendResult(Fate.OFFENDING, 0, ["a", "b"], ["c"]))
    assert_adds_up(hub)
    assert waiting(hub) == [["a"], ["b"], ["c"]]


def test_a_lone_offender_is_left_out_and_the_rest_goes_on(
    hub: Hub, posting: Posting, caplog: pytest.LogCaptureFixture
) -> None:
    begin(hub, posting, ["ä" * 5, "next"])
    posting.settle(SendResult(Fate.OFFENDING, 0, ["ä" * 5], ["next"]))
    assert hub.stats.dropped == {DropReason.REFUSED: 1}
    assert_adds_up(hub)
    assert waiting(hub) == [["next"]]
    (record,) = caplog.records
    assert record.fields == {"reason": "refused", "size_bytes": 10}  # type: ignore[attr-defined]  # by EventLog


def test_what_is_in_doubt_counts_as_written_and_is_not_sent_again(
    hub: Hub, posting: Posting, caplog: pytest.LogCaptureFixture
) -> None:
    begin(hub, posting, ["a", "b", "c", "d"])
    posting.settle(SendResult(Fate.IN_DOUBT, 1, ["b", "c"], ["d"]))
    assert (hub.stats.messages_sent, hub.stats.messages_in_doubt) == (3, 2)
    assert_adds_up(hub)
    assert waiting(hub) == [["d"]]
    assert "in doubt" in caplog.text


def test_a_session_that_ends_before_the_answer_leaves_in_doubt_only_what_was_being_sent(
    hub: Hub, posting: Posting
) -> None:
    begin(hub, posting, ["a", "b", "c"])
    posting.settle(SendResult(Fate.IN_DOUBT, 1, ["b"], ["c"]))
    assert (hub.stats.messages_sent, hub.stats.messages_in_doubt) == (2, 1)
    assert_adds_up(hub)
    assert waiting(hub) == [["c"]]


def test_nothing_is_in_doubt_where_no_request_had_begun(
    hub: Hub, posting: Posting, caplog: pytest.LogCaptureFixture
) -> None:
    begin(hub, posting, ["a", "b"])
    posting.settle(SendResult(Fate.IN_DOUBT, 0, [], ["a", "b"]))
    assert (hub.stats.messages_sent, hub.stats.messages_in_doubt) == (0, 0)
    assert not caplog.records
    assert waiting(hub) == [["a", "b"]]


def test_an_answer_that_comes_too_late_changes_nothing(hub: Hub, posting: Posting) -> None:
    begin(hub, posting, ["a"])
    posting.settle(SendResult(Fate.IN_DOUBT, 0, ["a"], []))
    posting.settle(SendResult(Fate.REFUSED, 0, ["a"], []))
    assert waiting(hub) == []
    assert_adds_up(hub)


def begin_again(hub: Hub, posting: Posting) -> list[str]:
    """Post what waits, as far as it goes together."""
    batch = hub.queue.take(1000)
    posting.begin(batch)
    return batch.messages


def test_each_writer_hears_what_became_of_its_messages(hub: Hub, posting: Posting) -> None:
    writer = Writer()
    begin(hub, posting, ["a", "b", "c"], writer)
    posting.settle(SendResult(Fate.IN_DOUBT, 1, ["b"], ["c"]))
    assert writer.fates == {
        "a": ["queued", "sent", "confirmed"],
        "b": ["queued", "sent", "in-doubt"],
        "c": ["queued"],
    }


def test_with_resend_what_is_in_doubt_goes_before_what_was_not_sent(resending: Hub, posting: Posting) -> None:
    writer = Writer()
    begin(resending, posting, ["a", "b", "c"], writer)
    resending.offer(["later"])
    posting.settle(SendResult(Fate.IN_DOUBT, 1, ["b"], ["c"]))
    assert (resending.queue.messages, resending.queue.resends) == (3, 1)
    assert_adds_up(resending)
    assert begin_again(resending, posting) == ["b", "c", "later"]
    assert (resending.stats.messages_in_flight, resending.stats.resends_in_flight) == (3, 1)
    assert_adds_up(resending)
    posting.settle(SendResult(Fate.ACCEPTED, 3, [], []))
    stats = resending.stats
    assert (stats.messages_accepted, stats.messages_sent, stats.messages_resent) == (4, 4, 1)
    assert (stats.messages_in_doubt, stats.messages_confirmed, stats.resends_in_flight) == (1, 4, 0)
    assert writer.fates["b"] == ["queued", "sent", "in-doubt", "sent", "confirmed"]
    assert_adds_up(resending)


def test_with_resend_a_message_twice_in_doubt_is_counted_once(resending: Hub, posting: Posting) -> None:
    begin(resending, posting, ["a"])
    posting.settle(SendResult(Fate.IN_DOUBT, 0, ["a"], []))
    assert begin_again(resending, posting) == ["a"]
    posting.settle(SendResult(Fate.IN_DOUBT, 0, ["a"], []))
    stats = resending.stats
    assert (stats.messages_sent, stats.messages_in_doubt, stats.messages_resent) == (1, 1, 1)
    assert_adds_up(resending)


def test_what_is_sent_again_and_refused_goes_back_once_more(resending: Hub, posting: Posting) -> None:
    begin(resending, posting, ["a", "b"])
    posting.settle(SendResult(Fate.IN_DOUBT, 0, ["a", "b"], []))
    begin_again(resending, posting)
    posting.settle(SendResult(Fate.REFUSED, 0, ["a", "b"], []))
    assert (resending.queue.messages, resending.queue.resends) == (2, 2)
    assert_adds_up(resending)
    assert waiting(resending) == [["a", "b"]]


def test_an_offender_that_was_in_doubt_before_is_left_out_and_stays_counted_as_written(
    resending: Hub, posting: Posting
) -> None:
    writer = Writer()
    begin(resending, posting, ["a", "b"], writer)
    posting.settle(SendResult(Fate.IN_DOUBT, 0, ["a", "b"], []))
    begin_again(resending, posting)
    posting.settle(SendResult(Fate.OFFENDING, 0, ["a", "b"], []))
    assert begin_again(resending, posting) == ["a"]
    posting.settle(SendResult(Fate.OFFENDING, 0, ["a"], []))
    stats = resending.stats
    assert stats.dropped == {DropReason.REFUSED: 1}
    assert not stats.queue_dropped
    assert (stats.messages_sent, stats.messages_in_doubt) == (2, 2)
    assert writer.fates["a"] == ["queued", "sent", "in-doubt", "dropped"]
    assert_adds_up(resending)
    assert waiting(resending) == [["b"]]
