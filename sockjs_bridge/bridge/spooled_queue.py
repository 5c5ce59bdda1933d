"""The queue to the server with a spool under it: what is accepted is on disk, the front of it in memory too."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from sockjs_bridge.bridge.batch import Batch, Burst, count_messages, utf8_bytes
from sockjs_bridge.bridge.chunks import Chunk, Gaps, Recovered
from sockjs_bridge.bridge.held import Held
from sockjs_bridge.bridge.outbox import QueueLimits, QueueOwner
from sockjs_bridge.bridge.spool import Spool, Store
from sockjs_bridge.bridge.spool_front import Front
from sockjs_bridge.endpoints.receipts import MessageFate, Receipts
from sockjs_bridge.errors import DropReason, SpoolError
from sockjs_bridge.log import EventLog

# So much is marked on disk as being sent before it is: one commit for many writes. After a crash it is in doubt.
_AHEAD_BYTES = 256 << 10
_RETRY_SECONDS = 1.0
_BYTES_BESIDE_A_MESSAGE = 48
"""As much as it takes on disk, at most, when each message has a row of its own."""


class SpooledQueue:
    """A `Queue` whose messages survive a crash.

    What is offered is accepted once it is committed. `max_spool_bytes` bounds what is on disk, the limits of
    messages and bytes what of it is in memory. Of what is on disk only, a writer hears no more than `queued`.
    """

    def __init__(self, limits: QueueLimits, open_store: Callable[[], Store], log: EventLog) -> None:
        self.limits = limits
        self.accepts_at_once = False
        self._owner: QueueOwner
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._spool = Spool(open_store, committed=self._note_committed, failing=self._note_failing)
        self._is_open = False
        self._reopening: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._front = Front()
        self._uncommitted: deque[Burst] = deque()
        self._uncommitted_messages = 0
        self._uncommitted_bytes = 0
        self._held = Held()
        self._gaps = Gaps()
        self._used_bytes = 0
        self._is_sending = False
        self._done = 0
        self._asked = 0
        self._marked = 0
        self._in_memory = 0
        """The number of the last message that is, or was, in memory: what follows is on disk only."""
        self._on_disk = 0
        self._on_disk_bytes = 0
        self._written_before = 0
        """Up to this number everything was written before the start."""
        self.problem: str | None = None
        """What keeps the disk from taking messages; None while it does."""

    # --- what waits -------------------------------------------------------------------------------------------

    @property
    def messages(self) -> int:
        """How many wait, in memory or on disk."""
        return self._front.messages + self._on_disk

    @property
    def size_bytes(self) -> int:
        """How many bytes they have."""
        return self._front.size_bytes + self._on_disk_bytes

    @property
    def resends(self) -> int:
        """How many of them were written before, in this run or the one before."""
        on_disk = self._gaps.outside(max(self._in_memory, self._done) + 1, self._written_before)
        return self._front.resends + sum(last - first + 1 for first, last in on_disk)

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
        self._reopening = None
        try:
            recovered = await self._spool.open()
        except SpoolError as error:
            if not error.is_temporary:
                raise
            self._note_failing(str(error))
            self._reopening = self._loop.call_later(_RETRY_SECONDS, self._open_again)
            return
        self._is_open = True
        if self.problem is not None:
            self._note_failing(None)
        self._recover(recovered)

    def _open_again(self) -> None:
        self._work = self._loop.create_task(self._try_to_open(), name="open-spool")

    async def _try_to_open(self) -> None:
        try:
            await self.open()
        except SpoolError as error:
            self.problem = str(error)
            self._log.error("the spool cannot be used until a restart", problem=self.problem)

    def _recover(self, recovered: Recovered) -> None:
        if recovered.set_aside is not None:
            self._log.error(
                "the spool was damaged; it was set aside, and a new one takes its place",
                problem=recovered.problem,
                set_aside=str(recovered.set_aside),
            )
        for gap in recovered.gaps:
            self._gaps.add(*gap)
        self._used_bytes = _used(recovered.queued_messages, recovered.queued_bytes)
        self._done = recovered.marks.done
        self._asked = self._marked = recovered.marks.sending
        self._on_disk, self._on_disk_bytes = recovered.queued_messages, recovered.queued_bytes
        in_doubt = recovered.in_doubt_messages
        if in_doubt and self.limits.resend_in_doubt:
            self._written_before = recovered.marks.sending
            self._on_disk += in_doubt
            self._on_disk_bytes += recovered.in_doubt_bytes
            self._used_bytes += _used(in_doubt, recovered.in_doubt_bytes)
            self._set_sending(self._done)
        elif in_doubt:
            self._advance(self._done + 1, recovered.marks.sending)
        self._in_memory = self._done
        if recovered.queued_messages or in_doubt:
            self._owner.note_recovered(recovered.queued_messages, in_doubt)
        self._fill()
        self._owner.note_changed()

    async def close(self, deadline: float) -> None:
        """Commit what is left and close the file, by `deadline` (loop time)."""
        if self._reopening is not None:
            self._reopening.cancel()
        if self._work is not None:
            await asyncio.wait([self._work], timeout=max(deadline - self._loop.time(), 0.0))
        await self._spool.close(deadline)
        lost = count_messages(self._uncommitted)
        if lost:
            for burst in self._uncommitted:
                burst.report(MessageFate.REJECTED, DropReason.STOPPED)
            self._uncommitted.clear()
            self._log.error(
                "messages could not be written to the spool before the stop, and are lost",
                messages=lost,
                reason=DropReason.STOPPED,
                problem=self.problem,
            )
        elif self.messages:
            self._log.info("messages stay in the spool", messages=self.messages)

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
            at_once = self._is_sending and not self._front.has_waiting and not self._on_disk
            number = self._spool.append(messages, size_bytes, time.time())
            burst = Burst(messages, size_bytes, now, receipts, number)
            self._uncommitted.append(burst)
            self._uncommitted_messages += len(messages)
            self._uncommitted_bytes += size_bytes
            self._used_bytes += _used(len(messages), size_bytes)
            if at_once and self._may_ask(self._uncommitted_bytes):
                self._set_sending(burst.last_number)
        return len(messages)

    def _has_room(self, messages: int, size_bytes: int) -> bool:
        limits = self.limits
        return (
            self._used_bytes + _used(messages, size_bytes) <= limits.max_spool_bytes
            and self._uncommitted_messages + messages <= limits.max_messages
            and self._uncommitted_bytes + size_bytes <= limits.max_bytes
        )

    def _fitting(self, messages: list[str]) -> int:
        size_bytes = 0
        for count, message in enumerate(messages, 1):
            size_bytes += utf8_bytes([message])
            if not self._has_room(count, size_bytes):
                # One that is larger than all bounds must not wait for ever.
                is_alone = count == 1 and self.is_empty and not self._held.messages
                return 1 if is_alone else count - 1
        return len(messages)

    @property
    def is_settling(self) -> bool:
        """Whether there may be room as soon as the disk has what was offered last."""
        return bool(self._uncommitted) and self.problem is None

    def make_room_for(self, messages: list[str]) -> list[Burst]:
        """Remove the oldest bursts until these fit, or nothing in memory is left to remove."""
        if self.problem is not None or self._uncommitted:
            return []  # it is the disk that is slow, and to remove something takes a commit as well
        removed: list[Burst] = []
        wanted = _used(len(messages), utf8_bytes(messages))
        while self._front.oldest is not None and self._used_bytes + wanted > self.limits.max_spool_bytes:
            burst = self._front.remove_oldest()
            wanted -= _used(len(burst.messages), burst.size_bytes)
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
        written = oldest.number - 1 if oldest is not None else self._in_memory
        self._set_sending(min(written, self._asked))

    def take(self, about_bytes: int) -> Batch:
        """Remove the oldest of what may be sent now, up to `about_bytes`."""
        batch = self._front.take(about_bytes)
        self._fill()
        return batch

    def put_back(self, bursts: list[Burst]) -> None:
        """Put bursts that were taken before all others."""
        if bursts:
            self._front.put_back(bursts)
            self._set_sending(bursts[0].number - 1)
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
            self._used_bytes -= _used(len(burst.messages), burst.size_bytes)
            self._advance(burst.number, burst.last_number)
        if bursts:
            self._fill()

    def _advance(self, first: int, last: int) -> None:
        first, end = self._gaps.add(first, last)
        if first <= self._done + 1:
            self._done = end
            self._asked = max(self._asked, end)
            self._gaps.forget(end)
            self._spool.set_done(end)
        else:
            self._spool.drop(first, end)

    # --- the disk ---------------------------------------------------------------------------------------------

    def _set_sending(self, number: int) -> None:
        self._asked = max(number, self._done)
        self._marked = min(self._marked, self._asked)
        self._spool.set_sending(self._asked)

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
            if last > self._asked:
                self._set_sending(last)
            else:
                self._front.note_mark(self._marked)
        is_low = 2 * self._front.size_bytes < self.limits.max_bytes
        is_low = is_low and 2 * self._front.messages < self.limits.max_messages
        if self._on_disk and is_low and (self._work is None or self._work.done()):
            self._work = self._loop.create_task(self._read_on(), name="read-spool")

    async def _read_on(self) -> None:
        try:
            chunks = await self._spool.read(self._in_memory, self.limits.max_bytes // 2)
        except SpoolError as error:
            self._log.error("the spool cannot be read; what is in it stays there", problem=str(error))
            self.problem = str(error)
            return
        finally:
            self._work = None
        for chunk in chunks:
            for burst in self._bursts_of(chunk):
                self._front.append(burst)
                self._on_disk -= len(burst.messages)
                self._on_disk_bytes -= burst.size_bytes
            self._in_memory = chunk.last
        if not self._on_disk:
            self._on_disk_bytes = 0
        self._fill()
        self._owner.note_changed()

    def _bursts_of(self, chunk: Chunk) -> list[Burst]:
        accepted_at = self._loop.time() - max(time.time() - chunk.accepted_at, 0.0)
        burst = Burst(chunk.messages, chunk.size_bytes, accepted_at, None, chunk.first)
        written = min(max(self._written_before - chunk.first + 1, 0), len(chunk.messages))
        parts = [burst.part(0, written), burst.part(written)]
        parts[0].was_written = True
        return [part for part in parts if part.messages]

    def _note_committed(self, last: int, sending: int) -> None:
        while self._uncommitted and self._uncommitted[0].last_number <= last:
            burst = self._uncommitted.popleft()
            self._uncommitted_messages -= len(burst.messages)
            self._uncommitted_bytes -= burst.size_bytes
            self._admit(burst)
            self._owner.note_accepted(len(burst.messages), burst.receipts)
        self._marked = min(sending, self._asked)
        self._front.note_mark(self._marked)
        self._fill()
        self._owner.note_changed()

    def _admit(self, burst: Burst) -> None:
        """What is committed stays in memory where there is room and nothing before it is on disk only."""
        limits = self.limits
        if (
            not self._on_disk
            and self._front.messages + len(burst.messages) <= limits.max_messages
            and self._front.size_bytes + burst.size_bytes <= limits.max_bytes
        ):
            is_asked = burst.last_number <= self._asked and not self._front.has_waiting
            self._front.append(burst, is_asked=is_asked)
            self._in_memory = burst.last_number
        else:
            self._on_disk += len(burst.messages)
            self._on_disk_bytes += burst.size_bytes
            self._set_sending(min(self._asked, burst.number - 1))

    def _note_failing(self, problem: str | None) -> None:
        self.problem = problem
        if problem is None:
            self._log.info("the spool takes messages again")
            self._owner.note_changed()
        else:
            self._log.error(
                "the spool takes no messages; programs wait, it is tried again each second", problem=problem
            )


def _used(messages: int, size_bytes: int) -> int:
    """What messages count for against `max_spool_bytes`: by message, so that it adds up however they are cut."""
    return size_bytes + messages * _BYTES_BESIDE_A_MESSAGE
