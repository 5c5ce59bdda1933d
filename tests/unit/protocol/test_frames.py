"""Frames from the server (protocol section 2), and the arrays that the bridge sends (section 4)."""

import json

import pytest

from sockjs_bridge.errors import FrameError, ProtocolError
from sockjs_bridge.protocol.frames import (
    CloseFrame,
    Frame,
    HeartbeatFrame,
    MessageFrame,
    OpenFrame,
    decode_frame,
    decode_message_burst,
    decode_message_lines,
    encode_messages,
)

LONE_SURROGATE = "\ud800"


def messages_of(payload: bytes) -> list[str]:
    frame = decode_frame(payload)
    assert isinstance(frame, MessageFrame)
    return frame.messages


# --- section 2, the table ---------------------------------------------------------------------------------


def test_section_2_o_is_the_open_frame() -> None:
    assert decode_frame(b"o") == OpenFrame()


def test_section_2_h_is_a_heartbeat() -> None:
    assert decode_frame(b"h") == HeartbeatFrame()


def test_section_2_a_is_an_array_of_messages_in_order() -> None:
    assert decode_frame(b'a["one","","two"]') == MessageFrame(["one", "", "two"])


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (b'{"current": {"state": [1, 2]}}', '{"current":{"state":[1,2]}}'),
        (b'{"a b": "c  d", "q": "\\" : "}', '{"a b":"c  d","q":"\\" : "}'),
        (b"[ ]", "[]"),
        (b"true", "true"),
        (b"false", "false"),
        (b"null", "null"),
        (b'{"e": "\\u00e9"}', '{"e":"\\u00e9"}'),
        ('{"e": "\u00e9"}'.encode(), '{"e":"\u00e9"}'),
        (b'{"s": "\\ud800"}', '{"s":"\\ud800"}'),
    ],
    ids=repr,
)
def test_section_2_elements_that_are_not_strings_are_forwarded_as_compact_json(
    element: bytes, message: str
) -> None:
    """OctoPrint sends objects. White space between tokens goes, what stands inside strings stays."""
    assert messages_of(b"a[" + element + b"]") == [message]


@pytest.mark.parametrize(
    "number",
    [
        "1",
        "-0",
        "0.10",
        "1.0",
        "1E5",
        "1e-7",
        "1e400",
        "0.1000000000000000055511151231257827",
        "9" * 30,
        "9" * 5000,
    ],
    ids=lambda number: number[:40],
)
def test_section_2_numbers_keep_their_digits(number: str) -> None:
    """A number that was parsed and written again could lose digits, or become infinite."""
    assert messages_of(b"a[%b]" % number.encode()) == [number]
    assert messages_of(b'a[{"n": %b}]' % number.encode()) == [f'{{"n":{number}}}']


def test_section_2_strings_and_others_mix_in_one_array() -> None:
    assert messages_of(b'a[ "x" , {"y": 1} ,2 , "z" ]') == ["x", '{"y":1}', "2", "z"]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'm"hello"', "hello"),
        (b'm "hello" ', "hello"),
        (b'm{"a": 1}', '{"a":1}'),
        (b"m1.50", "1.50"),
        (b'm["x", "y"]', '["x","y"]'),
        (b'm"\\ud800"', LONE_SURROGATE),
    ],
    ids=repr,
)
def test_section_2_m_is_one_json_message(payload: bytes, message: str) -> None:
    """No known server sends `m`; sockjs-client accepts it, so does the bridge."""
    assert decode_frame(payload) == MessageFrame([message])


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b'c[3000,"Go away!"]', 3000, "Go away!"),
        (b'c[2010,"Another connection still open"]', 2010, "Another connection still open"),
        (b'c [ 1002 , "Connection interrupted" ] ', 1002, "Connection interrupted"),
        (b'c[3000,""]', 3000, ""),
        (b'c[3000,"a \\"b\\" c"]', 3000, 'a "b" c'),
        (b'c[3000,"more","elements"]', 3000, "more"),
        (b'c[3000,"a \\ud800 b"]', 3000, "a \ufffd b"),
        (b'c[3000,"\\ud83d\\ude00"]', 3000, "\U0001f600"),
    ],
    ids=repr,
)
def test_section_2_c_tells_code_and_reason(payload: bytes, code: int, reason: str) -> None:
    assert decode_frame(payload) == CloseFrame(code, reason)


