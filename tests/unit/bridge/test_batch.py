"""Bursts and batches: cut and counted without losing what belongs to a message."""

import pytest

from sockjs_bridge.bridge.batch import Batch, Burst, count_messages, part_of, utf8_bytes
from sockjs_bridge.endpoints.receipts import MessageFate
from sockjs_bridge.errors import DropReason
from tests.writer import Writer


def burst(*messages: str, writer: Writer | None = None, number: int = 0) -> Burst:
    receipts = None if writer is None else writer.receipts([message.upper() for message in messages])
    return Burst(list(messages), utf8_bytes(list(messages)), 7.0, receipts, number)


def test_a_part_keeps_what_belongs_to_its_messages() -> None:
    writer = Writer()
    whole = burst("a", "ä", "c", writer=writer, number=10)
    whole.alone, whole.was_written = True, True
    part = whole.part(1)
    assert (part.messages, part.size_bytes, part.accepted_at) == (["ä", "c"], 3, 7.0)
    assert (part.number, part.last_number, part.alone, part.was_written) == (11, 12, True, True)
    part.report(MessageFate.DROPPED, DropReason.REFUSED)
    assert writer.fates == {"Ä": ["dropped"], "C": ["dropped"]}
    assert writer.reasons == dict.fromkeys(["Ä", "C"], DropReason.REFUSED)


def test_a_part_of_what_is_in_no_spool_has_no_number() -> None:
    assert burst("a", "b").part(1).number == 0


def test_whoever_asked_for_nothing_is_told_nothing() -> None:
    burst("a").report(MessageFate.SENT)


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 5, [["a", "b"], ["c"], ["d", "e"]]),
        (1, 4, [["b"], ["c"], ["d"]]),
        (2, 3, [["c"]]),
        (0, 0, []),
        (3, 3, []),
        (5, 5, []),
        (1, 2, [["b"]]),
    ],
)
def test_part_of_cuts_across_bursts(start: int, stop: int, expected: list[list[str]]) -> None:
    bursts = [burst("a", "b"), burst("c"), burst("d", "e")]
    assert [each.messages for each in part_of(bursts, start, stop)] == expected


def test_part_of_hands_on_whole_bursts_as_they_are() -> None:
    whole = burst("a", "b")
    (found,) = part_of([whole], 0, 2)
    assert found is whole


def test_what_is_not_sent_again_need_not_be_kept_as_text() -> None:
    writer = Writer()
    light = burst("a" * 1000, "b", writer=writer).without_text()
    assert (light.messages, light.size_bytes) == ([], 0)
    light.report(MessageFate.CONFIRMED)
    assert len(writer.fates) == 2


def test_a_batch_of_one_burst_has_its_messages() -> None:
    batch = Batch.of(burst("a", "ä"))
    assert (batch.messages, batch.size_bytes, batch.is_held) == (["a", "ä"], 3, False)


def test_counting() -> None:
    assert count_messages([burst("a", "b"), burst("c")]) == 3
    assert count_messages([]) == 0
    assert utf8_bytes([]) == 0
    assert utf8_bytes(["abc", "ä", "\ud800"]) == 3 + 2 + 3
