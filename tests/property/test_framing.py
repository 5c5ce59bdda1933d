"""Local byte streams: any chunking gives the same messages, and nothing is lost without a report."""

import json
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sockjs_bridge.endpoints.framing import FRAMINGS, Dropped, EncodingCounts
from sockjs_bridge.errors import FramingError
from tests.property import wire

EVERY_FRAMING = sorted(FRAMINGS)
PIECES = {
    "lines": [b"\n", b"\r", b"\r\n", b"\n\n", b"abc", b"abcdef\n", b"\xc3\xa9", b"\xc3", b"\xff"],
    "nul": [b"\0", b"\0\0", b"\n", b"abc", b"abcdef\0", b"\xc3\xa9", b"\xc3", b"\xff"],
    "json": [
        b"\n",
        b'"',
        b'"a"\n',
        b'"a\\u00e9"\n',
        b'"\\ud800"\n',
        b"1\n",
        b" \r\n",
        b",",
        b"[",
        b"]",
        b"\xff",
        b'"a\nb"',
    ],
    "netstring": [
        b"0:,",
        b"1:a,",
        b"2:\xc3\xa9,",
        b"2:\xff\n,",
        b"10:0123456789,",
        b"1",
        b"5",
        b":",
        b",",
        b"abc",
        b"9:",
    ],
    "length32": [
        b"\0\0\0\0",
        b"\0\0\0\1a",
        b"\0\0\0\2\xc3\xa9",
        b"\0\0\0\2\xff\n",
        b"\0",
        b"\0\0",
        b"\1",
        b"abc",
    ],
}
LIMITS = st.integers(0, 12) | st.just(1000)


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, bytes]:
    """A framing, and bytes that come near to what it understands."""
    framing = draw(st.sampled_from(EVERY_FRAMING))
    pieces = st.lists(st.sampled_from(PIECES[framing]) | st.binary(max_size=4), max_size=12)
    return framing, b"".join(draw(pieces))


@dataclass
class Outcome:
    """What a decoder made of a stream."""

    messages: list[str] = field(default_factory=list)
    dropped: Counter[Dropped] = field(default_factory=Counter)
    invalid_utf8: int = 0
    broken: bool = False


def read(framing: str, chunks: list[bytes], limit: int) -> Outcome:
    decoder = FRAMINGS[framing].make_decoder(limit)
    outcome = Outcome()
    try:
        for chunk in chunks:
            outcome.messages += decoder.feed(chunk)
    except FramingError:
        assert decoder.error is not None
    outcome.broken = decoder.error is not None
    if not outcome.broken:
        outcome.messages += decoder.end()
    outcome.dropped = Counter(decoder.dropped)
    outcome.invalid_utf8 = decoder.invalid_utf8
    return outcome


@given(streams(), wire.PLACES, LIMITS)
@example(("lines", b"abcdef\r\nabc\r\n"), [5, 7], 4)
@example(("json", b'"a"\n[\n"b"\n'), [5], 1000)
@example(("netstring", b"10:0123456789,"), [1, 2, 3, 13], 10)
def test_any_chunking_gives_the_same_messages_and_the_same_drops(
    stream: tuple[str, bytes], places: list[int], limit: int
) -> None:
    framing, data = stream
    assert read(framing, wire.cut(data, places), limit) == read(framing, [data], limit)


@given(streams(), LIMITS)
def test_single_bytes_give_the_same_messages_and_the_same_drops(
    stream: tuple[str, bytes], limit: int
) -> None:
    framing, data = stream
    single_bytes = wire.cut(data, list(range(len(data))))
    assert read(framing, single_bytes, limit) == read(framing, [data], limit)


@given(st.sampled_from(EVERY_FRAMING), st.binary(max_size=60), wire.PLACES, LIMITS)
def test_arbitrary_bytes_raise_only_framing_errors(
    framing: str, data: bytes, places: list[int], limit: int
) -> None:
    outcome = read(framing, wire.cut(data, places), limit)
    assert not outcome.broken or framing in {"netstring", "length32"}


