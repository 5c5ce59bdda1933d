"""Frames: what a server sends, and the arrays that a client sends (protocol sections 2 and 4)."""

import json
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from json.scanner import make_scanner
from operator import itemgetter
from typing import Any, cast

import orjson

from sockjs_bridge.errors import FrameError
from sockjs_bridge.protocol.escaping import escape_json

NO_STATUS = 1005
"""Close code for "no code was given" (RFC 6455 section 7.4.1)."""


@dataclass(frozen=True, slots=True)
class OpenFrame:
    """`o`: the session is open."""


@dataclass(frozen=True, slots=True)
class HeartbeatFrame:
    """`h`: the server is alive."""


@dataclass(frozen=True, slots=True)
class MessageFrame:
    """`a[...]` or `m...`: messages, in order. Their text may hold lone surrogates."""

    messages: list[str]


@dataclass(frozen=True, slots=True)
class CloseFrame:
    """`c[code,"reason"]`: the server has ended the session. Of the reason, 1000 characters are kept."""

    code: int
    reason: str


Frame = OpenFrame | HeartbeatFrame | MessageFrame | CloseFrame

_WHITE_SPACE = b" \t\r\n"
_CLOSE_CODE = re.compile(r"c\s*\[\s*(\d{1,9})(?!\d)")
_LARGEST_CLOSE_CODE = 2**53
_LONGEST_REASON = 1000
_OUTSIDE_STRINGS = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|\s+', re.DOTALL)
_SPACES = (" ", "\n", "\r", "\t")
_AFTER_ELEMENT = (",", "]")
_JSON_SPACE = re.compile(r"[ \t\r\n]*")
# Control characters inside strings are let through, and numbers keep the digits they came with.
_lenient = json.JSONDecoder(strict=False, parse_int=str, parse_float=str, parse_constant=str)
_scan: Callable[[str, int], tuple[object, int]] = make_scanner(
    cast("Any", _lenient)
)  # typed as if it copied itself
# Bytes that are indexed give small integers, which are there already; slices would be made anew.
_first, _second, _last = itemgetter(0), itemgetter(1), itemgetter(-1)
_between_brackets = itemgetter(slice(2, -1))
_A, _OPENING, _CLOSING = {ord("a")}, {ord("[")}, {ord("]")}
_ONLY_TEXT = {str}


def decode_frame(payload: bytes) -> Frame | None:
    """Decode one frame as leniently as section 2 asks; None for a frame without content.

    Raises FrameError for what is no frame at all: the session may go on without it.
    """
    payload = payload.strip(_WHITE_SPACE)
    if not payload:
        return None
    match payload[:1]:
        case b"a":
            return MessageFrame(_decode_array(payload))
        case b"o" if payload == b"o":
            return OpenFrame()
        case b"h" if payload == b"h":
            return HeartbeatFrame()
        case b"h" if not payload.strip(b"h"):
            # The prelude of a stream. It is no heartbeat: tornado never sends one there, and an idle session
            # would be taken for a silent one.
            return None
        case b"m":
            return MessageFrame([_decode_single(payload)])
        case b"c":
            return _decode_close(payload)
    raise FrameError("it begins like no SockJS frame")


def decode_message_burst(payloads: list[bytes]) -> list[str] | None:
    """Decode the frames of one read with one parse, the path that nearly all traffic takes.

    None when any of them is not a plain array of strings: then look at each with `decode_frame`.
    """
    if len(payloads) == 1:
        return _plain_array(payloads[0])
    try:
        if (
            set(map(_first, payloads)) != _A
            or set(map(_second, payloads)) != _OPENING
            or set(map(_last, payloads)) != _CLOSING
        ):
            return None
        # One array of what stands between the brackets of each. A raw line break cannot stand inside a
        # string, and another bracket would give something else than strings: so no frame that is broken
        # can borrow from its neighbours.
        messages = orjson.loads(b"[%b]" % b",\n".join(map(_between_brackets, payloads)))
    except (ValueError, IndexError):
        return None
    return messages if set(map(type, messages)) == _ONLY_TEXT else None


def decode_message_lines(lines: bytes) -> list[str] | None:
    """Like `decode_message_burst` for frames that came as lines: they are never cut apart at all."""
    # Every end of an array with the next one's beginning becomes a comma: the same length, so in one pass.
    # A line break that is left stands in another kind of line, or where a frame is broken.
    joined = lines.replace(b'"]\na["', b'",   "')
    return None if b"\n" in joined else _plain_array(joined)


def _plain_array(payload: bytes) -> list[str] | None:
    """The messages of a frame that is a plain array of strings."""
    if payload[:2] != b"a[":
        return None
    try:
        messages = orjson.loads(payload[1:])
    except ValueError:
        return None
    return messages if set(map(type, messages)) <= _ONLY_TEXT else None


