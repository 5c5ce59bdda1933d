"""Answers to a writer: gathered, bounded, and none behind its end."""

import asyncio
import json

from sockjs_bridge.endpoints.answering import Answering
from sockjs_bridge.endpoints.receipts import MessageFate
from sockjs_bridge.errors import DropReason


async def test_many_answers_are_one_write() -> None:
    written: list[bytes] = []
    answering = Answering(asyncio.get_running_loop(), written.append)
    receipts = answering.receipts(["a", None, "b"])
    receipts.part(0, 2).report(MessageFate.SENT)
    receipts.part(2).report(MessageFate.DROPPED, DropReason.QUEUE_FULL)
    assert not written
    await asyncio.sleep(0)
    [lines] = written
    assert [json.loads(line) for line in lines.splitlines()] == [
        {"event": "ack", "id": "a", "status": "sent"},
        {"event": "ack", "id": "b", "status": "dropped"},
    ]


async def test_nothing_is_written_where_nobody_gave_an_id() -> None:
    written: list[bytes] = []
    Answering(asyncio.get_running_loop(), written.append).receipts([None, None]).report(MessageFate.SENT)
    await asyncio.sleep(0)
    assert written == []


async def test_they_do_not_gather_without_bound() -> None:
    written: list[bytes] = []
    answering = Answering(asyncio.get_running_loop(), written.append)
    for _ in range(25):
        answering.tell(list(range(100)), MessageFate.SENT, None)
    assert len(written) == 2
    await asyncio.sleep(0)
    assert b"".join(written).count(b"\n") == 2500


async def test_a_writer_that_has_gone_is_told_nothing() -> None:
    written: list[bytes] = []
    answering = Answering(asyncio.get_running_loop(), written.append)
    receipts = answering.receipts([1])
    receipts.report(MessageFate.SENT)
    answering.stop()
    receipts.report(MessageFate.CONFIRMED)
    await asyncio.sleep(0)
    assert written == []
