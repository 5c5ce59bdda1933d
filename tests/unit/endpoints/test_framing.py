"""The framings of local byte streams, row by row of the table in delivery.md."""

import json

import pytest

from sockjs_bridge.endpoints.framing import FRAMINGS, Decoder, Dropped, EncodingCounts
from sockjs_bridge.errors import DropReason, FramingError

LIMIT = 1000


def encoded(framing: str, *messages: str) -> bytes:
    """What the local program gets for messages that pass as they are."""
    counts = EncodingCounts()
    data = FRAMINGS[framing].make_encoder(counts)(list(messages))
    assert counts == EncodingCounts(), "nothing was altered"
    return data


def encoded_and_counted(framing: str, *messages: str) -> tuple[bytes, EncodingCounts]:
    counts = EncodingCounts()
    return FRAMINGS[framing].make_encoder(counts)(list(messages)), counts


def decoder(framing: str, limit: int = LIMIT) -> Decoder:
    return FRAMINGS[framing].make_decoder(limit)


def decoded(framing: str, data: bytes, limit: int = LIMIT) -> list[str]:
    """The messages of a whole stream in which nothing is wrong."""
    stream = decoder(framing, limit)
    messages = stream.feed(data) + stream.end()
    assert (stream.dropped, stream.invalid_utf8) == ([], 0)
    return messages


def oversize(*sizes: int) -> list[Dropped]:
    return [Dropped(DropReason.OVERSIZE, size) for size in sizes]


def invalid(*sizes: int) -> list[Dropped]:
    return [Dropped(DropReason.INVALID, size) for size in sizes]


def test_the_framings_by_name() -> None:
    assert list(FRAMINGS) == ["lines", "json", "nul", "netstring", "length32"]
    assert all(name == framing.name for name, framing in FRAMINGS.items())


# --- lines: to the program --------------------------------------------------------------------------------