def _decode_array(payload: bytes) -> list[str]:
    messages = _plain_array(payload)
    if messages is not None:
        return messages
    # It may hold a lone surrogate or an object: this parser, slower, knows them.
    try:
        return _elements(payload[1:].decode())
    except (ValueError, RecursionError) as error:
        raise FrameError("its array of messages is not valid JSON") from error


def _elements(text: str) -> list[str]:
    """The elements of a JSON array: strings decoded, anything else as the compact JSON it was."""
    position = _skip_space(text, 0)
    if text[position : position + 1] != "[":
        raise ValueError("not an array")
    position = _skip_space(text, position + 1)
    messages: list[str] = []
    if text[position : position + 1] == "]":
        return _ended(text, position + 1, messages)
    while True:
        # Not the decoder itself, and a look before each pattern: there may be millions of elements in a frame.
        try:
            value, end = _scan(text, position)
        except StopIteration as error:
            raise ValueError("an element is no JSON") from error
        messages.append(str(value) if text[position] == '"' else _compact(text[position:end]))
        position = end if text[end : end + 1] in _AFTER_ELEMENT else _skip_space(text, end)
        mark = text[position : position + 1]
        if mark == "]":
            return _ended(text, position + 1, messages)
        if mark != ",":
            raise ValueError("no comma between elements")
        position += 1
        if text[position : position + 1] in _SPACES:
            position = _skip_space(text, position)


def _ended(text: str, position: int, messages: list[str]) -> list[str]:
    if _skip_space(text, position) != len(text):
        raise ValueError("something follows the array")
    return messages


def _skip_space(text: str, position: int) -> int:
    match = _JSON_SPACE.match(text, position)
    return match.end() if match else position


def _compact(text: str) -> str:
    if not any(space in text for space in _SPACES):
        return text
    return _OUTSIDE_STRINGS.sub(r"\1", text)


def _decode_single(payload: bytes) -> str:
    try:
        (message,) = _elements(f"[{payload[1:].decode()}]")
    except (ValueError, RecursionError) as error:
        raise FrameError("its message is not valid JSON") from error
    return message


def _decode_close(payload: bytes) -> CloseFrame:
    text = payload.decode(errors="replace")
    try:
        match json.loads(text[1:]):
            case [int(code), str(reason), *_] if not isinstance(code, bool):
                return _close_frame(code, reason)
    except (ValueError, RecursionError):
        pass  # tornado and Spring do not escape quotes in the reason
    found = _CLOSE_CODE.match(text)
    if not found:
        raise FrameError("its close code cannot be read")
    return _close_frame(int(found[1]), _reason(text[found.end() :]))


def _close_frame(code: int, reason: str) -> CloseFrame:
    # Both go into logs, events and the status document, which hold neither endless text nor lone surrogates.
    if abs(code) > _LARGEST_CLOSE_CODE:
        raise FrameError("its close code is out of all bounds")
    shown = reason[:_LONGEST_REASON].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return CloseFrame(code, shown)


def _reason(rest: str) -> str:
    """The reason of a close frame that is no JSON: what stands between the comma and the bracket."""
    rest = rest.strip().removesuffix("]").strip().removeprefix(",").strip()
    return rest.removeprefix('"').removesuffix('"')


def encode_messages(batch: list[str], batch_bytes: int) -> list[bytes]:
    """Encode messages as JSON arrays of strings, each at most `batch_bytes` bytes long.

    A message that is larger alone goes alone; 0 puts every message alone. An empty batch gives nothing.
    """
    if len(batch) == 1:
        return [_encode_array(batch)]
    return [array for array, _ in encode_groups(batch, batch_bytes)]


def encode_groups(batch: list[str], batch_bytes: int) -> list[tuple[bytes, int]]:
    """Like `encode_messages`, each array with the number of messages in it."""
    ends = list(accumulate(map(len, batch)))
    groups: list[tuple[bytes, int]] = []
    start, taken, bytes_per_character = 0, 0, _FIRST_GUESS
    while start < len(batch):
        # A group is guessed from the one before it, and made smaller in the rare case that it is too large:
        # to encode every message alone, only to know its size, would cost several times as much.
        end = max(bisect_right(ends, taken + batch_bytes / bytes_per_character, start), start + 1)
        array = _encode_array(batch[start:end])
        while len(array) > batch_bytes and end - start > 1:
            end = start + max(int((end - start) * _SAFETY * batch_bytes / len(array)), 1)
            array = _encode_array(batch[start:end])
        groups.append((array, end - start))
        bytes_per_character = len(array) / max(ends[end - 1] - taken, 1) / _SAFETY
        start, taken = end, ends[end - 1]
    return groups


_FIRST_GUESS = 1.15
_SAFETY = 0.97


def _encode_array(batch: list[str]) -> bytes:
    try:
        return escape_json(orjson.dumps(batch))
    except TypeError:  # a lone surrogate
        return json.dumps(batch, separators=(",", ":")).encode()
