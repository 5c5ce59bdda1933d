"""The envelope framing over a session: places, events, and answers to writers."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.in_process import Program, Running, one_session, running, until
from tests.scripted import Peer, scripted

ENVELOPE = 'framing = "envelope"'


async def echo(peer: Peer) -> None:
    await peer.open_session()
    await peer.echo()


async def line(program: Program) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(await program.line())
    return parsed


async def lines(program: Program, count: int) -> list[dict[str, Any]]:
    return [await line(program) for _ in range(count)]


def boot(bridge: Running) -> str:
    return bridge.chat.names.boot


async def test_messages_carry_their_place_over_reconnects(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.open_session()
        await peer.receive_messages()
        await peer.send_text('a["one","two\\nlines"]')
        await peer.receive_messages()
        if peer.number == 1:
            await peer.send_text('c[3000,"Go away!"]')
            await peer.until_closed()

    async with (
        scripted(script) as server,
        running(one_session(server.url(), listener=ENVELOPE), tmp_path) as bridge,
    ):
        program = await bridge.client()
        known = {"session": "chat", "boot": boot(bridge)}
        for epoch in (1, 2):
            assert await line(program) == {
                "event": "connected", **known, "epoch": epoch, "transport": "websocket",
            }  # fmt: skip
            await program.send(b'{"data":"go"}\n')
            message = {"event": "message", **known, "epoch": epoch}
            assert await lines(program, 2) == [
                {**message, "seq": 1, "data": "one"},
                {**message, "seq": 2, "data": "two\nlines"},
            ]
            if epoch == 1:
                await program.send(b'{"data":"now leave"}\n')
                assert await line(program) == {
                    "event": "disconnected", "session": "chat", "epoch": 1,
                    "cause": "server_closed", "code": 3000, "reason": "Go away!",
                }  # fmt: skip


async def test_a_new_client_hears_of_the_open_session_first(tmp_path: Path) -> None:
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=ENVELOPE), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        assert (await line(program))["event"] == "connected"
        await program.send(b'{"data":"hi"}\n')
        assert (await line(program))["data"] == "hi"


async def test_a_writer_hears_what_became_of_its_messages(tmp_path: Path) -> None:
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=ENVELOPE), tmp_path) as bridge,
    ):
        await bridge.opened()
        writer, other = await bridge.client(), await bridge.client()
        await line(writer)
        await writer.send(b'{"data":"a","id":{"x":[1.5]}}\n{"data":"b"}\nnothing\n{"id":7}\n')
        told = [each for each in await lines(writer, 6) if each["event"] != "message"]
        assert told[:3] == [
            {"event": "ack", "id": {"x": [1.5]}, "status": "sent"},
            {"event": "rejected", "id": None, "reason": "invalid"},
            {"event": "rejected", "id": 7, "reason": "invalid"},
        ]
        assert told[3:] == [{"event": "ack", "id": {"x": [1.5]}, "status": "confirmed"}]
        assert bridge.dropped == {"invalid": 2}
        heard = await lines(other, 3)
        assert [each["event"] for each in heard] == ["connected", "message", "message"], (
            "answers are the writer's"
        )


async def test_a_line_that_is_too_long_is_rejected(tmp_path: Path) -> None:
    listener = f"{ENVELOPE}\nmax_message_size = 100"
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await line(program)
        await program.send(b'{"data":"%b","id":1}\n' % (b"x" * 200))
        assert await line(program) == {"event": "rejected", "id": None, "reason": "oversize"}
        assert bridge.dropped == {"oversize": 1}


async def test_a_full_queue_that_rejects_tells_the_writer_also_without_an_id(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        await peer.until_closed()

    queue = 'queue = { max_messages = 2, overflow = "reject" }'
    async with (
        scripted(script) as server,
        running(one_session(server.url(), queue, ENVELOPE), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await program.send(b"".join(b'{"data":"x","id":%d}\n' % number for number in (1, 2, 3)))
        await program.send(b'{"data":"x"}\n')
        assert await lines(program, 4) == [
            {"event": "ack", "id": 1, "status": "queued"},
            {"event": "ack", "id": 2, "status": "queued"},
            {"event": "rejected", "id": 3, "reason": "queue_full"},
            {"event": "rejected", "id": None, "reason": "queue_full"},
        ]


async def test_what_waits_for_a_full_queue_keeps_its_ids(tmp_path: Path) -> None:
    may_open = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        await may_open.wait()
        await peer.send_text("o")
        await peer.stay()

    async with (
        scripted(script) as server,
        running(one_session(server.url(), "queue = { max_messages = 2 }", ENVELOPE), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await program.send(b"".join(b'{"data":"x","id":%d}\n' % number for number in range(10)))
        await until(lambda: bridge.listener().is_holding_back)
        may_open.set()
        told: list[dict[str, Any]] = []
        while sum(each.get("status") == "sent" for each in told) < 10:
            told.append(await line(program))
        assert [each["id"] for each in told if each.get("status") == "sent"] == list(range(10))


async def test_what_a_stop_does_not_take_is_rejected(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        await peer.until_closed()

    async with scripted(script) as server:
        async with running(
            one_session(server.url(), "queue = { max_messages = 1 }", ENVELOPE), tmp_path
        ) as bridge:
            program = await bridge.client()
            await program.send(b'{"data":"x","id":1}\n{"data":"x","id":2}\n{"data":"x"}\n')
            assert (await line(program))["status"] == "queued"
            await until(lambda: bridge.listener().is_holding_back)
            chat = bridge.chat
        told = [json.loads(each) for each in (await program.closed()).splitlines()]
        assert told[:2] == [
            {"event": "rejected", "id": 2, "reason": "stopped"},
            {"event": "rejected", "id": None, "reason": "stopped"},
        ]
        assert chat.hub.stats.dropped["stopped"] == 3  # type: ignore[index]


async def test_a_client_that_only_writes_gets_answers_and_nothing_else(tmp_path: Path) -> None:
    listener = f'{ENVELOPE}\ndirection = "to-server"'
    async with (
        scripted(echo) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b'{"data":"x","id":1}\n')
        assert [each["status"] for each in await lines(program, 2)] == ["sent", "confirmed"]
        await until(lambda: bridge.dropped == {"no_consumer": 1})
        found = bridge.listener().count_delivery()
        assert (found.offered, found.delivered) == (0, 0)