def test_lines_writes_the_message_and_a_line_feed_byte_for_byte() -> None:
    messages = ["hello", "", " caf\u00e9\t", '{"a": "\\n"}', "\u2028\x0b\x0c\x85\0"]
    assert encoded("lines", *messages) == b"".join(message.encode() + b"\n" for message in messages)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ('{\n  "a": 1,\r\n  "b": [\n2]\n}', '{   "a": 1,    "b": [ 2] }'),
        ('["a\\nb",\n"\\r"]', '["a\\nb", "\\r"]'),
        ('"text"\n', '"text" '),
        ("\r\n1", "  1"),
        ('{"big": 12345678901234567890123,\n"f": 1.10}', '{"big": 12345678901234567890123, "f": 1.10}'),
        ('{"k":\n1,"k":2}', '{"k": 1,"k":2}'),
    ],
    ids=repr,
)
def test_lines_turns_line_breaks_between_the_tokens_of_json_into_spaces(message: str, line: str) -> None:
    """They are insignificant white space; nothing is written anew, and so nothing is counted."""
    assert encoded("lines", "before", message, "after") == f"before\n{line}\nafter\n".encode()
    assert json.loads(line) == json.loads(message)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param('{\n"a": "\\ud800"}', id="the escape of a lone surrogate"),
        pytest.param("[\n1e400]", id="a number beyond all doubles"),
    ],
)
def test_lines_does_not_damage_json_that_the_fast_parser_refuses(message: str) -> None:
    json.loads(message)
    assert encoded("lines", message) == message.replace("\n", " ").encode() + b"\n"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("two\nlines", "two\\nlines"),
        ("two\r\nlines\r", "two\\r\\nlines\\r"),
        ("\n", "\\n"),
        ('{"a": \n', '{"a": \\n'),
        ('"a\nb"', '"a\\nb"'),
        ("back\\slash\n", "back\\slash\\n"),
        ("[\nNaN]", "[\\nNaN]"),
        ("[\n-Infinity]", "[\\n-Infinity]"),
        ("[" * 100_000 + "\n", "[" * 100_000 + "\\n"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_lines_writes_the_line_breaks_of_other_text_as_two_characters_and_counts(
    message: str, line: str
) -> None:
    data, counts = encoded_and_counted("lines", "before", message, "after")
    assert data == f"before\n{line}\nafter\n".encode()
    assert counts == EncodingCounts(line_breaks_replaced=1)


def test_lines_counts_messages_and_not_line_breaks() -> None:
    data, counts = encoded_and_counted("lines", "a\nb\nc", "d\re", "[\n1]", "f")
    assert data == b"a\\nb\\nc\nd\\re\n[ 1]\nf\n"
    assert counts == EncodingCounts(line_breaks_replaced=2)


# --- lines: from the program ------------------------------------------------------------------------------


def test_a_line_is_a_message() -> None:
    assert decoded("lines", "hello\ncaf\u00e9\n \n".encode()) == ["hello", "caf\u00e9", " "]


@pytest.mark.parametrize(
    ("line", "message"),
    [(b"hello\r\n", "hello"), (b"hello\r\r\n", "hello\r"), (b"a\rb\r\n", "a\rb"), (b"\rhello\n", "\rhello")],
    ids=repr,
)
def test_lines_strips_one_trailing_cr(line: bytes, message: str) -> None:
    assert decoded("lines", line) == [message]


def test_lines_ignores_empty_lines() -> None:
    assert decoded("lines", b"\n\na\n\r\n\nb\n\n") == ["a", "b"]


@pytest.mark.parametrize("data", [b"\n", b"\r\n", b"\n\n\r\n", b""], ids=repr)
def test_nothing_but_empty_lines_is_nothing(data: bytes) -> None:
    assert decoded("lines", data) == []


def test_a_last_line_without_lf_at_eof_is_a_message() -> None:
    stream = decoder("lines")
    assert stream.feed(b"one\ntw") == ["one"]
    assert stream.feed(b"o\r") == []
    assert stream.end() == ["two"]
    assert stream.end() == []


def test_other_line_ends_of_unicode_do_not_cut() -> None:
    assert decoded("lines", "a\x0bb\x0cc\x85d\u2028e\u2029f\x00g\n".encode()) == [
        "a\x0bb\x0cc\x85d\u2028e\u2029f\x00g"
    ]


# --- json -------------------------------------------------------------------------------------------------


def test_json_writes_one_string_literal_a_line() -> None:
    assert encoded("json", "hello", "", 'two\nlines "\\"', "caf\u00e9\0") == (
        '"hello"\n""\n"two\\nlines \\"\\\\\\""\n"caf\u00e9\\u0000"\n'.encode()
    )


def test_json_is_exact_even_with_lone_surrogates() -> None:
    messages = ["x\ud800y", "caf\u00e9", "\udfff"]
    lines = encoded("json", *messages).splitlines()
    assert [json.loads(line) for line in lines] == messages


def test_json_reads_one_string_literal_a_line() -> None:
    assert decoded("json", b'"hello"\n""\n"two\\nlines"\r\n \t"x" \n"caf\xc3\xa9 \\u00e9"\n') == [
        "hello",
        "",
        "two\nlines",
        "x",
        "caf\u00e9 \u00e9",
    ]


def test_json_reads_lone_surrogates() -> None:
    assert decoded("json", b'"a"\n"\\ud800"\n"b"\n') == ["a", "\ud800", "b"]


def test_json_ignores_blank_lines() -> None:
    assert decoded("json", b'\n \n"a"\n\r\n\n') == ["a"]
    assert decoded("json", b"\n\r\n") == []


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"1",
        b"null",
        b'["a"]',
        b'{"data":"a"}',
        b'"a","b"',
        b'"a" "b"',
        b'"a',
        b'a"',
        b'"a\tb"',
        b'"\\x"',
        b",",
        b"]",
        b'"a"]',
        b"9" * 5000,
    ],
    ids=lambda line: repr(line[:20]),
)
def test_json_drops_a_line_that_is_no_string_literal_and_keeps_its_neighbours(line: bytes) -> None:
    stream = decoder("json", limit=10_000)
    assert stream.feed(b'"before"\n' + line + b'\n"after"\n') == ["before", "after"]
    assert stream.dropped == invalid(len(line))


