"""The queue from local programs to the server: its bounds, and its order (delivery.md)."""

import pytest

from sockjs_bridge.bridge.batch import Burst, utf8_bytes
from sockjs_bridge.bridge.outbox import Outbox, QueueLimits

NOW = 100.0
MUCH = 1_000_000


def outbox_of(max_messages: int, max_bytes: int) -> Outbox:
    return Outbox(QueueLimits(max_messages, max_bytes))


def bursts(messages: list[str], *, alone: bool = False) -> list[Burst]:
    """One burst, or one for each message that goes alone."""
    pieces = [[message] for message in messages] if alone else [messages] * bool(messages)
    return [Burst(piece, utf8_bytes(piece), NOW, alone=alone) for piece in pieces]


def drained(outbox: Outbox) -> list[str]:
    messages: list[str] = []
    while outbox.messages:
        messages += outbox.take(MUCH).messages
    return messages


def taken(outbox: Outbox, about_bytes: int) -> tuple[list[str], int]:
    batch = outbox.take(about_bytes)
    return batch.messages, batch.size_bytes


def test_an_empty_outbox_gives_nothing() -> None:
    outbox = outbox_of(10, 100)
    assert taken(outbox, MUCH) == ([], 0)
    assert (outbox.messages, outbox.size_bytes) == (0, 0)


def test_messages_leave_in_the_order_in_which_they_were_taken() -> None:
    outbox = outbox_of(10, 100)
    for burst in (["a", "b"], ["c"], ["", "d"]):
        assert outbox.offer(burst, NOW) == len(burst)
    assert taken(outbox, MUCH) == (["a", "b", "c", "", "d"], 4)
    assert (outbox.messages, outbox.size_bytes) == (0, 0)
    assert taken(outbox, MUCH) == ([], 0)


def test_nothing_offered_is_nothing_taken() -> None:
    outbox = outbox_of(10, 100)
    assert outbox.offer([], NOW) == 0
    assert outbox.oldest_seconds(NOW + 5) == 0.0
    assert taken(outbox, MUCH) == ([], 0)


# --- bounds -----------------------------------------------------------------------------------------------


def test_the_bound_of_messages_is_exact() -> None:
    outbox = outbox_of(3, 100)
    assert outbox.offer(["a", "b", "c"], NOW) == 3
    assert outbox.offer(["d"], NOW) == 0
    assert drained(outbox) == ["a", "b", "c"]


def test_the_bound_of_bytes_is_exact() -> None:
    outbox = outbox_of(100, 6)
    assert outbox.offer(["abc", "def"], NOW) == 2
    assert outbox.offer(["g"], NOW) == 0
    assert outbox.offer([""], NOW) == 1
    assert drained(outbox) == ["abc", "def", ""]


@pytest.mark.parametrize(
    ("max_messages", "max_bytes", "taken"),
    [
        (4, 100, 4),
        (3, 100, 3),
        (0, 100, 0),
        (100, 10, 4),
        (100, 9, 3),
        (100, 6, 3),
        (100, 5, 2),
        (2, 5, 2),
    ],
)
def test_what_does_not_fit_is_left_out_from_the_end(max_messages: int, max_bytes: int, taken: int) -> None:
    """In part: as many as there is room for, from the front."""
    outbox = outbox_of(max_messages, max_bytes)
    offered = ["a", "bb", "ccc", "dddd"]
    assert outbox.offer(offered, NOW) == taken
    assert outbox.messages == taken
    assert outbox.size_bytes == sum(map(len, offered[:taken]))
    assert drained(outbox) == offered[:taken]


def test_no_later_message_overtakes_one_that_does_not_fit() -> None:
    outbox = outbox_of(10, 5)
    assert outbox.offer(["aaa", "bbb", "c"], NOW) == 1
    assert drained(outbox) == ["aaa"]


def test_an_empty_queue_takes_one_message_of_any_size() -> None:
    """U+FFFD in place of invalid bytes can make a message larger than the queue: it must not wait for ever."""
    outbox = outbox_of(10, 5)
    assert outbox.offer(["\ufffd\ufffd", "a"], NOW) == 1
    assert outbox.offer(["a"], NOW) == 0
    assert taken(outbox, MUCH) == (["\ufffd\ufffd"], 6)
    assert outbox.offer(["a", "123456"], NOW) == 1


def test_room_that_was_freed_can_be_used_again() -> None:
    outbox = outbox_of(2, 4)
    for _ in range(3):
        assert outbox.offer(["ab", "cd", "e"], NOW) == 2
        assert taken(outbox, MUCH) == (["ab", "cd"], 4)


