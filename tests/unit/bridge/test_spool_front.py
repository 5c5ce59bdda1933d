"""The bursts in memory before a spool: none is taken before the disk knows that it may have been sent."""

from sockjs_bridge.bridge.batch import Burst
from sockjs_bridge.bridge.spool_front import Front

MUCH = 1_000_000


def burst(number: int, *messages: str, again: bool = False) -> Burst:
    return Burst(list(messages), sum(map(len, messages)), float(number), number=number, was_written=again)


def front_of(*bursts: Burst) -> Front:
    front = Front()
    for each in bursts:
        front.append(each)
    return front


def numbers(front: Front) -> list[int]:
    """The numbers of all bursts, in order; the front is empty afterwards."""
    found = []
    while front.oldest is not None:
        found.append(front.remove_oldest().number)
    return found


def test_nothing_is_taken_before_the_mark_is_on_disk() -> None:
    front = front_of(burst(1, "a", "b"), burst(3, "c"))
    assert front.take(MUCH).messages == []
    assert front.ask(MUCH) == 3
    assert front.take(MUCH).messages == []
    front.note_mark(2)
    assert front.take(MUCH).messages == ["a", "b"]
    assert front.take(MUCH).messages == []
    front.note_mark(3)
    assert front.take(MUCH).messages == ["c"]


def test_a_mark_within_a_burst_is_not_enough_for_it() -> None:
    front = front_of(burst(1, "a", "b"))
    front.ask(MUCH)
    front.note_mark(1)
    assert front.take(MUCH).messages == []


def test_a_mark_does_not_reach_what_was_not_asked_for() -> None:
    front = front_of(burst(1, "a"), burst(2, "b"))
    assert front.ask(1) == 1
    front.note_mark(2)
    assert front.take(MUCH).messages == ["a"]


def test_what_is_asked_for_at_once_waits_for_its_mark_too() -> None:
    front = Front()
    front.append(burst(1, "a"), is_asked=True)
    assert not front.has_waiting
    assert front.take(MUCH).messages == []
    front.note_mark(1)
    assert front.take(MUCH).messages == ["a"]


def test_at_least_one_burst_is_asked_for_and_what_is_ahead_is_counted() -> None:
    front = front_of(burst(1, "aaaa"), burst(2, "b"), burst(3, "cc"))
    assert front.ask(1) == 1
    assert front.ahead_bytes == 4
    assert front.ask(3) == 3
    assert front.ahead_bytes == 7
    assert front.ask(3) == 0
    front.note_mark(1)
    assert front.ahead_bytes == 7
    front.take(MUCH)
    assert front.ahead_bytes == 3
    front.retreat()
    assert front.ahead_bytes == 0
    front.remove_oldest()
    assert front.ahead_bytes == 0


def test_a_retreat_keeps_the_order() -> None:
    front = front_of(burst(1, "a"), burst(2, "b"), burst(3, "c"))
    front.ask(1)
    front.note_mark(1)
    front.ask(1)
    front.retreat()
    front.note_mark(3)
    assert front.take(MUCH).messages == []
    assert numbers(front) == [1, 2, 3]


def test_what_comes_back_goes_before_everything_and_waits() -> None:
    front = front_of(burst(1, "a"), burst(2, "b"), burst(3, "c"))
    front.ask(MUCH)
    front.note_mark(2)
    batch = front.take(1)
    front.put_back(batch.bursts)
    assert front.take(MUCH).messages == []
    assert front.messages == front.size_bytes == 3
    assert front.ahead_bytes == 0
    assert numbers(front) == [1, 2, 3]


def test_what_was_written_before_is_counted_apart() -> None:
    front = front_of(burst(1, "a", "b", again=True), burst(3, "c"))
    assert front.resends == 2
    front.remove_oldest()
    assert front.resends == 0
    front.put_back([burst(1, "a", again=True)])
    assert front.resends == 1


def test_a_part_of_the_oldest_burst_can_be_removed() -> None:
    front = front_of(burst(1, "a", "bb", "c"), burst(4, "d"))
    front.ask(MUCH)
    front.note_mark(4)
    removed = front.remove_oldest(2)
    assert (removed.number, removed.messages, removed.size_bytes) == (1, ["a", "bb"], 3)
    assert (front.messages, front.size_bytes, front.ahead_bytes) == (2, 2, 2)
    assert front.remove_oldest(5).messages == ["c"]
    assert front.take(MUCH).messages == ["d"]
    assert (front.messages, front.size_bytes, front.ahead_bytes) == (0, 0, 0)
