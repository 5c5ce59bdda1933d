"""Cutting byte streams: each cut at every place, bounded, and reported once."""

from collections.abc import Iterator

import pytest

from sockjs_bridge.endpoints.stream_cutting import (
    CountedStream,
    DelimitedStream,
    length32_piece,
    netstring_piece,
)
from sockjs_bridge.errors import FramingError


class Lines:
    """A DelimitedStream that cuts at `|`, and what it reported."""

    def __init__(self, max_bytes: int) -> None:
        self.oversize: list[int] = []
        self._stream = DelimitedStream(b"|", max_bytes, self.oversize.append)

    def feed(self, data: bytes) -> list[bytes]:
        return self._pieces(self._stream.feed(data))

    def end(self) -> list[bytes]:
        return self._pieces(self._stream.end())

    def _pieces(self, block: bytes | None) -> list[bytes]:
        return [] if block is None else block.split(b"|")


def chunkings(data: bytes) -> Iterator[list[bytes]]:
    """The data cut at every place, at every two places, and into single bytes."""
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            yield [data[:first], data[first:second], data[second:]]
    yield [data[at : at + 1] for at in range(len(data))]


# --- pieces that end in a delimiter -----------------------------------------------------------------------


def test_the_pieces_that_end_in_a_read_come_joined_by_the_delimiter() -> None:
    """One object for each read, however many pieces it holds."""
    stream = DelimitedStream(b"|", 100, lambda size: None)
    assert stream.feed(b"a|b||c") == b"a|b|"
    assert stream.feed(b"d|") == b"cd"


def test_a_read_without_any_delimiter_gives_none() -> None:
    stream = DelimitedStream(b"|", 100, lambda size: None)
    assert stream.feed(b"abc") is None
    assert stream.feed(b"") is None


def test_an_empty_piece_is_not_nothing() -> None:
    stream = DelimitedStream(b"|", 100, lambda size: None)
    assert stream.feed(b"|") == b""
    assert stream.end() is None


@pytest.mark.parametrize("data", [b"a|bc||def|", b"|||", b"abc", b"abcde|", b"|abcde"], ids=repr)
def test_pieces_are_the_same_however_the_stream_is_chunked(data: bytes) -> None:
    whole = data.removesuffix(b"|").split(b"|")
    for chunks in chunkings(data):
        stream = Lines(max_bytes=5)
        pieces = [piece for chunk in chunks for piece in stream.feed(chunk)] + stream.end()
        assert pieces == whole, chunks
        assert stream.oversize == []


@pytest.mark.parametrize(
    ("data", "pieces", "oversize"),
    [
        (b"abcd|", [], [4]),
        (b"abcd|e|", [b"e"], [4]),
        (b"e|abcd|", [b"e"], [4]),
        (b"abcd|efgh|", [], [4, 4]),
        (b"abcd||efghi|xyz", [b"", b"xyz"], [4, 5]),
        (b"a|bcdefgh", [b"a"], [7]),
    ],
    ids=repr,
)
def test_a_piece_over_the_limit_is_reported_once_with_its_size(
    data: bytes, pieces: list[bytes], oversize: list[int]
) -> None:
    for chunks in chunkings(data):
        stream = Lines(max_bytes=3)
        got = [piece for chunk in chunks for piece in stream.feed(chunk)] + stream.end()
        assert got == pieces, chunks
        assert stream.oversize == oversize, chunks


def test_a_limit_of_0_lets_only_empty_pieces_through() -> None:
    stream = Lines(max_bytes=0)
    assert stream.feed(b"|a||bc|") == [b"", b""]
    assert stream.oversize == [1, 2]


def test_what_is_skipped_is_not_kept() -> None:
    """Only its size is counted while a piece over the limit is on its way."""
    stream = DelimitedStream(b"|", 10, lambda size: None)
    for _ in range(100):
        stream.feed(b"x" * 8)
    assert stream._partial == []


def test_a_stream_can_go_on_after_its_end() -> None:
    stream = Lines(max_bytes=3)
    assert stream.feed(b"ab") == []
    assert stream.end() == [b"ab"]
    assert stream.end() == []
    assert stream.feed(b"c|") == [b"c"]


def length32_stream() -> CountedStream:
    return CountedStream(length32_piece, 3)


def netstring_stream(max_bytes: int = 12) -> CountedStream:
    return CountedStream(netstring_piece, max_bytes)


# --- pieces behind a length of four bytes -----------------------------------------------------------------


