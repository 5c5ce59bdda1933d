"""A stop of the daemon while its session is one over HTTP."""

import asyncio
from pathlib import Path

import pytest

from tests.in_process import events, one_session, running, until
from tests.scripted import Peer, scripted
from tests.scripted_http import HTTP_TRANSPORTS, Backend, over


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_stop_sends_what_waits_behind_a_request(tmp_path: Path, transport: str) -> None:
    may_answer = asyncio.Event()

    async def send(peer: Peer) -> None:
        await may_answer.wait()
        await backend.send(peer)

    backend = Backend(send=send)
    async with scripted(backend) as server:
        async with running(one_session(server.url(), over(transport)), tmp_path) as bridge:
            await bridge.opened()
            program = await bridge.client()
            await program.send(b"1\n")
            await until(lambda: bridge.chat.hub.stats.messages_in_flight == 1)
            await program.send(b"2\n3\n")
            await until(lambda: bridge.chat.hub.queue.messages == 2)
            bridge.daemon.stop()
            may_answer.set()
        assert backend.sent == [["1"], ["2", "3"]]
        stats = bridge.chat.hub.stats
        assert (stats.messages_sent, stats.messages_in_doubt, stats.messages_in_flight) == (3, 0, 0)
        assert bridge.dropped == {}


async def test_a_stop_does_not_wait_for_ever_and_counts_what_it_leaves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(peer: Peer) -> None:
        await peer.until_closed()

    backend = Backend(send=send)
    async with scripted(backend) as server:
        async with running(one_session(server.url(), over("xhr-streaming")), tmp_path) as bridge:
            await bridge.opened()
            program = await bridge.client()
            await program.send(b"1\n")
            await until(lambda: bridge.chat.hub.stats.messages_in_flight == 1)
            await program.send(b"2\n3\n")
            await until(lambda: bridge.chat.hub.queue.messages == 2)
        stats = bridge.chat.hub.stats
        assert (stats.messages_sent, stats.messages_in_doubt, stats.messages_in_flight) == (1, 1, 0)
        assert bridge.dropped == {"stopped": 2}
        assert events(caplog, "in doubt")
