"""The last messages, for programs that are yet to come."""

import pytest

from sockjs_bridge.endpoints.replay import ReplayMemory


class Remembering:
    def __init__(self, size: int) -> None:
        self.unseen: list[int] = []
        self.memory = ReplayMemory(size, self.unseen.append)
        self.seq = 1

    def keep(self, *messages: str, unseen: bool = False, epoch: int = 1) -> None:
        self.memory.keep(list(messages), epoch, self.seq, unseen=unseen)
        self.seq += len(messages)
        self.memory.settle()

    def recalled(self) -> list[tuple[str, int, int]]:
        return [
            (message, epoch, seq)
            for messages, epoch, first in self.memory.recall()
            for seq, message in enumerate(messages, first)
        ]


@pytest.fixture
def three() -> Remembering:
    return Remembering(3)


def test_the_last_ones_with_their_places(three: Remembering) -> None:
    three.keep("a", "b")
    three.keep("c")
    assert three.recalled() == [("a", 1, 1), ("b", 1, 2), ("c", 1, 3)]
    three.keep("d", epoch=2)
    assert three.recalled() == [("b", 1, 2), ("c", 1, 3), ("d", 2, 4)]
    three.keep(*"efghi")
    assert three.recalled() == [("g", 1, 7), ("h", 1, 8), ("i", 1, 9)]


def test_what_nobody_got_is_told_when_it_is_forgotten_and_not_before(three: Remembering) -> None:
    three.keep("a", "b", unseen=True)
    three.keep("c")
    assert three.unseen == []
    three.keep("d")
    assert three.unseen == [1]
    three.keep("e", "f", "g", unseen=True)
    assert three.unseen == [1, 1]
    three.memory.clear()
    assert three.unseen == [1, 1, 3]
    assert three.recalled() == []


def test_what_a_new_program_got_is_not_lost(three: Remembering) -> None:
    three.keep("a", "b", unseen=True)
    assert len(three.recalled()) == 2
    three.keep("c", "d", "e")
    assert three.unseen == []


def test_what_another_endpoint_gave_to_programs_is_not_lost(three: Remembering) -> None:
    three.memory.note_seen()
    three.keep("a", unseen=True)
    three.keep("b", unseen=True)
    three.memory.note_seen()
    three.memory.clear()
    assert three.unseen == [1]


def test_a_burst_larger_than_the_memory(three: Remembering) -> None:
    three.keep(*"abcdefgh", unseen=True)
    assert three.unseen == [5]
    assert [message for message, _, _ in three.recalled()] == ["f", "g", "h"]


def test_a_burst_larger_than_the_memory_that_programs_elsewhere_got() -> None:
    unseen: list[int] = []
    memory = ReplayMemory(3, unseen.append)
    memory.keep(list("abcdefgh"), 1, 1, unseen=True)
    memory.note_seen()
    memory.settle()
    assert unseen == []
    assert [messages for messages, _, _ in memory.recall()] == [["f", "g", "h"]]