def test_of_an_endless_reason_the_beginning_is_kept() -> None:
    """It goes into a line of the log and onto the status page."""
    assert decode_frame(b'c[3000,"' + b"x" * 100_000 + b'"]') == CloseFrame(3000, "x" * 1000)
    assert decode_frame(b'c[3000,"' + b'"' * 100_000 + b'"]') == CloseFrame(3000, '"' * 1000)


def test_a_close_code_of_thirty_digits_is_none() -> None:
    with pytest.raises(FrameError):
        decode_frame(b"c[" + b"9" * 30 + b',"bye"]')


# --- section 2, lenient parsing ---------------------------------------------------------------------------


@pytest.mark.parametrize("around", [b" ", b"\n", b"\r\n", b"\t", b" \r\n\t "], ids=repr)
@pytest.mark.parametrize(
    ("payload", "frame"),
    [
        (b"o", OpenFrame()),
        (b"h", HeartbeatFrame()),
        (b'a["x"]', MessageFrame(["x"])),
        (b'm"x"', MessageFrame(["x"])),
        (b'c[3000,"x"]', CloseFrame(3000, "x")),
    ],
    ids=repr,
)
def test_section_2_surrounding_white_space_is_stripped(payload: bytes, frame: Frame, around: bytes) -> None:
    assert decode_frame(around + payload + around) == frame


@pytest.mark.parametrize("payload", [b"", b" ", b"\n", b"\r\n", b" \t\r\n"], ids=repr)
def test_section_2_empty_frames_are_ignored(payload: bytes) -> None:
    assert decode_frame(payload) is None


@pytest.mark.parametrize("payload", [b"a[]", b"a[ ]", b"a []", b"a[\n]"], ids=repr)
def test_section_2_an_empty_array_holds_no_messages(payload: bytes) -> None:
    assert decode_frame(payload) == MessageFrame([])


@pytest.mark.parametrize("length", [2, 3, 2048])
def test_section_2_runs_of_h_are_ignored(length: int) -> None:
    """The prelude of xhr-streaming is one. Taken for a heartbeat, it would be the only one of tornado."""
    assert decode_frame(b"h" * length) is None


def test_lines_of_plain_arrays_are_read_as_one() -> None:
    assert decode_message_lines(b'a["1"]') == ["1"]
    assert decode_message_lines(b'a["1"]\na["2","3"]\na["\\n]a["]') == ["1", "2", "3", "\n]a["]


@pytest.mark.parametrize(
    "lines",
    [
        b'a["1"]\nh',
        b'h\na["1"]',
        b'a["1"]\n\na["2"]',
        b'a["1"]\r\na["2"]',
        b'a["1"]\na[]\na["2"]',
        b'a["1"\n,"2"]',
        b'a["1"]]\na[["2"]',
        b'a["1\na["2"]',
        b'a["1"]\na["\\ud800"]',
        b'a["1"]\na["2"]\nc[3000,"x"]',
        b'a[["1"]\na["2"]]',
    ],
    ids=repr,
)
def test_other_lines_have_to_be_looked_at_one_by_one(lines: bytes) -> None:
    """No broken frame may borrow from its neighbours."""
    assert decode_message_lines(lines) is None


@pytest.mark.parametrize(
    ("payload", "delimiter"),
    [(b"o", b"\n"), (b'a["x"]', b"\n"), (b'c[3000,"Go away!"]', b"\n"), (b'a["x"]', b"\r\n\r\n")],
    ids=repr,
)
def test_section_2_a_last_frame_without_its_delimiter_at_the_end_of_a_body_is_accepted(
    payload: bytes, delimiter: bytes
) -> None:
    assert decode_frame(payload) == decode_frame(payload + delimiter) is not None


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        pytest.param(b'c[3000,"Say "hi" to them"]', 3000, 'Say "hi" to them', id="quotes not escaped"),
        pytest.param(b'c[3000,""quoted""]', 3000, '"quoted"', id="quotes at both ends"),
        pytest.param(b'c[1011,"a \\ b"]', 1011, "a \\ b", id="backslash not escaped"),
        pytest.param(b'c[3000,"a "b"\nc"]', 3000, 'a "b"\nc', id="line break"),
        pytest.param(b'c[3000,"Go "away"!"', 3000, 'Go "away"!', id="no bracket at the end"),
        pytest.param(b'c[3000,"Go away', 3000, "Go away", id="cut short"),
        pytest.param(b"c[3000,Go away!]", 3000, "Go away!", id="no quotes"),
        pytest.param(b"c[3000,null]", 3000, "null", id="reason is no string"),
        pytest.param(b"c[3000]", 3000, "", id="no reason"),
        pytest.param(b"c[3000,]", 3000, "", id="nothing behind the comma"),
        pytest.param(b'c[ 3000 , "a" b" ] ', 3000, 'a" b', id="white space"),
        pytest.param(b'c[3000,"caf\xe9"]', 3000, "caf\ufffd", id="not UTF-8"),
    ],
)
def test_section_2_a_malformed_c_yields_its_code_by_pattern_and_the_rest_as_the_reason(
    payload: bytes, code: int, reason: str
) -> None:
    """tornado and Spring do not escape quotes in the reason."""
    assert decode_frame(payload) == CloseFrame(code, reason)


