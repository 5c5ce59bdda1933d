"""The envelope framing: any chunking gives the same, nothing is lost without a report, everything passes exactly."""

import json

from hypothesis import given
from hypothesis import strategies as st

from sockjs_bridge.endpoints.envelope import EnvelopeDecoder, EnvelopeWording, answers
from sockjs_bridge.endpoints.framing import Dropped
from sockjs_bridge.endpoints.receipts import MessageFate
from sockjs_bridge.errors import DropReason
from tests.property import wire

IDS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | wire.ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(wire.ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
PIECES = st.sampled_from(
    [
        b'{"data":"a"}\n',
        b'{"data":"\\ud800","id":1}\n',
        b'{"data":"b","id":[1.5,null],"more":{}}\n',
        b'{"data":1,"id":"x"}\n',
        b'{"id":2}\n',
        b'{"data":"a","z":[1',
        b"2]}\n",
        b'{"data":"b"},{"data":"c"}\n',
        b"\xff",
        b"[]\n",
        b" \r\n",
        b"\n",
        b"NaN\n",
    ]
)
STREAMS = st.lists(PIECES | st.binary(max_size=4), max_size=12).map(b"".join)

Outcome = tuple[list[str], list[object], list[Dropped], int]


def read(chunks: list[bytes], limit: int = 1000) -> Outcome:
    decoder = EnvelopeDecoder(limit)
    messages: list[str] = []
    ids: list[object] = []
    for chunk in chunks:
        messages += decoder.feed(chunk)
        ids += decoder.take_ids()
    messages += decoder.end()
    ids += decoder.take_ids()
    dropped = sorted(decoder.dropped, key=str)  # of one block, those that are too long come first
    return messages, ids, dropped, decoder.invalid_utf8


@given(STREAMS, wire.PLACES, st.integers(0, 40) | st.just(1000))
def test_any_chunking_gives_the_same(data: bytes, places: list[int], limit: int) -> None:
    whole = read([data], limit)
    assert read(wire.cut(data, places), limit) == whole
    assert read(wire.cut(data, list(range(len(data)))), limit) == whole
    messages, ids, dropped, _ = whole
    assert len(messages) == len(ids)
    lines = [line for line in data.split(b"\n") if line.strip() or len(line) > limit]
    assert len(messages) + len(dropped) == len(lines)


@given(st.lists(st.tuples(wire.ANY_TEXT, IDS), min_size=1, max_size=6), wire.PLACES)
def test_messages_and_ids_come_as_they_were_written(
    given: list[tuple[str, object]], places: list[int]
) -> None:
    data = "".join(json.dumps({"data": text, "id": each}) + "\n" for text, each in given).encode()
    messages, ids, dropped, replaced = read(wire.cut(data, places), 100_000)
    expected = [json.loads(json.dumps(pair)) for pair in given]
    assert list(zip(messages, ids, strict=True)) == [(text, each) for text, each in expected]
    assert (dropped, replaced) == ([], 0)
    told = [json.loads(line) for line in answers(ids, MessageFate.CONFIRMED, None)]
    assert told == [
        {"event": "ack", "id": each, "status": "confirmed"} for _, each in expected if each is not None
    ]
    told = [json.loads(line) for line in answers(ids, MessageFate.REJECTED, DropReason.QUEUE_FULL)]
    assert told == [{"event": "rejected", "id": each, "reason": "queue_full"} for _, each in expected]


@given(st.lists(wire.ANY_TEXT, min_size=1, max_size=6), st.integers(1, 9), st.integers(1, 2**53))
def test_every_message_passes_exactly_with_its_place(messages: list[str], epoch: int, first_seq: int) -> None:
    wording = EnvelopeWording('a "name"', "boot")
    data = wording.messages(messages, epoch, first_seq)
    assert wording.ends.count(data, 0, len(data)) == len(messages)
    for number, (line, message) in enumerate(zip(data.splitlines(), messages, strict=True), first_seq):
        assert json.loads(line) == {
            "event": "message",
            "session": 'a "name"',
            "boot": "boot",
            "epoch": epoch,
            "seq": number,
            "data": json.loads(json.dumps(message)),
        }
