"""The same body gives the same frames, however it is cut; whatever a server encodes arrives as it was."""

import json
import re
from contextlib import suppress

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from sockjs_bridge.errors import ProtocolError
from sockjs_bridge.protocol.frames import MessageFrame, decode_frame
from sockjs_bridge.protocol.info import parse_info
from sockjs_bridge.protocol.streams import FRAME_PER_LINE, FrameSplitter, make_line_reader
from sockjs_bridge.protocol.urls import BaseUrl
from tests.property import wire

CALLBACK = "_jp.cb"
MANY = 1 << 20
BASE = BaseUrl.parse("http://host:8081/echo?q=1")

TRANSPORT = st.sampled_from(["xhr-streaming", "xhr-polling", "eventsource", "htmlfile", "jsonp-polling"])
ENCODING = st.sampled_from(["auto", "percent", "none"])
LINE_END = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r\n\r\n", b"\r\r\n"])
PIECE = st.one_of(
    wire.ANY_FRAME,
    st.sampled_from(
        [b"h" * 2048, b"hh", b"<script>", b"</script>", b": x", b"id: 1", b" " * 5000, b"x" * 5000]
    ),
    wire.ANY_FRAME.map(b"data: ".__add__),
    st.sampled_from([b"data:%25", b"data: 5 %", b"data: %0D%0a%00%25"]),
    wire.SOUND_FRAME.map(lambda frame: b'p("' + frame + b'");'),
    wire.SOUND_FRAME.map(lambda frame: b"p(" + json_string(frame) + b");"),
    wire.SOUND_FRAME.map(lambda frame: b"/**/_jp.cb(" + json_string(frame) + b");"),
    wire.mangled(wire.SOUND_FRAME.map(lambda frame: b'_jp.cb("' + spring_escaped(frame) + b'")')),
)
BODY = st.lists(st.tuples(PIECE, LINE_END).map(b"".join), max_size=8).map(b"".join)
PLACES = st.lists(st.integers(0, 60) | st.integers(0, 6000), max_size=8)


def json_string(frame: bytes) -> bytes:
    """As JSON.stringify and json.dumps write it."""
    return json.dumps(frame.decode(errors="replace")).encode()


def sockjs_node_escaped(frame: bytes) -> bytes:
    return re.sub(rb"[%\r\n\0]", lambda match: b"%%%02X" % match[0][0], frame)


SPRING = {
    '"': '\\"', "'": "\\'", "\\": "\\\\", "/": "\\/", "\t": "\\t", "\n": "\\n", "\r": "\\n", "\f": "\\f",
    "\b": "\\b", "\v": "\\v", "<": "\\u003C", ">": "\\u003E", "\u2028": "\\u2028", "\u2029": "\\u2029",
}  # fmt: skip


def spring_escaped(frame: bytes) -> bytes:
    """As JavaScriptUtils.javaScriptEscape writes it."""
    return "".join(SPRING.get(character, character) for character in frame.decode(errors="replace")).encode()


def cut_up(
    transport: str, encoding: str, chunks: list[bytes], max_frame_bytes: int = MANY
) -> tuple[list[bytes], str]:
    """The frames, and the error that ended them."""
    reader = make_line_reader(transport, eventsource_encoding=encoding, callback=CALLBACK)
    splitter = FrameSplitter(reader, max_frame_bytes)
    taken = apart if transport in FRAME_PER_LINE else list
    frames: list[bytes] = []
    try:
        for chunk in chunks:
            frames += taken(splitter.feed(chunk))
        frames += taken(splitter.end())
    except ProtocolError as error:
        return frames, str(error)
    return frames, ""


def apart(pieces: list[bytes]) -> list[bytes]:
    """The frames in what a reader returns, as a session takes them: one a line, and not a run of `h`."""
    lines = [line.rstrip(b"\r") for piece in pieces for line in piece.split(b"\n")]
    return [line for line in lines if line == b"h" or line.strip(b"h")]


# --- cutting ----------------------------------------------------------------------------------------------


@given(TRANSPORT, ENCODING, BODY, st.binary(max_size=8), PLACES, st.sampled_from([8, 40, MANY]))
@example("xhr-streaming", "none", b"x" * 5000 + b"\r\n", b"", [4999], 904)
def test_any_chunking_of_a_body_gives_the_same_frames(
    transport: str, encoding: str, body: bytes, end: bytes, places: list[int], max_frame_bytes: int
) -> None:
    whole = cut_up(transport, encoding, [body + end], max_frame_bytes)
    assert cut_up(transport, encoding, wire.cut(body + end, places), max_frame_bytes) == whole


@given(TRANSPORT, ENCODING, st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 50))
def test_arbitrary_bytes_raise_only_protocol_errors(
    transport: str, encoding: str, chunks: list[bytes], max_frame_bytes: int
) -> None:
    frames, _ = cut_up(transport, encoding, chunks, max_frame_bytes)
    assert all(0 < len(frame) <= max_frame_bytes for frame in frames)