@pytest.mark.parametrize(
    "payload", [b"c", b"c[]", b'c["x"]', b"cat", b"c[", b"c[true]", b'c[-,"x"]'], ids=repr
)
def test_section_2_a_c_without_any_code_is_no_frame(payload: bytes) -> None:
    with pytest.raises(FrameError, match="close code"):
        decode_frame(payload)


@pytest.mark.parametrize(
    "payload", [b"c" + b"[" * 100_000, b"c[" + b"9" * 5000 + b"]"], ids=["nested", "digits"]
)
def test_a_c_that_no_parser_can_hold_is_no_frame(payload: bytes) -> None:
    with pytest.raises(FrameError, match="close code"):
        decode_frame(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"a",
        b"a[",
        b'a"x"',
        b'a{"x":1}',
        b'a{"x"]',
        b'a["x"',
        b'a["x",]',
        b"a[,]",
        b'a["x" "y"]',
        b'a["x";"y"]',
        b'a["x"]"y"',
        b'a["x"],["y"]',
        b'a["x]',
        b'a["\\x"]',
        b'a["\xff"]',
        b"a[undefined]",
        b"a[1 2]",
        b"a" + b"[" * 100_000,
    ],
    ids=lambda payload: repr(payload[:20]),
)
def test_section_2_a_malformed_a_raises_frame_error(payload: bytes) -> None:
    """FrameError is what lets the session drop the frame and go on."""
    with pytest.raises(FrameError, match="array of messages"):
        decode_frame(payload)


@pytest.mark.parametrize(
    "payload",
    [b"m", b"m ", b'm"x', b'm"x","y"', b"m]", b'm"\xff"', b"m" + b"[" * 100_000],
    ids=lambda payload: repr(payload[:20]),
)
def test_a_malformed_m_raises_frame_error(payload: bytes) -> None:
    with pytest.raises(FrameError, match="its message"):
        decode_frame(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"x",
        b"oo",
        b"o[]",
        b"ho",
        b"hah",
        b'A["x"]',
        b"O",
        b'["x"]',
        b"<html>",
        b"\x00",
        b"\xef\xbb\xbfo",
        b"\x0bo",
    ],
    ids=repr,
)
def test_what_begins_like_no_frame_raises_frame_error(payload: bytes) -> None:
    with pytest.raises(FrameError, match="no SockJS frame"):
        decode_frame(payload)


def test_a_frame_error_is_the_fault_of_the_peer() -> None:
    with pytest.raises(ProtocolError):
        decode_frame(b"?")


# --- section 2, escapes -----------------------------------------------------------------------------------


def escaped(text: str) -> bytes:
    """Every UTF-16 unit of `text` as `\\uXXXX`."""
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)).encode()


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        '"\\/',
        "\0\n\r\x7f",
        "\u00e9\u20ac\u2028",
        "\U0001f600",
        "\uffff\ufeff",
        LONE_SURROGATE,
        "x\udfffy",
    ],
    ids=ascii,
)
def test_rule_w_any_character_may_arrive_escaped(text: str) -> None:
    """Section 2: any character may arrive as `\\uXXXX`, astral ones as pairs of surrogates."""
    assert messages_of(b'a["%b"]' % escaped(text)) == [text]
    assert messages_of(b'm"%b"' % escaped(text)) == [text]


