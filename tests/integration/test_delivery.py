"""What becomes of messages for the server when connections break (delivery.md), read from the metrics page."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sockjs_bridge.bridge.supervisor import Supervisor
from tests.in_process import Program, Running, events, one_session, running, until
from tests.real_servers import RealServer
from tests.scripted import CLOSE, PING, PONG, TEXT, Peer, Script, ScriptedServer, scripted
from tests.scripted_http import Backend, over

# Long: whatever PING comes is one that asks for a confirmation.
LONG = 'ping_interval = "50s"\n'
RESEND = f"{LONG}queue = {{ resend_in_doubt = true }}\n"


@asynccontextmanager
async def bridged(
    script: Script, tmp_path: Path, session: str = LONG
) -> AsyncIterator[tuple[ScriptedServer, Running]]:
    """A scripted server and a bridge to it, with an admin listener."""
    async with (
        scripted(script) as server,
        running(with_admin(one_session(server.url(), session), tmp_path), tmp_path) as bridge,
    ):
        yield server, bridge


def with_admin(config: str, tmp_path: Path) -> str:
    return f'[admin]\nlisten = "unix:{tmp_path}/admin"\n{config}'


class Counts:
    """The counts of one session, as Prometheus gets them."""

    def __init__(self, page: str) -> None:
        self.by_reason: dict[str, dict[str, float]] = {}
        self._plain: dict[str, float] = {}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                name = sample.name.removeprefix("sockjs_bridge_").removesuffix("_total")
                if "reason" in sample.labels:
                    self.by_reason.setdefault(name, {})[sample.labels["reason"]] = sample.value
                else:
                    self._plain[name + sample.labels.get("direction", "")] = sample.value

    def __getitem__(self, name: str) -> int:
        return int(self._plain[name])

    @property
    def written(self) -> int:
        return self["messagesto_server"]

    @property
    def given_up(self) -> dict[str, float]:
        """Accepted, and then dropped."""
        return self.by_reason.get("queue_dropped_messages", {})

    @property
    def dropped(self) -> dict[str, float]:
        return self.by_reason.get("dropped", {})


async def counts(bridge: Running) -> Counts:
    """Ask the metrics page, and add it up: no message may be missing."""
    connector = aiohttp.UnixConnector(str(bridge.file.parent / "admin"))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.get("http://localhost/metrics") as answer,
    ):
        found = Counts(await answer.text())
    waiting = found["queue_messages"] - found["queue_resend_messages"]
    assert found["accepted_messages"] == found.written + waiting + sum(found.given_up.values())
    assert found["in_doubt"] <= found.written
    return found


async def until_counted(bridge: Running, name: str, count: int) -> Counts:
    """Wait until the metrics page shows this count."""
    while (found := await counts(bridge))[name] < count:
        await asyncio.sleep(0.005)
    assert found[name] == count
    return found


async def write(program: Program, *messages: str) -> None:
    await program.send("".join(f"{message}\n" for message in messages).encode())


async def receive(peer: Peer, count: int) -> list[str]:
    """So many messages; PINGs that come before the last of them are not answered."""
    messages: list[str] = []
    while len(messages) < count:
        opcode, payload = await peer.receive_frame()
        if opcode == CLOSE:
            raise ConnectionAbortedError("the client has closed")
        if opcode == TEXT:
            messages += json.loads(payload)
    return messages


async def next_ping(peer: Peer) -> bytes:
    opcode, payload = await peer.receive_frame()
    assert opcode == PING
    return payload


# --- confirmation ---------------------------------------------------------------------------------------------


async def test_unconfirmed_messages_cause_a_ping_within_a_second_and_its_answer_confirms(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    waited: list[float] = []
    may_answer = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.open_session()
        assert await receive(peer, 2) == ["a", "b"]
        began = loop.time()
        payload = await next_ping(peer)
        waited.append(loop.time() - began)
        await may_answer.wait()
        await peer.send_frame(PONG, payload)
        await peer.stay()

    async with bridged(script, tmp_path) as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, "a", "b")
        await until(lambda: waited)
        assert 0.5 < waited[0] < 4.0  # not at once, not only after ping_interval
        found = await counts(bridge)
        assert (found.written, found["confirmed_messages"]) == (2, 0)
        may_answer.set()
        found = await until_counted(bridge, "confirmed_messages", 2)
        assert found["in_doubt"] == 0


async def test_a_break_leaves_exactly_the_unconfirmed_in_doubt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    confirmed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 1:
            await receive(peer, 2)
            await peer.send_frame(PONG, await next_ping(peer))
            await confirmed.wait()
            await receive(peer, 3)
            return
        await peer.stay()

    async with bridged(script, tmp_path) as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, "a", "b")
        await until_counted(bridge, "confirmed_messages", 2)
        confirmed.set()
        await write(program, "c", "d", "e")
        await bridge.opened(epoch=2)
        found = await counts(bridge)
        assert (found.written, found["confirmed_messages"], found["in_doubt"]) == (5, 2, 3)
        assert (found["queue_messages"], found["resent_messages"], found.dropped) == (0, 0, {})
        (line,) = events(caplog, "in doubt")
        assert line["messages"] == 3
        assert "not sent again" in str(line["message"])


@pytest.mark.parametrize("payload", [b"", b"77", b"wrong"])
async def test_a_pong_that_answers_none_of_our_pings_confirms_nothing(tmp_path: Path, payload: bytes) -> None:
    """RFC 6455 section 5.5.3 allows PONGs that nobody asked for."""

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await peer.send_frame(PONG, b"1")
        if peer.number > 1:
            await peer.stay()
        await receive(peer, 1)
        await next_ping(peer)
        await peer.send_frame(PONG, payload)

    async with bridged(script, tmp_path) as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, "a")
        await bridge.opened(epoch=2)
        found = await counts(bridge)
        assert (found["confirmed_messages"], found["in_doubt"]) == (0, 1)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_close_that_is_answered_confirms(tmp_path: Path, answers: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.open_session()
        while True:
            opcode, payload = await peer.receive_frame()
            if opcode == CLOSE:
                break
        if answers:
            await peer.send_frame(CLOSE, payload)
        else:
            await peer.until_closed()

    async with bridged(script, tmp_path) as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, "a", "b")
        await until(lambda: bridge.chat.hub.stats.messages_sent == 2)
    stats = bridge.chat.hub.stats
    assert (stats.messages_confirmed, stats.messages_in_doubt) == ((2, 0) if answers else (0, 2))


async def test_a_close_of_the_server_that_crosses_ours_confirms_nothing(tmp_path: Path) -> None:
    """It may have been sent before anything of ours was read."""
    leaves = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await leaves.wait()
        await peer.send_frame(CLOSE, (1001).to_bytes(2, "big"))
        await peer.until_closed()

    async with bridged(script, tmp_path) as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, "a")
        await until(lambda: bridge.chat.hub.stats.messages_sent == 1)
        supervisor = bridge.chat.supervisor
        assert isinstance(supervisor, Supervisor)
        bridge.daemon.stop()
        await until(lambda: supervisor._stopping)
        leaves.set()
    stats = bridge.chat.hub.stats
    assert (stats.messages_confirmed, stats.messages_in_doubt) == (0, 1)


# --- resend_in_doubt --------------------------------------------------------------------------------------------


async def test_what_is_in_doubt_is_sent_again_first_and_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sessions: list[list[str]] = []
    may_open = asyncio.Event()

    async def script(peer: Peer) -> None:
        sessions.append([])
        if peer.number == 1:
            await peer.open_session()
            sessions[0] += await receive(peer, 3)
            await peer.send_frame(PONG, await next_ping(peer))
            sessions[0] += await receive(peer, 4)
            return
        await may_open.wait()
        await peer.open_session()
        while True:
            sessions[-1] += await peer.receive_messages()

    async with bridged(script, tmp_path, RESEND) as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, "1", "2", "3")
        await until_counted(bridge, "confirmed_messages", 3)
        await write(program, "4", "5", "6", "7")
        found = await until_counted(bridge, "in_doubt", 4)
        assert (found["queue_messages"], found["queue_resend_messages"]) == (4, 4)
        await write(program, "8")
        await until_counted(bridge, "queue_messages", 5)
        may_open.set()
        found = await until_counted(bridge, "confirmed_messages", 8)
        assert sessions == [["1", "2", "3", "4", "5", "6", "7"], ["4", "5", "6", "7", "8"]]
        assert (found.written, found["resent_messages"], found["in_doubt"]) == (8, 4, 4)
        assert (found["queue_messages"], found["queue_resend_messages"]) == (0, 0)
        (line,) = events(caplog, "in doubt")
        assert "to be sent again" in str(line["message"])


async def test_over_http_what_was_not_answered_is_sent_again_first_and_in_order(tmp_path: Path) -> None:
    async def send(peer: Peer) -> None:
        if len(backend.named("xhr_send")) == 1:
            await until(lambda: bridge.chat.hub.queue.messages == 2)
            await peer.answer("500 Internal Server Error")
        else:
            await backend.send(peer)

    backend = Backend(send=send)
    session = over("xhr-streaming", more="queue = { resend_in_doubt = true }")
    async with bridged(backend, tmp_path, session) as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, "1")
        await until(lambda: bridge.chat.hub.stats.messages_in_flight == 1)
        await write(program, "2", "3")
        found = await until_counted(bridge, "confirmed_messages", 3)
        assert backend.sent == [["1", "2", "3"]]
        assert (found.written, found["resent_messages"], found["in_doubt"]) == (3, 1, 1)


async def test_a_server_that_answers_no_ping_gets_no_more_than_the_queue_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only with `resend_in_doubt`: what is not confirmed has to be kept, and the queue is all there is for that."""
    received: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        while True:
            received.extend(await receive(peer, 1))

    session = 'ping_interval = "100ms"\nqueue = { resend_in_doubt = true, max_messages = 10 }\n'
    messages = [str(number) for number in range(30)]
    async with bridged(script, tmp_path, session) as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, *messages)
        await until(lambda: events(caplog, "answers no PING"))
        found = await counts(bridge)
        assert (found["accepted_messages"], found.written, found["confirmed_messages"]) == (10, 10, 0)
        assert received == messages[:10]
        assert bridge.listener().is_holding_back


