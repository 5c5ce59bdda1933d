"""What a client escapes (protocol section 4, rule W): `escapable_by_client` of sockjs-protocol 0.3.3."""

import hashlib
import json

import pytest

from sockjs_bridge.protocol.escaping import escape_json

BEFORE_SURROGATES = 0xD7FF
AFTER_SURROGATES = 0xE000
LAST_OF_BMP = 0xFFFF


def is_escaped(code_point: int) -> bool:
    literal = f'"{chr(code_point)}"'.encode()
    return escape_json(literal) != literal


def escaped_code_points() -> list[int]:
    """All that are escaped in the Basic Multilingual Plane; UTF-8 cannot hold surrogates."""
    candidates = [*range(0x20, BEFORE_SURROGATES + 1), *range(AFTER_SURROGATES, LAST_OF_BMP + 1)]
    return [code_point for code_point in candidates if is_escaped(code_point)]


# Each with its neighbours, which are not on the list.
RANGES = [
    (0x007F, 0x009F),
    (0x00AD, 0x00AD),
    (0x0300, 0x0333),
    (0x033D, 0x0346),
    (0x034A, 0x034C),
    (0x0374, 0x0374),
    (0x0591, 0x05AF),
    (0x0600, 0x0604),
    (0x0610, 0x0617),
    (0x070F, 0x070F),
    (0x073F, 0x0741),
    (0x07EB, 0x07F1),
    (0x0958, 0x095F),
    (0x0E38, 0x0E39),
    (0x0F80, 0x0F83),
    (0x17B4, 0x17B5),
    (0x1DC0, 0x1DCF),
    (0x1F71, 0x1F71),
    (0x1FEE, 0x1FEF),
    (0x2000, 0x20FF),
    (0x2126, 0x2126),
    (0x212A, 0x212B),
    (0x2329, 0x232A),
    (0x2ADC, 0x2ADC),
    (0x302B, 0x302C),
    (0xAAB2, 0xAAB3),
    (0xF900, 0xFA0D),
    (0xFA70, 0xFAD9),
    (0xFB46, 0xFB4E),
    (0xFEFF, 0xFEFF),
    (0xFFF0, 0xFFFF),
]


@pytest.mark.parametrize(("first", "last"), RANGES, ids=[f"{first:04X}-{last:04X}" for first, last in RANGES])
def test_rule_w_every_character_of_a_range_is_escaped(first: int, last: int) -> None:
    assert all(is_escaped(code_point) for code_point in range(first, last + 1))


@pytest.mark.parametrize(("first", "last"), RANGES, ids=[f"{first:04X}-{last:04X}" for first, last in RANGES])
def test_the_neighbours_of_a_range_are_not_escaped(first: int, last: int) -> None:
    assert not is_escaped(first - 1)
    assert not is_escaped(last + 1)


def test_rule_w_the_whole_list_is_that_of_sockjs_protocol() -> None:
    """The census of the published list without the characters that JSON escapes anyway.

    1060 characters; the digest is that of their numbers in four lower-case hexadecimal digits, with
    a space between, so that not one can be missing or too many.
    """
    escaped = escaped_code_points()
    assert len(escaped) == 1060
    assert hashlib.sha256(" ".join(f"{number:04x}" for number in escaped).encode()).hexdigest() == (
        "d6659dbd2e3939659edd90075cb8f168536fe3451b0f517b31ac8dd85835d780"
    )


@pytest.mark.parametrize(
    "text", ["\u00e9", "\u00df", "\u4e2d\u6587", "\u0416", "\u2100", "\ue000"], ids=ascii
)
def test_ordinary_letters_leave_as_they_are(text: str) -> None:
    literal = f'"{text}"'.encode()
    assert escape_json(literal) == literal


def test_section_4_astral_characters_leave_as_they_are() -> None:
    literal = '"\U0001f600\U00010000\U0010ffff"'.encode()
    assert escape_json(literal) == literal


def test_ascii_text_is_returned_as_the_same_object() -> None:
    """The fast path: no copy is made."""
    literal = bytes(range(0x20, 0x7F)) * 10
    assert escape_json(literal) is literal


def test_del_is_escaped_though_it_is_ascii() -> None:
    assert escape_json(b'["a\x7fb"]') == b'["a\\u007fb"]'


def test_an_escape_is_a_u_and_four_hexadecimal_digits() -> None:
    assert escape_json('["\u00ad", "\u2028", "\ufeff"]'.encode()) == b'["\\u00ad", "\\u2028", "\\ufeff"]'


def test_what_is_escaped_parses_back_to_the_same_text() -> None:
    text = "".join(map(chr, escaped_code_points()))
    written = escape_json(json.dumps(text, ensure_ascii=False).encode())
    assert written.isascii()
    assert json.loads(written) == text


def test_text_between_escaped_characters_stays() -> None:
    text = '\u2028"\\\u00e9\U0001f600\\u2028\u2029'
    written = escape_json(json.dumps(text, ensure_ascii=False).encode())
    assert json.loads(written) == text
    assert written.decode().count("\\u2028") == 2


def test_characters_outside_strings_are_never_touched() -> None:
    """White space and punctuation of JSON are ASCII and not on the list."""
    assert escape_json('[\n  "\u2028",\n\t1\r\n]'.encode()) == b'[\n  "\\u2028",\n\t1\r\n]'
