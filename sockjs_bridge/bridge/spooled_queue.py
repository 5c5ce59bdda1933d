"""The queue to the server with a spool under it: what is accepted is on disk, the front of it in memory too."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from sockjs_bridge.bridge.backlog import Backlog
from sockjs_bridge.bridge.batch import Batch, Burst, utf8_bytes
from sockjs_bridge.bridge.chunks import Recovered
from sockjs_bridge.bridge.held import Held
from sockjs_bridge.bridge.outbox import QueueLimits, QueueOwner
from sockjs_bridge.bridge.spool import Spool, Store
from sockjs_bridge.bridge.spool_front import Front
from sockjs_bridge.bridge.spool_health import SpoolHealth, SpoolWork
from sockjs_bridge.bridge.spool_progress import Progress
from sockjs_bridge.bridge.spool_room import enough_of, room_for
from sockjs_bridge.bridge.uncommitted import Uncommitted
from sockjs_bridge.endpoints.receipts import MessageFate, Receipts
from sockjs_bridge.errors import DropReason, SpoolError
from sockjs_bridge.log import EventLog

# So much is marked on disk as being sent before it is: one commit for many writes. After a crash it is in doubt.
_AHEAD_BYTES = 256 << 10
_RETRY_SECONDS = 1.0


class SpooledQueue:
    """A `Queue` whose messages survive a crash.

    What is offered is accepted once it is committed. `max_spool_bytes` bounds what is on disk, the limits of
    messages and bytes what of it is in memory: three times, of what is on its way to the disk, of what waits, and
    of what was sent and is not confirmed. Of what is on disk only, a writer hears no more than `queued`.

    What fails is tried again after `retry_seconds`.
    """

    def __init__(
        self,
        limits: QueueLimits,
        open_store: Callable[[], Store],
        log: EventLog,
        *,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self.limits = limits
        self.accepts_at_once = False
        self._owner: QueueOwner
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._retry_seconds = retry_seconds
        self._health = SpoolHealth(log, changed=self._note_health)
        self._spool = Spool(
            open_store,
            committed=self._note_committed,
            failing=partial(self._health.note, SpoolWork.WRITING),
            retry_seconds=retry_seconds,
        )
        self._is_open = False
        self._is_closing = False
        self._retries: dict[SpoolWork, asyncio.TimerHandle] = {}
        self._opening: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_sending = False
        self._progress = Progress(self._spool)
        self._front = Front()
        self._backlog = Backlog()
        self._held = Held()
        self._uncommitted = Uncommitted()
        self._committed = 0
        self._used_bytes = 0

    # --- what waits -------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """What keeps the disk from taking or giving messages; None while nothing does."""
        return self._health.problem

    @property
    def messages(self) -> int:
        """How many wait, in memory or on disk."""
        return self._front.messages + self._backlog.messages

    @property
    def size_bytes(self) -> int:
        """How many bytes they have."""
        return self._front.size_bytes + self._backlog.size_bytes

    @property
    def resends(self) -> int:
        """How many of them were written before, in this run or the one before."""
        backlog = self._backlog
        return self._front.resends + self._progress.unfinished(backlog.follows + 1, backlog.written_before)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, nor is on its way to the disk."""
        return not self.messages and not self._uncommitted

    def oldest_seconds(self, now: float) -> float:
        """For how long the oldest message in memory has waited."""
        oldest = self._front.oldest
        return now - oldest.accepted_at if oldest is not None else 0.0

    # --- opening and closing ----------------------------------------------------------------------------------

    def join(self, owner: QueueOwner) -> None:
        """Tell from now on what happens, before the file is opened."""
        self._owner = owner

    async def open(self) -> None:
        """Open the spool. Raises SpoolError where no waiting helps; a full or failing disk is tried again."""
        try:
            recovered = await self._spool.open()
        except SpoolError as error:
            if not error.is_temporary:
                raise
            self._health.note(SpoolWork.OPENING, str(error))
            self._retry(SpoolWork.OPENING, self._open_again)
            return
        self._is_open = not self._is_closing
        self._recover(recovered)
        self._health.note(SpoolWork.OPENING, None)

    def _open_again(self) -> None:
        self._opening = self._loop.create_task(self._try_to_open(), name="open-spool")

    async def _try_to_open(self) -> None:
        try:
            await self.open()
        except SpoolError as error:
            self._health.note_lasting(SpoolWork.OPENING, str(error))

    def _recover(self, recovered: Recovered) -> None:
        if recovered.set_aside is not None:
            self._log.error(
                "the spool was damaged; it was set aside, and a new one takes its place",
                problem=recovered.problem,
                set_aside=str(recovered.set_aside),
            )
        self._progress.recover(recovered)
        self._committed = recovered.last
        done, sending = recovered.marks.done, recovered.marks.sending
        queued, in_doubt = recovered.queued_messages, recovered.in_doubt_messages
        backlog = self._backlog
        backlog.follows = done
        backlog.add(queued, recovered.queued_bytes)
        if in_doubt and self.limits.resend_in_doubt:
            backlog.written_before = sending
            backlog.add(in_doubt, recovered.in_doubt_bytes)
            self._progress.go_back(done)
        elif in_doubt:
            self._progress.finish_range(done + 1, sending)
        self._used_bytes = room_for(backlog.messages, backlog.size_bytes)
        if queued or in_doubt:
            self._owner.note_recovered(queued, in_doubt)
        self._fill()

    def _note_health(self) -> None:
        self._owner.note_changed()

    def _retry(self, work: SpoolWork, begin: Callable[[], None]) -> None:
        if not self._is_closing:
            self._retries[work] = self._loop.call_later(self._retry_seconds, begin)

    async def close(self, deadline: float) -> None:
        """Commit what is left and close the file, by `deadline` (loop time)."""
        self._is_closing, self._is_open = True, False
        for timer in self._retries.values():
            timer.cancel()
        tasks = [task for task in (self._opening, self._reading) if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=max(deadline - self._loop.time(), 0.0))
        await self._spool.close(deadline)
        if self._uncommitted:
            self._give_up_uncommitted()
        if self.messages:
            self._log.info("messages stay in the spool", messages=self.messages)

    def _give_up_uncommitted(self) -> None:
        # A disk that hangs may have them all the same.
        fate = MessageFate.REJECTED if self.problem is not None else MessageFate.IN_DOUBT
        messages = self._uncommitted.give_up(fate)
        self._owner.note_lost(messages)
        self._log.error(
            "messages could not be written to the spool before the stop, and are lost",
            messages=messages,
            reason=DropReason.STOPPED,
            problem=self.problem or "the disk did not answer",
        )

    # --- from programs ----------------------------------------------------------------------------------------

    def offer(self, messages: list[str], now: float, receipts: Receipts | None = None) -> int:
        """Take as many messages as there is room for, from the front; returns how many.

        They are accepted when the disk has them. None are taken while the disk takes none.
        """
        if not self._is_open or self.problem is not None:
            return 0
        size_bytes = utf8_bytes(messages)
        if not self._has_room(len(messages), size_bytes):
            messages = messages[: self._fitting(messages)]
            size_bytes = utf8_bytes(messages)
            receipts = receipts.part(0, len(messages)) if receipts is not None else None
        if messages:
            # What goes out at once is marked in the commit that makes it durable.
            at_once = self._is_sending and not self._front.has_waiting and not self._backlog.messages
            number = self._spool.append(messages, size_bytes, time.time())
            burst = Burst(messages, size_bytes, now, receipts, number)
            self._uncommitted.append(burst)
            self._used_bytes += room_for(len(messages), size_bytes)
            if at_once and self._may_ask(self._uncommitted.size_bytes):
                self._progress.ask(burst.last_number)
        return len(messages)

    def _has_room(self, messages: int, size_bytes: int) -> bool:
        limits = self.limits
        return (
            self._used_bytes + room_for(messages, size_bytes) <= limits.max_spool_bytes
            and self._uncommitted.messages + messages <= limits.max_messages
            and self._uncommitted.size_bytes + size_bytes <= limits.max_bytes
        )

    def _fitting(self, messages: list[str]) -> int:
        size_bytes = 0
        for count, message in enumerate(messages, 1):
            size_bytes += utf8_bytes([message])
            if not self._has_room(count, size_bytes):
                # One that is larger than all bounds must not wait for ever.
                return count - 1 or int(not self._used_bytes)
        return len(messages)

    @property
    def is_settling(self) -> bool:
        """Whether there may be room as soon as the disk has what was offered last."""
        return bool(self._uncommitted) and self.problem is None

    def make_room_for(self, messages: list[str]) -> list[Burst]:
        """Remove the oldest until these fit, or nothing in memory is left to remove; returns what was removed."""
        if self.problem is not None or self._uncommitted:
            return []  # it is the disk that is slow, and to remove something takes a commit as well
        removed: list[Burst] = []
        # Until they are finished with, those that are removed still count.
        excess = (
            self._used_bytes + room_for(len(messages), utf8_bytes(messages)) - self.limits.max_spool_bytes
        )
        while excess > 0 and (oldest := self._front.oldest) is not None:
            burst = self._front.remove_oldest(enough_of(oldest, excess))
            excess -= room_for(len(burst.messages), burst.size_bytes)
            removed.append(burst)
        self._fill()
        return removed

    # --- to the server ----------------------------------------------------------------------------------------

    def begin_sending(self) -> None:
        """A session is open: mark what may be sent next."""
        self._is_sending = True
        self._fill()

    def end_sending(self) -> None:
        """The session has ended: what was marked and not sent is queued again."""
        self._is_sending = False
        oldest = self._front.oldest
        self._front.retreat()
        self._progress.go_back(oldest.number - 1 if oldest is not None else self._backlog.follows)

    def take(self, about_bytes: int) -> Batch:
        """Remove the oldest of what may be sent now, up to `about_bytes`."""
        batch = self._front.take(about_bytes)
        self._fill()
        return batch

    def put_back(self, bursts: list[Burst]) -> None:
        """Put bursts that were taken before all others."""
        if bursts:
            self._front.put_back(bursts)
            self._progress.go_back(bursts[0].number - 1)
            self._fill()

    def expire(self, before: float) -> list[Burst]:
        """Remove what was accepted before this time; returns it."""
        expired: list[Burst] = []
        while (oldest := self._front.oldest) is not None and oldest.accepted_at < before:
            expired.append(self._front.remove_oldest())
        if expired:
            self._fill()
        return expired

    @property
    def is_half_held(self) -> bool:
        """Whether what is held fills half of the bounds or more."""
        return self._held.fills_half(self.limits.max_messages, self.limits.max_bytes)

    def hold(self, batch: Batch) -> bool:
        """It was sent, and stays on disk until it is confirmed. Returns `is_half_held`."""
        self._held.add(batch)
        return self.is_half_held

    def release(self, batch: Batch) -> None:
        """It need not be held any more."""
        self._held.remove(batch)

    def finish(self, bursts: list[Burst]) -> None:
        """Nothing will be done any more for bursts that were taken or removed: they go from the disk."""
        for burst in bursts:
            self._used_bytes -= room_for(len(burst.messages), burst.size_bytes)
        self._progress.finish(bursts)
        if bursts:
            self._fill()

    # --- the disk ---------------------------------------------------------------------------------------------

    def _may_ask(self, more_bytes: int = 0) -> bool:
        limits = self.limits
        return (
            self._front.ahead_bytes + more_bytes < _AHEAD_BYTES
            and self._held.messages < limits.max_messages
            and self._held.size_bytes < limits.max_bytes
        )

    def _fill(self) -> None:
        """Ask for what may be sent next, and read on where there is room in memory."""
        if self._is_sending and self._front.has_waiting and self._may_ask():
            last = self._front.ask(_AHEAD_BYTES - self._front.ahead_bytes)
            if last > self._progress.asked:
                self._progress.ask(last)
            else:
                self._front.note_mark(self._progress.marked)
        if (
            self._backlog.messages
            and self._reading is None
            and not self._health.fails(SpoolWork.READING)
            and not self._is_closing
            and 2 * self._front.size_bytes < self.limits.max_bytes
            and 2 * self._front.messages < self.limits.max_messages
        ):
            self._read_on()

    def _read_on(self) -> None:
        self._reading = self._loop.create_task(self._read(), name="read-spool")

    async def _read(self) -> None:
        limits = self.limits
        try:
            chunks = await self._spool.read(
                self._backlog.follows, limits.max_bytes // 2, limits.max_messages // 2
            )
        except SpoolError as error:
            self._reading = None
            if error.is_temporary:
                self._health.note(SpoolWork.READING, str(error))
                self._retry(SpoolWork.READING, self._read_on)
            else:
                self._health.note_lasting(SpoolWork.READING, str(error))
            return
        self._reading = None
        now, wall = self._loop.time(), time.time()
        for chunk in chunks:
            # The thread may be ahead of what was told of its commits.
            if chunk.first <= self._committed:
                for burst in self._backlog.read(chunk, wall - chunk.accepted_at, now):
                    self._front.append(burst)
        self._health.note(SpoolWork.READING, None)
        self._fill()
        self._owner.note_changed()

    def _note_committed(self, last: int, sending: int) -> None:
        self._committed = last
        for burst in self._uncommitted.take_until(last):
            self._admit(burst)
            self._owner.note_accepted(len(burst.messages), burst.receipts)
        self._progress.note_committed(sending)
        self._front.note_mark(self._progress.marked)
        self._fill()
        self._owner.note_changed()

    def _admit(self, burst: Burst) -> None:
        """What is committed stays in memory where there is room and nothing before it is on disk only."""
        limits, front, backlog = self.limits, self._front, self._backlog
        if (
            not backlog.messages
            and front.messages + len(burst.messages) <= limits.max_messages
            and front.size_bytes + burst.size_bytes <= limits.max_bytes
        ):
            front.append(burst, is_asked=burst.last_number <= self._progress.asked and not front.has_waiting)
            backlog.follows = burst.last_number
        else:
            backlog.add(len(burst.messages), burst.size_bytes)
            self._progress.go_back(burst.number - 1)