async def test_without_resending_a_server_that_answers_no_ping_gets_everything(tmp_path: Path) -> None:
    received: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        while True:
            received.extend(await receive(peer, 1))

    session = 'ping_interval = "100ms"\nqueue = { max_messages = 10 }\n'
    messages = [str(number) for number in range(300)]
    async with bridged(script, tmp_path, session) as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, *messages)
        await until(lambda: len(received) == 300)
        assert received == messages
        assert (await counts(bridge))["confirmed_messages"] == 0


async def test_a_message_of_the_server_that_is_too_large_costs_no_message_of_ours(tmp_path: Path) -> None:
    """The session ends with 1009 here, too, but it is ours."""
    received: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 1:
            await receive(peer, 2)
            await peer.send_text("a" + json.dumps(["x" * 5000]))
            await peer.until_closed()
        while True:
            received.extend(await peer.receive_messages())

    async with bridged(script, tmp_path, f'max_frame_size = "1KiB"\n{RESEND}') as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, "small", "larger")
        found = await until_counted(bridge, "confirmed_messages", 2)
        assert received == ["small", "larger"]
        assert found.dropped == {}


async def test_after_1009_the_largest_is_left_out(tmp_path: Path) -> None:
    received: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        if peer.number == 1:
            await receive(peer, 3)
            await peer.send_frame(CLOSE, (1009).to_bytes(2, "big"))
            return
        while True:
            received.extend(await peer.receive_messages())

    async with bridged(script, tmp_path, RESEND) as (_, bridge):
        await bridge.opened()
        program = await bridge.client()
        await write(program, "a", "far too large", "b")
        found = await until_counted(bridge, "confirmed_messages", 2)
        assert received == ["a", "b"]
        assert (found.written, found["in_doubt"], found.dropped) == (3, 2, {"refused": 1})
        assert found.given_up == {}


