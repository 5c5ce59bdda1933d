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


FindPiece = Callable[[bytearray, int, int], tuple[int, int, int] | None]
"""Looks for a piece in a buffer from a position on, at most so many bytes long.

Returns where the piece starts and ends and where the next one begins, None if it is not whole yet;
raises FramingError if there can be none.
"""


class CountedStream:
    """Pieces that say their length first, in the way that `find_piece` knows."""

    __slots__ = ("_buffer", "_find_piece", "_max_bytes", "error")

    def __init__(self, find_piece: FindPiece, max_bytes: int) -> None:
        self._find_piece = find_piece
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self.error: FramingError | None = None
        """Set once the stream cannot be cut any further."""

    @property
    def unfinished_bytes(self) -> int:
        """Bytes of a piece that has not ended."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that end in `data`.

        Raises FramingError where no piece comes before the fault; otherwise the pieces are returned,
        `error` is set and the next call raises it.
        """
        if self.error is not None:
            raise self.error
        self._buffer += data
        pieces: list[bytes] = []
        position = 0
        try:
            while (found := self._find_piece(self._buffer, position, self._max_bytes)) is not None:
                start, end, position = found
                pieces.append(bytes(self._buffer[start:end]))
        except FramingError as error:
            self.error = error
            if not pieces:
                raise
        del self._buffer[:position]
        return pieces


def length32_piece(buffer: bytearray, position: int, max_bytes: int) -> tuple[int, int, int] | None:
    """A piece behind a big-endian length of four bytes."""
    start = position + _LENGTH_BYTES
    if len(buffer) < start:
        return None
    length = int.from_bytes(buffer[position:start], "big")
    _check_length(length, max_bytes)
    end = start + length
    return (start, end, end) if len(buffer) >= end else None


def netstring_piece(buffer: bytearray, position: int, max_bytes: int) -> tuple[int, int, int] | None:
    """A piece such as `5:hello,` (D. J. Bernstein, "Netstrings")."""
    longest = len(str(max_bytes))
    digits, colon, _ = bytes(buffer[position : position + longest + 1]).partition(b":")
    if digits and not digits.isdigit():
        raise FramingError("a netstring does not begin with its length")
    if not colon:
        if len(digits) > longest:
            raise FramingError(f"a netstring longer than max_message_size ({max_bytes})")
        return None
    if not digits or (len(digits) > 1 and digits.startswith(b"0")):
        raise FramingError("the length of a netstring is missing or begins with a zero")
    _check_length(int(digits), max_bytes)
    start = position + len(digits) + 1
    end = start + int(digits)
    if len(buffer) <= end:
        return None
    if buffer[end] != ord(","):
        raise FramingError("a netstring does not end with a comma")
    return start, end, end + 1


def _check_length(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise FramingError(f"a message of {length} bytes, more than max_message_size ({max_bytes})")
