"""Clients that do not read: what each `slow_client` costs them, and what it costs the others."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path

import pytest

from sockjs_bridge.endpoints.base import DeliveryCounts
from tests.in_process import Program, Running, events, one_session, running, until
from tests.openssl_authority import Authority, client_context
from tests.scripted import Peer, scripted

PAD = "x" * 5000


_over_tls: ContextVar[Authority | None] = ContextVar("_over_tls", default=None)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["plain", "tls"], autouse=True)
def _each_kind_of_listener(request: pytest.FixtureRequest, authority: Authority) -> Iterator[None]:
    """Every promise holds over TLS as well."""
    token = _over_tls.set(authority if request.param == "tls" else None)
    yield
    _over_tls.reset(token)


def stop_reading(program: Program) -> None:
    program.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport, in fact


def read_again(program: Program) -> None:
    program.writer.transport.resume_reading()  # type: ignore[attr-defined]


def counts(bridge: Running) -> DeliveryCounts:
    """What became of the messages, which has to add up at any time."""
    found = bridge.listener().count_delivery()
    assert found.offered == found.delivered + found.buffered + sum(found.dropped.values())
    return found


class Source:
    """A server that sends numbered messages when the test says so."""

    def __init__(self) -> None:
        self.sent = 0
        self._peer: Peer | None = None

    async def script(self, peer: Peer) -> None:
        await peer.open_session()
        self._peer = peer
        await peer.stay()

    async def send(self, messages: int, pad: str = PAD) -> None:
        assert self._peer is not None
        for _ in range(messages):
            await self._peer.send_text("a" + json.dumps([f"{self.sent} {pad}"]))
            self.sent += 1


@asynccontextmanager
async def sending(tmp_path: Path, listener: str) -> AsyncIterator[tuple[Source, Running]]:
    source = Source()
    authority = _over_tls.get()
    if authority is not None:
        own = authority.server()
        listener += f'\ntls = {{ cert = "{own.cert}", key = "{own.key}" }}'
    async with (
        scripted(source.script) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        await until(lambda: source._peer)
        if authority is not None:
            bridge.client_tls = client_context(authority)
        yield source, bridge


async def fill(source: Source, bridge: Running, condition: Callable[[], object]) -> None:
    """Send until a condition holds, no faster than the bridge reads."""
    while not condition():
        await source.send(20)
        await until(lambda: bridge.chat.hub.stats.messages_received == source.sent or condition())


async def reading(program: Program, numbers: list[int]) -> None:
    """Keep the numbers of all messages that come."""
    while line := await program.reader.readline():
        numbers.append(int(line.split()[0]))


@asynccontextmanager
async def healthy(*programs: Program) -> AsyncIterator[list[list[int]]]:
    found: list[list[int]] = [[] for _ in programs]
    tasks = [
        asyncio.create_task(reading(program, numbers))
        for program, numbers in zip(programs, found, strict=True)
    ]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_drop_oldest_costs_the_slow_client_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener = 'slow_client = "drop-oldest"\nclient_buffer = "64KiB"'
    async with sending(tmp_path, listener) as (source, bridge):
        stalled, well = await bridge.client(), await bridge.client()
        stop_reading(stalled)
        async with healthy(well) as [numbers]:
            await fill(source, bridge, lambda: counts(bridge).dropped.get("slow_client", 0) > 100)  # type: ignore[call-overload]
            assert not bridge.chat.hub.is_blocked
            await until(lambda: len(numbers) == source.sent)
            assert numbers == list(range(source.sent))
        for client in bridge.listener()._clients:
            assert client.output.unsent_bytes <= (64 << 10) + 21 * (len(PAD) + 10), "and one burst"
        read_again(stalled)
        await until(lambda: counts(bridge).buffered == 0)
        dropped = bridge.dropped["slow_client"]
        assert counts(bridge).dropped == {"slow_client": dropped}
        assert counts(bridge).offered == 2 * source.sent
        got = [int((await stalled.line()).split()[0]) for _ in range(source.sent - dropped)]
        assert got == sorted(set(got))
        assert got[-1] == source.sent - 1, "what is dropped is the oldest"
        logged = events(caplog, "dropped the oldest")
        assert len(logged) == 1, "repeats are held back"
        assert logged[0]["reason"] == "slow_client"


async def test_the_gap_is_marked_in_the_envelope_framing(tmp_path: Path) -> None:
    listener = 'slow_client = "drop-oldest"\nclient_buffer = "64KiB"\nframing = "envelope"'
    async with sending(tmp_path, listener) as (source, bridge):
        stalled = await bridge.client()
        assert json.loads(await stalled.line())["event"] == "connected"
        stop_reading(stalled)
        await fill(source, bridge, lambda: counts(bridge).dropped.get("slow_client", 0) > 100)  # type: ignore[call-overload]
        read_again(stalled)
        expected, gaps = 1, 0
        while expected <= source.sent:
            line = json.loads(await stalled.line())
            if line["event"] == "gap":
                assert line == {"event": "gap", "session": "chat", "dropped": line["dropped"]}
                expected += line["dropped"]
                gaps += line["dropped"]
            else:
                assert (line["event"], line["seq"]) == ("message", expected)
                expected += 1
        assert gaps == bridge.dropped["slow_client"]


async def test_disconnect_closes_the_slow_client_at_the_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener = 'slow_client = "disconnect"\nclient_buffer = "64KiB"'
    async with sending(tmp_path, listener) as (source, bridge):
        stalled, well = await bridge.client(), await bridge.client()
        stop_reading(stalled)
        async with healthy(well) as [numbers]:
            await fill(source, bridge, lambda: bridge.listener().clients == 1)
            await until(lambda: len(numbers) == source.sent)
            assert numbers == list(range(source.sent))
        cut = events(caplog, "fell behind by client_buffer")[0]
        assert cut["reason"] == "slow_client"
        found = counts(bridge)
        assert found.buffered == 0
        read_again(stalled)
        whole_lines = (await stalled.closed()).count(b"\n")
        assert found.delivered == len(numbers) + whole_lines
        assert found.dropped == {"slow_client": cut["undelivered_messages"]}
        assert bridge.dropped == {"slow_client": cut["undelivered_messages"]}


async def test_a_burst_larger_than_client_buffer_is_no_sign_of_slowness(tmp_path: Path) -> None:
    listener = 'slow_client = "disconnect"\nclient_buffer = 1000'
    async with sending(tmp_path, listener) as (source, bridge):
        program = await bridge.client()
        await source.send(1, "x" * 5_000_000)
        assert len(await program.line()) == 5_000_002
        await source.send(1)
        assert (await program.line()).startswith("1 ")


async def test_pause_costs_the_others_one_stall_timeout_at_most(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Time is the subject: from the pause to the cut passes `stall_timeout`, then the others go on."""
    listener = 'client_buffer = "64KiB"\nstall_timeout = "300ms"'
    async with sending(tmp_path, listener) as (source, bridge):
        stalled, *well = [await bridge.client() for _ in range(10)]
        stop_reading(stalled)
        loop = asyncio.get_running_loop()
        async with healthy(*well) as found:
            await fill(source, bridge, lambda: bridge.chat.hub.is_blocked)
            paused_at = loop.time()
            sends = asyncio.create_task(source.send(100))
            await until(lambda: not bridge.chat.hub.is_blocked)
            assert loop.time() - paused_at < 3
            await sends
            await until(lambda: all(len(numbers) == source.sent for numbers in found))
            assert all(numbers == list(range(source.sent)) for numbers in found)
        assert bridge.listener().clients == 9
        assert len(events(caplog, "did not read for stall_timeout")) == 1
        assert counts(bridge).dropped == bridge.dropped


