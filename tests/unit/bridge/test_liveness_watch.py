"""What the clock makes of one connection; the judgement itself is tested with `Liveness`."""

import asyncio
from typing import cast

import pytest

from sockjs_bridge.bridge.liveness_watch import LivenessWatch
from sockjs_bridge.transports.base import Transport

SOON = 0.01


class StubTransport:
    """Takes PINGs and questions."""

    def __init__(self, *, is_http: bool = False, age: float | None = None) -> None:
        self.is_http = is_http
        self.age = age
        self.pings: asyncio.Queue[int] = asyncio.Queue()

    def send_ping(self, number: int) -> None:
        self.pings.put_nowait(number)

    def seconds_since_last_byte(self) -> float | None:
        return self.age


class Watched:
    """A watch, and what it said."""

    def __init__(
        self, transport: StubTransport, *, silence_timeout: float = 0.0, ping_interval: float = 0.0
    ) -> None:
        self.dead: asyncio.Queue[str] = asyncio.Queue()
        self.transport = transport
        self._number = 6
        self.watch = LivenessWatch(
            cast("Transport", transport),
            silence_timeout,
            ping_interval,
            next_ping=self._next,
            declare_dead=self._declare_dead,
        )
        self.watch.plan()

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _declare_dead(self, why: str) -> None:
        self.dead.put_nowait(why)
        self.watch.stop()


async def test_a_ping_is_sent_when_it_is_due_and_again() -> None:
    watched = Watched(StubTransport(), ping_interval=SOON)
    assert [await watched.transport.pings.get() for _ in range(2)] == [7, 8]
    watched.watch.stop()


async def test_a_ping_that_is_not_answered_is_death_where_one_was() -> None:
    watched = Watched(StubTransport(), ping_interval=SOON)
    await watched.transport.pings.get()
    watched.watch.note_pong()
    assert await watched.dead.get() == "a PING was not answered for 0.01 s"


async def test_silence_is_death_after_a_heartbeat() -> None:
    watched = Watched(StubTransport(), silence_timeout=SOON)
    watched.watch.note_heartbeat()
    assert await watched.dead.get() == "nothing came for 0.01 s"


async def test_bytes_that_only_the_kernel_has_seen_are_life() -> None:
    """Behind a frame that takes longer than `silence_timeout` to arrive."""
    transport = StubTransport(age=0.0)
    watched = Watched(transport, silence_timeout=SOON)
    watched.watch.note_heartbeat()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watched.dead.get(), 5 * SOON)
    transport.age = None
    assert await watched.dead.get() == "nothing came for 0.01 s"


async def test_over_http_a_server_without_heartbeats_is_asked() -> None:
    watched = Watched(StubTransport(is_http=True), silence_timeout=SOON, ping_interval=SOON / 10)
    assert await watched.transport.pings.get() == 0
    watched.watch.note_answer()
    assert await watched.transport.pings.get() == 0
    assert watched.dead.empty()
    watched.watch.stop()


async def test_nothing_is_judged_while_we_do_not_read() -> None:
    watched = Watched(StubTransport(), silence_timeout=SOON)
    watched.watch.note_heartbeat()
    watched.watch.suspend()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watched.dead.get(), 5 * SOON)
    watched.watch.resume()
    assert await watched.dead.get() == "nothing came for 0.01 s"


async def test_after_the_end_nothing_happens() -> None:
    watched = Watched(StubTransport(), silence_timeout=SOON, ping_interval=SOON)
    watched.watch.stop()
    watched.watch.note_heartbeat()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watched.dead.get(), 5 * SOON)
    assert watched.transport.pings.empty()
