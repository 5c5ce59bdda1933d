"""What becomes of messages that an HTTP request carried (protocol section 4, delivery.md)."""

import pytest

from sockjs_bridge.bridge.batch import Batch
from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.outbox import Outbox, QueueLimits
from sockjs_bridge.bridge.posting import Posting
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog
from sockjs_bridge.transports.base import Fate, SendResult

NOW = 100.0


@pytest.fixture
def hub() -> Hub:
    return Hub(Outbox(QueueLimits(10, 1000)), SessionStats(), lambda: NOW, EventLog(lambda: NOW))


@pytest.fixture
def posting(hub: Hub) -> Posting:
    return Posting(hub.dispatcher)


def begin(hub: Hub, posting: Posting, messages: list[str]) -> Batch:
    assert hub.offer(messages) == len(messages)
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
    written_or_dropped = stats.messages_sent + sum(stats.dropped.values())
    assert stats.messages_accepted == written_or_dropped + hub.queue.messages + stats.messages_in_flight


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
