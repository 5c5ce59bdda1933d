"""A queue with a spool under it, from a writer to the server and over crashes: nothing acknowledged is lost or doubled
unless that was reported.
"""

import asyncio
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sockjs_bridge.bridge import spooled_queue
from sockjs_bridge.bridge.batch import Batch
from sockjs_bridge.bridge.dispatcher import Dispatcher
from sockjs_bridge.bridge.outbox import QueueLimits
from sockjs_bridge.bridge.posting import Posting
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.bridge.tracking import Tracking
from sockjs_bridge.endpoints.receipts import Receipts
from sockjs_bridge.errors import SpoolError
from sockjs_bridge.log import EventLog
from sockjs_bridge.transports.base import Fate, SendResult
from tests.spool_by_hand import HandDisk, HandSpool, turn
from tests.writer import Writer

WRITERS = "xy"
AHEAD_BYTES = 10
"""So little that marking ahead comes to its limit."""
COMMITS = st.integers(0, 3)
"""What the disk gets done before the next step."""


class Run:
    """One process: it ends by a stop or a crash, and the disk stays."""

    def __init__(self, disk: HandDisk, limits: QueueLimits) -> None:
        self.spool = HandSpool(disk, limits)
        self.stats = SessionStats()
        self.link: Socket | Requests | None = None
        self.waiting: dict[str, list[str]] = {who: [] for who in WRITERS}
        """What programs have written, and the bridge has not taken: held back."""
        self.told = Writer()
        self.dispatcher = Dispatcher(
            self.spool.queue, self.stats, asyncio.get_running_loop().time, self.make_room, EventLog()
        )

    def offer(self, who: str) -> None:
        messages = self.waiting[who].copy()
        if messages:
            taken = self.dispatcher.offer(messages, self.told.receipts(messages))
            del self.waiting[who][:taken]

    def make_room(self) -> None:
        if self.link is not None:
            self.link.flush()
        for who in WRITERS:
            self.offer(who)


class Server:
    """What the server has really read, as (session, message)."""

    def __init__(self) -> None:
        self.session = 0
        self.read: list[tuple[int, str]] = []

    def take(self, messages: list[str]) -> None:
        self.read += [(self.session, message) for message in messages]


class Socket:
    """A WebSocket that takes `room` messages; the server reads it when a test says so."""

    def __init__(self, machine: "SpooledQueueMachine") -> None:
        self.machine = machine
        self.room = 3
        self.wire: list[str | int] = []
        """Messages, and numbers of PINGs, that the server has not read."""
        self.pongs: list[int] = []
        self.unconfirmed: list[str | int] = []
        self.tracking = Tracking(machine.run.dispatcher, self._ping, asks=True)

    def _ping(self, number: int) -> None:
        self.wire.append(number)
        self.unconfirmed.append(number)

    def send(self, messages: list[str], receipts: Receipts | None) -> bool:
        raise AssertionError("nothing may be written that is not on disk")

    def flush(self) -> None:
        dispatcher = self.machine.run.dispatcher
        while self.room > 0 and dispatcher.queue.messages:
            batch = dispatcher.take(6)
            if not batch.messages:
                return
            self.machine.check_marked(batch)
            self.room -= len(batch.messages)
            self.wire += batch.messages
            self.unconfirmed += batch.messages
            self.tracking.note_written(batch)

    def server_reads(self, count: int) -> None:
        for item in self.wire[:count]:
            if isinstance(item, int):
                self.pongs.append(item)
            else:
                self.machine.server.take([item])
        del self.wire[:count]
        self.room = 3

    def answer(self) -> None:
        """The next PONG arrives, and maybe PINGs that were sent by the clock."""
        if not self.pongs:
            self._ping(self.tracking.next_ping())
            return
        number = self.pongs.pop(0)
        del self.unconfirmed[: self.unconfirmed.index(number) + 1]
        self.tracking.receive_pong(b"%d" % number)

    def end(self, *, answered: bool) -> None:
        if answered:
            self.server_reads(len(self.wire))
        else:
            self.machine.report([item for item in self.unconfirmed if isinstance(item, str)])
        self.tracking.finish(answered=answered)


