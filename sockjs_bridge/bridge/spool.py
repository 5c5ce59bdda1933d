"""Spool: keeps what was accepted in a file, off the event loop, many messages to a commit (delivery.md)."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeGuard

from sockjs_bridge.bridge.chunks import EVERY_MESSAGE, Chunk, Gaps, Marks, Recovered, Work
from sockjs_bridge.errors import SpoolError

_CHUNK_BYTES = 64 << 10
_CHUNK_MESSAGES = 4096
_CHUNK_SECONDS = 0.1
"""Messages that share a chunk share the time of their acceptance too: by so much it may be wrong."""
_GROUP_BYTES = 4 << 20
"""One commit takes no more than this, and one chunk: what waited out a full disk comes back in pieces."""
_RETRY_SECONDS = 1.0


class Store(Protocol):
    """The file under a spool: `SpoolFile`. Used by one thread; everything blocks."""

    recovered: Recovered
    used_bytes: int

    def commit(self, work: Work) -> None:
        """Make the work durable, or raise SpoolError and keep nothing of it."""

    def read(self, after: int, max_bytes: int, max_messages: int = ...) -> list[Chunk]:
        """The messages that follow number `after`; raises SpoolError."""

    def close(self) -> None:
        """Close the file."""


class Spool:
    """Gives messages their numbers and commits them in groups: what comes during one commit makes the next.

    Belongs to one event loop. `open_store` is called in the spool's own thread.

    `committed(last, sending)` is called after each commit: every message up to number `last` is durable, and so
    is the mark `sending`. `failing(problem)` is called when commits begin to fail, with a text for the log, and
    with None when they heal. Meanwhile everything is kept in memory, and tried again each second; marks are
    committed ahead of new messages where the disk has room for so little.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        committed: Callable[[int, int], None],
        failing: Callable[[str | None], None],
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._open_store = open_store
        self._committed = committed
        self._failing = failing
        self._retry_seconds = retry_seconds
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._store: Store | None = None
        self._last = 0
        self._marks = self._stored_marks = Marks()
        self._stored_bytes = 0
        self._waiting: deque[Chunk] = deque()
        self._waiting_bytes = 0
        self._gaps = Gaps()
        self._marks_moved = False
        self._hurries = False
        self._is_retry_due = False
        self._group: asyncio.Future[int] | None = None
        self._group_bytes = 0
        self._start: asyncio.Handle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_closed = False
        self.problem: str | None = None

    @property
    def last(self) -> int:
        """The number of the message that was appended last."""
        return self._last

    @property
    def used_bytes(self) -> int:
        """What the file holds, and what is yet to be committed: what `spool_max_bytes` bounds."""
        return self._stored_bytes + self._group_bytes + self._waiting_bytes

    async def open(self) -> Recovered:
        """Open the file. Raises SpoolError; where that is temporary it can be tried again."""
        loop = asyncio.get_running_loop()
        store = await loop.run_in_executor(self._executor, self._open)
        recovered = store.recovered
        self._last, self._marks, self._stored_bytes = recovered.last, recovered.marks, store.used_bytes
        self._stored_marks = recovered.marks
        return recovered

    def _open(self) -> Store:
        # Kept by the thread itself, so that `close` finds it even if nobody waited for the end of this.
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def append(self, messages: list[str], size_bytes: int, accepted_at: float) -> int:
        """Take messages, at least one; returns the number of the first. The others follow it.

        `size_bytes` is UTF-8, `accepted_at` seconds of the wall clock.
        """
        first = self._last + 1
        self._last += len(messages)
        before = self._waiting[-1] if self._waiting else None
        if _may_share(before, first, len(messages), size_bytes, accepted_at):
            self._waiting_bytes -= before.stored_bytes
            before.messages += messages
            before.size_bytes += size_bytes
            self._waiting_bytes += before.stored_bytes
        else:
            chunk = Chunk(first, messages.copy(), size_bytes, accepted_at)
            self._waiting.append(chunk)
            self._waiting_bytes += chunk.stored_bytes
        self._note_chunks()
        return first

    def set_sending(self, number: int) -> None:
        """Every message up to this one may be written as soon as `committed` says so. May also go back."""
        self._move(Marks(self._marks.done, number))

    def set_done(self, number: int) -> None:
        """Every message up to this one is finished with, whether it was sent or not."""
        self._move(Marks(number, max(number, self._marks.sending)))

    def _move(self, marks: Marks) -> None:
        if marks != self._marks:
            self._marks = marks
            self._note_marks()

    def drop(self, first: int, last: int) -> None:
        """Give these up: they are never read again. Their room is free after the next commit, or at once."""
        self._gaps.add(first, last)
        self._forget_dropped()
        self._note_marks()

    async def read(self, after: int, max_bytes: int, max_messages: int = EVERY_MESSAGE) -> list[Chunk]:
        """The committed messages that follow number `after`: about so many and so large, one chunk at least.

        Without those that are done or given up. Raises SpoolError.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._opened().read, after, max_bytes, max_messages)

    async def close(self, deadline: float) -> bool:
        """Commit what is left and close the file; returns whether all is committed.

        Gives up what the disk has not taken at `deadline`, seconds of the loop's clock.
        """
        try:
            if self._store is not None:
                async with asyncio.timeout_at(deadline):
                    while not self._idle.is_set():  # the last commit may bring on another
                        await self._idle.wait()
        except TimeoutError:
            pass
        finally:
            self._is_closed = True
            for planned in (self._start, self._retry):
                if planned is not None:
                    planned.cancel()
            closing = asyncio.wrap_future(self._executor.submit(self._close))
            self._executor.shutdown(wait=False)
        # A disk that hangs holds the thread, and nothing can be done about that.
        seconds_left = max(deadline - asyncio.get_running_loop().time(), 0.0)
        await asyncio.wait([closing], timeout=seconds_left)
        if closing.done():
            closing.result()
        return self._idle.is_set()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()

    # --- group commit -----------------------------------------------------------------------------------------

    def _opened(self) -> Store:
        if self._store is None:
            raise SpoolError("the spool is not open", is_temporary=False)
        return self._store

    def _note_chunks(self) -> None:
        self._idle.clear()
        if self.problem is None:
            self._start_soon()

    def _note_marks(self) -> None:
        self._idle.clear()
        self._marks_moved = True
        # They go ahead of what the disk has no room for: what is done gives room back, and sending goes on.
        if self.problem is None or self._hurries:
            self._start_soon()

    def _start_soon(self) -> None:
        # Not at once: what else this turn of the loop brings belongs to the same group.
        if self._group is None and self._start is None and not self._is_closed:
            self._start = asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._start = None
        self._commit(takes_chunks=self.problem is None)

    def _try_again(self) -> None:
        self._retry = None
        if self._group is None:
            self._commit(takes_chunks=True)
        else:
            self._is_retry_due = True

    def _commit(self, *, takes_chunks: bool) -> None:
        store, work = self._opened(), self._take(_GROUP_BYTES if takes_chunks else 0)
        self._group = asyncio.get_running_loop().run_in_executor(self._executor, _commit, store, work)
        self._group.add_done_callback(lambda group: self._settle(group, work, takes_chunks=takes_chunks))

    def _take(self, most_bytes: int) -> Work:
        chunks: list[Chunk] = []
        while self._waiting and self._group_bytes < most_bytes:
            chunk = self._waiting.popleft()
            chunks.append(chunk)
            self._group_bytes += chunk.stored_bytes
            self._waiting_bytes -= chunk.stored_bytes
        # Where some chunks stay behind, so do the marks and gaps that lie behind them.
        last = self._waiting[0].first - 1 if self._waiting else self._last
        self._marks_moved = False
        gaps, self._gaps = self._gaps, Gaps()
        for first, end in gaps:
            if end > last:
                self._gaps.add(max(first, last + 1), end)
        marks = Marks(min(self._marks.done, last), min(self._marks.sending, last))
        return Work(last, marks, chunks, [(first, min(end, last)) for first, end in gaps if first <= last])

    def _settle(self, group: asyncio.Future[int], work: Work, *, takes_chunks: bool) -> None:
        self._group = None
        self._group_bytes = 0
        error = group.exception()
        if error is not None:
            self._fail(error, work, takes_chunks=takes_chunks)
            return
        self._stored_bytes, self._stored_marks = group.result(), work.marks
        has_healed = takes_chunks and self.problem is not None
        if has_healed:
            self.problem = None
        if self._waiting and self.problem is None:
            self._note_chunks()
        elif self._marks_moved:
            self._note_marks()
        elif not self._waiting:
            self._idle.set()
        if self._is_retry_due:
            self._plan_retry(0.0)
        if has_healed:
            self._failing(None)
        self._committed(work.last, work.marks.sending)

    def _fail(self, error: BaseException, work: Work, *, takes_chunks: bool) -> None:
        for gap in work.gaps:
            self._gaps.add(*gap)
        self._waiting.extendleft(reversed(work.chunks))
        self._waiting_bytes += sum(chunk.stored_bytes for chunk in work.chunks)
        self._forget_dropped()
        has_begun, self.problem = self.problem is None, str(error) or repr(error)
        # The marks alone may have room where the chunks have none. Where they have none either, all waits.
        self._hurries = takes_chunks and bool(work.chunks)
        self._plan_retry(self._retry_seconds)
        if self._hurries and (work.gaps or self._gaps or work.marks != self._stored_marks):
            self._note_marks()
        if has_begun:
            self._failing(self.problem)
        if not isinstance(error, SpoolError):
            raise error  # a bug: the loop logs it with its stack

    def _plan_retry(self, seconds: float) -> None:
        self._is_retry_due = False
        if self._retry is None and not self._is_closed:
            self._retry = asyncio.get_running_loop().call_later(seconds, self._try_again)

    def _forget_dropped(self) -> None:
        # The oldest are dropped first. Others in between may wait for the commit, which deletes them.
        while self._waiting:
            chunk = self._waiting[0]
            if self._gaps.outside(chunk.first, chunk.last):
                break
            self._waiting.popleft()
            self._waiting_bytes -= chunk.stored_bytes


def _commit(store: Store, work: Work) -> int:
    store.commit(work)
    return store.used_bytes


def _may_share(
    chunk: Chunk | None, first: int, messages: int, size_bytes: int, accepted_at: float
) -> TypeGuard[Chunk]:
    return (
        chunk is not None
        and chunk.last + 1 == first
        and chunk.size_bytes + size_bytes <= _CHUNK_BYTES
        and len(chunk.messages) + messages <= _CHUNK_MESSAGES
        and 0.0 <= accepted_at - chunk.accepted_at <= _CHUNK_SECONDS
    )
