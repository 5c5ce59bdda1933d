"""The queue with a spool under it: accepted at the commit, marked before the write, and kept until it is done."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sockjs_bridge.bridge import spooled_queue
from sockjs_bridge.bridge.batch import Batch
from sockjs_bridge.bridge.chunks import Chunk, Gaps, Marks
from sockjs_bridge.bridge.outbox import QueueLimits
from sockjs_bridge.endpoints.receipts import MessageFate, Receipts
from sockjs_bridge.errors import SpoolError
from tests.in_process import events, log_everything
from tests.spool_by_hand import HandDisk, HandSpool, turn
from tests.writer import Writer

NOW = 100.0
MUCH = 1_000_000
FULL = SpoolError("the disk is full", is_temporary=True)
FAILING = SpoolError("disk I/O error", is_temporary=True)
DAMAGED = SpoolError("it is damaged", is_temporary=False)


class Owner:
    """Keeps what a queue tells; reports receipts as the dispatcher does."""

    def __init__(self) -> None:
        self.accepted = 0
        self.recovered: list[tuple[int, int]] = []
        self.lost = 0
        self.changes = 0

    def note_accepted(self, messages: int, receipts: Receipts | None) -> None:
        self.accepted += messages
        if receipts is not None:
            receipts.report(MessageFate.QUEUED)

    def note_recovered(self, queued: int, in_doubt: int) -> None:
        self.recovered.append((queued, in_doubt))

    def note_lost(self, messages: int) -> None:
        self.lost += messages

    def note_changed(self) -> None:
        self.changes += 1


class Rig(HandSpool):
    """A queue by hand, and who owns it."""

    def __init__(self, disk: HandDisk, limits: QueueLimits) -> None:
        super().__init__(disk, limits)
        self.owner = Owner()
        self.queue.join(self.owner)

    def offer(self, *messages: str, now: float = NOW, writer: Writer | None = None) -> int:
        receipts = writer.receipts(messages) if writer is not None else None
        return self.queue.offer(list(messages), now, receipts)

    @property
    def problem(self) -> str:
        return self.queue.problem or "none"

    async def stored(self, *messages: str) -> None:
        """Messages that wait, one burst each."""
        for message in messages:
            assert self.offer(message) == 1
            await self.settle()

    async def sent(self, about_bytes: int = MUCH) -> Batch:
        """What goes out next, once the disk has caught up."""
        await self.settle()
        return self.queue.take(about_bytes)

    async def all_sent(self) -> list[str]:
        messages: list[str] = []
        while batch := (await self.sent()).messages:
            messages += batch
        return messages


Opener = Callable[..., Awaitable[Rig]]


@pytest.fixture
def disk() -> HandDisk:
    return HandDisk()


@pytest.fixture
async def open_rig(disk: HandDisk) -> AsyncIterator[Opener]:
    """Open a queue over the disk; one after the other, each as after a crash of the one before."""
    rigs: list[Rig] = []

    async def open_rig(**limits: object) -> Rig:
        rig = Rig(disk, QueueLimits(**limits))  # type: ignore[arg-type]  # what the test wants differently
        rigs.append(rig)
        await rig.open()
        return rig

    yield open_rig
    disk.is_full, disk.read_error, disk.open_error = False, None, None
    for rig in rigs:
        if not rig.queue._is_closing:
            await rig.close()


def on_disk(disk: HandDisk, queued: int, sending: int = 0) -> None:
    """An earlier run left so many messages, "1", "2", ..., of which the first were being sent."""
    texts = [str(number + 1) for number in range(queued)]
    disk.chunks = [Chunk(1, texts, sum(map(len, texts)), 0.0)] if texts else []
    disk.last, disk.marks, disk.stored = queued, Marks(0, sending), texts.copy()


# --- from programs ----------------------------------------------------------------------------------------


async def test_messages_are_accepted_when_they_are_committed(open_rig: Opener, disk: HandDisk) -> None:
    rig, writer = await open_rig(), Writer()
    assert rig.offer("a", "b", writer=writer) == 2
    assert not rig.queue.is_empty
    assert rig.queue.is_settling
    await turn()
    assert (rig.owner.accepted, rig.queue.messages, writer.fates) == (0, 0, {})
    await rig.commit()
    assert (rig.owner.accepted, rig.queue.messages, rig.queue.size_bytes) == (2, 2, 2)
    assert writer.fates == {"a": ["queued"], "b": ["queued"]}
    assert disk.queued == ["a", "b"]
    assert not rig.queue.is_settling


async def test_a_writer_hears_of_its_own_part_only(open_rig: Opener) -> None:
    rig, writer = await open_rig(max_messages=2), Writer()
    assert rig.offer("a", "b", "c", writer=writer) == 2
    await rig.settle()
    assert writer.fates == {"a": ["queued"], "b": ["queued"]}


async def test_what_is_on_its_way_to_the_disk_is_bounded(open_rig: Opener) -> None:
    rig = await open_rig(max_messages=3, max_bytes=10)
    assert rig.offer("a", "b", "c", "d") == 3
    assert rig.offer("d") == 0
    await rig.settle()
    assert rig.offer("123456", "12345") == 1
    assert rig.offer("1234", "") == 2
    assert rig.offer("") == 0


async def test_what_is_on_disk_is_bounded(open_rig: Opener) -> None:
    rig = await open_rig(max_spool_bytes=3 * 49)
    assert rig.offer("a", "b") == 2
    await rig.settle()
    assert rig.offer("c", "d") == 1
    await rig.settle()
    assert rig.offer("d") == 0
    assert not rig.queue.is_settling
    rig.queue.begin_sending()
    batch = await rig.sent()
    assert batch.messages == ["a", "b", "c"]
    assert rig.offer("d") == 0
    rig.queue.finish(batch.bursts)
    assert rig.offer("d") == 1


async def test_an_empty_queue_takes_one_message_of_any_size(open_rig: Opener) -> None:
    rig = await open_rig(max_messages=4, max_bytes=2, max_spool_bytes=10)
    assert rig.offer("much too large", "a") == 1
    assert rig.offer("a") == 0
    await rig.settle()
    assert rig.offer("a") == 0
    rig.queue.begin_sending()
    batch = await rig.sent()
    assert batch.messages == ["much too large"]
    rig.queue.hold(batch)
    assert rig.offer("also too large") == 0
    rig.queue.release(batch)
    rig.queue.finish(batch.bursts)
    assert rig.offer("also too large") == 1


# --- to the server ----------------------------------------------------------------------------------------


async def test_nothing_is_taken_whose_mark_is_not_on_disk(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig()
    await rig.stored("a", "b")
    assert rig.queue.take(MUCH).messages == []
    rig.queue.begin_sending()
    assert rig.queue.take(MUCH).messages == []
    await turn()
    assert rig.queue.take(MUCH).messages == []
    await rig.commit()
    assert disk.marks.sending == 2
    assert rig.queue.take(MUCH).messages == ["a", "b"]


async def test_what_can_go_out_at_once_is_marked_in_the_commit_that_stores_it(
    open_rig: Opener, disk: HandDisk
) -> None:
    rig = await open_rig()
    rig.queue.begin_sending()
    rig.offer("a", "b")
    rig.offer("c")
    assert rig.queue.take(MUCH).messages == []
    await rig.commit()
    assert disk.commits == 1
    assert rig.queue.take(MUCH).messages == ["a", "b", "c"]


async def test_order_is_kept_whichever_way_messages_take(open_rig: Opener) -> None:
    rig = await open_rig(max_messages=4, max_bytes=8)
    expected: list[str] = []
    sent: list[str] = []
    rig.queue.begin_sending()
    for number in range(60):
        offered = [f"{number}{letter}" for letter in "abc"[: 1 + number % 3]]
        expected += offered[: rig.offer(*offered)]
        if number % 2:
            await rig.commit()
        if number % 3 == 0:
            batch = rig.queue.take(5)
            sent += batch.messages
            rig.queue.finish(batch.bursts)
    sent += await rig.all_sent()
    assert sent == expected
    assert len(sent) > 30


async def test_only_so_much_is_marked_ahead(
    open_rig: Opener, disk: HandDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooled_queue, "_AHEAD_BYTES", 3)
    rig = await open_rig()
    await rig.stored(*"abcdefgh")
    rig.queue.begin_sending()
    await rig.settle()
    assert disk.in_doubt == ["a", "b", "c"]
    assert rig.queue.take(2).messages == ["a", "b"]
    await rig.settle()
    assert disk.in_doubt == ["a", "b", "c", "d", "e"]


async def test_the_end_of_a_session_takes_the_marks_back(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig()
    await rig.stored("a", "b", "c")
    rig.queue.begin_sending()
    batch = await rig.sent(1)
    assert batch.messages == ["a"]
    rig.offer("d")  # goes out at once, and its commit is under way
    rig.queue.end_sending()
    assert rig.queue.take(MUCH).messages == []
    await rig.settle()
    assert rig.queue.take(MUCH).messages == []
    assert (disk.in_doubt, disk.queued) == (["a"], ["b", "c", "d"])
    rig.queue.finish(batch.bursts)
    rig.queue.begin_sending()
    assert await rig.all_sent() == ["b", "c", "d"]


async def test_a_session_that_ends_while_its_mark_is_committed_sends_nothing(
    open_rig: Opener, disk: HandDisk
) -> None:
    rig = await open_rig()
    await rig.stored("a")
    rig.queue.begin_sending()
    await turn()
    assert rig.thread.jobs
    rig.queue.end_sending()
    await rig.commit()
    assert disk.marks.sending == 1
    assert rig.queue.take(MUCH).messages == []
    await rig.settle()
    assert disk.queued == ["a"]


async def test_what_comes_back_goes_first_and_is_marked_again(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig()
    await rig.stored("a", "b", "c")
    rig.queue.begin_sending()
    batch = await rig.sent(2)
    rig.queue.put_back(batch.bursts)
    assert rig.queue.messages == 3
    assert rig.queue.take(MUCH).messages == []
    assert await rig.all_sent() == ["a", "b", "c"]
    rig.queue.put_back([])
    assert disk.marks.sending == 3


async def test_what_comes_back_after_a_session_is_queued(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig()
    await rig.stored("a", "b")
    rig.queue.begin_sending()
    batch = await rig.sent(1)
    rig.queue.end_sending()
    rig.queue.put_back(batch.bursts)
    await rig.settle()
    assert disk.queued == ["a", "b"]


async def test_what_is_finished_goes_from_the_disk_in_any_order(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig()
    await rig.stored("a", "b", "c", "d")
    rig.queue.begin_sending()
    a, b, c, d = (await rig.sent()).bursts
    rig.queue.finish([c])
    await rig.settle()
    assert (list(disk.gaps), disk.in_doubt) == ([(3, 3)], ["a", "b", "d"])
    rig.queue.finish([a])
    await rig.settle()
    assert disk.marks.done == 1
    rig.queue.finish([d])
    rig.queue.finish([b])
    await rig.settle()
    assert (disk.marks, list(disk.gaps), disk.chunks) == (Marks(4, 4), [], [])


async def test_what_was_sent_holds_the_queue_up_until_it_is_confirmed(open_rig: Opener) -> None:
    rig = await open_rig(max_messages=4)
    await rig.stored(*"abcd")
    await rig.stored(*"ef")
    rig.queue.begin_sending()
    batch = await rig.sent(2)
    assert rig.queue.hold(batch)
    assert rig.queue.is_half_held
    more = await rig.sent(2)
    assert more.messages == ["c", "d"]
    rig.queue.hold(more)
    assert (await rig.sent()).messages == []
    rig.queue.release(batch)
    rig.queue.finish(batch.bursts)
    assert (await rig.sent()).messages == ["e", "f"]


# --- what an earlier run left -----------------------------------------------------------------------------


async def test_what_was_queued_goes_out_in_order(open_rig: Opener, disk: HandDisk) -> None:
    on_disk(disk, 5)
    rig = await open_rig()
    assert rig.owner.recovered == [(5, 0)]
    assert rig.queue.messages == 5
    rig.queue.begin_sending()
    await rig.stored("6")
    assert await rig.all_sent() == ["1", "2", "3", "4", "5", "6"]


async def test_what_is_in_doubt_is_not_sent_again(open_rig: Opener, disk: HandDisk) -> None:
    on_disk(disk, 5, sending=2)
    rig = await open_rig()
    assert rig.owner.recovered == [(3, 2)]
    assert (rig.queue.messages, rig.queue.resends) == (3, 0)
    rig.queue.begin_sending()
    assert await rig.all_sent() == ["3", "4", "5"]
    assert disk.marks.done == 2


async def test_what_is_in_doubt_is_sent_again_first_where_that_is_wanted(
    open_rig: Opener, disk: HandDisk
) -> None:
    on_disk(disk, 5, sending=2)
    rig = await open_rig(resend_in_doubt=True)
    assert rig.owner.recovered == [(3, 2)]
    await rig.settle()
    assert (rig.queue.messages, rig.queue.resends) == (5, 2)
    rig.queue.begin_sending()
    batch = await rig.sent()
    assert [(burst.messages, burst.was_written) for burst in batch.bursts] == [
        (["1", "2"], True),
        (["3", "4", "5"], False),
    ]
    assert rig.queue.resends == 0


async def test_what_is_sent_again_counts_as_such_on_disk_too(open_rig: Opener, disk: HandDisk) -> None:
    on_disk(disk, 6, sending=4)
    disk.gaps.add(2, 2)
    disk.read_error = FAILING
    rig = await open_rig(resend_in_doubt=True)
    assert (rig.queue.messages, rig.queue.resends) == (5, 3)


async def test_gaps_of_an_earlier_run_stay_gaps(open_rig: Opener, disk: HandDisk) -> None:
    on_disk(disk, 6)
    disk.gaps.add(1, 1)
    disk.gaps.add(4, 5)
    rig = await open_rig()
    assert rig.queue.messages == 3
    rig.queue.begin_sending()
    batch = await rig.sent()
    assert batch.messages == ["2", "3", "6"]
    rig.queue.finish(batch.bursts)
    await rig.settle()
    assert disk.marks.done == 6
    assert list(disk.gaps) == list(Gaps())


async def test_a_crash_at_any_commit_leaves_what_was_accepted(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig()
    rig.queue.begin_sending()
    await rig.stored("a", "b")
    assert rig.queue.take(1).messages == ["a"]
    rig.offer("c")  # is not committed any more
    await turn()
    rig.thread.jobs.clear()
    rig.queue._spool._idle.set()
    again = await open_rig()
    assert again.owner.recovered == [(0, 2)]
    assert disk.stored == ["a", "b"]


# --- more than fits in memory -----------------------------------------------------------------------------


async def test_what_does_not_fit_in_memory_waits_on_disk(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig(max_messages=4)
    await rig.stored(*"abcdefghij")
    assert (rig.queue.messages, rig.queue.size_bytes) == (10, 10)
    assert rig.queue._front.messages == 4
    rig.queue.begin_sending()
    sent = []
    while batch := (await rig.sent(1)).messages:
        sent += batch
        assert rig.queue._front.messages <= 4
    assert sent == list("abcdefghij")
    assert disk.reads
    assert max(disk.reads) <= 2


async def test_one_read_takes_few_messages_however_small(open_rig: Opener, disk: HandDisk) -> None:
    disk.chunks = [Chunk(first, [""] * 10, 0, 0.0) for first in range(1, 101, 10)]
    disk.last = 100
    rig = await open_rig(max_messages=40)
    await rig.settle()
    assert disk.reads == [20]
    assert rig.queue.messages == 100


async def test_messages_that_arrive_during_a_read_come_after_it(open_rig: Opener) -> None:
    rig = await open_rig(max_messages=4)
    await rig.stored(*"abcdef")
    rig.queue.begin_sending()
    sent = (await rig.sent()).messages.copy()
    rig.offer("g")
    await turn()
    rig.offer("h")
    assert len(rig.thread.jobs) >= 1  # the read, and the commits on either side of it
    sent += await rig.all_sent()
    assert sent == list("abcdefgh")


async def test_a_commit_before_the_read_does_not_overtake_what_is_on_disk(open_rig: Opener) -> None:
    rig = await open_rig(max_messages=4)
    await rig.stored(*"abcdef")
    rig.queue.begin_sending()
    await rig.settle()
    rig.offer("g")
    await turn()  # its commit is with the thread, before the read that the next line brings about
    sent = rig.queue.take(MUCH).messages.copy()
    await rig.commit()
    sent += await rig.all_sent()
    assert sent == list("abcdefg")


async def test_what_the_thread_reads_too_early_is_read_later(open_rig: Opener, disk: HandDisk) -> None:
    """A commit of which nothing was told yet may be in what is read."""
    rig = await open_rig(max_messages=8)
    await rig.stored(*"abcdefghij")
    rig.queue.begin_sending()
    sent = (await rig.sent()).messages.copy()
    assert sent == list("abcdefgh")
    disk.chunks.append(Chunk(11, ["k"], 1, 0.0))
    await rig.commit()
    assert disk.reads == [3]
    disk.chunks.pop()
    assert rig.queue.messages == 2
    rig.offer("k")
    sent += await rig.all_sent()
    assert sent == list("abcdefghijk")


# --- what is given up -------------------------------------------------------------------------------------


async def test_what_is_too_old_is_removed_in_memory_and_when_it_is_read(
    open_rig: Opener, disk: HandDisk
) -> None:
    on_disk(disk, 2)  # accepted in 1970
    rig = await open_rig()
    await rig.settle()
    now = asyncio.get_running_loop().time()
    rig.offer("3", now=now)
    await rig.settle()
    expired = rig.queue.expire(now - 60.0)
    assert [burst.messages for burst in expired] == [["1", "2"]]
    rig.queue.finish(expired)
    assert (rig.queue.messages, rig.queue.oldest_seconds(now + 5.0)) == (1, 5.0)
    await rig.settle()
    assert disk.queued == ["3"]
    assert rig.queue.expire(now - 60.0) == []


async def test_what_expires_behind_what_is_under_way_is_a_gap(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig()
    rig.offer("a", now=NOW + 50)
    rig.offer("b")
    rig.offer("c", now=NOW + 50)
    rig.queue.begin_sending()
    batch = await rig.sent(1)
    expired = rig.queue.expire(NOW + 1)
    assert [burst.messages for burst in expired] == [["b"]]
    rig.queue.finish(expired)
    assert (await rig.sent()).messages == ["c"]
    assert list(disk.gaps) == [(2, 2)]
    rig.queue.finish(batch.bursts)
    await rig.settle()
    assert disk.marks.done == 2


async def test_the_oldest_make_room_no_more_of_them_than_needed(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig(max_spool_bytes=4 * 49)
    rig.offer("a", "b", "c")
    rig.offer("d")
    await rig.settle()
    assert rig.offer("e", "f") == 0
    removed = rig.queue.make_room_for(["e", "f"])
    assert [burst.messages for burst in removed] == [["a", "b"]]
    rig.queue.finish(removed)
    assert rig.offer("e", "f") == 2
    await rig.settle()
    assert disk.queued == ["c", "d", "e", "f"]


async def test_all_in_memory_goes_where_that_is_not_enough(open_rig: Opener) -> None:
    rig = await open_rig(max_spool_bytes=2 * 49)
    await rig.stored("a", "b")
    removed = rig.queue.make_room_for(["c", "d", "e"])
    rig.queue.finish(removed)
    assert [burst.messages for burst in removed] == [["a"], ["b"]]
    assert rig.queue.make_room_for(["c"]) == []


async def test_nothing_is_given_up_while_the_disk_is_what_is_slow(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig(max_messages=1)
    await rig.stored("a")
    rig.offer("b")
    assert rig.queue.make_room_for(["c"]) == []
    disk.is_full = True
    await rig.settle()
    assert rig.queue.make_room_for(["c"]) == []


# --- a disk that fails ------------------------------------------------------------------------------------


async def test_a_full_disk_stops_the_queue_and_heals(
    open_rig: Opener, disk: HandDisk, caplog: pytest.LogCaptureFixture
) -> None:
    log_everything(caplog)
    rig, writer = await open_rig(), Writer()
    disk.is_full = True
    assert rig.offer("a", writer=writer) == 1
    changes = rig.owner.changes
    for _ in range(3):
        await rig.commit()
    assert rig.owner.changes == changes + 1, "writers that wait may have to be refused now"
    assert rig.problem == "the disk is full"
    assert not rig.queue.is_settling
    assert rig.offer("b") == 0
    assert (rig.owner.accepted, writer.fates) == (0, {})
    changes = rig.owner.changes
    disk.is_full = False
    await rig.settle()
    assert rig.problem == "none"
    assert (rig.owner.accepted, writer.fates) == (1, {"a": ["queued"]})
    assert rig.owner.changes > changes
    assert rig.offer("b") == 1
    assert len(events(caplog, "the spool takes no messages")) == 1
    assert len(events(caplog, "the spool takes messages again")) == 1


async def test_a_read_that_fails_is_tried_again(
    open_rig: Opener, disk: HandDisk, caplog: pytest.LogCaptureFixture
) -> None:
    log_everything(caplog)
    on_disk(disk, 3)
    disk.read_error = FAILING
    rig = await open_rig()
    rig.queue.begin_sending()
    for _ in range(4):
        await rig.commit()
    assert rig.problem == "disk I/O error"
    assert (rig.offer("4"), rig.queue.messages) == (0, 3)
    disk.read_error = None
    assert await rig.all_sent() == ["1", "2", "3"]
    assert rig.problem == "none"
    assert len(events(caplog, "the spool takes no messages")) == 1


async def test_a_commit_that_succeeds_does_not_hide_that_reads_fail(open_rig: Opener, disk: HandDisk) -> None:
    on_disk(disk, 3, sending=1)
    disk.read_error = FAILING
    rig = await open_rig()
    for _ in range(4):
        await rig.commit()
    assert disk.marks.done == 1
    assert rig.problem == "disk I/O error"


async def test_a_damaged_file_is_not_read_again_and_again(
    open_rig: Opener, disk: HandDisk, caplog: pytest.LogCaptureFixture
) -> None:
    on_disk(disk, 3)
    disk.read_error = DAMAGED
    rig = await open_rig()
    await rig.commit()
    assert not rig.thread.jobs
    assert rig.problem == "it is damaged"
    assert rig.queue.messages == 3
    assert events(caplog, "the spool cannot be used until a restart")


async def test_a_file_that_cannot_be_opened_yet_is_opened_later(
    open_rig: Opener, disk: HandDisk, caplog: pytest.LogCaptureFixture
) -> None:
    on_disk(disk, 2)
    disk.open_error = FULL
    rig = await open_rig()
    assert rig.problem == "the disk is full"
    assert rig.offer("a") == 0
    rig.queue.begin_sending()
    for _ in range(3):
        await rig.commit()
    disk.open_error = None
    # Nothing else happens: it has to go on by itself.
    assert await rig.all_sent() == ["1", "2"]
    assert rig.problem == "none"
    assert rig.owner.recovered == [(2, 0)]
    assert len(events(caplog, "the spool takes no messages")) == 1


async def test_a_file_that_can_never_be_opened_is_an_error_at_the_start(disk: HandDisk) -> None:
    disk.open_error = DAMAGED
    rig = Rig(disk, QueueLimits())
    with pytest.raises(SpoolError, match="damaged"):
        await rig.open()
    await rig.close()


async def test_a_file_that_turns_out_to_be_unusable_later_stays_a_problem(
    open_rig: Opener, disk: HandDisk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.open_error = FULL
    rig = await open_rig()
    disk.open_error = DAMAGED
    await rig.commit()
    assert rig.problem == "it is damaged"
    assert not rig.thread.jobs
    assert events(caplog, "the spool cannot be used until a restart")


# --- the end ----------------------------------------------------------------------------------------------


async def test_a_stop_waits_for_what_is_on_its_way(open_rig: Opener, disk: HandDisk) -> None:
    rig = await open_rig()
    rig.offer("a", "b")
    await rig.close()
    assert (rig.owner.accepted, rig.owner.lost) == (2, 0)
    assert disk.queued == ["a", "b"]
    assert rig.offer("c") == 0


async def test_a_stop_on_a_full_disk_tells_what_is_lost(
    open_rig: Opener, disk: HandDisk, caplog: pytest.LogCaptureFixture
) -> None:
    rig, writer = await open_rig(), Writer()
    await rig.stored("a")
    disk.is_full = True
    rig.offer("b", "c", writer=writer)
    await rig.commit()
    await rig.close(gives_up=True)
    assert rig.owner.lost == 2
    assert writer.fates == {"b": ["rejected"], "c": ["rejected"]}
    (line,) = events(caplog, "messages could not be written to the spool")
    assert (line["messages"], line["problem"]) == (2, "the disk is full")
    assert disk.stored == ["a"]


async def test_a_stop_while_the_disk_hangs_leaves_it_in_doubt(open_rig: Opener, disk: HandDisk) -> None:
    rig, writer = await open_rig(), Writer()
    rig.offer("a", writer=writer)
    await turn()
    await rig.queue.close(asyncio.get_running_loop().time())
    assert rig.owner.lost == 1
    assert writer.fates == {"a": ["in-doubt"]}
    await rig.settle()  # the thread comes back: it is on disk all the same
    assert disk.queued == ["a"]


async def test_a_stop_ends_the_tries_to_open_and_to_read(open_rig: Opener, disk: HandDisk) -> None:
    disk.open_error = FULL
    rig = await open_rig()
    await rig.close()
    await rig.settle()
    assert not rig.thread.jobs
    disk.open_error = None
    on_disk(disk, 3)
    disk.read_error = FAILING
    another = await open_rig()
    await another.close()
    await another.settle()
    assert not another.thread.jobs


async def test_what_waits_at_the_stop_is_told(
    open_rig: Opener, disk: HandDisk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sockjs_bridge")
    rig = await open_rig()
    await rig.stored("a", "b")
    rig.queue.begin_sending()
    await rig.settle()
    rig.queue.end_sending()
    await rig.close()
    assert events(caplog, "messages stay in the spool")[0]["messages"] == 2
    assert disk.queued == ["a", "b"]
