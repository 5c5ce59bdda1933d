"""What a spool can take: messages a second from an event loop through append, commit and done, and a commit's latency.

    python -m tests.bench.spool_cost [FOLDER] [MESSAGES]

Messages have 200 bytes. They come in bursts as sockets give them, are marked as sending when they are committed and
as done one commit later, so that each is written, read by nobody, and deleted. "Busy" has a thread of Python beside
it that never rests, which is worse than a loop with much to do: that one waits for its sockets now and then. FOLDER
decides which disk is measured, MESSAGES is for bursts of 64 KiB; smaller bursts send fewer.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import uvloop

from sockjs_bridge.bridge.spool import Spool
from sockjs_bridge.bridge.spool_file import SpoolFile

MESSAGE = "x" * 200
BURST_OF_A_READ = 64 * 1024 // len(MESSAGE)
MAX_BYTES = 16 << 20


class Load:
    """One run over a new file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bench.spool"
        self.spool = Spool(
            partial(SpoolFile.open, self.path),
            committed=self.committed,
            failing=print,
        )
        self.began: list[tuple[int, float]] = []
        self.latencies: list[float] = []
        self.commits = 0
        self.changed = asyncio.Event()

    def committed(self, last: int, sending: int) -> None:
        self.commits += 1
        now = time.perf_counter()
        while self.began and self.began[0][0] <= last:
            self.latencies.append(now - self.began.pop(0)[1])
        self.spool.set_done(sending)
        self.spool.set_sending(last)
        self.changed.set()

    async def run(self, messages: int, burst: int, *, pause: float = 0.0) -> float:
        await self.spool.open()
        batch = [MESSAGE] * burst
        began = time.perf_counter()
        for index in range(messages // burst):
            first = self.spool.append(batch, len(MESSAGE) * burst, time.time())
            if index % 100 == 0 or pause:
                self.began.append((first + burst - 1, time.perf_counter()))
            await asyncio.sleep(pause)
            while self.spool.used_bytes > MAX_BYTES:
                self.changed.clear()
                await self.changed.wait()
        assert await self.spool.close(asyncio.get_running_loop().time() + 60)
        seconds = time.perf_counter() - began
        file = SpoolFile.open(self.path)
        marks, last = file.recovered.marks, file.recovered.last
        file.close()
        assert marks.done == last == messages // burst * burst, (marks, last)
        return seconds


def measure(folder: Path, messages: int, burst: int, *, pause: float = 0.0) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as fresh:

        async def run() -> tuple[Load, float]:
            load = Load(Path(fresh))
            return load, await load.run(messages, burst, pause=pause)

        load, seconds = uvloop.run(run())
    latencies = sorted(load.latencies)
    print(
        f"  bursts of {burst:3}: {messages / seconds:9,.0f} messages/s, {messages / load.commits:7.0f} a commit;"
        f" latency median {statistics.median(latencies) * 1e3:.1f} ms, 99 % {latencies[len(latencies) * 99 // 100] * 1e3:.1f} ms"
    )


def measure_all(folder: Path, messages: int) -> None:
    for burst, share in ((BURST_OF_A_READ, 1), (100, 1), (1, 5)):
        measure(folder, messages // share, burst)
    print("  and one burst each 10 ms:")
    measure(folder, 300, 1, pause=0.01)


def fsync_seconds(folder: Path) -> float:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        times = []
        for _ in range(200):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def main(folder: Path, messages: int) -> None:
    print(f"fdatasync of 4 KiB: {fsync_seconds(folder) * 1e3:.2f} ms, median of 200")
    print("alone:")
    measure_all(folder, messages)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        print("busy:")
        measure_all(folder, messages)
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    main(
        Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.gettempdir()),
        int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000,
    )