def test_length_prefixed_pieces_are_the_same_however_the_stream_is_chunked() -> None:
    data = b"\0\0\0\x02ab\0\0\0\0\0\0\0\x03cde"
    for chunks in chunkings(data):
        stream = length32_stream()
        assert [piece for chunk in chunks for piece in stream.feed(chunk)] == [b"ab", b"", b"cde"], chunks
        assert stream.unfinished_bytes == 0


@pytest.mark.parametrize("length", [4, 0x100, 0x010000, 0xFFFFFFFF])
def test_a_length_over_the_limit_raises_as_soon_as_it_is_known(length: int) -> None:
    prefix = length.to_bytes(4, "big")
    stream = length32_stream()
    assert stream.feed(prefix[:3]) == []
    with pytest.raises(FramingError, match=str(length)):
        stream.feed(prefix[3:])


def test_a_length_prefixed_stream_tells_what_is_unfinished() -> None:
    stream = length32_stream()
    assert stream.unfinished_bytes == 0
    assert stream.feed(b"\0\0\0\x01a\0\0\0\x03bc") == [b"a"]
    assert stream.unfinished_bytes == 6


# --- netstrings -------------------------------------------------------------------------------------------


def netstrings_of(chunks: list[bytes]) -> list[bytes]:
    """The pieces of a whole stream, which ends with one of them."""
    stream = netstring_stream()
    pieces = [piece for chunk in chunks for piece in stream.feed(chunk)]
    assert stream.unfinished_bytes == 0
    return pieces


def test_netstrings_are_the_same_however_the_stream_is_chunked() -> None:
    data = b"2:ab,0:,12:123456789:,,,1:,,"
    for chunks in chunkings(data):
        assert netstrings_of(chunks) == [b"ab", b"", b"123456789:,,", b","], chunks


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"a", "does not begin with its length"),
        (b":", "missing"),
        (b",", "does not begin with its length"),
        (b"-", "does not begin with its length"),
        (b" 1", "does not begin with its length"),
        (b"1 ", "does not begin with its length"),
        (b"1a:", "does not begin with its length"),
        (b"\xd9\xa1:", "does not begin with its length"),
        (b"\n", "does not begin with its length"),
        (b"01:a,", "begins with a zero"),
        (b"00:,", "begins with a zero"),
        (b"13:", "13 bytes, more than max_message_size"),
        (b"100", "longer than max_message_size"),
        (b"100:", "longer than max_message_size"),
        (b"2:abc", "does not end with a comma"),
        (b"2:ab\n", "does not end with a comma"),
        (b"0:0:,", "does not end with a comma"),
    ],
    ids=repr,
)
def test_what_is_no_netstring_raises_however_the_stream_is_chunked(data: bytes, why: str) -> None:
    with pytest.raises(FramingError, match=why):
        netstring_stream().feed(data)
    for chunks in chunkings(data):
        with pytest.raises(FramingError):
            netstrings_of(chunks)


def test_digits_without_a_colon_are_awaited_only_up_to_the_longest_length() -> None:
    stream = netstring_stream(1000)
    assert stream.feed(b"1") == []
    assert stream.feed(b"000") == []
    with pytest.raises(FramingError, match="longer than max_message_size"):
        stream.feed(b"0")


def test_a_netstring_stream_tells_what_is_unfinished() -> None:
    stream = netstring_stream()
    assert stream.unfinished_bytes == 0
    assert stream.feed(b"1:a,5:hell") == [b"a"]
    assert stream.unfinished_bytes == 6


def test_a_netstring_without_its_comma_is_unfinished() -> None:
    stream = netstring_stream()
    assert stream.feed(b"2:ab") == []
    assert stream.unfinished_bytes == 4
    assert stream.feed(b",") == [b"ab"]


# --- what breaks off --------------------------------------------------------------------------------------


def pieces_until_broken(stream: CountedStream, chunks: list[bytes]) -> list[bytes]:
    pieces: list[bytes] = []
    try:
        for chunk in chunks:
            pieces += stream.feed(chunk)
    except FramingError:
        pass
    assert stream.error is not None
    return pieces


def test_pieces_in_front_of_the_fault_are_returned_however_the_stream_is_chunked() -> None:
    data = b"2:ab,0:,x1:c,"
    for chunks in chunkings(data):
        stream = netstring_stream()
        assert pieces_until_broken(stream, chunks) == [b"ab", b""], chunks
        with pytest.raises(FramingError, match="does not begin with its length"):
            stream.feed(b"1:d,")


def test_a_stream_that_broke_off_stays_broken() -> None:
    stream = netstring_stream()
    for _ in range(2):
        with pytest.raises(FramingError, match="does not begin with its length"):
            stream.feed(b"x")
    with pytest.raises(FramingError, match="does not begin with its length"):
        stream.feed(b"1:a,")
