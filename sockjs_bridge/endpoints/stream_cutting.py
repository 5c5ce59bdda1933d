"""Cutting a byte stream into pieces: at a delimiter, or by lengths. Bounded, whatever the chunks are."""

from collections.abc import Callable

from sockjs_bridge.errors import FramingError

_LENGTH_BYTES = 4


class DelimitedStream:
    """Pieces that end in a delimiter of one byte.

    A piece of more than `max_bytes` is skipped to its end and reported once, with its size, to
    `oversize`. Whatever the chunks, a byte is looked at a bounded number of times and kept once.
    """

    __slots__ = ("_delimiter", "_max_bytes", "_oversize", "_partial", "_partial_bytes", "_skipping")

    def __init__(self, delimiter: bytes, max_bytes: int, oversize: Callable[[int], None]) -> None:
        self._delimiter = delimiter
        self._max_bytes = max_bytes
        self._oversize = oversize
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._skipping = False

    def feed(self, data: bytes) -> bytes | None:
        """The pieces that end in `data`, joined by the delimiter; None when there is none."""
        cut = data.rfind(self._delimiter)
        if cut < 0:
            self._keep(data)
            return None
        block: bytes | None = data[:cut]
        if self._partial_bytes:
            first_end = data.find(self._delimiter)
            block = self._finish(data[:first_end], data[first_end + 1 : cut] if first_end < cut else None)
        if cut + 1 < len(data):
            self._keep(data[cut + 1 :])
        if block is not None and len(block) > self._max_bytes:
            return self._without_oversize(block)
        return block

    def end(self) -> bytes | None:
        """What is left when the stream ends without a delimiter."""
        return self._finish(b"", None) if self._partial_bytes else None

    def _keep(self, data: bytes) -> None:
        self._partial_bytes += len(data)
        if self._partial_bytes > self._max_bytes:
            self._partial.clear()
            self._skipping = True
        else:
            self._partial.append(data)

    def _finish(self, end: bytes, others: bytes | None) -> bytes | None:
        """The partial piece with its end, and the pieces behind it."""
        self._keep(end)
        if self._skipping:
            self._oversize(self._partial_bytes)
            block = others
        else:
            partial = b"".join(self._partial)
            block = partial if others is None else partial + self._delimiter + others
        self._partial.clear()
        self._partial_bytes, self._skipping = 0, False
        return block

    def _without_oversize(self, block: bytes) -> bytes | None:
        pieces = block.split(self._delimiter)
        kept = [piece for piece in pieces if len(piece) <= self._max_bytes]
        for piece in pieces:
            if len(piece) > self._max_bytes:
                self._oversize(len(piece))
        return self._delimiter.join(kept) if kept else None


class LengthPrefixedStream:
    """Pieces behind a big-endian length of four bytes."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    @property
    def unfinished_bytes(self) -> int:
        """Bytes of a piece that has not ended."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that end in `data`. Raises FramingError at a length over the limit."""
        self._buffer += data
        pieces, position, available = [], 0, len(self._buffer)
        while available - position >= _LENGTH_BYTES:
            start = position + _LENGTH_BYTES
            length = int.from_bytes(self._buffer[position:start], "big")
            if length > self._max_bytes:
                raise FramingError(
                    f"a message of {length} bytes, more than max_message_size ({self._max_bytes})"
                )
            if available - start < length:
                break
            pieces.append(bytes(self._buffer[start : start + length]))
            position = start + length
        del self._buffer[:position]
        return pieces


class NetstringStream:
    """Pieces such as `5:hello,` (D. J. Bernstein, "Netstrings")."""

    __slots__ = ("_buffer", "_longest_length", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._longest_length = len(str(max_bytes))
        self._buffer = bytearray()

    @property
    def unfinished_bytes(self) -> int:
        """Bytes of a piece that has not ended."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that end in `data`. Raises FramingError at anything that is no netstring."""
        self._buffer += data
        pieces, position, available = [], 0, len(self._buffer)
        while position < available:
            colon = self._buffer.find(b":", position, position + self._longest_length + 1)
            if colon < 0:
                self._check_digits(bytes(self._buffer[position : position + self._longest_length + 1]))
                break
            start = colon + 1
            length = self._length(bytes(self._buffer[position:colon]))
            if available <= start + length:
                break
            if self._buffer[start + length] != ord(","):
                raise FramingError("a netstring does not end with a comma")
            pieces.append(bytes(self._buffer[start : start + length]))
            position = start + length + 1
        del self._buffer[:position]
        return pieces

    def _check_digits(self, digits: bytes) -> None:
        if not digits.isdigit():
            raise FramingError("a netstring does not begin with its length")
        if len(digits) > self._longest_length:
            raise FramingError(f"a netstring longer than max_message_size ({self._max_bytes})")

    def _length(self, digits: bytes) -> int:
        self._check_digits(digits)
        if len(digits) > 1 and digits.startswith(b"0"):
            raise FramingError("the length of a netstring begins with a zero")
        if int(digits) > self._max_bytes:
            raise FramingError(
                f"a netstring of {int(digits)} bytes, more than max_message_size ({self._max_bytes})"
            )
        return int(digits)