@pytest.mark.parametrize(
    ("code", "surrogate"),
    [
        (b"\\ud800", "\ud800"),
        (b"\\uD800", "\ud800"),
        (b"\\udbff", "\udbff"),
        (b"\\udc00", "\udc00"),
        (b"\\uDFFF", "\udfff"),
    ],
    ids=ascii,
)
def test_section_2_a_lone_surrogate_is_valid(code: bytes, surrogate: str) -> None:
    """It becomes U+FFFD only at the local edge: until then the text holds it."""
    assert messages_of(b'a["<%b>"]' % code) == [f"<{surrogate}>"]


def test_surrogates_in_the_wrong_order_stay_two() -> None:
    assert messages_of(b'a["\\ude00\\ud83d"]') == ["\ude00\ud83d"]


def test_raw_control_characters_inside_strings_are_let_through() -> None:
    assert messages_of(b'a["a\tb\x01c"]') == ["a\tb\x01c"]


# --- the burst path ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payloads", "messages"),
    [
        ([b'a["x"]'], ["x"]),
        ([b'a["x","y"]', b'a["z"]'], ["x", "y", "z"]),
        ([b'a["x"]', b'a[ "y" ]'], ["x", "y"]),
        ([b"a[]"], []),
        ([b'a["\\u00e9 \\ud83d\\ude00"]'], ["\u00e9 \U0001f600"]),
        ([b'a["],["]', b'a["a[\\"x\\"]"]'], ["],[", 'a["x"]']),
    ],
    ids=repr,
)
def test_a_burst_of_plain_arrays_is_decoded_at_once(payloads: list[bytes], messages: list[str]) -> None:
    assert decode_message_burst(payloads) == messages


@pytest.mark.parametrize(
    "payloads",
    [
        pytest.param([], id="nothing"),
        pytest.param([b"o"], id="another frame"),
        pytest.param([b'a["x"]', b"h"], id="a heartbeat among them"),
        pytest.param([b'a["x"]', b""], id="an empty one among them"),
        pytest.param([b'm["x","y"]'], id="a single message that is an array"),
        pytest.param([b'a["x"]', b'm["y"]'], id="a single message among them"),
        pytest.param([b'a["x"]', b'?["y"]'], id="something else in front of an array"),
        pytest.param([b' a["x"]'], id="white space in front"),
        pytest.param([b'a["x"]', b"a[1]"], id="a number"),
        pytest.param([b'a[["x"]]'], id="an array in the array"),
        pytest.param([b'a["\\ud800"]'], id="a lone surrogate"),
        pytest.param([b'a["x"', b'a"y"]'], id="two halves"),
        pytest.param([b'a["x"],["y"]', b"a["], id="one has too much, one too little"),
        pytest.param([b'a["x"],["y"]'], id="two arrays in one frame"),
        pytest.param([b'a["x"],["y"]', b'a["z"]'], id="two arrays in one frame of two"),
        pytest.param([b'a["x"],"y"', b'a["z"]'], id="a string beside arrays"),
        pytest.param([b'a["x"],["y"', b'a["z"]]'], id="an array that swallows the next frame"),
        pytest.param(
            [b'a["x"],"y",["a"', b'a["b"', b'a["c"]]]'], id="a string beside arrays that swallow two"
        ),
        pytest.param([b'a["x"],1,["a"', b'a["b"', b'a["c"]]]'], id="a number beside arrays that swallow two"),
        pytest.param([b'a["x"],{"k":["a"', b'a["z"]]}'], id="an object that swallows the next frame"),
        pytest.param([b'a["x', b'a["y"]'], id="a string that is not ended"),
        pytest.param([b'a["x"],"y"]'], id="something behind the array"),
        pytest.param([b'a["\xff"]'], id="not UTF-8"),
        pytest.param([b'a["x"]', b"a[]"], id="an empty array among them"),
        pytest.param([b'a["x"]', b'a["y"]\n'], id="white space behind"),
    ],
)
def test_a_burst_that_is_anything_else_is_left_to_the_decoder_of_single_frames(payloads: list[bytes]) -> None:
    """Broken frames never complete each other."""
    assert decode_message_burst(payloads) is None


# --- section 4: arrays to the server ----------------------------------------------------------------------


def test_section_4_a_frame_to_the_server_is_an_array_of_strings() -> None:
    assert encode_messages(["one", "", 'say "hi"\n'], 8000) == [b'["one","","say \\"hi\\"\\n"]']


def test_section_4_an_empty_array_is_never_sent() -> None:
    assert encode_messages([], 8000) == []