class Requests:
    """An HTTP session: one request at a time, answered when a test says so."""

    def __init__(self, machine: "SpooledQueueMachine") -> None:
        self.machine = machine
        self.posting = Posting(machine.run.dispatcher)
        self.under_way: list[str] = []

    def send(self, messages: list[str], receipts: Receipts | None) -> bool:
        raise AssertionError("nothing may be written that is not on disk")

    def flush(self) -> None:
        dispatcher = self.machine.run.dispatcher
        if not self.posting.is_under_way and dispatcher.queue.messages:
            batch = dispatcher.take(12)
            if batch.messages:
                self.machine.check_marked(batch)
                self.posting.begin(batch)
                self.under_way = batch.messages

    def settle(self, fate: Fate, accepted: int, concerned: int, *, was_taken: bool) -> None:
        """The answer: so many were accepted, then so many met this fate, and the rest was not sent."""
        if not self.posting.is_under_way:
            return
        messages, self.under_way = self.under_way, []
        first, second = messages[:accepted], messages[accepted : accepted + concerned]
        self.machine.server.take(first)
        if fate is Fate.IN_DOUBT:
            self.machine.report(second)
            if was_taken:
                self.machine.server.take(second)
        if fate is Fate.OFFENDING and len(second) == 1:
            self.machine.refused.update(second)
        self.posting.settle(SendResult(fate, len(first), second, messages[accepted + concerned :]))

    def end(self, *, answered: bool) -> None:
        if answered:
            self.settle(Fate.ACCEPTED, len(self.under_way), 0, was_taken=True)
        else:
            self.settle(Fate.IN_DOUBT, 0, len(self.under_way), was_taken=False)


