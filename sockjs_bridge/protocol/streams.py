"""Bodies of the HTTP receiving transports, cut into frames (protocol section 3). All of them consist of lines."""

import json
import re
from typing import Protocol

from sockjs_bridge.errors import ProtocolError

FRAME_PER_LINE = frozenset({"xhr-streaming", "xhr-polling"})
"""Transports of which a reader returns several frames in one piece, one a line."""
_WRAPPING_BYTES = 4096
"""What a line may hold beside its frame: `data: `, a callback; or instead of one: a prelude."""


class LineReader(Protocol):
    """Takes whole lines of a body, without the end of the last, and returns what is in them for a Session.

    That is a frame in each piece; or several, one a line, where lines are frames: to cut them apart
    would cost more than all the rest.
    """

    growth: int
    """How many times as long as the frame a transport's own escaping can make a line."""

    def __call__(self, lines: bytes, /) -> list[bytes]:
        """The frames in these lines, in order."""


def make_line_reader(transport: str, *, eventsource_encoding: str = "auto", callback: str = "") -> LineReader:
    """The reader of one session; it lives as long as the session, over all its bodies.

    `callback` is the one that the requests of jsonp-polling name.
    """
    match transport:
        case "xhr-streaming" | "xhr-polling":
            return _FramePerLine()
        case "eventsource":
            return _EventSource(eventsource_encoding)
        case "htmlfile":
            return _HtmlFile()
        case "jsonp-polling":
            return _Jsonp(callback.encode())
    raise ValueError(f"{transport} is no transport that receives over HTTP")


