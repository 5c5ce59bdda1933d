"""A queue with a spool: what is accepted survives, in order, and the rest waits (delivery.md)."""

import asyncio
from pathlib import Path

import pytest

from sockjs_bridge.errors import BindError
from tests.in_process import Running, events, one_session, running, until
from tests.scripted import Peer, scripted


def spooled(url: str, tmp_path: Path, more: str = "") -> str:
    return one_session(url, f'queue.spool = "{tmp_path / "chat.spool"}"\n{more}')


def adds_up(bridge: Running) -> bool:
    """Accepted = written + queued + dropped."""
    stats, queue = bridge.chat.hub.stats, bridge.chat.hub.queue
    queued = queue.messages - queue.resends + stats.messages_in_flight
    return stats.messages_accepted == stats.messages_sent + queued + sum(stats.queue_dropped.values())


async def test_messages_go_through_the_spool_in_order(tmp_path: Path) -> None:
    received: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        while True:
            received.extend(await peer.receive_messages())

    async with scripted(script) as server, running(spooled(server.url(), tmp_path), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        for start in range(0, 1000, 100):
            await program.send("".join(f"{number}\n" for number in range(start, start + 100)).encode())
        await until(lambda: len(received) == 1000)
        assert received == [str(number) for number in range(1000)]
        await until(lambda: bridge.chat.hub.stats.messages_confirmed == 1000)
        assert adds_up(bridge)


async def test_what_waits_survives_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    received: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        while True:
            received.extend(await peer.receive_messages())

    toml = spooled("http://127.0.0.1:9/echo", tmp_path)
    async with running(toml, tmp_path) as bridge:
        program = await bridge.client()
        await program.send(b"one\ntwo\n")
        await until(lambda: bridge.chat.hub.stats.messages_accepted == 2)
        assert adds_up(bridge)
    assert not received
    async with scripted(script) as server, running(spooled(server.url(), tmp_path), tmp_path) as bridge:
        program = await bridge.client()
        await program.send(b"three\n")
        await until(lambda: len(received) == 3)
        assert received == ["one", "two", "three"]
        assert adds_up(bridge)
    assert events(caplog, "found messages of an earlier run")[0]["queued"] == 2


async def test_more_than_memory_holds_waits_on_disk(tmp_path: Path) -> None:
    received: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        while True:
            received.extend(await peer.receive_messages())

    limits = "queue.max_messages = 100\n"
    away = spooled("http://127.0.0.1:9/echo", tmp_path, limits)
    async with running(away, tmp_path) as bridge:
        program = await bridge.client()
        await program.send("".join(f"{number}\n" for number in range(5000)).encode())
        await until(lambda: bridge.chat.hub.stats.messages_accepted == 5000)
        assert bridge.chat.hub.queue.messages == 5000
    async with scripted(script) as server:
        async with running(spooled(server.url(), tmp_path, limits), tmp_path) as bridge:
            await until(lambda: len(received) == 5000)
            await until(lambda: bridge.chat.hub.stats.messages_confirmed == 5000)
            assert bridge.chat.hub.queue.is_empty
            assert adds_up(bridge)
        assert received == [str(number) for number in range(5000)]


async def test_a_full_spool_stops_the_writers(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.open_session()
        await peer.stay()

    toml = spooled("http://127.0.0.1:9/echo", tmp_path, 'queue.spool_max_bytes = "64KiB"\n')
    async with running(toml, tmp_path) as bridge:
        program = await bridge.client()
        writing = asyncio.ensure_future(program.send(b"x" * 199 + b"\n" + (b"y" * 199 + b"\n") * 40_000))
        await until(lambda: bridge.listener().is_holding_back)
        await until(lambda: bridge.chat.hub.queue.messages)
        assert not writing.done()
        assert bridge.chat.hub.queue.size_bytes <= 64 << 10
        writing.cancel()


async def test_a_spool_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    toml = one_session("http://127.0.0.1:9/echo", f'queue.spool = "{tmp_path / "missing" / "chat.spool"}"\n')
    with pytest.raises(BindError, match=r"sessions\.chat\.queue\.spool: .*does not exist"):
        async with running(toml, tmp_path):
            pass