def test_section_4_batch_bytes_0_sends_one_message_per_frame() -> None:
    """actix takes exactly one message per frame."""
    assert encode_messages(["a", "", "b"], 0) == [b'["a"]', b'[""]', b'["b"]']


@pytest.mark.parametrize("batch_bytes", range(1, 40))
def test_section_4_an_array_is_never_longer_than_batch_bytes_unless_it_holds_one_message(
    batch_bytes: int,
) -> None:
    batch = ["a", "bcd", "", "e" * 12, "f\n\n", "g"]
    arrays = encode_messages(batch, batch_bytes)
    assert [message for array in arrays for message in json.loads(array)] == batch
    assert all(len(array) <= batch_bytes or len(json.loads(array)) == 1 for array in arrays)


def test_section_4_messages_that_wait_together_are_joined() -> None:
    assert encode_messages(["x" * 10] * 20, 8000) == [
        json.dumps(["x" * 10] * 20, separators=(",", ":")).encode()
    ]


@pytest.mark.parametrize(
    "text", ["x", "x" * 10, "x" * 200, '"', "\n", "\u20ac", "\U0001f600", "\ud800"], ids=ascii
)
def test_section_4_the_arrays_of_a_long_queue_are_well_filled(text: str) -> None:
    """As few frames as the limit allows, give or take a few, whatever the messages cost in JSON."""
    batch = [text] * 5000
    arrays = encode_messages(batch, 8000)
    assert [message for array in arrays for message in json.loads(array)] == batch
    assert max(map(len, arrays)) <= 8000
    assert len(arrays) <= sum(map(len, arrays)) / 8000 * 1.1 + 1


def test_section_4_a_queue_whose_messages_change_in_size_is_still_cut_at_the_limit() -> None:
    batch = (
        ["x"] * 3000 + ["y" * 7000] * 3 + ["\u20ac" * 500] * 30 + [""] * 5000 + ["z" * 20_000] + ["x"] * 3000
    )
    arrays = encode_messages(batch, 8000)
    assert [message for array in arrays for message in json.loads(array)] == batch
    assert all(len(array) <= 8000 or len(json.loads(array)) == 1 for array in arrays)
    assert len(arrays) <= sum(map(len, arrays)) / 8000 * 2


def test_section_4_a_message_larger_than_batch_bytes_goes_alone() -> None:
    large = "x" * 100
    assert encode_messages(["a", large, "b"], 20) == [b'["a"]', b'["%b"]' % large.encode(), b'["b"]']


def test_section_4_a_last_message_larger_than_batch_bytes_goes_alone() -> None:
    assert encode_messages(["a", "x" * 100], 20) == [b'["a"]', b'["%b"]' % (b"x" * 100)]


def test_text_that_looks_like_a_place_to_cut_is_not_cut() -> None:
    """Arrays are cut where the encoder breaks lines; a line break inside a message is an escape."""
    batch = ['a",\n  "b', ",\n  ", "c"]
    assert [json.loads(array) for array in encode_messages(batch, 0)] == [[message] for message in batch]


@pytest.mark.parametrize("batch_bytes", [0, 12, 8000])
def test_rule_w_a_batch_with_lone_surrogates_is_sent_escaped(batch_bytes: int) -> None:
    """Section 4 asks for surrogates to be escaped; the fast encoder refuses them, the slow one knows them."""
    batch = ["a\ud800", "\u00e9", "\udfffb", "\x7f"]
    arrays = encode_messages(batch, batch_bytes)
    assert [message for array in arrays for message in json.loads(array)] == batch
    sent = b"".join(arrays)
    assert b"\\ud800" in sent
    assert b"\\udfff" in sent
    assert b"\x7f" not in sent


def test_rule_w_characters_of_the_client_list_leave_escaped() -> None:
    """Section 4: `escapable_by_client`. The list itself is in test_escaping."""
    assert encode_messages(["\u00e9\u2028\x7f\ufeff\u20ac"], 8000) == [
        '["\u00e9\\u2028\\u007f\\ufeff\\u20ac"]'.encode()
    ]


def test_section_4_astral_characters_may_go_as_they_are() -> None:
    assert encode_messages(["\U0001f600"], 8000) == ['["\U0001f600"]'.encode()]


def test_many_elements_that_are_no_strings() -> None:
    frame = b"a[" + b'9,{"a":1} , true,\n' * 50_000 + b"1.50]"
    assert messages_of(frame) == ["9", '{"a":1}', "true"] * 50_000 + ["1.50"]
