"""How far a spooled queue has come, whatever is finished first, and what is on disk only."""

from sockjs_bridge.bridge.backlog import Backlog
from sockjs_bridge.bridge.batch import Burst
from sockjs_bridge.bridge.chunks import Chunk, Marks, Recovered
from sockjs_bridge.bridge.spool_progress import Progress


class FakeSpool:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int] | tuple[str, int, int]] = []

    def set_sending(self, number: int) -> None:
        self.told.append(("sending", number))

    def set_done(self, number: int) -> None:
        self.told.append(("done", number))

    def drop(self, first: int, last: int) -> None:
        self.told.append(("drop", first, last))


def burst(first: int, last: int) -> Burst:
    messages = ["x"] * (last - first + 1)
    return Burst(messages, len(messages), 0.0, number=first)


def progress_of(done: int, sending: int, *gaps: tuple[int, int]) -> tuple[Progress, FakeSpool]:
    spool = FakeSpool()
    progress = Progress(spool)
    progress.recover(Recovered(Marks(done, sending), gaps, last=100))
    return progress, spool


def test_neighbours_are_finished_in_one_step() -> None:
    progress, spool = progress_of(2, 20)
    progress.finish([burst(3, 5), burst(6, 6), burst(7, 10)])
    assert spool.told == [("done", 10)]
    assert progress.done == 10


def test_what_is_finished_out_of_order_is_dropped_until_the_rest_follows() -> None:
    progress, spool = progress_of(0, 20)
    progress.finish([burst(4, 6), burst(9, 9)])
    progress.finish([burst(7, 8)])
    assert spool.told == [("drop", 4, 6), ("drop", 9, 9), ("drop", 4, 9)]
    assert progress.done == 0
    progress.finish([burst(1, 3)])
    assert spool.told[3:] == [("done", 9)]
    assert progress.done == 9


def test_gaps_of_an_earlier_run_are_passed_over() -> None:
    progress, spool = progress_of(0, 10, (3, 4), (8, 12))
    assert progress.unfinished(1, 12) == 5
    progress.finish_range(1, 2)
    progress.finish_range(5, 7)
    assert spool.told == [("done", 4), ("done", 12)]
    assert progress.asked == 12
    assert progress.unfinished(1, 12) == 0


def test_a_mark_that_was_taken_back_does_not_count_when_it_arrives() -> None:
    progress, _ = progress_of(0, 0)
    progress.ask(9)
    progress.go_back(4)  # the commit that holds 9 is under way
    progress.note_committed(9)
    assert progress.marked == 4
    progress.ask(9)
    assert progress.marked == 4
    progress.note_committed(4)
    assert progress.marked == 4
    progress.note_committed(9)
    assert progress.marked == 9


def test_no_mark_goes_back_behind_what_is_done() -> None:
    progress, spool = progress_of(5, 9)
    progress.go_back(2)
    assert spool.told == [("sending", 5)]
    assert (progress.asked, progress.marked) == (5, 5)


def test_going_back_never_goes_forward() -> None:
    progress, _ = progress_of(0, 3)
    progress.go_back(8)
    assert progress.asked == 3


def test_a_chunk_that_is_read_is_split_where_what_was_written_before_ends() -> None:
    backlog = Backlog()
    backlog.follows, backlog.written_before = 2, 4
    backlog.add(5, 5)
    parts = backlog.read(Chunk(3, ["a", "b", "c", "d"], 4, 0.0), age=3.0, now=10.0)
    assert [(part.number, part.messages, part.was_written) for part in parts] == [
        (3, ["a", "b"], True),
        (5, ["c", "d"], False),
    ]
    assert {part.accepted_at for part in parts} == {7.0}
    assert (backlog.follows, backlog.messages, backlog.size_bytes) == (6, 1, 1)
    (last,) = backlog.read(Chunk(7, ["e"], 1, 0.0), age=-5.0, now=10.0)
    assert (last.was_written, last.accepted_at) == (False, 10.0)
