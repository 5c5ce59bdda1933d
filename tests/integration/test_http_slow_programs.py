"""Programs that do not read, while the session is one over HTTP: a response is always read to its end."""

import asyncio
import itertools
from pathlib import Path

import pytest

from tests.in_process import Program, events, one_session, running, until
from tests.scripted import Peer, scripted
from tests.scripted_http import PRELUDES, Backend, framed, over


def stop_reading(program: Program) -> None:
    program.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport, in fact


def read_again(program: Program) -> None:
    program.writer.transport.resume_reading()  # type: ignore[attr-defined]


# So large that what the kernel takes meanwhile does not bring a blocked program below the mark at which it goes on.
LARGE_BUFFER = 'client_buffer = "16MiB"\nstall_timeout = "8s"'


def message(number: int) -> str:
    return f'a["{number} {"x" * 100_000}"]'


async def test_a_response_is_read_to_its_end_and_the_next_one_waits(tmp_path: Path) -> None:
    is_blocked, has_ended = asyncio.Event(), asyncio.Event()
    sent = 0

    async def receive(peer: Peer) -> None:
        nonlocal sent
        await backend.begin_stream(peer)
        if len(backend.named("xhr_streaming")) > 1:
            await peer.send_chunk(framed(peer.name, 'a["next"]'))
            await peer.until_closed()
            return
        await peer.send_chunk(framed(peer.name, "o"))
        await backend.until_requested("xhr_send")
        after_block = 0
        while after_block < 20:
            await peer.send_chunk(framed(peer.name, message(sent)))
            sent += 1
            after_block += is_blocked.is_set()
        await peer.send_chunk(b"")
        has_ended.set()

    async def watch() -> None:
        await until(lambda: bridge.chat.hub.is_blocked)
        is_blocked.set()

    backend = Backend(receive=receive)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over("xhr-streaming"), LARGE_BUFFER), tmp_path) as bridge,
    ):
        program = await bridge.client()
        stop_reading(program)
        watching = asyncio.create_task(watch())
        await program.send(b"go\n")
        await watching
        await has_ended.wait()
        await until(lambda: bridge.chat.hub.stats.messages_received == sent)
        assert bridge.chat.hub.is_blocked
        await program.send(b"this goes out meanwhile\n")
        await until(lambda: len(backend.sent) == 2)
        assert len(backend.named("xhr_streaming")) == 1, "the next receive is put off"
        read_again(program)
        for number in range(sent):
            assert (await program.line()).startswith(f"{number} ")
        assert await program.line() == "next"
        assert bridge.dropped == {}
        assert len(backend.session_ids) == 1


async def test_while_a_program_does_not_read_the_next_poll_waits(tmp_path: Path) -> None:
    async def receive(peer: Peer) -> None:
        polls = len(backend.named("xhr"))
        if polls > 1:
            await backend.until_requested("xhr_send")
        await peer.answer("200 OK", body=framed(peer.name, "o" if polls == 1 else message(polls)))

    backend = Backend(receive=receive)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over("xhr-polling"), LARGE_BUFFER), tmp_path) as bridge,
    ):
        program = await bridge.client()
        stop_reading(program)
        await program.send(b"go\n")
        await until(lambda: bridge.chat.hub.is_blocked)
        polls = len(backend.named("xhr"))
        await program.send(b"this goes out meanwhile\n")
        await until(lambda: len(backend.sent) == 2)
        assert len(backend.named("xhr")) == polls
        read_again(program)
        await backend.until_requested("xhr", polls + 5)
        for number in range(2, polls + 5):
            assert (await program.line()).startswith(f"{number} ")
        assert backend.most_at_once["receive"] == 1


@pytest.mark.parametrize("transport", ["xhr-streaming", "xhr-polling"])
async def test_a_client_beyond_twice_client_buffer_is_cut_while_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    read = 0

    async def receive(peer: Peer) -> None:
        if peer.name in PRELUDES:
            await backend.begin_stream(peer)
            await peer.send_chunk(framed(peer.name, "o"))
        elif len(backend.requests) == 1:
            await peer.answer("200 OK", body=framed(peer.name, "o"))
            return
        else:
            await peer.start_chunked()
        await backend.until_requested("xhr_send")
        for number in itertools.count():
            await until(lambda sent=number: read == sent)  # type: ignore[misc]
            await peer.send_chunk(framed(peer.name, message(number)))

    backend = Backend(receive=receive)
    listener = 'client_buffer = "64KiB"\nstall_timeout = "8s"'
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport), listener), tmp_path) as bridge,
    ):
        stalled, healthy = await bridge.client(), await bridge.client()
        stop_reading(stalled)
        await healthy.send(b"go\n")
        while bridge.listener().clients == 2 or read < 10:
            assert (await healthy.line()).startswith(f"{read} ")
            read += 1
        cut = events(caplog, "fell behind by twice client_buffer")[0]
        assert cut["reason"] == "slow_client"
        assert (await healthy.line()).startswith(f"{read} ")
        assert bridge.listener().clients == 1
        assert bridge.chat.supervisor.epoch == 1
