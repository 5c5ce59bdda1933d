"""New clients get the last messages first, then what comes: no gap, no double."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import Program, events, one_session, running, until
from tests.scripted import Peer, scripted


class Source:
    """A server that sends numbered messages when the test says so."""

    def __init__(self) -> None:
        self.sent = 0
        self.peer: Peer | None = None

    async def script(self, peer: Peer) -> None:
        await peer.open_session()
        self.peer = peer
        await peer.until_closed()

    async def send(self, count: int, together: int = 1) -> None:
        assert self.peer is not None
        for _ in range(count // together):
            numbers = range(self.sent, self.sent + together)
            await self.peer.send_text("a" + json.dumps([str(number) for number in numbers]))
            self.sent += together


async def test_the_last_ones_then_live_without_a_gap_or_a_double(tmp_path: Path) -> None:
    source = Source()
    async with (
        scripted(source.script) as server,
        running(one_session(server.url(), listener="replay = 10"), tmp_path) as bridge,
    ):
        await until(lambda: source.peer)
        await source.send(30, together=3)
        await until(lambda: bridge.chat.hub.stats.messages_received == 30)
        sending = asyncio.create_task(source.send(2000, together=2))
        programs = []
        while not sending.done():
            programs.append(await bridge.client())
            await asyncio.sleep(0.01)
        await sending
        late = await bridge.client()
        await until(lambda: bridge.chat.hub.stats.messages_received == source.sent)
        await source.send(1)
        for program in [*programs, late]:
            numbers: list[int] = []
            while not numbers or numbers[-1] != source.sent - 1:
                numbers.append(int(await program.line()))
            assert numbers == list(range(numbers[0], source.sent))
            assert len(numbers) >= 11
            if program is late:
                assert len(numbers) == 11
        found = bridge.listener().count_delivery()
        assert found.offered == found.delivered + found.buffered


async def test_messages_that_nobody_got_count_when_they_are_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source()
    async with scripted(source.script) as server:
        async with running(one_session(server.url(), listener="replay = 10"), tmp_path) as bridge:
            await until(lambda: source.peer)
            await source.send(15)
            await until(lambda: bridge.chat.hub.stats.messages_received == 15)
            assert bridge.dropped == {"no_consumer": 5}
            program = await bridge.client()
            assert await program.lines(10) == [str(number) for number in range(5, 15)]
            program.close()
            await until(lambda: bridge.listener().clients == 0)
            await source.send(12)
            await until(lambda: bridge.chat.hub.stats.messages_received == 27)
            # Ten that the program got were forgotten, and two that it did not get.
            assert bridge.dropped == {"no_consumer": 7}
            chat = bridge.chat
        assert chat.hub.stats.dropped == {"no_consumer": 17}
        assert events(caplog, "no program ever got")


async def test_what_another_listener_delivered_is_not_lost(tmp_path: Path) -> None:
    source = Source()
    others = '[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\n[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\nreplay = 3'
    async with scripted(source.script) as server:
        toml = one_session(server.url(), listener=f"replay = 2\n{others}")
        async with running(toml, tmp_path) as bridge:
            await until(lambda: source.peer)
            program = await bridge.client(1)
            await source.send(10)
            assert len(await program.lines(10)) == 10
            program.close()
            await until(lambda: bridge.listener(1).clients == 0)
            assert bridge.dropped == {}
            await source.send(6)
            await until(lambda: bridge.chat.hub.stats.messages_received == 16)
            assert bridge.dropped == {"no_consumer": 4}, "one of the two that keep messages counts them"
            chat = bridge.chat
        assert chat.hub.stats.dropped == {"no_consumer": 6}


async def test_in_the_envelope_framing_they_keep_their_places(tmp_path: Path) -> None:
    source = Source()
    listener = 'framing = "envelope"\nreplay = 3'
    async with (
        scripted(source.script) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await until(lambda: source.peer)
        await source.send(4)
        await until(lambda: bridge.chat.hub.stats.messages_received == 4)
        assert source.peer is not None
        source.peer.reset()
        await bridge.opened(epoch=2)
        await until(lambda: source.peer and source.peer.number == 2)
        await source.send(1)
        await until(lambda: bridge.chat.hub.stats.messages_received == 5)
        program = await bridge.client()
        await source.send(1)
        told = await _parsed(program, 5)
        assert (told[0]["event"], told[0]["epoch"]) == ("connected", 2)
        places = [(each["epoch"], each["seq"], each["data"]) for each in told[1:]]
        assert places == [(1, 3, "2"), (1, 4, "3"), (2, 1, "4"), (2, 2, "5")]


async def _parsed(program: Program, count: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in await program.lines(count)]


@pytest.mark.parametrize("slow_client", ["drop-oldest", "disconnect", "pause"])
async def test_a_replay_beyond_client_buffer_is_no_sign_of_slowness(tmp_path: Path, slow_client: str) -> None:
    pad = "x" * 20_000

    async def script(peer: Peer) -> None:
        await peer.open_session()
        for number in range(300):
            await peer.send_text(f'a["{number} {pad}"]')
        while True:
            for _ in await peer.receive_messages():
                await peer.send_text('a["live"]')

    listener = f'replay = 300\nclient_buffer = 1000\nslow_client = "{slow_client}"\n'
    async with (
        scripted(script) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await until(lambda: bridge.chat.hub.stats.messages_received == 300)
        program = await bridge.client()
        program.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport, in fact
        await until(lambda: bridge.listener().buffered_messages > 10)
        await program.send(b"one\ntwo\n")
        await until(lambda: bridge.chat.hub.stats.messages_received == 302)
        assert not bridge.chat.hub.is_blocked
        program.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for number in range(300):
            assert (await program.line()).startswith(f"{number} ")
        assert await program.lines(2) == ["live", "live"]
        assert bridge.dropped == {}
