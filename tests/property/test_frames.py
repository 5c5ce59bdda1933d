"""Whatever a server sends is decoded or refused; whatever is sent arrives as it was."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from sockjs_bridge.errors import ProtocolError
from sockjs_bridge.protocol.escaping import escape_json
from sockjs_bridge.protocol.frames import (
    Frame,
    MessageFrame,
    decode_frame,
    decode_message_burst,
    encode_messages,
)
from tests.property import wire


def decoded_or_refused(payload: bytes) -> Frame | str | None:
    try:
        return decode_frame(payload)
    except ProtocolError as error:
        return str(error)


def over_the_wire(text: str) -> str:
    """Two surrogates that form a pair arrive as the one character that they are."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


# --- decoding ---------------------------------------------------------------------------------------------


@given(
    st.binary(max_size=60)
    | st.binary(max_size=20).map(b"a[".__add__)
    | st.binary(max_size=20).map(b"c[".__add__)
)
def test_arbitrary_bytes_raise_only_protocol_errors(payload: bytes) -> None:
    frame = decoded_or_refused(payload)
    if isinstance(frame, MessageFrame):
        assert set(map(type, frame.messages)) <= {str}


@given(wire.ANY_FRAME)
def test_sound_and_mangled_frames_raise_only_protocol_errors(payload: bytes) -> None:
    decoded_or_refused(payload)


@given(wire.SOUND_FRAME, wire.JSON_SPACE, wire.JSON_SPACE)
def test_white_space_around_a_frame_changes_nothing(payload: bytes, before: str, after: str) -> None:
    assert decoded_or_refused(before.encode() + payload + after.encode()) == decoded_or_refused(payload)


@given(st.lists(wire.ANY_TEXT, max_size=5), st.booleans())
def test_messages_arrive_as_they_are_however_the_server_writes_them(
    messages: list[str], spaced: bool
) -> None:
    text = json.dumps(messages, indent=1 if spaced else None)
    assert decode_frame(b"a" + text.encode()) == MessageFrame(list(map(over_the_wire, messages)))


@given(st.lists(wire.JSON_VALUE, max_size=4), st.none() | st.integers(1, 3))
def test_elements_that_are_not_strings_arrive_as_compact_json(
    values: list[object], indent: int | None
) -> None:
    frame = decode_frame(b"a" + json.dumps(values, indent=indent).encode())
    compact = [
        over_the_wire(value) if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for value in values
    ]
    assert frame == MessageFrame(compact)


@given(st.lists(wire.ANY_FRAME, max_size=5))
@example([b'a["x"],["y"]', b"a["])
@example([b'a["x"],["y"', b'a["z"]]'])
@example([b'a["x"]', b'a{"y":', b'a["z"]}'])
def test_a_burst_decoded_at_once_is_what_its_frames_are_one_by_one(payloads: list[bytes]) -> None:
    messages = decode_message_burst(payloads)
    if messages is None:
        return
    frames = [decode_frame(payload) for payload in payloads]
    assert [message for frame in frames for message in _messages_of(frame)] == messages


@given(st.lists(st.lists(wire.SOUND_TEXT, min_size=1, max_size=3), min_size=1, max_size=5))
def test_a_burst_of_plain_arrays_always_takes_the_fast_path(batches: list[list[str]]) -> None:
    payloads = [b"a" + json.dumps(batch).encode() for batch in batches]
    assert decode_message_burst(payloads) == [message for batch in batches for message in batch]


@given(st.lists(wire.PLAIN_ARRAY | wire.mangled(wire.PLAIN_ARRAY), min_size=1, max_size=4))
def test_broken_arrays_never_complete_each_other(payloads: list[bytes]) -> None:
    """Where one alone is refused, the burst is not decoded at once."""
    if any(isinstance(decoded_or_refused(payload), str) for payload in payloads):
        assert decode_message_burst(payloads) is None


@given(wire.torn_arrays())
def test_frames_torn_out_of_one_document_are_never_put_together(payloads: list[bytes]) -> None:
    if any(isinstance(decoded_or_refused(payload), str) for payload in payloads):
        assert decode_message_burst(payloads) is None


def _messages_of(frame: Frame | None) -> list[str]:
    assert isinstance(frame, MessageFrame)
    return frame.messages


# --- encoding ---------------------------------------------------------------------------------------------

BATCHES = st.lists(wire.ANY_TEXT | wire.SOUND_TEXT, max_size=8)
SIZES = st.integers(0, 120) | st.just(8000)


@given(BATCHES, SIZES)
def test_what_is_encoded_parses_back_to_the_same_batch(batch: list[str], batch_bytes: int) -> None:
    arrays = encode_messages(batch, batch_bytes)
    assert [message for array in arrays for message in json.loads(array)] == list(map(over_the_wire, batch))


@given(BATCHES, SIZES)
def test_an_array_is_at_most_batch_bytes_long_unless_it_holds_one_message(
    batch: list[str], batch_bytes: int
) -> None:
    for array in encode_messages(batch, batch_bytes):
        assert len(array) <= batch_bytes or len(json.loads(array)) == 1


@given(BATCHES)
def test_a_limit_of_0_puts_every_message_alone(batch: list[str]) -> None:
    assert [len(json.loads(array)) for array in encode_messages(batch, 0)] == [1] * len(batch)


@given(BATCHES, SIZES)
def test_no_array_is_empty_or_holds_anything_that_had_to_be_escaped(
    batch: list[str], batch_bytes: int
) -> None:
    for array in encode_messages(batch, batch_bytes):
        assert json.loads(array)
        assert escape_json(array) == array
        assert array.decode().isascii() or not any(
            0xD800 <= ord(letter) < 0xE000 for letter in array.decode()
        )
        assert not any(letter < 0x20 or letter == 0x7F for letter in array)


@given(BATCHES, SIZES)
def test_what_is_encoded_is_decoded_by_a_bridge(batch: list[str], batch_bytes: int) -> None:
    """The two halves agree: an echo server turns our arrays into frames."""
    frames = [decode_frame(b"a" + array) for array in encode_messages(batch, batch_bytes)]
    assert [message for frame in frames for message in _messages_of(frame)] == list(map(over_the_wire, batch))


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_escaping_changes_no_meaning_and_leaves_nothing_to_escape(text: str) -> None:
    literal = json.dumps(text, ensure_ascii=False).encode()
    escaped = escape_json(literal)
    assert json.loads(escaped) == text
    assert escape_json(escaped) == escaped
