"""A process that fills a spool and plays the server that takes what is in it; made to be killed.

    python -m tests.spool_writer FILE [MESSAGES]

Prints a line for each thing that is final: `committed LAST`, `written FIRST LAST` (what it would have sent),
`failing PROBLEM`, `healed`. Message n is its number and some padding. Ends when MESSAGES are done, else never.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop

from sockjs_bridge.bridge.spool import Spool
from sockjs_bridge.bridge.spool_file import SpoolFile

BURST = 7
WINDOW = 200
RETRY_SECONDS = 0.05


def message(number: int) -> str:
    return f"{number} " + "é" * (number * 31 % 400)


def say(*words: object) -> None:
    # At once and without a buffer: what was said before a kill is read.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Writer:
    """Appends without a rest, and calls done what it has written, which the next commit makes durable."""

    def __init__(self, path: Path) -> None:
        self.spool = Spool(
            partial(SpoolFile.open, path),
            committed=self.committed,
            failing=lambda problem: say("failing", problem) if problem else say("healed"),
            retry_seconds=RETRY_SECONDS,
        )
        self.last = 0
        self.done = 0
        self.changed = asyncio.Event()

    def committed(self, last: int, sending: int) -> None:
        say("committed", last)
        if sending > self.done:
            say("written", self.done + 1, sending)
            self.done = sending
            self.spool.set_done(sending)
        self.spool.set_sending(last)
        self.changed.set()

    async def run(self, enough: Callable[[int], bool]) -> None:
        recovered = await self.spool.open()
        assert recovered.set_aside is None, recovered
        # At most once: what may have been written is over.
        self.last, self.done = recovered.last, recovered.marks.sending
        self.spool.set_done(self.done)
        self.spool.set_sending(self.last)
        say("opened", recovered.marks.done, recovered.marks.sending, recovered.last)
        while not enough(self.done):
            for _ in range(3):
                self.append()
            await self.wait_for_room()
        say("closed", await self.spool.close(asyncio.get_running_loop().time() + 30))

    def append(self) -> None:
        messages = [message(self.last + 1 + index) for index in range(BURST)]
        self.spool.append(messages, sum(len(m.encode()) for m in messages), time.time())
        self.last += BURST

    async def wait_for_room(self) -> None:
        await asyncio.sleep(0)
        while self.last - self.done > WINDOW:
            self.changed.clear()
            await self.changed.wait()


if __name__ == "__main__":
    limit = int(sys.argv[2]) if len(sys.argv) > 2 else None
    uvloop.run(Writer(Path(sys.argv[1])).run(lambda done: limit is not None and done >= limit))
