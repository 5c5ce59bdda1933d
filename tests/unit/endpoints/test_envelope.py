"""The lines of the envelope framing, as delivery.md writes them."""

import pytest

from sockjs_bridge.endpoints.envelope import EnvelopeDecoder, EnvelopeWording, answers
from sockjs_bridge.endpoints.framing import Dropped
from sockjs_bridge.endpoints.receipts import MessageFate
from sockjs_bridge.endpoints.state_changes import Connected, Disconnected
from sockjs_bridge.errors import Cause, DropReason


@pytest.fixture
def wording() -> EnvelopeWording:
    return EnvelopeWording("chat", "c56a")


def test_messages(wording: EnvelopeWording) -> None:
    assert wording.messages(["a\nb", "\u00e9"], 1, 42) == (
        b'{"event":"message","session":"chat","boot":"c56a","epoch":1,"seq":42,"data":"a\\nb"}\n'
        b'{"event":"message","session":"chat","boot":"c56a","epoch":1,"seq":43,"data":"\xc3\xa9"}\n'
    )
    assert b'"epoch":2,"seq":1,' in wording.messages(["x"], 2, 1)
    assert wording.messages(["\ud800", "x"], 2, 1).count(b'"data":"\\ud800"}\n') == 1


def test_events(wording: EnvelopeWording) -> None:
    assert wording.change(Connected(2, "websocket")) == (
        b'{"event":"connected","session":"chat","boot":"c56a","epoch":2,"transport":"websocket"}\n'
    )
    assert wording.change(Disconnected(1, 9, Cause.TRANSPORT_LOST, 1006, "")) == (
        b'{"event":"disconnected","session":"chat","epoch":1,"cause":"transport_lost","code":1006,"reason":""}\n'
    )
    assert wording.gap(12) == b'{"event":"gap","session":"chat","dropped":12}\n'


def test_a_reason_that_utf8_cannot_hold(wording: EnvelopeWording) -> None:
    change = Disconnected(1, 9, Cause.SERVER_CLOSED, 3000, "\ud800")
    assert wording.change(change).endswith(b'"reason":"\\ud800"}\n')


def test_answers() -> None:
    assert answers(["x", None, 7], MessageFate.IN_DOUBT, None) == [
        b'{"event":"ack","id":"x","status":"in-doubt"}\n',
        b'{"event":"ack","id":7,"status":"in-doubt"}\n',
    ]
    assert answers(["x", None], MessageFate.REJECTED, DropReason.QUEUE_FULL) == [
        b'{"event":"rejected","id":"x","reason":"queue_full"}\n',
        b'{"event":"rejected","id":null,"reason":"queue_full"}\n',
    ]


@pytest.mark.parametrize(
    "each", [2**70, 1.5, 1e300, "\ud800", [1, {"a": [2**70]}], {}, True, -0.0, "x" * 10_000], ids=str
)
def test_an_id_comes_back_as_it_was(each: object) -> None:
    import json

    decoder = EnvelopeDecoder(100_000)
    line = json.dumps({"data": "x", "id": each})
    assert decoder.feed(f"{line}\n".encode()) == ["x"]
    [told] = answers(decoder.take_ids(), MessageFate.SENT, None)
    assert repr(json.loads(told)["id"]) == repr(each)


@pytest.mark.parametrize(
    ("line", "given_id"),
    [
        (b"hello", None),
        (b'"hello"', None),
        (b"[]", None),
        (b"{}", None),
        (b'{"data":1,"id":"x"}', "x"),
        (b'{"data":null,"id":[1]}', [1]),
        (b'{"data":"a"', None),
        (b'{"data":"a","id":NaN}', None),
        (b"\xff", None),
        (b'{"data":"a","id":' + b"[" * 500 + b"]" * 500 + b"}", None),
        (b"[" * 100_000, None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_message(line: bytes, given_id: object) -> None:
    decoder = EnvelopeDecoder(1_000_000)
    assert decoder.feed(b'{"data":"before"}\n' + line + b'\n{"data":"behind","id":1}\n') == [
        "before",
        "behind",
    ]
    assert decoder.take_ids() == [None, 1]
    assert decoder.dropped == [Dropped(DropReason.INVALID, len(line), given_id)]
    assert decoder.invalid_utf8 == 0
    assert decoder.error is None


def test_other_keys_and_white_space_are_ignored() -> None:
    decoder = EnvelopeDecoder(1000)
    assert decoder.feed(b'\n \t\r\n {"id": null, "x": [], "data": "a"} \r\n') == ["a"]
    assert decoder.feed(b'{"data":"b"}') == []
    assert decoder.end() == ["b"]
    assert decoder.dropped == []


def test_invalid_utf8_is_replaced_and_counted_once() -> None:
    decoder = EnvelopeDecoder(1000)
    assert decoder.feed(b'{"data":"a\xff\xfe"}\n') == ["a\ufffd\ufffd"]
    assert decoder.invalid_utf8 == 1


def test_a_line_that_is_too_long_is_skipped() -> None:
    decoder = EnvelopeDecoder(20)
    assert decoder.feed(b'{"data":"' + b"x" * 100) == []
    assert decoder.feed(b'"}\n{"data":"a"}\n') == ["a"]
    assert decoder.dropped == [Dropped(DropReason.OVERSIZE, 111)]
