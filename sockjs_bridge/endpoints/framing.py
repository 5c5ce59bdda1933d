"""How messages are told apart in a local byte stream (delivery.md, "Framing of local byte streams").

Sans-IO: bytes in, messages out, and back. A decoder belongs to one client and keeps its partial
message; an encoder belongs to a listener and keeps nothing but counts.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

import orjson

from sockjs_bridge.endpoints.message_ends import (
    CountedEnds,
    DelimitedEnds,
    MessageEnds,
    end_of_length32,
    end_of_netstring,
)
from sockjs_bridge.endpoints.receipts import MessageId
from sockjs_bridge.endpoints.stream_cutting import (
    CountedStream,
    DelimitedStream,
    length32_piece,
    netstring_piece,
)
from sockjs_bridge.errors import DropReason, FramingError

_LENGTH_BYTES = 4


@dataclass(slots=True)
class EncodingCounts:
    """Messages from the server that could not pass byte for byte."""

    line_breaks_replaced: int = 0
    surrogates_replaced: int = 0
    nuls_replaced: int = 0


class Decoder(Protocol):
    """Cuts the bytes of one client into messages."""

    invalid_utf8: int
    """Messages in which invalid UTF-8 was replaced by U+FFFD."""
    dropped: list["Dropped"]
    """Messages that were left out since the reader last emptied this list."""

    @property
    def error(self) -> FramingError | None:
        """Set once the stream has lost its message boundaries, after the messages before the fault."""

    def feed(self, data: bytes) -> list[str]:
        """Messages that end in `data`. Raises FramingError where there is none before the fault."""

    def end(self) -> list[str]:
        """The stream has ended: a last message without its delimiter."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message from a client that was left out. `size_bytes` is what was seen of it, `id` the writer's."""

    reason: DropReason
    size_bytes: int
    id: MessageId = None


Encoder = Callable[[list[str]], bytes]


@dataclass(frozen=True, slots=True)
class Framing:
    """One way to write messages into a byte stream and to read them from it."""

    name: str
    make_encoder: Callable[[EncodingCounts], Encoder]
    make_decoder: Callable[[int], Decoder]
    ends: MessageEnds
    """Where messages end in what the encoder wrote."""


