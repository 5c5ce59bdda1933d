"""The rows of a spool's file, and what tells whether they are as they were written."""

import json
import zlib
from typing import Final

import orjson

from sockjs_bridge.bridge.batch import utf8_bytes
from sockjs_bridge.bridge.chunks import Chunk

_GIL_KEPT_BYTES: Final = 4096
"""zlib gives the interpreter away for more than 5 KiB, and to get it back takes longer than the sum."""


class DamagedError(Exception):
    """The contents of the file make no sense."""


def encode_row(chunk: Chunk) -> tuple[int, int, int, float, int, bytes]:
    """The columns of a chunk: first, count, size_bytes, accepted_at, checksum, body."""
    body = _encode(chunk.messages)
    count, accepted_at = len(chunk.messages), float(chunk.accepted_at)
    checksum = checksum_of(body, chunk.first, count, chunk.size_bytes, accepted_at)
    return chunk.first, count, chunk.size_bytes, accepted_at, checksum, body


def decode_row(
    first: object, count: object, size_bytes: object, accepted_at: object, checksum: object, body: object
) -> Chunk:
    """The chunk that has these columns. Raises DamagedError, whatever they are."""
    if (
        not isinstance(first, int)
        or not isinstance(size_bytes, int)
        or not isinstance(accepted_at, float)
        or not isinstance(body, bytes)
        or checksum_of(body, first, count, size_bytes, accepted_at) != checksum
    ):
        raise DamagedError(f"the messages from number {first} on are not as they were written")
    messages = _decode(body)
    if not messages or len(messages) != count or first < 1 or utf8_bytes(messages) != size_bytes:
        raise DamagedError(f"the messages from number {first} on make no sense")
    return Chunk(first, messages, size_bytes, accepted_at)


def checksum_of(body: bytes, *fields: object) -> int:
    """CRC-32 over all that a row says."""
    checksum = zlib.crc32(repr(fields).encode())
    for start in range(0, len(body), _GIL_KEPT_BYTES):
        checksum = zlib.crc32(body[start : start + _GIL_KEPT_BYTES], checksum)
    return checksum


def _encode(messages: list[str]) -> bytes:
    try:
        return orjson.dumps(messages)
    except orjson.JSONEncodeError:  # a lone surrogate
        return json.dumps(messages, ensure_ascii=False).encode(errors="surrogatepass")


def _decode(body: bytes) -> list[str]:
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            values = json.loads(body.decode(errors="surrogatepass"))
        except ValueError:
            values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise DamagedError("a body is not a list of messages")
    return values
