"""Strategies for what goes over the wire, and over local sockets; shared by the tests of this folder."""

import json

from hypothesis import strategies as st

ANY_CHARACTER = st.characters(exclude_categories=())
"""Lone surrogates too: JSON can carry them."""
AWKWARD_CHARACTER = st.sampled_from(
    'a"\\/[],{}: \n\r\t\0\x1f\x7f\u00ad\u00e9\u2028\ufeff\uffff\ud800\udfff\U0001f600'
)
ANY_TEXT = st.text(ANY_CHARACTER | AWKWARD_CHARACTER, max_size=12)
SOUND_TEXT = st.text(
    st.characters(codec="utf-8") | st.sampled_from('a"\\,: \n\r\0\u2028\U0001f600'), max_size=12
)
"""Text that UTF-8 can hold."""

JSON_SPACE = st.text(st.sampled_from(" \t\r\n"), max_size=2)

JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def array_frames(draw: st.DrawFn, elements: st.SearchStrategy[object] = ANY_TEXT) -> bytes:
    """`a[...]`: escaped or not, with or without white space, as different servers write it."""
    ascii_only = draw(st.booleans())
    text = json.dumps(draw(st.lists(elements, max_size=4)), ensure_ascii=ascii_only)
    try:
        return b"a" + text.encode()
    except UnicodeEncodeError:
        return b"a" + json.dumps(json.loads(text)).encode()


@st.composite
def close_frames(draw: st.DrawFn) -> bytes:
    """`c[code,"reason"]`, and those of servers that do not escape quotes."""
    code = draw(st.sampled_from([1000, 1002, 2010, 3000]) | st.integers(-10, 10**12))
    reason = draw(SOUND_TEXT)
    return (f"c[{code},{json.dumps(reason)}]" if draw(st.booleans()) else f'c[{code},"{reason}"]').encode()


@st.composite
def mangled(draw: st.DrawFn, frames: st.SearchStrategy[bytes]) -> bytes:
    """A frame in which a few bytes were left out, doubled, or replaced."""
    frame = bytearray(draw(frames))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(frame)))
        end = draw(st.integers(start, min(start + 3, len(frame))))
        frame[start:end] = draw(
            st.sampled_from([b"", b'"', b"\\", b"[", b"]", b",", b" ", b"\xff"]) | st.binary(max_size=2)
        )
    return bytes(frame)


@st.composite
def torn_arrays(draw: st.DrawFn) -> list[bytes]:
    """Frames that are JSON only when they are put together again: one document, torn before each `[`."""
    strings = st.lists(st.sampled_from(["x", "y"]), max_size=2)
    nested = st.builds(
        lambda outer, inner: [*outer, inner],
        st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=2),
        strings,
    )
    others = st.one_of(
        strings, nested, st.builds(lambda inner: {"k": inner}, nested), st.integers(0, 1), st.just("z")
    )
    document = json.dumps([draw(strings), *draw(st.lists(others, min_size=1, max_size=3))])
    return [b"a[" + part.encode() for part in document[2:-1].split(", [")]


PLAIN_ARRAY = array_frames()
MIXED_ARRAY = array_frames(JSON_VALUE)
SINGLE = JSON_VALUE.map(lambda value: b"m" + json.dumps(value).encode())
HEARTBEAT = st.integers(1, 5).map(lambda length: b"h" * length)
NOTHING = st.sampled_from([b"", b" ", b"\r\n", b"a[]"])
SOUND_FRAME = st.one_of(
    PLAIN_ARRAY, PLAIN_ARRAY, MIXED_ARRAY, SINGLE, HEARTBEAT, NOTHING, close_frames(), st.just(b"o")
)
ANY_FRAME = st.one_of(SOUND_FRAME, SOUND_FRAME, mangled(SOUND_FRAME), st.binary(max_size=8))
TALK = st.one_of(PLAIN_ARRAY, PLAIN_ARRAY, PLAIN_ARRAY, MIXED_ARRAY, HEARTBEAT, NOTHING, mangled(PLAIN_ARRAY))
"""What an open session receives for long stretches: hardly ever `o` or `c`."""


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in chunks that end at these places; those beyond its end do nothing."""
    ends = sorted({place for place in places if place < len(data)})
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 60), max_size=8)