def test_json_drops_a_line_nested_deeper_than_any_parser_goes() -> None:
    stream = decoder("json", limit=200_000)
    assert stream.feed(b"[" * 100_000 + b"\n") == []
    assert stream.dropped == invalid(100_000)


def test_broken_json_lines_never_complete_each_other() -> None:
    stream = decoder("json")
    assert stream.feed(b'["a"\n"b"]\n"c\nd"\n"e"],["f"\n') == []
    assert stream.dropped == invalid(4, 4, 2, 2, 9)


def test_json_takes_a_last_line_without_lf_at_eof() -> None:
    stream = decoder("json")
    assert stream.feed(b'"one"\n"two"') == ["one"]
    assert stream.end() == ["two"]
    assert stream.end() == []


def test_json_drops_half_a_literal_at_eof() -> None:
    stream = decoder("json")
    assert stream.feed(b'"one') == []
    assert stream.end() == []
    assert stream.dropped == invalid(4)


def test_json_replaces_invalid_utf8_and_counts_it() -> None:
    """delivery.md says "Invalid UTF-8 in: replaced, counted" of all framings."""
    stream = decoder("json")
    assert stream.feed(b'"caf\xe9"\n') == ["caf\ufffd"]
    assert (stream.invalid_utf8, stream.dropped) == (1, [])


def test_a_json_line_that_is_dropped_is_not_counted_as_replaced() -> None:
    stream = decoder("json")
    assert stream.feed(b"caf\xe9\n") == []
    assert (stream.invalid_utf8, stream.dropped) == (0, invalid(4))


# --- nul --------------------------------------------------------------------------------------------------


def test_nul_ends_each_message_with_a_nul() -> None:
    assert (
        encoded("nul", "hello", "", "two\r\nlines", "caf\u00e9")
        == "hello\0\0two\r\nlines\0caf\u00e9\0".encode()
    )


def test_nul_replaces_a_nul_inside_and_counts_messages() -> None:
    data, counts = encoded_and_counted("nul", "a\0b\0", "c", "\0")
    assert data == "a\ufffdb\ufffd\0c\0\ufffd\0".encode()
    assert counts == EncodingCounts(nuls_replaced=2)


def test_nul_reads_what_stands_before_each_nul() -> None:
    """Nothing is stripped, and an empty message is one."""
    assert decoded("nul", b"hello\0\0two\r\nlines\r\n\0") == ["hello", "", "two\r\nlines\r\n"]


def test_nul_takes_a_last_message_without_nul_at_eof() -> None:
    stream = decoder("nul")
    assert stream.feed(b"one\0tw") == ["one"]
    assert stream.feed(b"o\n") == []
    assert stream.end() == ["two\n"]
    assert stream.end() == []


# --- netstring --------------------------------------------------------------------------------------------


def test_netstring_writes_the_length_in_bytes() -> None:
    assert encoded("netstring", "hello", "", "caf\u00e9\0\n") == b"5:hello,0:,7:caf\xc3\xa9\0\n,"


def test_netstring_reads_what_it_writes() -> None:
    assert decoded("netstring", b"5:hello,0:,7:caf\xc3\xa9\0\n,") == ["hello", "", "caf\u00e9\0\n"]


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"5hello",
        b":hello,",
        b"-1:,",
        b"+1:a,",
        b" 1:a,",
        b"5:hello;",
        b"5:hello\n",
        b"01:a,",
        b"00:,",
        b"1000000:",
    ],
    ids=repr,
)
def test_netstring_raises_framing_error_where_the_stream_cannot_be_cut(data: bytes) -> None:
    with pytest.raises(FramingError):
        decoder("netstring").feed(data)