class SpooledQueueMachine(RuleBasedStateMachine):
    """Processes one after the other over one disk, sessions one after the other in each."""

    @initialize(
        max_messages=st.integers(1, 8),
        max_bytes=st.integers(1, 40),
        max_spool_bytes=st.sampled_from([60, 300, 3000, 3000]),
        overflow=st.sampled_from(["pause", "reject", "drop-oldest"]),
        resends=st.booleans(),
    )
    def begin(
        self, max_messages: int, max_bytes: int, max_spool_bytes: int, overflow: str, resends: bool
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.ahead_bytes, spooled_queue._AHEAD_BYTES = spooled_queue._AHEAD_BYTES, AHEAD_BYTES
        self.limits = QueueLimits(
            max_messages,
            max_bytes,
            overflow=overflow,
            resend_in_doubt=resends,
            max_spool_bytes=max_spool_bytes,
        )
        self.disk = HandDisk()
        self.server = Server()
        self.written = dict.fromkeys(WRITERS, 0)
        self.acknowledged: set[str] = set()
        self.reported: Counter[str] = Counter()
        """How often each message was reported in doubt."""
        self.left_in_doubt: set[str] = set()
        """What was reported last as in doubt, and not sent again."""
        self.refused: set[str] = set()
        self.given_up = 0
        self._start()

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        self._heal()
        self._crash(self.limits.resend_in_doubt)
        self._drain()
        self.check_end()
        self._run(self.run.spool.close())
        spooled_queue._AHEAD_BYTES = self.ahead_bytes
        self.loop.close()

    def _run(self, work: "asyncio._CoroutineLike[None]") -> None:
        self.loop.run_until_complete(work)

    def _start(self) -> None:
        self.report(self.disk.in_doubt)
        before, queued, in_doubt = len(self.disk.stored), len(self.disk.queued), len(self.disk.in_doubt)

        async def start() -> None:
            self.run = Run(self.disk, self.limits)
            await self.run.spool.open()

        self._run(start())
        if self.disk.open_error is None:
            assert len(self.disk.stored) == before
            assert self.run.stats.messages_accepted == queued + in_doubt
            assert self.run.stats.messages_in_doubt == in_doubt

    def report(self, messages: list[str]) -> None:
        self.reported.update(messages)
        if self.limits.resend_in_doubt:
            self.left_in_doubt.difference_update(messages)
        else:
            self.left_in_doubt.update(messages)

    def check_marked(self, batch: Batch) -> None:
        """Before anything is written the disk knows that it may have been."""
        for burst in batch.bursts:
            assert self.disk.marks.done < burst.number
            assert burst.last_number <= self.disk.marks.sending, "written before it was marked"

    def _note_acknowledged(self) -> None:
        for message, fates in self.run.told.fates.items():
            if "queued" in fates:
                assert message in self.disk.stored, "acknowledged before it was on disk"
                self.acknowledged.add(message)

    # --- programs and the disk --------------------------------------------------------------------------------

    @rule(who=st.sampled_from(WRITERS), count=st.integers(1, 9), length=st.integers(0, 9), commits=COMMITS)
    def offer(self, who: str, count: int, length: int, commits: int) -> None:
        async def offer() -> None:
            for _ in range(count):
                self.written[who] += 1
                self.run.waiting[who].append(f"{who}{self.written[who]}{'.' * length}")
            self.run.offer(who)

        self._run(offer())
        self.disk_goes_on(commits)

    @rule(times=st.integers(0, 6))
    def disk_goes_on(self, times: int) -> None:
        self._run(turn())
        for _ in range(times):
            self._run(self.run.spool.commit())

    @rule(change=st.sampled_from(["fills", "reads fail", "heals", "heals", "heals"]), commits=COMMITS)
    def disk_changes(self, change: str, commits: int) -> None:
        if change == "fills":
            self.disk.is_full = True
        elif change == "reads fail":
            self.disk.read_error = SpoolError("disk I/O error", is_temporary=True)
        else:
            self._heal()
            self._run(self.run.spool.settle())
            assert self.run.spool.queue.problem is None
        self.disk_goes_on(commits)

    def _heal(self) -> None:
        self.disk.is_full = False
        self.disk.read_error = self.disk.open_error = None

    # --- sessions ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.run.link is None)
    @rule(http=st.booleans(), commits=COMMITS)
    def session_opens(self, http: bool, commits: int) -> None:
        async def attach() -> None:
            self.server.session += 1
            self.run.link = Requests(self) if http else Socket(self)
            self.run.dispatcher.attach(self.run.link)
            self.run.make_room()

        self._run(attach())
        self.disk_goes_on(commits)

    @precondition(lambda self: isinstance(self.run.link, Socket))
    @rule(count=st.integers(1, 9), answers=st.integers(0, 2), commits=COMMITS)
    def server_reads(self, count: int, answers: int, commits: int) -> None:
        async def read() -> None:
            link = self.run.link
            assert isinstance(link, Socket)
            link.server_reads(count)
            for _ in range(answers):
                link.answer()
            self.run.make_room()

        self._run(read())
        self.disk_goes_on(commits)

    @precondition(lambda self: isinstance(self.run.link, Requests) and bool(self.run.link.under_way))
    @rule(
        fate=st.sampled_from(Fate),
        accepted=st.integers(0, 2),
        concerned=st.integers(1, 3),
        was_taken=st.booleans(),
        commits=COMMITS,
    )
    def request_is_answered(
        self, fate: Fate, accepted: int, concerned: int, was_taken: bool, commits: int
    ) -> None:
        async def settle() -> None:
            link = self.run.link
            assert isinstance(link, Requests)
            if fate is Fate.ACCEPTED:
                link.settle(fate, len(link.under_way), 0, was_taken=True)
            else:
                first = min(accepted, len(link.under_way) - 1)
                link.settle(fate, first, concerned, was_taken=was_taken)
            self.run.make_room()

        self._run(settle())
        if fate is not Fate.ACCEPTED:
            self._end_session(answered=False)
        self.disk_goes_on(commits)

    @precondition(lambda self: self.run.link is not None)
    @rule(answered=st.booleans(), commits=COMMITS)
    def session_ends(self, answered: bool, commits: int) -> None:
        self._end_session(answered=answered)
        self.disk_goes_on(commits)

    def _end_session(self, *, answered: bool) -> None:
        async def end() -> None:
            link, self.run.link = self.run.link, None
            assert link is not None
            self.run.dispatcher.detach()
            link.end(answered=answered)
            self.run.make_room()

        self._run(end())

    # --- processes --------------------------------------------------------------------------------------------

    @rule(resends=st.booleans(), jobs=st.integers(0, 2))
    def crash(self, resends: bool, jobs: int) -> None:
        """At any moment; what the thread had in hand may still have come about."""
        thread = self.run.spool.thread
        while jobs and thread.jobs:
            thread.run_next()
            jobs -= 1
        self._crash(resends)

    def _crash(self, resends: bool) -> None:
        link = self.run.link
        if isinstance(link, Requests) and self.server.session % 2:
            self.server.take(link.under_way)
        self._leave(resends)

    @rule(resends=st.booleans(), opens_late=st.booleans())
    def stop(self, resends: bool, opens_late: bool) -> None:
        if self.run.link is not None:
            self._end_session(answered=not resends)
        fails = self.disk.is_full or self.disk.read_error is not None
        self._run(self.run.spool.close(gives_up=fails))
        self._note_acknowledged()
        if not fails:
            assert not self.run.spool.queue._uncommitted
            assert not self.disk.in_doubt, "nothing is under way any more"
        if opens_late:
            self.disk.open_error = SpoolError("in use by another process", is_temporary=True)
        self._leave(resends)

    def _leave(self, resends: bool) -> None:
        self._note_acknowledged()
        self.given_up += self._given_up()

        async def forget() -> None:
            this = asyncio.current_task()
            others = [task for task in asyncio.all_tasks() if task is not this]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run.spool.thread.jobs.clear()
        for timer in self.run.spool.queue._retries.values():
            timer.cancel()
        self._run(forget())
        self.limits = QueueLimits(
            self.limits.max_messages,
            self.limits.max_bytes,
            overflow=self.limits.overflow,
            resend_in_doubt=resends,
            max_spool_bytes=self.limits.max_spool_bytes,
        )
        self._start()

    def _given_up(self) -> int:
        return sum(self.run.stats.queue_dropped.values())

    # --- what holds -------------------------------------------------------------------------------------------

    @invariant()
    def adds_up(self) -> None:
        """Accepted = written + waiting + given up."""
        stats, queue = self.run.stats, self.run.spool.queue
        waiting = queue.messages - queue.resends + stats.messages_in_flight - stats.resends_in_flight
        assert stats.messages_accepted == stats.messages_sent + waiting + self._given_up()

    @invariant()
    def acknowledges_what_is_on_disk(self) -> None:
        self._note_acknowledged()

    @invariant()
    def stays_within_its_bounds(self) -> None:
        queue = self.run.spool.queue
        # A burst from the disk may be a little more, and what comes back had its room before.
        assert queue._uncommitted.messages <= self.limits.max_messages
        assert queue._uncommitted.size_bytes <= self.limits.max_bytes or queue._uncommitted.messages == 1
        assert (
            queue._used_bytes <= self.limits.max_spool_bytes
            or queue.messages + queue._uncommitted.messages <= 1
            or self.disk.last > 0
        )

    @invariant()
    def arrives_in_order(self) -> None:
        for who in WRITERS:
            by_session: dict[int, int] = {}
            seen: set[str] = set()
            first_times: list[int] = []
            for session, message in self.server.read:
                if message.startswith(who):
                    number = int(message[1:].rstrip("."))
                    assert number > by_session.get(session, 0), "out of order within a session"
                    by_session[session] = number
                    if message not in seen:
                        first_times.append(number)
                    seen.add(message)
            assert first_times == sorted(first_times), "out of order over sessions"

    @invariant()
    def doubles_only_what_was_in_doubt(self) -> None:
        for message, count in Counter(message for _, message in self.server.read).items():
            assert count <= 1 + self.reported[message], f"{message} came {count} times"

    def _drain(self) -> None:
        """A server that takes everything, until nothing is left."""
        if self.run.link is not None:
            self._end_session(answered=True)
        self._run(self.run.spool.settle())

        async def attach() -> None:
            self.server.session += 1
            self.run.link = Socket(self)
            self.run.dispatcher.attach(self.run.link)
            self.run.make_room()

        self._run(attach())
        queue = self.run.spool.queue
        for _ in range(1000):
            self.server_reads(10, 2, 0)
            self._run(self.run.spool.settle())
            if queue.is_empty and not self.disk.queued and not any(self.run.waiting.values()):
                break
        else:
            raise AssertionError(f"stuck with {queue.messages} messages, {queue.problem}")
        self._end_session(answered=True)
        self._run(self.run.spool.settle())

    def check_end(self) -> None:
        self._note_acknowledged()
        queue = self.run.spool.queue
        assert queue.is_empty
        assert queue._used_bytes == 0
        assert queue._held.messages == queue._held.size_bytes == 0
        assert self.disk.marks.done == self.disk.last
        read = {message for _, message in self.server.read}
        assert read <= set(self.disk.stored)
        missing = set(self.disk.stored) - read - self.left_in_doubt - self.refused
        if self.limits.overflow == "drop-oldest":
            # What was to be sent again, and is given up, is counted as in doubt already.
            missing -= self.reported.keys()
            assert len(missing) <= self.given_up + self._given_up(), f"{missing} are lost"
        else:
            assert not missing, f"{missing} are lost"
        assert self.acknowledged <= set(self.disk.stored)


TestSpooledQueueMachine = SpooledQueueMachine.TestCase
# It takes a while to get into the corners.
TestSpooledQueueMachine.settings = settings(stateful_step_count=2 * settings().stateful_step_count)