@pytest.mark.parametrize("slow_client", ["pause", "drop-oldest", "disconnect"])
async def test_a_client_that_leaves_in_the_middle_of_a_burst(tmp_path: Path, slow_client: str) -> None:
    listener = f'slow_client = "{slow_client}"\nclient_buffer = "4MiB"'
    async with sending(tmp_path, listener) as (source, bridge):
        leaving, well = await bridge.client(), await bridge.client()
        stop_reading(leaving)
        async with healthy(well) as [numbers]:
            await fill(source, bridge, lambda: counts(bridge).buffered > 500)
            leaving.writer.transport.abort()
            await until(lambda: bridge.listener().clients == 1)
            await source.send(10)
            await until(lambda: len(numbers) == source.sent)
        found = counts(bridge)
        assert found.buffered == 0
        assert set(found.dropped) == {"client_gone"}
        assert found.dropped == bridge.dropped
        assert found.dropped["client_gone"] > 500  # type: ignore[index]


@pytest.mark.parametrize("framing", ["lines", "nul", "netstring", "length32", "json", "envelope"])
async def test_what_a_client_that_was_cut_has_got_is_what_counts_as_delivered(
    tmp_path: Path, framing: str
) -> None:
    listener = f'client_buffer = "64KiB"\nstall_timeout = "50ms"\nframing = "{framing}"'
    async with sending(tmp_path, listener) as (source, bridge):
        stalled = await bridge.client()
        stop_reading(stalled)
        await fill(source, bridge, lambda: bridge.listener().clients == 0)
        read_again(stalled)
        data = await stalled.closed()
        whole = {
            "netstring": data.count(b"x,"),
            "length32": data.count(b" " + PAD.encode()),
            "nul": data.count(b"\0"),
            "envelope": data.count(b'x"}\n'),
        }.get(framing, data.count(b"\n"))
        assert whole > 10
        assert counts(bridge).delivered == whole