def test_netstring_raises_framing_error_for_a_message_over_the_limit() -> None:
    assert decoded("netstring", b"1000:" + b"x" * 1000 + b",") == ["x" * 1000]
    with pytest.raises(FramingError, match="1001 bytes, more than max_message_size"):
        decoder("netstring").feed(b"1001:")


# --- length32 ---------------------------------------------------------------------------------------------


def test_length32_writes_the_length_in_four_bytes_big_endian() -> None:
    assert encoded("length32", "hello", "", "caf\u00e9\0\n") == (
        b"\0\0\0\x05hello" + b"\0\0\0\0" + b"\0\0\0\x07caf\xc3\xa9\0\n"
    )
    assert encoded("length32", "x" * 0x010203)[:4] == b"\0\x01\x02\x03"


def test_length32_reads_what_it_writes() -> None:
    data = b"\0\0\0\x05hello\0\0\0\0\0\0\0\x07caf\xc3\xa9\0\n"
    assert decoded("length32", data) == ["hello", "", "caf\u00e9\0\n"]


def test_length32_raises_framing_error_for_a_message_over_the_limit() -> None:
    assert decoded("length32", (1000).to_bytes(4, "big") + b"x" * 1000) == ["x" * 1000]
    with pytest.raises(FramingError, match="1001 bytes, more than max_message_size"):
        decoder("length32").feed((1001).to_bytes(4, "big"))


# --- netstring and length32 -------------------------------------------------------------------------------

COMPLETE = {"netstring": b"5:hello,", "length32": b"\0\0\0\x05hello"}
BROKEN = {"netstring": b"x", "length32": b"\xff\xff\xff\xff"}


@pytest.mark.parametrize("framing", COMPLETE)
def test_half_a_counted_message_at_eof_is_dropped_and_reported(framing: str) -> None:
    """Unlike a line it is known to be incomplete."""
    stream = decoder(framing)
    assert stream.feed(COMPLETE[framing] * 2 + COMPLETE[framing][:-1]) == ["hello", "hello"]
    assert stream.dropped == []
    assert stream.end() == []
    assert stream.dropped == invalid(len(COMPLETE[framing]) - 1)


@pytest.mark.parametrize("framing", COMPLETE)
def test_the_end_of_a_counted_stream_between_messages_drops_nothing(framing: str) -> None:
    assert decoded(framing, COMPLETE[framing]) == ["hello"]
    assert decoded(framing, b"") == []


@pytest.mark.parametrize("framing", COMPLETE)
def test_messages_of_an_earlier_read_survive_a_framing_error(framing: str) -> None:
    stream = decoder(framing)
    assert stream.feed(COMPLETE[framing]) == ["hello"]
    with pytest.raises(FramingError):
        stream.feed(BROKEN[framing])


@pytest.mark.parametrize("framing", COMPLETE)
def test_messages_in_front_of_a_framing_error_in_one_read_are_not_lost(framing: str) -> None:
    """No silent loss: complete messages do not depend on the chunks in which they came."""
    stream = decoder(framing)
    assert stream.feed(COMPLETE[framing] + BROKEN[framing]) == ["hello"]
    assert isinstance(stream.error, FramingError)
    with pytest.raises(FramingError) as raised:
        stream.feed(COMPLETE[framing])
    assert raised.value is stream.error


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_stream_that_can_be_cut_has_no_error(framing: str) -> None:
    stream = decoder(framing)
    stream.feed(COMPLETE.get(framing, b"hello"))
    assert stream.error is None


# --- all framings: text that is not what it should be -----------------------------------------------------

WRAPPED = {
    "lines": (b"", b"\n"),
    "nul": (b"", b"\0"),
    "netstring": (b"5:", b","),
    "length32": (b"\0\0\0\x05", b""),
}


