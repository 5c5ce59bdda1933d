"""Group commit: what shares a commit, what a failing disk does, and what is told when."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from sockjs_bridge.bridge.chunks import EVERY_MESSAGE, Chunk, Marks, Recovered, Work
from sockjs_bridge.bridge.spool import Spool
from sockjs_bridge.bridge.spool_file import SpoolFile
from sockjs_bridge.errors import SpoolError

NOW = 1000.0
FULL = SpoolError("the disk is full", is_temporary=True)


class FakeStore:
    """Keeps the works of commits. Lets none go on while `gate` is closed; raises what `errors` hold."""

    def __init__(self) -> None:
        self.recovered = Recovered()
        self.used_bytes = 0
        self.works: list[Work] = []
        self.tries = 0
        self.errors: list[BaseException] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = 0

    def commit(self, work: Work) -> None:
        self.tries += 1
        assert self.gate.wait(30)
        if self.errors:
            raise self.errors.pop(0)
        self.works.append(work)
        self.used_bytes += sum(chunk.stored_bytes for chunk in work.chunks)

    def read(self, after: int, max_bytes: int, max_messages: int = EVERY_MESSAGE) -> list[Chunk]:
        return [chunk for work in self.works for chunk in work.chunks if chunk.last > after]

    def close(self) -> None:
        self.closed += 1


class Told:
    """What the spool said, in order."""

    def __init__(self) -> None:
        self.commits: list[tuple[int, int]] = []
        self.problems: list[str | None] = []
        self.changed = asyncio.Event()

    def committed(self, last: int, sending: int) -> None:
        self.commits.append((last, sending))
        self.changed.set()

    def failing(self, problem: str | None) -> None:
        self.problems.append(problem)
        self.changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def told() -> Told:
    return Told()


@pytest.fixture
async def spool(store: FakeStore, told: Told) -> AsyncIterator[Spool]:
    spool = Spool(lambda: store, committed=told.committed, failing=told.failing, retry_seconds=0.0)
    await spool.open()
    yield spool
    store.gate.set()
    if not store.closed:
        await close(spool)


async def close(spool: Spool) -> bool:
    return await spool.close(asyncio.get_running_loop().time() + 30)


def is_failing(spool: Spool) -> bool:
    return spool.problem is not None


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def append(spool: Spool, *messages: str, at: float = NOW) -> int:
    return spool.append(list(messages), sum(map(len, messages)), at)


async def test_one_turn_of_the_loop_is_one_commit(spool: Spool, store: FakeStore, told: Told) -> None:
    assert append(spool, "a", "b") == 1
    assert append(spool, "c") == 3
    spool.set_sending(2)
    spool.set_done(1)
    assert not store.tries
    await told.until(lambda: told.commits)
    assert told.commits == [(3, 2)]
    assert store.works == [Work(3, Marks(1, 2), [Chunk(1, ["a", "b", "c"], 3, NOW)], [])]


async def test_what_comes_during_a_commit_makes_the_next(spool: Spool, store: FakeStore, told: Told) -> None:
    store.gate.clear()
    append(spool, "a")
    while not store.tries:
        await asyncio.sleep(0)
    for number in range(2, 10):
        assert append(spool, "b") == number
        await asyncio.sleep(0)
    assert store.tries == 1
    assert not told.commits
    store.gate.set()
    await told.until(lambda: len(told.commits) == 2)
    assert told.commits == [(1, 0), (9, 0)]


async def test_the_list_of_the_caller_stays_as_it_is(spool: Spool, told: Told) -> None:
    messages = ["a"]
    spool.append(messages, 1, NOW)
    append(spool, "b")
    assert messages == ["a"]
    messages.clear()
    await told.until(lambda: told.commits)
    assert (await spool.read(0, 1))[0].messages == ["a", "b"]


@pytest.mark.parametrize(
    ("second", "at"),
    [("x" * (64 << 10), NOW), ("b", NOW + 1), ("b", NOW - 1)],
    ids=["too large", "later", "the clock went back"],
)
async def test_some_appends_do_not_share_a_chunk(
    spool: Spool, store: FakeStore, told: Told, second: str, at: float
) -> None:
    append(spool, "a")
    append(spool, second, at=at)
    await told.until(lambda: told.commits)
    assert store.works[0].chunks == [Chunk(1, ["a"], 1, NOW), Chunk(2, [second], len(second), at)]


async def test_a_mark_that_does_not_move_is_no_commit(spool: Spool, store: FakeStore) -> None:
    spool.set_sending(0)
    spool.set_done(0)
    assert await close(spool)
    assert store.tries == 0


async def test_the_sending_mark_goes_back_but_not_before_done(
    spool: Spool, store: FakeStore, told: Told
) -> None:
    append(spool, "a", "b", "c")
    spool.set_sending(3)
    await told.until(lambda: told.commits)
    spool.set_sending(1)
    await told.until(lambda: len(told.commits) == 2)
    spool.set_done(2)
    await told.until(lambda: len(told.commits) == 3)
    assert told.commits == [(3, 3), (3, 1), (3, 2)]
    assert store.works[-1].marks == Marks(2, 2)


async def test_used_bytes_count_what_is_not_committed_yet(spool: Spool, store: FakeStore, told: Told) -> None:
    chunk = Chunk(1, ["abc"], 3, NOW).stored_bytes
    store.gate.clear()
    append(spool, "abc")
    assert spool.used_bytes == chunk
    while not store.tries:
        await asyncio.sleep(0)
    append(spool, "abc")
    assert spool.used_bytes == 2 * chunk
    store.gate.set()
    await told.until(lambda: len(told.commits) == 2)
    assert spool.used_bytes == store.used_bytes == 2 * chunk


async def test_a_large_backlog_is_committed_in_pieces_with_its_marks_and_gaps(
    spool: Spool, store: FakeStore, told: Told
) -> None:
    mebibyte = "x" * (1 << 20)
    for _ in range(10):
        append(spool, mebibyte)
    spool.set_sending(6)
    spool.drop(7, 9)
    await told.until(lambda: told.commits and told.commits[-1][0] == 10)
    assert told.commits == [(4, 4), (8, 6), (10, 6)]
    assert [work.gaps for work in store.works] == [[], [(7, 8)], [(9, 9)]]
    assert [len(work.chunks) for work in store.works] == [4, 4, 2]


# --- dropping ---------------------------------------------------------------------------------------------


async def test_what_is_dropped_before_its_commit_gives_its_room_back_at_once(
    spool: Spool, store: FakeStore, told: Told
) -> None:
    append(spool, "a")
    append(spool, "b", at=NOW + 1)
    append(spool, "c", at=NOW + 2)
    spool.drop(1, 2)
    assert spool.used_bytes == Chunk(3, ["c"], 1, NOW).stored_bytes
    assert append(spool, "d", at=NOW + 3) == 4
    await told.until(lambda: told.commits)
    assert store.works == [
        Work(4, Marks(), [Chunk(3, ["c"], 1, NOW + 2), Chunk(4, ["d"], 1, NOW + 3)], [(1, 2)])
    ]


async def test_numbers_go_on_where_all_that_waits_was_dropped(
    spool: Spool, store: FakeStore, told: Told
) -> None:
    append(spool, "a", "b")
    spool.drop(1, 2)
    append(spool, "c")
    await told.until(lambda: told.commits)
    assert store.works == [Work(3, Marks(), [Chunk(3, ["c"], 1, NOW)], [(1, 2)])]


async def test_what_is_dropped_during_a_commit_that_fails_does_not_come_back(
    spool: Spool, store: FakeStore, told: Told
) -> None:
    store.errors = [FULL]
    store.gate.clear()
    append(spool, "a")
    while not store.tries:
        await asyncio.sleep(0)
    append(spool, "b")
    spool.drop(1, 1)
    store.gate.set()
    await told.until(lambda: (2, 0) in told.commits)
    assert [chunk for work in store.works for chunk in work.chunks] == [Chunk(2, ["b"], 1, NOW)]
    assert [gap for work in store.works for gap in work.gaps] == [(1, 1)]


# --- a failing disk ---------------------------------------------------------------------------------------


async def test_what_failed_is_tried_again_with_all_that_came_since(
    spool: Spool, store: FakeStore, told: Told
) -> None:
    store.errors = [FULL, FULL]
    append(spool, "a")
    spool.drop(1, 1)
    append(spool, "b")
    await told.until(lambda: told.problems)
    assert is_failing(spool)
    used_bytes = spool.used_bytes
    assert used_bytes > 0
    assert not told.commits
    append(spool, "c", at=NOW + 1)
    spool.set_sending(2)
    await told.until(lambda: (3, 2) in told.commits)
    assert told.problems == ["the disk is full", None]
    assert not is_failing(spool)
    chunks = [chunk for work in store.works for chunk in work.chunks]
    assert chunks == [Chunk(2, ["b"], 1, NOW), Chunk(3, ["c"], 1, NOW + 1)]
    assert [gap for work in store.works for gap in work.gaps] == [(1, 1)]


async def test_while_it_fails_new_messages_do_not_hurry_it(store: FakeStore, told: Told) -> None:
    spool = Spool(lambda: store, committed=told.committed, failing=told.failing, retry_seconds=600.0)
    await spool.open()
    store.errors = [FULL]
    append(spool, "a")
    await told.until(lambda: told.problems)
    for _ in range(20):
        append(spool, "b")
        await asyncio.sleep(0)
    assert store.tries == 1
    assert not await spool.close(asyncio.get_running_loop().time())
    assert store.tries == 1


async def test_marks_go_ahead_of_messages_that_the_disk_has_no_room_for(store: FakeStore, told: Told) -> None:
    """What is queued already is sent and leaves the disk; that may be what makes room."""
    spool = Spool(lambda: store, committed=told.committed, failing=told.failing, retry_seconds=600.0)
    await spool.open()
    append(spool, "a")
    await told.until(lambda: told.commits)
    store.errors = [FULL]
    append(spool, "b")
    await told.until(lambda: told.problems)
    spool.set_sending(2)
    await told.until(lambda: told.commits[1:])
    spool.set_done(1)
    await told.until(lambda: told.commits[2:])
    assert told.commits == [(1, 0), (1, 1), (1, 1)]
    assert is_failing(spool)
    assert [work.chunks for work in store.works[1:]] == [[], []]
    assert not await spool.close(asyncio.get_running_loop().time())


async def test_where_there_is_no_room_for_marks_they_wait_too(store: FakeStore, told: Told) -> None:
    spool = Spool(lambda: store, committed=told.committed, failing=told.failing, retry_seconds=600.0)
    await spool.open()
    append(spool, "a", "b")
    await told.until(lambda: told.commits)
    store.errors = [FULL] * 9
    append(spool, "c")
    spool.set_sending(1)
    while store.tries < 3:
        await asyncio.sleep(0)
    await asyncio.wrap_future(spool._executor.submit(int))  # what the third try brings has been told after it
    for number in (2, 1, 2):
        spool.set_sending(number)
        await asyncio.sleep(0)
    assert store.tries == 3
    assert not await spool.close(asyncio.get_running_loop().time())


async def test_a_bug_below_is_told_to_the_loop_and_nothing_is_lost(
    spool: Spool, store: FakeStore, told: Told
) -> None:
    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(context["exception"]))
    bug = ZeroDivisionError("a bug")
    store.errors = [bug]
    append(spool, "a")
    await told.until(lambda: told.commits)
    assert seen == [bug]
    assert told.problems == ["a bug", None]
    assert told.commits == [(1, 0)]


# --- opening, reading, closing ----------------------------------------------------------------------------


async def test_opening_can_be_tried_again(store: FakeStore, told: Told) -> None:
    answers: list[FakeStore | SpoolError] = [FULL, store]

    def open_store() -> FakeStore:
        answer = answers.pop(0)
        if isinstance(answer, SpoolError):
            raise answer
        return answer

    spool = Spool(open_store, committed=told.committed, failing=told.failing)
    with pytest.raises(SpoolError, match="not open"):
        await spool.read(0, 1)
    with pytest.raises(SpoolError, match="full"):
        await spool.open()
    store.recovered = Recovered(marks=Marks(3, 4), last=7)
    assert await spool.open() == store.recovered
    assert append(spool, "a") == 8
    await told.until(lambda: told.commits)
    assert told.commits == [(8, 4)]
    assert await close(spool)


async def test_closing_commits_what_is_left(spool: Spool, store: FakeStore, told: Told) -> None:
    append(spool, "a")
    assert await close(spool)
    assert told.commits == [(1, 0)]
    assert store.closed == 1


async def test_closing_waits_for_what_the_last_commit_brings(store: FakeStore) -> None:
    def committed(last: int, sending: int) -> None:
        busy.set_sending(last)
        busy.set_done(sending)

    busy = Spool(lambda: store, committed=committed, failing=lambda _problem: None)
    await busy.open()
    append(busy, "a", "b")
    assert await close(busy)
    assert store.works[-1].marks == Marks(2, 2)
    assert store.closed == 1


async def test_closing_gives_up_at_its_deadline_and_the_file_is_closed_when_the_disk_comes_back(
    spool: Spool, store: FakeStore, told: Told
) -> None:
    store.gate.clear()
    append(spool, "a")
    while not store.tries:
        await asyncio.sleep(0)
    append(spool, "b", at=NOW + 1)
    assert not await spool.close(asyncio.get_running_loop().time())
    assert store.closed == 0
    store.gate.set()
    await told.until(lambda: told.commits)
    while not store.closed:
        await asyncio.sleep(0)
    assert [work.last for work in store.works] == [1]


async def test_a_spool_that_was_never_opened_can_be_closed(store: FakeStore, told: Told) -> None:
    spool = Spool(lambda: store, committed=told.committed, failing=told.failing)
    assert await close(spool)
    assert store.closed == 0


async def test_a_file_that_was_opened_for_nobody_is_closed(store: FakeStore, told: Told) -> None:
    def open_store() -> FakeStore:
        assert store.gate.wait(30)
        return store

    spool = Spool(open_store, committed=told.committed, failing=told.failing)
    store.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await spool.open()
    store.gate.set()
    assert await close(spool)
    assert store.closed == 1


async def test_over_a_real_file(tmp_path: Path, told: Told) -> None:
    path = tmp_path / "chat.spool"
    spool = Spool(partial(SpoolFile.open, path), committed=told.committed, failing=told.failing)
    assert await spool.open() == Recovered()
    append(spool, "a", "b", "c")
    spool.set_sending(2)
    spool.set_done(1)
    await told.until(lambda: told.commits)
    assert await spool.read(0, 100) == [Chunk(2, ["b", "c"], 2, NOW)]
    assert await close(spool)
    assert names_in(tmp_path) == [path.name]
    again = Spool(partial(SpoolFile.open, path), committed=told.committed, failing=told.failing)
    assert await again.open() == Recovered(
        Marks(1, 2), last=3, queued_messages=1, queued_bytes=1, in_doubt_messages=1, in_doubt_bytes=1
    )
    assert await close(again)


def test_sqlite_is_not_loaded_with_the_bridge() -> None:
    script = "import sys, sockjs_bridge.daemon, sockjs_bridge.bridge.spool; print('sqlite3' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout == "False\n"