async def test_what_a_stop_cannot_deliver_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener = 'client_buffer = "1MiB"'
    async with sending(tmp_path, listener) as (source, bridge):
        stalled = await bridge.client()
        stop_reading(stalled)
        # The kernel's buffers may grow for a moment more: what waits has to wait for good.
        while counts(bridge).buffered <= 100:
            await fill(source, bridge, lambda: counts(bridge).buffered > 150)
            await asyncio.sleep(0.1)
        group, chat = bridge.listener(), bridge.chat
    waiting = events(caplog, "did not read until the end")[0]["undelivered_messages"]
    found = group.count_delivery()
    assert found.buffered == 0
    assert found.dropped == {"stopped": waiting} == chat.hub.stats.dropped
    assert found.offered == source.sent == found.delivered + found.dropped["stopped"]  # type: ignore[index]


async def test_a_client_that_closes_its_half_gets_what_waits_for_it(tmp_path: Path) -> None:
    """`on_eof = "close"` closes behind what waits, not before it."""
    if _over_tls.get() is not None:
        pytest.skip("the loop's TLS has no half-close; test_listener_tls has a client that has")
    async with sending(tmp_path, 'on_eof = "close"\nclient_buffer = "1MiB"') as (source, bridge):
        program = await bridge.client()
        stop_reading(program)
        await fill(source, bridge, lambda: bridge.listener().buffered_messages > 100)
        program.writer.write_eof()
        await until(lambda: not bridge.listener().consumers)
        sent = source.sent
        await source.send(10)
        read_again(program)
        assert (await program.closed()).count(b"\n") == sent
        await until(lambda: bridge.listener().clients == 0)
        assert counts(bridge).delivered == sent


async def test_a_writer_that_does_not_read_its_answers_is_not_read(tmp_path: Path) -> None:
    """Else the answers would fill the memory; `to-server`, so that nobody else has to wait for it."""
    listener = 'framing = "envelope"\ndirection = "to-server"\nclient_buffer = "64KiB"'
    async with sending(tmp_path, listener) as (_, bridge):
        writer, other = await bridge.client(), await bridge.client()
        stop_reading(writer)
        sock: socket.socket = writer.writer.get_extra_info("socket")
        assert sock is not None
        bad = b"nothing of this\n" * 1000
        writing = asyncio.create_task(_write_for_ever(writer, bad))
        await until(lambda: any(client._input_waits for client in bridge.listener()._clients))
        assert not bridge.chat.hub.is_blocked
        most = max(client.output.unsent_bytes for client in bridge.listener()._clients)
        assert most < 2_000_000  # one read of the loop has 16 000 lines at most
        await other.send(b'{"data":"from another","id":1}\n')
        assert json.loads(await other.line()) == {"event": "ack", "id": 1, "status": "sent"}
        writing.cancel()
        read_again(writer)
        await until(lambda: not any(client._input_waits for client in bridge.listener()._clients))


async def _write_for_ever(program: Program, data: bytes) -> None:
    while True:
        await program.send(data)


async def test_answers_that_are_not_read_are_dropped_under_drop_oldest(tmp_path: Path) -> None:
    listener = 'framing = "envelope"\nslow_client = "drop-oldest"\nclient_buffer = "64KiB"'
    async with sending(tmp_path, listener) as (_, bridge):
        writer = await bridge.client()
        stop_reading(writer)
        writing = asyncio.create_task(_write_for_ever(writer, b"nothing of this\n" * 1000))
        await until(lambda: bridge.listener().counts.dropped_others > 1000)
        writing.cancel()
        read_again(writer)
        while True:
            line = json.loads(await writer.line())
            if line["event"] == "gap":
                assert line["dropped"] == 0, "no message was dropped"
                break
        assert counts(bridge).dropped == {}
