"""A disk under a spool that does nothing by itself: each commit and each read waits until a test lets it happen."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from copy import deepcopy
from typing import Any

from sockjs_bridge.bridge.chunks import EVERY_MESSAGE, Chunk, Gaps, Marks, Recovered, Work
from sockjs_bridge.bridge.outbox import QueueLimits
from sockjs_bridge.bridge.spooled_queue import SpooledQueue
from sockjs_bridge.errors import SpoolError
from sockjs_bridge.log import EventLog

_TURNS = 12
"""More turns of the loop than anything takes that follows on a commit."""


class HandDisk:
    """What lies on the disk, and how the disk is. It outlives the process that uses it."""

    def __init__(self) -> None:
        self.marks = Marks()
        self.last = 0
        self.chunks: list[Chunk] = []
        self.gaps = Gaps()
        self.stored: list[str] = []
        """Every message that ever was on the disk."""
        self.commits = 0
        self.is_full = False
        self.open_error: SpoolError | None = None
        self.read_error: SpoolError | None = None
        self.reads: list[int] = []
        """How many messages each read gave."""

    def messages(self, first: int, last: int) -> list[str]:
        """The messages of these numbers that are there and not given up."""
        return [text for number, text in self._all() if first <= number <= last]

    @property
    def queued(self) -> list[str]:
        """What a process that starts now finds queued."""
        return self.messages(self.marks.sending + 1, self.last)

    @property
    def in_doubt(self) -> list[str]:
        """What a process that starts now finds in doubt."""
        return self.messages(self.marks.done + 1, self.marks.sending)

    def _all(self) -> list[tuple[int, str]]:
        return [
            (number, text)
            for chunk in self.chunks
            for number, text in enumerate(chunk.messages, chunk.first)
            if number > self.marks.done and self.gaps.outside(number, number)
        ]


class HandStore:
    """A `Store` over a HandDisk."""

    def __init__(self, disk: HandDisk) -> None:
        if disk.open_error is not None:
            raise disk.open_error
        self._disk = disk
        self.used_bytes = 0
        queued, in_doubt = disk.queued, disk.in_doubt
        self.recovered = Recovered(
            disk.marks,
            tuple(disk.gaps),
            disk.last,
            len(queued),
            _size(queued),
            len(in_doubt),
            _size(in_doubt),
        )

    def commit(self, work: Work) -> None:
        disk = self._disk
        if disk.is_full and work.chunks:
            raise SpoolError("the disk is full", is_temporary=True)
        assert disk.marks.done <= work.marks.done <= work.marks.sending <= work.last
        assert work.last >= disk.last
        for chunk in work.chunks:
            disk.stored += chunk.messages
        disk.chunks += deepcopy(work.chunks)
        for gap in work.gaps:
            disk.gaps.add(*gap)
        disk.gaps.forget(work.marks.done)
        disk.marks, disk.last = work.marks, work.last
        disk.chunks = [chunk for chunk in disk.chunks if chunk.last > disk.marks.done]
        disk.commits += 1

    def read(self, after: int, max_bytes: int, max_messages: int = EVERY_MESSAGE) -> list[Chunk]:
        disk = self._disk
        if disk.read_error is not None:
            raise disk.read_error
        found: list[Chunk] = []
        after = max(after, disk.marks.done)
        for chunk in disk.chunks:
            pieces = [
                chunk.part(*piece)
                for piece in (
                    disk.gaps.outside(max(chunk.first, after + 1), chunk.last) if chunk.last > after else []
                )
            ]
            messages = sum(len(piece.messages) for piece in found)
            size_bytes = sum(piece.size_bytes for piece in found)
            if found and (
                size_bytes + chunk.size_bytes > max_bytes or messages + len(chunk.messages) > max_messages
            ):
                break
            found += pieces
        disk.reads.append(sum(len(piece.messages) for piece in found))
        return found

    def close(self) -> None:
        """Nothing is open."""


class HandThread(Executor):
    """The spool's thread: runs one job when it is told to."""

    def __init__(self) -> None:
        self.jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run_next(self) -> None:
        future, job = self.jobs.popleft()
        try:
            result = job()
        except SpoolError as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing runs by itself."""


class HandSpool:
    """A SpooledQueue over a HandDisk, with its thread in the hands of the test. Needs a running loop."""

    def __init__(self, disk: HandDisk, limits: QueueLimits) -> None:
        self.disk = disk
        self.thread = HandThread()
        self.queue = SpooledQueue(limits, lambda: HandStore(disk), EventLog(), retry_seconds=0.0)
        self.queue._spool._executor.shutdown()
        self.queue._spool._executor = self.thread  # type: ignore[assignment]  # all of it that is used

    async def open(self) -> None:
        """Open the queue."""
        await self.through(self.queue.open())

    async def close(self, *, gives_up: bool = False) -> None:
        """Close the queue; `gives_up` where there is no time to wait for the disk."""
        seconds = 0.0 if gives_up else 30.0
        await self.through(self.queue.close(asyncio.get_running_loop().time() + seconds))

    async def through(self, work: Any) -> None:
        """Let the disk do all that comes, until this has ended."""
        task = asyncio.ensure_future(work)
        while not task.done():
            if self.thread.jobs:
                self.thread.run_next()
            await asyncio.sleep(0)
        task.result()
        await turn()

    async def commit(self) -> None:
        """Let the disk do one thing, and all follow that follows."""
        await turn()
        if self.thread.jobs:
            self.thread.run_next()
        await turn()

    async def settle(self) -> None:
        """Let the disk do all there is to do, or, while it fails, one thing."""
        await self.commit()
        while self.thread.jobs and not self.disk.is_full and self.disk.read_error is None:
            await self.commit()


async def turn() -> None:
    """Let the loop turn until nothing more follows by itself."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _size(messages: list[str]) -> int:
    return sum(len(message.encode(errors="surrogatepass")) for message in messages)