def _utf8(text: str, messages: list[str], counts: EncodingCounts) -> bytes:
    """Encode the text made of `messages`; lone surrogates, if any, become U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        counts.surrogates_replaced += sum(bool(_SURROGATE.search(message)) for message in messages)
        return _SURROGATE.sub("\ufffd", text).encode()


def encode_each(messages: list[str], counts: EncodingCounts) -> list[bytes]:
    """Encode every message as UTF-8; lone surrogates become U+FFFD."""
    try:
        return list(map(str.encode, messages))
    except UnicodeEncodeError:
        return [_utf8(message, [message], counts) for message in messages]


_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_BREAK = re.compile("[\r\n]")


def _lines_encoder(counts: EncodingCounts) -> Encoder:
    def encode(messages: list[str]) -> bytes:
        text = "\n".join(messages) + "\n"
        # Looking through a second join is cheaper than counting the line breaks of the first.
        if "\r" in text or "\n" in "".join(messages):
            text = "\n".join([_one_line(message, counts) for message in messages]) + "\n"
        return _utf8(text, messages, counts)

    return encode


def _one_line(message: str, counts: EncodingCounts) -> str:
    if not _LINE_BREAK.search(message):
        return message
    if _is_json(message):
        return _LINE_BREAK.sub(" ", message)
    counts.line_breaks_replaced += 1
    return message.replace("\n", "\\n").replace("\r", "\\r")


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        # orjson refuses lone surrogates and numbers beyond doubles, which JSON allows.
        try:
            _STRICT_JSON.decode(text)
        except (ValueError, RecursionError):
            return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_STRICT_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)


def _json_encoder(counts: EncodingCounts) -> Encoder:
    del counts  # a JSON literal holds every message as it is

    def encode(messages: list[str]) -> bytes:
        try:
            return b"\n".join(list(map(orjson.dumps, messages))) + b"\n"
        except TypeError:  # a lone surrogate
            return "".join([json.dumps(message) + "\n" for message in messages]).encode()

    return encode


def _nul_encoder(counts: EncodingCounts) -> Encoder:
    def encode(messages: list[str]) -> bytes:
        text = "\0".join(messages) + "\0"
        if text.count("\0") != len(messages):
            counts.nuls_replaced += sum("\0" in message for message in messages)
            text = "\0".join([message.replace("\0", "\ufffd") for message in messages]) + "\0"
        return _utf8(text, messages, counts)

    return encode


def _netstring_encoder(counts: EncodingCounts) -> Encoder:
    def encode(messages: list[str]) -> bytes:
        return b"".join([b"%d:%b," % (len(data), data) for data in encode_each(messages, counts)])

    return encode


def _length32_encoder(counts: EncodingCounts) -> Encoder:
    def encode(messages: list[str]) -> bytes:
        encoded = encode_each(messages, counts)
        return b"".join([len(data).to_bytes(_LENGTH_BYTES, "big") + data for data in encoded])

    return encode


class _DelimitedDecoder:
    """Messages between delimiters; `parse` makes messages of the pieces that have ended."""

    def __init__(
        self,
        delimiter: bytes,
        max_message_bytes: int,
        parse: Callable[["_DelimitedDecoder", bytes], list[str]],
    ) -> None:
        self._stream = DelimitedStream(delimiter, max_message_bytes, self._drop_oversize)
        self._parse = parse
        self.error: FramingError | None = None  # a delimiter always comes again
        self.invalid_utf8 = 0
        self.dropped: list[Dropped] = []

    def feed(self, data: bytes) -> list[str]:
        block = self._stream.feed(data)
        return [] if block is None else self._parse(self, block)

    def end(self) -> list[str]:
        block = self._stream.end()
        return [] if block is None else self._parse(self, block)

    def _drop_oversize(self, size_bytes: int) -> None:
        self.dropped.append(Dropped(DropReason.OVERSIZE, size_bytes))


class _CountedDecoder:
    """Messages that say their length first."""

    def __init__(self, stream: CountedStream) -> None:
        self._stream = stream
        self.invalid_utf8 = 0
        self.dropped: list[Dropped] = []

    @property
    def error(self) -> FramingError | None:
        return self._stream.error

    def feed(self, data: bytes) -> list[str]:
        return [_replacing(self, piece) for piece in self._stream.feed(data)]

    def end(self) -> list[str]:
        unfinished = self._stream.unfinished_bytes
        if unfinished and self.error is None:
            self.dropped.append(Dropped(DropReason.INVALID, unfinished))
        return []


def _replacing(decoder: _DelimitedDecoder | _CountedDecoder, piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        decoder.invalid_utf8 += 1
        return piece.decode(errors="replace")


def _parse_texts(decoder: _DelimitedDecoder, block: bytes) -> list[str]:
    try:
        return block.decode().split("\0")
    except UnicodeDecodeError:
        return [_replacing(decoder, piece) for piece in block.split(b"\0")]


def _parse_lines(decoder: _DelimitedDecoder, block: bytes) -> list[str]:
    try:
        messages = block.decode().split("\n")
    except UnicodeDecodeError:
        messages = [_replacing(decoder, piece) for piece in block.split(b"\n")]
    if b"\r" in block:
        messages = [message.removesuffix("\r") for message in messages]
    return [message for message in messages if message] if "" in messages else messages


def _parse_json(decoder: _DelimitedDecoder, block: bytes) -> list[str]:
    """One JSON string literal a line; lines of white space are ignored."""
    lines = [line for line in block.split(b"\n") if line.strip()]
    if not lines:
        return []
    try:
        # No raw line break can stand inside a literal, so that none can reach into the next line.
        messages = orjson.loads(b"[%b]" % b",\n".join(lines))
        if len(messages) == len(lines) and set(map(type, messages)) == {str}:
            return list(messages)
    except ValueError:
        pass  # one of them is no literal, or holds what orjson does not know
    return [message for line in lines if (message := _parse_literal(decoder, line)) is not None]


def _parse_literal(decoder: _DelimitedDecoder, line: bytes) -> str | None:
    replaced_before = decoder.invalid_utf8
    try:
        message = json.loads(_replacing(decoder, line))
    except (ValueError, RecursionError):
        message = None
    if isinstance(message, str):
        return message
    decoder.invalid_utf8 = replaced_before  # what is left out counts as such, and once
    decoder.dropped.append(Dropped(DropReason.INVALID, len(line)))
    return None


_LINES, _NULS = DelimitedEnds(b"\n"), DelimitedEnds(b"\0")

FRAMINGS = {
    framing.name: framing
    for framing in (
        Framing("lines", _lines_encoder, lambda limit: _DelimitedDecoder(b"\n", limit, _parse_lines), _LINES),
        Framing("json", _json_encoder, lambda limit: _DelimitedDecoder(b"\n", limit, _parse_json), _LINES),
        Framing("nul", _nul_encoder, lambda limit: _DelimitedDecoder(b"\0", limit, _parse_texts), _NULS),
        Framing(
            "netstring",
            _netstring_encoder,
            lambda limit: _CountedDecoder(CountedStream(netstring_piece, limit)),
            CountedEnds(end_of_netstring),
        ),
        Framing(
            "length32",
            _length32_encoder,
            lambda limit: _CountedDecoder(CountedStream(length32_piece, limit)),
            CountedEnds(end_of_length32),
        ),
    )
}
"""The framings that hold messages alone, by the name that the configuration gives them."""
