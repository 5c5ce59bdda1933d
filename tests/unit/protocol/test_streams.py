r"""Bodies of the HTTP receiving transports, cut into frames (protocol section 3)."""

import json
import tracemalloc

import pytest

from sockjs_bridge.errors import FrameError, ProtocolError
from sockjs_bridge.protocol.frames import decode_frame
from sockjs_bridge.protocol.streams import FRAME_PER_LINE, FrameSplitter, LineReader, make_line_reader

PRELUDE = b"h" * 2048 + b"\n"
MANY = 1 << 20
TOO_LARGE = r"^a frame is larger than 10 bytes$"
# A line may be longer than a frame by this and the transport's own escaping.
ALLOWANCE = 4096
TRANSPORTS = ["xhr-streaming", "xhr-polling", "eventsource", "htmlfile", "jsonp-polling"]


def reader_of(transport: str, encoding: str = "auto") -> LineReader:
    return make_line_reader(transport, eventsource_encoding=encoding, callback="_jp.cb")


def apart(pieces: list[bytes]) -> list[bytes]:
    """The frames in what a reader returns, as a session takes them: one a line, and not a run of `h`."""
    lines = [line.rstrip(b"\r") for piece in pieces for line in piece.split(b"\n")]
    return [line for line in lines if line == b"h" or line.strip(b"h")]