# --- a full queue and old messages -------------------------------------------------------------------------------


async def away_then_back(peer: Peer, received: list[str], is_back: asyncio.Event) -> None:
    if not is_back.is_set():
        await peer.answer("503 Busy", "Connection: close\r\n")
        return
    await peer.open_session()
    while True:
        received.extend(await peer.receive_messages())


@pytest.mark.parametrize("overflow", ["pause", "reject", "drop-oldest"])
async def test_a_full_queue(tmp_path: Path, overflow: str) -> None:
    received: list[str] = []
    is_back = asyncio.Event()
    messages = [str(number) for number in range(100)]
    session = f'{LONG}queue = {{ max_messages = 10, overflow = "{overflow}" }}\n'

    async def script(peer: Peer) -> None:
        await away_then_back(peer, received, is_back)

    async with bridged(script, tmp_path, session) as (_, bridge):
        program = await bridge.client()
        await write(program, *messages)
        given_up: dict[str, float] = {}
        dropped: dict[str, float] = {}
        match overflow:
            case "pause":
                await until(lambda: bridge.listener().is_holding_back)
                expected = messages
            case "reject":
                await until(lambda: sum(bridge.dropped.values()) == 90)
                expected, dropped = messages[:10], {"queue_full": 90}
            case _:
                await until(lambda: sum(bridge.dropped.values()) == 90)
                expected, dropped, given_up = messages[90:], {"queue_full": 90}, {"queue_full": 90}
        found = await counts(bridge)
        assert found["queue_messages"] == 10
        is_back.set()
        found = await until_counted(bridge, "confirmed_messages", len(expected))
        assert received == expected
        assert (found.dropped, found.given_up) == (dropped, given_up)
        assert found["accepted_messages"] == {"pause": 100, "reject": 10}.get(overflow, 100)