@pytest.mark.parametrize(
    ("messages", "size_bytes"),
    [
        (["abc", ""], 3),
        (["caf\u00e9", "x"], 6),
        (["\u20ac", "\U0001f600"], 7),
        (["\ud800", "a\udfff"], 7),
    ],
    ids=ascii,
)
def test_sizes_are_bytes_of_utf8(messages: list[str], size_bytes: int) -> None:
    """A lone surrogate counts three, as the U+FFFD does that may stand for it."""
    assert utf8_bytes(messages) == size_bytes
    outbox = outbox_of(10, size_bytes)
    assert outbox.offer(messages, NOW) == len(messages)
    assert outbox.size_bytes == size_bytes
    assert outbox.offer(["x"], NOW) == 0


def test_what_is_offered_is_not_changed() -> None:
    """The caller keeps the rest for later."""
    outbox = outbox_of(3, 100)
    first, second = ["a"], ["b", "c", "d"]
    outbox.offer(first, NOW)
    outbox.offer(second, NOW)
    outbox.take(MUCH)
    assert (first, second) == (["a"], ["b", "c", "d"])


# --- taking -----------------------------------------------------------------------------------------------


def test_bursts_are_joined_up_to_the_size_that_is_asked_for() -> None:
    outbox = outbox_of(100, 100)
    for burst in (["aa"], ["bb", "b"], ["c"], ["d"]):
        outbox.offer(burst, NOW)
    assert taken(outbox, 6) == (["aa", "bb", "b", "c"], 6)
    assert (outbox.messages, outbox.size_bytes) == (1, 1)
    assert taken(outbox, 6) == (["d"], 1)


def test_at_least_one_burst_is_taken_however_large() -> None:
    outbox = outbox_of(100, 100)
    outbox.offer(["aaaa", "bbbb"], NOW)
    outbox.offer(["c"], NOW)
    assert taken(outbox, 3) == (["aaaa", "bbbb"], 8)
    assert taken(outbox, 0) == (["c"], 1)


def test_a_burst_that_does_not_fit_holds_back_those_behind_it() -> None:
    outbox = outbox_of(100, 100)
    for burst in (["a"], ["bbbb"], ["c"]):
        outbox.offer(burst, NOW)
    assert taken(outbox, 3) == (["a"], 1)
    assert taken(outbox, 5) == (["bbbb", "c"], 5)


# --- age --------------------------------------------------------------------------------------------------


def test_the_age_is_that_of_the_oldest_message() -> None:
    outbox = outbox_of(100, 100)
    assert outbox.oldest_seconds(NOW) == 0.0
    outbox.offer(["a"], NOW)
    outbox.offer(["b"], NOW + 10)
    assert outbox.oldest_seconds(NOW + 15) == 15.0
    outbox.take(1)
    assert outbox.oldest_seconds(NOW + 15) == 5.0
    outbox.take(1)
    assert outbox.oldest_seconds(NOW + 15) == 0.0


# --- what comes back ------------------------------------------------------------------------------------


def test_what_was_taken_and_not_sent_goes_before_everything_else() -> None:
    outbox = outbox_of(10, 100)
    outbox.offer(["a", "b"], NOW)
    batch = outbox.take(MUCH)
    outbox.offer(["c"], NOW + 5)
    outbox.put_back(batch.bursts)
    assert (outbox.messages, outbox.size_bytes) == (3, 3)
    assert outbox.oldest_seconds(NOW + 7) == 7
    assert drained(outbox) == ["a", "b", "c"]


def test_what_comes_back_has_room_in_a_queue_that_filled_meanwhile() -> None:
    outbox = outbox_of(2, 100)
    outbox.offer(["a", "b"], NOW)
    batch = outbox.take(MUCH)
    outbox.offer(["c", "d"], NOW)
    outbox.put_back(batch.bursts)
    assert outbox.offer(["e"], NOW) == 0
    assert drained(outbox) == ["a", "b", "c", "d"]


def test_messages_that_come_back_alone_leave_one_by_one() -> None:
    """After 400 and 413: the next session sends message by message (protocol section 4)."""
    outbox = outbox_of(10, 100)
    outbox.offer(["c", "d"], NOW)
    outbox.put_back(bursts(["a", "b"], alone=True))
    assert taken(outbox, MUCH) == (["a"], 1)
    assert taken(outbox, MUCH) == (["b"], 1)
    assert taken(outbox, MUCH) == (["c", "d"], 2)


def test_nothing_joins_those_that_leave_alone() -> None:
    outbox = outbox_of(10, 100)
    outbox.put_back(bursts(["b"], alone=True))
    outbox.put_back(bursts(["a"]))
    assert taken(outbox, MUCH) == (["a"], 1)
    assert taken(outbox, MUCH) == (["b"], 1)


def test_nothing_put_back_is_nothing_queued() -> None:
    outbox = outbox_of(10, 100)
    outbox.put_back([])
    assert outbox.messages == 0
    assert taken(outbox, MUCH) == ([], 0)