class FrameSplitter:
    """Cuts one response body into frames.

    Whatever the chunks, a byte is looked at a bounded number of times, and a frame of more than
    `max_frame_bytes` ends the cutting: after it `feed` and `end` raise ProtocolError for ever.
    """

    __slots__ = ("_max_frame_bytes", "_max_line_bytes", "_read_lines", "_unfinished", "problem")

    def __init__(self, read_lines: LineReader, max_frame_bytes: int) -> None:
        self._read_lines = read_lines
        self._max_frame_bytes = max_frame_bytes
        self._max_line_bytes = max_frame_bytes * read_lines.growth + _WRAPPING_BYTES
        self._unfinished = bytearray()
        self.problem = ""
        """Why the body cannot be cut any further."""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that end in `data`, as the reader returns them.

        Raises ProtocolError where no frame comes before one that is too large; otherwise the frames are
        returned, `problem` is set and the next call raises it.
        """
        if self.problem:
            raise ProtocolError(self.problem)
        may_be_too_large = len(self._unfinished) + len(data) > self._max_frame_bytes
        end = data.rfind(b"\n")
        frames: list[bytes] = []
        if end >= 0:
            frames = self._frames(self._finish(data[:end]), may_be_too_large)
        if not self.problem:
            self._unfinished += data[end + 1 :]
            if len(self._unfinished) > self._max_line_bytes:
                self._fail()
        return self._frames_or_error(frames)

    def end(self) -> list[bytes]:
        """The body has ended: its last frame, if it came without the end of its line. Raises as `feed` does."""
        if self.problem:
            raise ProtocolError(self.problem)
        return self._frames_or_error(self._frames(self._finish(b""), True))

    def _finish(self, lines: bytes) -> bytes:
        """Lines whose beginning came before."""
        if not self._unfinished:
            return lines
        self._unfinished += lines
        line = bytes(self._unfinished)
        self._unfinished.clear()
        return line

    def _frames(self, lines: bytes, may_be_too_large: bool) -> list[bytes]:
        """The frames in whole lines, up to the first that is too large."""
        if not may_be_too_large:
            return self._read_lines(lines)
        frames: list[bytes] = []
        for line in self._up_to_oversize(lines.split(b"\n"), self._max_line_bytes):
            frames += self._read_lines(line)
        return self._up_to_oversize(frames, self._max_frame_bytes)

    def _up_to_oversize(self, pieces: list[bytes], max_bytes: int) -> list[bytes]:
        for position, piece in enumerate(pieces):
            if len(piece) > max_bytes:
                self._fail()
                return pieces[:position]
        return pieces

    def _fail(self) -> None:
        self.problem = f"a frame is larger than {self._max_frame_bytes} bytes"
        self._unfinished.clear()

    def _frames_or_error(self, frames: list[bytes]) -> list[bytes]:
        if self.problem and not frames:
            raise ProtocolError(self.problem)
        return frames


class _FramePerLine:
    """One frame a line."""

    growth = 1

    def __call__(self, lines: bytes, /) -> list[bytes]:
        if lines[:2] == b"hh":  # the prelude, which may be larger than any frame
            first, _, others = lines.partition(b"\n")
            lines = lines if first.rstrip(b"\r").strip(b"h") else others
        return [lines] if lines else []


_DATA = b"data:"
_PERCENT = re.compile(rb"%(25|0D|0A|00)", re.IGNORECASE)
_PERCENT_MEANS = {b"25": b"%", b"0D": b"\r", b"0A": b"\n", b"00": b"\0"}


class _EventSource:
    """One frame in each `data:` field, percent-encoded by some servers."""

    growth = 3  # `%25`

    def __init__(self, encoding: str) -> None:
        self._decode = {"auto": self._guess, "percent": _decode_percent, "none": _decode_nothing}[encoding]

    def __call__(self, lines: bytes, /) -> list[bytes]:
        fields = [line[len(_DATA) :].removeprefix(b" ") for line in _split(lines) if line.startswith(_DATA)]
        return [self._decode(field) if b"%" in field else field for field in fields if field]

    def _guess(self, field: bytes) -> bytes:
        """Take `%25` for an encoded `%`, until another `%` shows that this server does not encode."""
        if field.count(b"%") == field.count(b"%25"):
            return field.replace(b"%25", b"%")
        self._decode = _decode_nothing
        return field


def _split(lines: bytes) -> list[bytes]:
    return [line.rstrip(b"\r") for line in lines.split(b"\n")]


def _decode_percent(field: bytes) -> bytes:
    return _PERCENT.sub(lambda match: _PERCENT_MEANS[match[1].upper()], field)


def _decode_nothing(field: bytes) -> bytes:
    return field


class _HtmlFile:
    """One frame in each call of `p`; the lines between are HTML."""

    growth = 6  # `\u003C`, for `<` (Spring); others double quotes and backslashes

    def __call__(self, lines: bytes, /) -> list[bytes]:
        return [_frame_in_call(line, b"p") for line in _split(lines) if line.startswith(b"p(")]


class _Jsonp:
    """One frame in each call of the callback that the request names."""

    growth = 6  # as in htmlfile

    def __init__(self, callback: bytes) -> None:
        self._callback = callback

    def __call__(self, lines: bytes, /) -> list[bytes]:
        return [_frame_in_call(line, self._callback) for line in _split(lines) if line]


def _frame_in_call(line: bytes, function: bytes) -> bytes:
    """The string that is handed to the function; the whole line, which is then no frame, if there is none."""
    argument = _argument(line, function)
    if argument[:1] != b'"':
        return line
    try:
        return _encode(_decode_string(argument.decode()))
    except ValueError:
        return line


def _argument(line: bytes, function: bytes) -> bytes:
    """What stands between the brackets of `function(...);`; nothing if that is not what the line is."""
    # No pattern does this: one that allows white space everywhere takes quadratic time for a run of it.
    call = line.strip().removeprefix(b"/**/").lstrip()
    if not call.startswith(function):
        return b""
    brackets = call[len(function) :].lstrip().removesuffix(b";").rstrip()
    if not (brackets.startswith(b"(") and brackets.endswith(b")")):
        return b""
    return brackets[1:-1].strip()


_ESCAPE = re.compile(r"""\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([^ux]))|["\\]""")
_ESCAPE_MEANS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}


def _decode_string(literal: str) -> str:
    """The value of a string of JSON, or of JavaScript. Raises ValueError if it is neither."""
    try:
        # It begins with a quote, so it can be nothing but a string.
        return str(json.loads(literal, strict=False))
    except ValueError:
        if len(literal) < 2 or not literal.endswith('"'):
            raise
    return _ESCAPE.sub(_unescape, literal[1:-1])


def _unescape(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2]
    if code:
        return chr(int(code, 16))
    if not escape[3]:
        raise ValueError("a quote inside the string, or an escape that JavaScript does not know")
    return _ESCAPE_MEANS.get(escape[3], escape[3])


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Two surrogates that form a pair are one character; a lone one has no UTF-8 (protocol section 2).
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