async def test_what_is_too_old_is_not_sent_when_the_server_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[str] = []
    is_back = asyncio.Event()
    session = f'{LONG}queue = {{ max_age = "300ms" }}\n'

    async def script(peer: Peer) -> None:
        await away_then_back(peer, received, is_back)

    async with bridged(script, tmp_path, session) as (_, bridge):
        program = await bridge.client()
        await write(program, "old", "older")
        await until(lambda: bridge.dropped.get("expired") == 2)
        found = await counts(bridge)
        assert (found["queue_messages"], found.given_up) == (0, {"expired": 2})
        is_back.set()
        await bridge.opened()
        await write(program, "new")
        found = await until_counted(bridge, "confirmed_messages", 1)
        assert received == ["new"]
        assert found["accepted_messages"] == 3
        assert events(caplog, "longer than queue.max_age")[0]["messages"] == 2


# --- a real server ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming"])
async def test_a_real_server_that_is_killed_in_mid_flood(
    tmp_path: Path, transport: str, real_server: Any
) -> None:
    """At least once: each message arrives at the server, those that were in doubt perhaps twice, all in order."""
    server: RealServer = real_server("node")
    session = f'transports = ["{transport}"]\n{RESEND}'
    listener = 'max_message_size = "64KiB"\n'
    config = one_session(server.url("/chat"), session, listener)
    count = 20_000
    async with running(with_admin(config, tmp_path), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()

        async def flood() -> None:
            for start in range(0, count, 500):
                await write(program, *(f"{number} {'x' * 100}" for number in range(start, start + 500)))

        flooding = asyncio.create_task(flood())
        heard: list[int] = []
        kills = 0
        # The room sends back all that the server has read; what it had not yet sent dies with it.
        while not heard or heard[-1] != count - 1:
            heard.append(int((await program.line()).split(" ")[0]))
            if kills < 3 and len(heard) > 1000 * (kills + 1):
                kills += 1
                await asyncio.to_thread(server.restart)
        await flooding
        found = await until_counted(bridge, "confirmed_messages", count)
        assert kills == 3
        assert (found["accepted_messages"], found.written, found.dropped) == (count, count, {})
        assert found["resent_messages"] >= found["in_doubt"] > 0
        doubles = len(heard) - len(set(heard))
        assert doubles <= found["resent_messages"]
        # Whatever was not confirmed when a server died was sent again: only what was can have died unheard.
        firsts = list(dict.fromkeys(heard))
        assert firsts == sorted(firsts)
