"""What is on its way to the disk."""

from sockjs_bridge.bridge.batch import Burst
from sockjs_bridge.bridge.uncommitted import Uncommitted
from sockjs_bridge.endpoints.receipts import MessageFate


def burst(number: int, *messages: str) -> Burst:
    return Burst(list(messages), sum(map(len, messages)), 0.0, None, number)


def test_what_is_committed_leaves_in_order() -> None:
    uncommitted = Uncommitted()
    for one in (burst(1, "a", "bc"), burst(3, "d"), burst(4, "e")):
        uncommitted.append(one)
    assert [one.messages for one in uncommitted.take_until(3)] == [["a", "bc"], ["d"]]
    assert (uncommitted.messages, uncommitted.size_bytes) == (1, 1)
    assert uncommitted


def test_a_burst_waits_for_its_last_message() -> None:
    uncommitted = Uncommitted()
    uncommitted.append(burst(1, "a", "b"))
    assert list(uncommitted.take_until(1)) == []
    assert uncommitted.messages == 2


def test_what_comes_while_one_is_taken_counts() -> None:
    uncommitted = Uncommitted()
    uncommitted.append(burst(1, "a"))
    for _ in uncommitted.take_until(1):
        uncommitted.append(burst(2, "bcd"))
    assert (uncommitted.messages, uncommitted.size_bytes) == (1, 3)


def test_what_is_given_up_is_gone() -> None:
    uncommitted = Uncommitted()
    uncommitted.append(burst(1, "a", "b"))
    assert uncommitted.give_up(MessageFate.IN_DOUBT) == 2
    assert not uncommitted
    assert (uncommitted.messages, uncommitted.size_bytes) == (0, 0)