@given(TRANSPORT, BODY, PLACES, st.integers(1, 50))
def test_no_frame_is_larger_than_allowed(
    transport: str, body: bytes, places: list[int], max_frame_bytes: int
) -> None:
    frames, _ = cut_up(transport, "auto", wire.cut(body, places), max_frame_bytes)
    assert all(len(frame) <= max_frame_bytes for frame in frames)


# --- round trips ------------------------------------------------------------------------------------------

MESSAGES = st.lists(wire.ANY_TEXT | st.text(st.sampled_from("%250Da\"'\\/<"), max_size=8), max_size=4)
FRAME = MESSAGES.map(lambda messages: b"a" + json.dumps(messages).encode())
SOUND_MESSAGES = st.lists(wire.SOUND_TEXT | st.text(st.sampled_from("%250Da\"'\\/<"), max_size=8), max_size=4)
UNESCAPED_FRAME = SOUND_MESSAGES.map(lambda messages: b"a" + orjson.dumps(messages))
FRAMES = st.lists(FRAME | UNESCAPED_FRAME, max_size=4)


def arrives(transport: str, encoding: str, body: bytes, places: list[int], frames: list[bytes]) -> None:
    assert cut_up(transport, encoding, wire.cut(body, places)) == (frames, "")


@given(FRAMES, PLACES, st.sampled_from(["xhr-streaming", "xhr-polling"]))
def test_frames_of_xhr_arrive_as_they_are(frames: list[bytes], places: list[int], transport: str) -> None:
    prelude = b"h" * 2048 + b"\n" if transport == "xhr-streaming" else b""
    arrives(transport, "auto", prelude + b"".join(frame + b"\n" for frame in frames), places, frames)


@given(FRAMES, PLACES, st.sampled_from(["auto", "percent"]))
def test_frames_that_sockjs_node_encodes_for_eventsource_arrive_as_they_are(
    frames: list[bytes], places: list[int], encoding: str
) -> None:
    body = b"\r\n" + b"".join(b"data: " + sockjs_node_escaped(frame) + b"\r\n\r\n" for frame in frames)
    arrives("eventsource", encoding, body, places, frames)


@given(FRAMES, PLACES)
def test_frames_of_eventsource_without_encoding_arrive_as_they_are(
    frames: list[bytes], places: list[int]
) -> None:
    body = b"\r\n" + b"".join(b"data: " + frame + b"\r\n\r\n" for frame in frames)
    arrives("eventsource", "none", body, places, frames)
    if b"%25" not in body:
        arrives("eventsource", "auto", body, places, frames)


@given(FRAMES, PLACES, st.booleans())
def test_frames_in_a_string_in_html_arrive_as_they_are(
    frames: list[bytes], places: list[int], spring: bool
) -> None:
    strings = [b'"' + spring_escaped(frame) + b'"' if spring else json_string(frame) for frame in frames]
    body = b"<html>\n".ljust(1024) + b"\r\n\r\n"
    body += b"".join(b"<script>\np(" + string + b");\n</script>\r\n" for string in strings)
    arrives("htmlfile", "auto", body, places, frames)


@given(FRAME | UNESCAPED_FRAME, PLACES, st.booleans(), st.sampled_from([b"", b"/**/"]))
def test_a_frame_of_jsonp_arrives_as_it_is(
    frame: bytes, places: list[int], spring: bool, comment: bytes
) -> None:
    string = b'"' + spring_escaped(frame) + b'"' if spring else json_string(frame)
    arrives("jsonp-polling", "auto", comment + b"_jp.cb(" + string + b");\r\n", places, [frame])


@given(SOUND_MESSAGES)
def test_messages_that_are_escaped_twice_arrive_as_they_were(messages: list[str]) -> None:
    frame = "a" + json.dumps(messages)
    body = b"/**/_jp.cb(" + json.dumps(frame).encode() + b");\r\n"
    (received,), error = cut_up("jsonp-polling", "auto", [body])
    assert decode_frame(received) == MessageFrame(messages)
    assert error == ""


# --- /info ------------------------------------------------------------------------------------------------


@given(st.binary(max_size=40) | wire.JSON_VALUE.map(lambda value: json.dumps(value).encode()))
def test_an_arbitrary_answer_to_info_raises_only_protocol_errors(body: bytes) -> None:
    with suppress(ProtocolError):
        assert parse_info(body, BASE).base is None


@given(
    st.lists(
        st.sampled_from(
            ["http:", "https:", "ws:", "//", "/", "host", ":8081", "@", "?", "#", "..", "[", "]", "%"]
        )
        | wire.ANY_TEXT,
        max_size=6,
    ).map("".join)
)
def test_an_arbitrary_base_url_is_of_the_same_origin_or_not_followed(base_url: str) -> None:
    info = parse_info(json.dumps({"base_url": base_url}).encode(), BASE)
    if info.base is not None:
        assert info.problem == ""
        assert info.base.origin == BASE.origin