class Splitter(FrameSplitter):
    """A splitter whose frames are taken apart."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[bytes]:
        return apart(super().feed(data))

    def end(self) -> list[bytes]:
        return apart(super().end())


def splitter_of(transport: str, max_frame_bytes: int = MANY) -> FrameSplitter:
    kind = Splitter if transport in FRAME_PER_LINE else FrameSplitter
    return kind(reader_of(transport), max_frame_bytes)


def frames_of(transport: str, *chunks: bytes) -> list[bytes]:
    splitter = splitter_of(transport)
    return [frame for chunk in chunks for frame in splitter.feed(chunk)] + splitter.end()


def on_the_wire(transport: str, frame: bytes) -> bytes:
    match transport:
        case "eventsource":
            return b"data: " + frame + b"\r\n\r\n"
        case "htmlfile":
            return b"<script>\np(" + json.dumps(frame.decode()).encode() + b");\n</script>\r\n"
        case "jsonp-polling":
            return b"/**/_jp.cb(" + json.dumps(frame.decode()).encode() + b");\r\n"
    return frame + b"\n"


# --- what holds for every transport -----------------------------------------------------------------------


def test_what_does_not_receive_over_http_has_no_reader() -> None:
    with pytest.raises(ValueError, match="websocket is no transport that receives over HTTP"):
        make_line_reader("websocket")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_section_3_frames_come_in_order(transport: str) -> None:
    body = b"".join(on_the_wire(transport, frame) for frame in (b"o", b'a["x"]', b"h", b'c[3000,"Go"]'))
    assert frames_of(transport, body) == [b"o", b'a["x"]', b"h", b'c[3000,"Go"]']


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_frame_comes_with_the_chunk_that_completes_it(transport: str) -> None:
    line = on_the_wire(transport, b'a["x"]').rstrip(b"\r\n").removesuffix(b"</script>").rstrip(b"\n")
    splitter = splitter_of(transport)
    assert splitter.feed(line[:9]) == []
    assert splitter.feed(line[9:]) == []
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\n") == [b'a["x"]']
    assert splitter.end() == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_section_2_the_last_frame_of_a_body_may_lack_its_delimiter(transport: str) -> None:
    line = on_the_wire(transport, b'a["x"]').rstrip(b"\r\n").removesuffix(b"</script>").rstrip(b"\n")
    splitter = splitter_of(transport)
    assert splitter.feed(on_the_wire(transport, b"o") + line) == [b"o"]
    assert splitter.end() == [b'a["x"]']
    assert splitter.end() == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_lines_may_end_in_a_carriage_return_wherever_it_is_cut(transport: str) -> None:
    lines = on_the_wire(transport, b'a["x"]').replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    first, second = lines.split(b"\n", 1)
    assert frames_of(transport, lines) == [b'a["x"]']
    assert frames_of(transport, first, b"\n" + second) == [b'a["x"]']
    assert frames_of(transport, first[:-1], b"\r", b"\n" + second) == [b'a["x"]']
    assert frames_of(transport, lines.rstrip(b"\n")) == [b'a["x"]']


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n", b"\n\r\n\n", b"\r"], ids=repr)
def test_empty_lines_are_left_out(transport: str, body: bytes) -> None:
    assert frames_of(transport, body) == []


# --- xhr --------------------------------------------------------------------------------------------------


def test_section_3_the_prelude_of_xhr_streaming_is_no_heartbeat() -> None:
    """Else an idle session of tornado, which never sends a heartbeat, would be taken for silent."""
    splitter = splitter_of("xhr-streaming")
    assert splitter.feed(PRELUDE) == []
    assert splitter.feed(b"o\n") == [b"o"]


def test_section_3_vertx_sends_the_prelude_with_the_first_frame() -> None:
    assert frames_of("xhr-streaming", PRELUDE + b"o\n") == [b"o"]


def test_a_prelude_is_left_out_however_it_is_cut() -> None:
    assert frames_of("xhr-streaming", b"h", PRELUDE[1:2000], PRELUDE[2000:] + b"o", b"\n") == [b"o"]
    assert frames_of("xhr-streaming", PRELUDE[:100]) == []


def test_a_short_prelude_is_one_too() -> None:
    assert frames_of("xhr-streaming", b"hh\no\n") == [b"o"]


def test_a_lone_h_is_a_heartbeat() -> None:
    assert frames_of("xhr-streaming", b"h\nh\n") == [b"h", b"h"]
    assert frames_of("xhr-streaming", b"h\r\n", b"h") == [b"h", b"h"]


def test_what_only_begins_like_a_prelude_is_not_passed_over_in_silence() -> None:
    assert frames_of("xhr-streaming", b"hhello\n") == [b"hhello"]


def test_the_prelude_may_be_larger_than_a_frame() -> None:
    assert splitter_of("xhr-streaming", 10).feed(PRELUDE + b"o\n") == [b"o"]


def test_section_2_a_close_frame_may_come_before_the_prelude() -> None:
    assert frames_of("xhr-streaming", b'c[2010,"Another connection still open"]\n' + PRELUDE) == [
        b'c[2010,"Another connection still open"]'
    ]


def test_lines_that_are_frames_are_not_cut_apart() -> None:
    """That would cost more than all the rest; a session takes them as they are."""
    splitter = FrameSplitter(reader_of("xhr-streaming"), MANY)
    assert splitter.feed(PRELUDE + b'a["1"]\na["2"]\nh\na["3') == [b'a["1"]\na["2"]\nh']
    assert splitter.feed(b'"]\n') == [b'a["3"]']


# --- eventsource ------------------------------------------------------------------------------------------


def eventsource(body: bytes, encoding: str = "auto") -> list[bytes]:
    return FrameSplitter(reader_of("eventsource", encoding), MANY).feed(body)


def test_section_3_eventsource_frames_are_data_fields() -> None:
    assert eventsource(b'\r\ndata: o\r\n\r\ndata: a["x"]\r\n\r\n') == [b"o", b'a["x"]']


def test_the_space_behind_data_may_be_missing() -> None:
    assert eventsource(b"data:o\ndata:  h\n") == [b"o", b" h"]


@pytest.mark.parametrize(
    "line",
    [
        b"event: open",
        b"id: 1",
        b"retry: 3000",
        b": a comment",
        b":",
        b"data",
        b"data:",
        b"data: ",
        b"Data: o",
    ],
)
def test_other_lines_of_an_event_stream_are_ignored(line: bytes) -> None:
    assert eventsource(line + b"\r\ndata: o\r\n\r\n") == [b"o"]


def test_percent_decodes_what_sockjs_node_encodes() -> None:
    line = b'data: a["100%25 %0D%0A%00 %0d%0a"]\n'
    assert eventsource(line, "percent") == [b'a["100% \r\n\0 \r\n"]']


def test_percent_decodes_once_and_nothing_else() -> None:
    assert eventsource(b"data: %2500 %41 %\n", "percent") == [b"%00 %41 %"]


def test_percent_never_latches() -> None:
    assert eventsource(b"data: %41\ndata: %25\n", "percent") == [b"%41", b"%"]


def test_none_decodes_nothing() -> None:
    assert eventsource(b"data: %25 %0D\n", "none") == [b"%25 %0D"]


def test_auto_decodes_an_encoded_percent_sign() -> None:
    assert eventsource(b"data: 100%25\ndata: %2525 %25\n") == [b"100%", b"%25 %"]


@pytest.mark.parametrize("other", [b"100% sure", b"%0D", b"%", b"%2", b"%%25"])
def test_auto_latches_none_at_the_first_other_percent_sign(other: bytes) -> None:
    body = b"data: %25\ndata: %25 and " + other + b"\ndata: %25\n"
    assert eventsource(body) == [b"%", b"%25 and " + other, b"%25"]


def test_auto_latches_over_the_bodies_of_a_session() -> None:
    reader = reader_of("eventsource")
    assert FrameSplitter(reader, MANY).feed(b"data: 5 %\n") == [b"5 %"]
    assert FrameSplitter(reader, MANY).feed(b"data: %25\n") == [b"%25"]
    assert eventsource(b"data: %25\n") == [b"%"], "another session guesses anew"


# --- htmlfile and jsonp: what the servers write -----------------------------------------------------------

HTML = (
    b"<!doctype html>\n<html><head>\n</head><body><h2>Don't panic!</h2>\n  <script>\n"
    b"    document.domain = document.domain;\n    var c = parent._jp.cb;\n    c.start();\n"
    b"    function p(d) {c.message(d);};\n    window.onload = function() {c.stop();};\n  </script>"
)


@pytest.mark.parametrize(
    "prelude",
    [HTML.ljust(1038) + b"\r\n\r\n", HTML + b" " * 1024],
    ids=["node and tornado", "aiohttp: the first script begins on the same line"],
)
def test_section_3_the_prelude_of_htmlfile_is_ignored(prelude: bytes) -> None:
    body = prelude + b'<script>\np("o");\n</script>\r\n<script>\np("a[\\"x\\"]");\n</script>\r\n'
    assert frames_of("htmlfile", body) == [b"o", b'a["x"]']


@pytest.mark.parametrize("line", [b'p("h")', b'p( "h" ) ; ', b'p("h");\r'], ids=repr)
def test_htmlfile_white_space_and_the_semicolon_do_not_matter(line: bytes) -> None:
    assert frames_of("htmlfile", b"<script>\n" + line + b"\n</script>\n") == [b"h"]


@pytest.mark.parametrize(
    "line",
    [b"p(o);", b"p();", b"p(", b'p("', b'p("o"', b'p("o) ;', b'p("o", 1);', b'p("\xff");', b'p("a\\");'],
)
def test_htmlfile_a_call_that_cannot_be_read_is_passed_on_to_be_reported(line: bytes) -> None:
    assert frames_of("htmlfile", b"<script>\n" + line + b"\n</script>\n") == [line]
    with pytest.raises(FrameError):
        decode_frame(line)


@pytest.mark.parametrize("line", [b"put(1);", b' p("o");', b'q("o");', b'window.p("o");', b"p"])
def test_htmlfile_everything_else_is_ignored(line: bytes) -> None:
    assert frames_of("htmlfile", line + b"\n") == []


@pytest.mark.parametrize(
    "line",
    [
        b'/**/_jp.cb("o");\r\n',
        b'_jp.cb("o");\r\n',
        b'_jp.cb("o");',
        b'_jp.cb("o")',
        b' /**/ _jp.cb ( "o" ) ; \n',
    ],
    ids=repr,
)
def test_section_3_jsonp_is_a_call_of_the_callback(line: bytes) -> None:
    assert frames_of("jsonp-polling", line) == [b"o"]


@pytest.mark.parametrize(
    "line",
    [
        b'_jp_cb("o");',
        b'other("o");',
        b'_jp.cb["o"];',
        b'_jp.cb("o"];',
        b"_jp.cb('o');",
        b'_jp.cb(["o"]);',
        b"_jp.cb();",
        b"_jp.cb",
        b'"callback" parameter required',
        b"o",
    ],
)
def test_jsonp_what_is_no_such_call_is_passed_on_to_be_reported(line: bytes) -> None:
    assert frames_of("jsonp-polling", line + b"\n") == [line]


# --- htmlfile and jsonp: the string -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("literal", "frame"),
    [
        (rb'"a[\"say \\\"x\\\"\"]"', r'a["say \"x\""]'),
        (rb'"a[\"\\u00e9\"]"', r'a["\u00e9"]'),
        (rb'"a[\"\u00e9\ud83d\ude00\"]"', 'a["\u00e9\U0001f600"]'),
        ('"a[\\"\u00e9\U0001f600\\"]"'.encode(), 'a["\u00e9\U0001f600"]'),
        (rb'"\/\b\f\n\r\t"', "/\b\f\n\r\t"),
        (b'"raw \t\x00"', "raw \t\0"),
        (b'"\\u005C\\u0022"', '\\"'),
        (b'""', ""),
    ],
    ids=ascii,
)
def test_the_frame_is_a_json_string(literal: bytes, frame: str) -> None:
    assert frames_of("jsonp-polling", b"_jp.cb(" + literal + b");\r\n") == [frame.encode()]
    assert frames_of("htmlfile", b"p(" + literal + b");\n") == [frame.encode()]


@pytest.mark.parametrize(
    ("literal", "frame"),
    [
        (rb'"a[\"it\'s\"]"', 'a["it\'s"]'),
        (rb'"a[\"\u003Cb\u003E \v\/\b\f\n\r\t \'\"]"', 'a["<b> \v/\b\f\n\r\t \'"]'),
        (rb'"\'a[\"\\u00e9\\\\ \\\"\"]"', "'" + r'a["\u00e9\\ \""]'),
        (rb'"\x41\xe9\0"', "A\u00e9\0"),
        (rb'"\x27\u2028\ud83d\ude00"', "'\u2028\U0001f600"),
        (rb'"\q\-"', "q-"),
    ],
    ids=ascii,
)
def test_the_frame_is_a_javascript_string_as_spring_escapes_it(literal: bytes, frame: str) -> None:
    assert frames_of("jsonp-polling", b"_jp.cb(" + literal + b");\r\n") == [frame.encode()]
    assert frames_of("htmlfile", b"p(" + literal + b");\n") == [frame.encode()]


@pytest.mark.parametrize(
    "literal",
    [b'"', rb'"\"', rb'"\x4"', rb'"\u12"', rb'"\u{41}"', b'"a"b"', b'"a" + "b"', rb'"\'\"', b'"a', b'"\xff"'],
    ids=repr,
)
def test_what_is_no_string_is_passed_on_to_be_reported(literal: bytes) -> None:
    line = b"_jp.cb(" + literal + b");"
    assert frames_of("jsonp-polling", line + b"\r\n") == [line]


@pytest.mark.parametrize(
    ("literal", "frame"),
    [
        (rb'"\ud800"', "\ufffd"),
        (rb'"\udc00\ud800"', "\ufffd\ufffd"),
        (rb'"x\ud800y \ud83d\ude00"', "x\ufffdy \U0001f600"),
        (rb'"\'\ud800"', "'\ufffd"),
        (rb'"\'\ud83d\ude00\ud83d"', "'\U0001f600\ufffd"),
    ],
    ids=ascii,
)
def test_section_2_a_lone_surrogate_becomes_u_fffd(literal: bytes, frame: str) -> None:
    assert frames_of("jsonp-polling", b"_jp.cb(" + literal + b");\r\n") == [frame.encode()]


def test_a_call_full_of_white_space_is_read_in_linear_time() -> None:
    line = b'_jp.cb("o"' + b" " * 500_000 + b")" + b" " * 500_000 + b"x"
    assert frames_of("jsonp-polling", line) == [line]


# --- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_frame_as_large_as_allowed_passes(transport: str) -> None:
    splitter = splitter_of(transport, 10)
    assert splitter.feed(on_the_wire(transport, b'a["12345"]')) == [b'a["12345"]']
    assert splitter.end() == []
    assert not splitter.problem


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_larger_frame_is_refused(transport: str) -> None:
    splitter = splitter_of(transport, 10)
    with pytest.raises(ProtocolError, match=TOO_LARGE):
        splitter.feed(on_the_wire(transport, b'a["123456"]'))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_larger_frame_is_refused_where_the_body_ends_with_it(transport: str) -> None:
    splitter = splitter_of(transport, 10)
    line = on_the_wire(transport, b'a["123456"]').rstrip(b"\r\n").removesuffix(b"</script>").rstrip(b"\n")
    assert splitter.feed(line) == []
    with pytest.raises(ProtocolError, match=TOO_LARGE):
        splitter.end()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_frames_before_the_large_one_are_not_lost(transport: str) -> None:
    splitter = splitter_of(transport, 10)
    body = b"".join(on_the_wire(transport, frame) for frame in (b"o", b"h", b'a["123456"]', b"h"))
    assert splitter.feed(body) == [b"o", b"h"]
    assert splitter.problem
    with pytest.raises(ProtocolError, match=TOO_LARGE):
        splitter.feed(b"h\n")
    with pytest.raises(ProtocolError, match=TOO_LARGE):
        splitter.end()


@pytest.mark.parametrize(
    ("transport", "growth"),
    [("xhr-streaming", 1), ("xhr-polling", 1), ("eventsource", 3), ("htmlfile", 6), ("jsonp-polling", 6)],
)
def test_a_line_without_end_is_refused_once_it_can_hold_no_frame_that_is_allowed(
    transport: str, growth: int
) -> None:
    splitter = splitter_of(transport, 10)
    assert splitter.feed(b"x" * (10 * growth)) == []
    assert splitter.feed(b"x" * ALLOWANCE) == []
    with pytest.raises(ProtocolError, match=TOO_LARGE):
        splitter.feed(b"x")
    with pytest.raises(ProtocolError, match=TOO_LARGE):
        splitter.feed(b"\n")


@pytest.mark.parametrize("transport", ["eventsource", "htmlfile"])
def test_a_line_that_long_is_refused_even_where_it_would_be_ignored(transport: str) -> None:
    """So that it does not depend on the chunks."""
    splitter = splitter_of(transport, 10)
    line = b":" * (10 * 6 + ALLOWANCE + 1) + b"\n"
    assert splitter.feed(on_the_wire(transport, b"o") + line + on_the_wire(transport, b"h")) == [b"o"]
    with pytest.raises(ProtocolError, match=TOO_LARGE):
        splitter.feed(b"")


def test_frames_before_a_line_without_end_are_not_lost() -> None:
    splitter = splitter_of("xhr-streaming", 10)
    assert splitter.feed(b"o\n" + b"x" * (10 + ALLOWANCE + 1)) == [b"o"]
    with pytest.raises(ProtocolError, match=TOO_LARGE):
        splitter.feed(b"")


def test_many_frames_together_may_be_larger_than_one() -> None:
    assert splitter_of("xhr-streaming", 10).feed(b'a["1"]\n' * 1000) == [b'a["1"]'] * 1000


@pytest.mark.parametrize(
    ("transport", "line"),
    [
        ("eventsource", b"data: " + b"%25" * 5000 + b"\n"),
        ("htmlfile", b"p(\"\\'" + rb"\u003C" * 4999 + b'");\n'),
        ("jsonp-polling", b'_jp.cb("' + rb"\"" * 5000 + b'");\r\n'),
    ],
)
def test_a_line_may_be_longer_than_its_frame_by_the_escaping_of_its_transport(
    transport: str, line: bytes
) -> None:
    splitter = splitter_of(transport, 5000)
    assert splitter.feed(line[:-1]) == []
    assert [len(frame) for frame in splitter.feed(b"\n")] == [5000]


def test_a_large_frame_in_small_pieces_is_kept_once() -> None:
    splitter = splitter_of("xhr-streaming")
    tracemalloc.start()
    try:
        for _ in range(MANY // 16):
            splitter.feed(b"0123456789abcdef")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1.5 * MANY
    assert splitter.feed(b"\n") == [b"0123456789abcdef" * (MANY // 16)]