@pytest.mark.parametrize("framing", WRAPPED)
def test_invalid_utf8_from_a_program_is_replaced_and_counted_by_message(framing: str) -> None:
    head, tail = WRAPPED[framing]
    stream = decoder(framing)
    data = b"".join(head + text + tail for text in (b"caf\xe9!", b"caf\xc3\xa9", b"\xff\xffabc"))
    assert stream.feed(data) == ["caf\ufffd!", "caf\u00e9", "\ufffd\ufffdabc"]
    assert stream.invalid_utf8 == 2
    assert stream.feed(head + b"\xed\xa0\x80ab" + tail) == ["\ufffd\ufffd\ufffdab"]
    assert stream.invalid_utf8 == 3
    assert stream.dropped == []


def test_invalid_utf8_in_a_last_line_is_replaced_and_counted() -> None:
    stream = decoder("lines")
    assert stream.feed(b"caf\xe9") == []
    assert stream.end() == ["caf\ufffd"]
    assert stream.invalid_utf8 == 1


def test_a_character_may_come_in_two_reads() -> None:
    stream = decoder("lines")
    assert stream.feed(b"caf\xc3") == []
    assert stream.feed(b"\xa9\n") == ["caf\u00e9"]
    assert stream.invalid_utf8 == 0


@pytest.mark.parametrize("framing", ["lines", "nul", "netstring", "length32"])
def test_section_2_a_lone_surrogate_becomes_u_fffd_at_the_local_edge_and_is_counted(framing: str) -> None:
    data, counts = encoded_and_counted(framing, "<\ud800>")
    assert data == encoded(framing, "<\ufffd>")
    assert counts == EncodingCounts(surrogates_replaced=1)


@pytest.mark.parametrize("framing", ["lines", "nul", "netstring", "length32"])
def test_surrogates_are_counted_by_message_and_replaced_one_by_one(framing: str) -> None:
    data, counts = encoded_and_counted(framing, "\ud800\udfff", "x", "a\udbff")
    assert data == encoded(framing, "\ufffd\ufffd", "x", "a\ufffd")
    assert counts == EncodingCounts(surrogates_replaced=2)


def test_a_message_can_need_both_replacements() -> None:
    data, counts = encoded_and_counted("lines", "a\n\ud800")
    assert data == "a\\n\ufffd\n".encode()
    assert counts == EncodingCounts(line_breaks_replaced=1, surrogates_replaced=1)


# --- all framings: sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("framing", "end"), [("lines", b"\n"), ("nul", b"\0")])
def test_an_oversize_message_is_skipped_to_its_delimiter_and_reported_once(framing: str, end: bytes) -> None:
    stream = decoder(framing, limit=5)
    assert stream.feed(b"12345" + end + b"123456" + end + b"ok" + end) == ["12345", "ok"]
    assert stream.dropped == oversize(6)


@pytest.mark.parametrize(("framing", "end"), [("lines", b"\n"), ("nul", b"\0")])
def test_an_oversize_message_that_comes_in_pieces_is_reported_with_its_whole_size(
    framing: str, end: bytes
) -> None:
    stream = decoder(framing, limit=5)
    assert stream.feed(b"first" + end + b"123") == ["first"]
    for piece in (b"4567", b"8", b"", b"90" * 50):
        assert stream.feed(piece) == []
    assert stream.dropped == []
    assert stream.feed(b"x" + end + b"after" + end) == ["after"]
    assert stream.dropped == oversize(109)


def test_an_oversize_last_line_is_reported_at_eof() -> None:
    stream = decoder("lines", limit=5)
    assert stream.feed(b"ok\n123456") == ["ok"]
    assert stream.end() == []
    assert stream.dropped == oversize(6)


def test_an_oversize_json_line_is_skipped_and_reported() -> None:
    stream = decoder("json", limit=7)
    assert stream.feed(b'"12345"\n"123456"\n"ok"\n') == ["12345", "ok"]
    assert stream.dropped == oversize(8)


def test_the_limit_counts_bytes_and_not_characters() -> None:
    stream = decoder("lines", limit=3)
    assert stream.feed("\u00e9a\n\u00e9\u00e9\n".encode()) == ["\u00e9a"]
    assert stream.dropped == oversize(4)