@given(st.sampled_from(["lines", "nul"]), st.binary(max_size=60), LIMITS)
def test_no_piece_of_a_delimited_stream_is_lost_without_a_report(
    framing: str, data: bytes, limit: int
) -> None:
    """Messages and reports add up to the pieces between delimiters, but for the empty lines."""
    delimiter = b"\n" if framing == "lines" else b"\0"
    pieces = data.split(delimiter)
    if not pieces[-1]:
        pieces.pop()
    outcome = read(framing, [data], limit)
    ignored = (
        sum(piece in {b"", b"\r"} and len(piece) <= limit for piece in pieces) if framing == "lines" else 0
    )
    assert len(outcome.messages) + outcome.dropped.total() + ignored == len(pieces)
    assert outcome.dropped.total() == sum(len(piece) > limit for piece in pieces)


@given(st.sampled_from(EVERY_FRAMING), streams(), LIMITS)
def test_no_message_is_longer_than_the_limit(framing: str, stream: tuple[str, bytes], limit: int) -> None:
    """A replaced byte takes three: only text without replacements can be held to the limit."""
    outcome = read(framing, [stream[1]], limit)
    if not outcome.invalid_utf8:
        assert all(len(message.encode(errors="surrogatepass")) <= limit for message in outcome.messages)


# --- to the program and back ------------------------------------------------------------------------------


def written(framing: str, messages: list[str]) -> tuple[bytes, EncodingCounts]:
    counts = EncodingCounts()
    return FRAMINGS[framing].make_encoder(counts)(messages), counts


@pytest.mark.parametrize("framing", ["json", "netstring", "length32"])
@given(messages=st.lists(wire.SOUND_TEXT, min_size=1, max_size=6), places=wire.PLACES)
def test_exact_framings_give_back_every_message(framing: str, messages: list[str], places: list[int]) -> None:
    data, counts = written(framing, messages)
    assert counts == EncodingCounts()
    assert read(framing, wire.cut(data, places), 1000) == Outcome(messages)


@given(messages=st.lists(wire.ANY_TEXT, min_size=1, max_size=6))
def test_json_gives_back_lone_surrogates_too(messages: list[str]) -> None:
    data, counts = written("json", messages)
    assert counts == EncodingCounts()
    as_pairs = [
        message.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") for message in messages
    ]
    assert read("json", [data], 1000) == Outcome(as_pairs)


@given(messages=st.lists(wire.SOUND_TEXT.filter(bool), min_size=1, max_size=6), places=wire.PLACES)
def test_lines_gives_back_messages_without_line_breaks(messages: list[str], places: list[int]) -> None:
    messages = [message.replace("\n", "-").replace("\r", "-") for message in messages]
    data, counts = written("lines", messages)
    assert counts == EncodingCounts()
    assert read("lines", wire.cut(data, places), 1000) == Outcome(messages)


@given(messages=st.lists(wire.SOUND_TEXT, min_size=1, max_size=6), places=wire.PLACES)
def test_nul_gives_back_messages_without_nul(messages: list[str], places: list[int]) -> None:
    messages = [message.replace("\0", "-") for message in messages]
    data, counts = written("nul", messages)
    assert counts == EncodingCounts()
    assert read("nul", wire.cut(data, places), 1000) == Outcome(messages)


@given(messages=st.lists(wire.ANY_TEXT, min_size=1, max_size=6))
def test_lines_writes_exactly_one_line_for_each_message(messages: list[str]) -> None:
    data, _ = written("lines", messages)
    assert b"\r" not in data
    assert data.endswith(b"\n")
    assert len(data.decode().removesuffix("\n").split("\n")) == len(messages)


@given(messages=st.lists(wire.ANY_TEXT, min_size=1, max_size=6))
def test_nul_writes_exactly_one_piece_for_each_message(messages: list[str]) -> None:
    data, _ = written("nul", messages)
    assert data.endswith(b"\0")
    assert len(data.decode().removesuffix("\0").split("\0")) == len(messages)


INDENTED = st.builds(
    lambda value, indent, end: json.dumps(value, indent=indent, ensure_ascii=False).replace("\n", end),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | wire.SOUND_TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(wire.SOUND_TEXT, inner, max_size=3),
        max_leaves=6,
    ),
    st.integers(0, 2),
    st.sampled_from(["\n", "\r\n", "\r"]),
)


@given(message=INDENTED)
def test_lines_keeps_the_meaning_of_json_that_is_broken_over_lines(message: str) -> None:
    data, counts = written("lines", [message])
    assert counts == EncodingCounts()
    assert json.loads(data) == json.loads(message)
    assert len(data) == len(message.encode()) + 1
