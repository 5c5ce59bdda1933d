"""One function for each decoder: it takes any bytes, and raises only where the decoder is wrong.

What holds for all of them: arbitrary bytes raise only the errors that are promised, nothing grows beyond its
bound, and however the bytes are cut, the result is the same. The first bytes of the input choose the cuts.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

from sockjs_bridge.endpoints.envelope import EnvelopeDecoder
from sockjs_bridge.endpoints.framing import FRAMINGS, Decoder
from sockjs_bridge.endpoints.http_guard import Finding, HttpGuard
from sockjs_bridge.errors import FrameError, FramingError, ProtocolError
from sockjs_bridge.protocol.frames import (
    MessageFrame,
    decode_frame,
    decode_message_burst,
    decode_message_lines,
)
from sockjs_bridge.protocol.info import parse_info
from sockjs_bridge.protocol.session import Session, State
from sockjs_bridge.protocol.streams import FRAME_PER_LINE, FrameSplitter, make_line_reader
from sockjs_bridge.protocol.urls import BaseUrl

Target = Callable[[bytes], None]

_BASE = BaseUrl.parse("http://host/echo")
_LIMIT = 256
_CUTS = 4


def _cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """The input without its first bytes, whole and in the pieces that these ask for."""
    cuts, data = data[:_CUTS], data[_CUTS:]
    places = sorted({0, len(data), *(cut * len(data) // 256 for cut in cuts)})
    return data, [data[begin:end] for begin, end in pairwise(places)]


def frame(data: bytes) -> None:
    """One frame: the quick ways of decoding agree with the lenient one."""
    quick = decode_message_burst([data])
    try:
        decoded = decode_frame(data)
    except FrameError:
        assert quick is None
        return
    if quick is not None:
        assert decoded == MessageFrame(quick)
    if isinstance(decoded, MessageFrame):
        assert all(isinstance(message, str) for message in decoded.messages)


def frames(data: bytes) -> None:
    """Several frames, one a line: together they say what they say one by one."""
    lines = data.split(b"\n")
    for together in (decode_message_burst(lines), decode_message_lines(data)):
        if together is None:
            continue
        alone: list[str] = []
        for line in lines:
            decoded = decode_frame(line)
            assert decoded is None or isinstance(decoded, MessageFrame)
            alone += decoded.messages if decoded is not None else []
        assert together == alone


def session(data: bytes) -> None:
    """A session that was open: after its end nothing follows."""
    under_test = Session()
    under_test.receive_frames([b"o"])
    for line in data.split(b"\n"):
        was_closed = under_test.state is State.CLOSED
        events = under_test.receive_frames([line])
        assert not (was_closed and events)


def _stream(transport: str, encoding: str = "auto") -> Target:
    def target(data: bytes) -> None:
        whole, pieces = _cut(data)
        if b"h" * _LIMIT in whole:
            return  # a prelude may be larger than any frame, and what comes first depends on the cuts
        assert _split(transport, encoding, [whole]) == _split(transport, encoding, pieces)

    return target


def _split(transport: str, encoding: str, pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """The frames of a body, a frame each, and whether it broke the bound."""
    reader = make_line_reader(transport, eventsource_encoding=encoding, callback="cb")
    splitter = FrameSplitter(reader, _LIMIT)
    found: list[bytes] = []
    with suppress(ProtocolError):
        for piece in pieces:
            found += splitter.feed(piece)
        found += splitter.end()
    if transport in FRAME_PER_LINE:
        found = [line for several in found for line in several.split(b"\n")]
    assert all(len(each) <= _LIMIT for each in found)
    # A run of `h` is a prelude where it comes first, and says nothing elsewhere.
    return [each for each in found if each.strip(b"h\r ") or len(each) == 1], bool(splitter.problem)


def _framing(make_decoder: Callable[[int], Decoder]) -> Target:
    def target(data: bytes) -> None:
        whole, pieces = _cut(data)
        assert _decode(make_decoder, [whole]) == _decode(make_decoder, pieces)

    return target


def _decode(
    make_decoder: Callable[[int], Decoder], pieces: list[bytes]
) -> tuple[list[str], Counter[object], int, bool]:
    decoder = make_decoder(_LIMIT)
    messages: list[str] = []
    with suppress(FramingError):
        for piece in pieces:
            messages += decoder.feed(piece)
        messages += decoder.end()
    return messages, Counter(decoder.dropped), decoder.invalid_utf8, decoder.error is not None


def http_guard(data: bytes) -> None:
    """What is no browser gets all its bytes back; what was found does not depend on the cuts."""
    whole, pieces = _cut(data)
    results = []
    for cut in ([whole], pieces):
        guard, finding, released, rest = HttpGuard(), Finding.UNDECIDED, b"", list(cut)
        while rest and finding is Finding.UNDECIDED:
            finding, more = guard.feed(rest.pop(0))
            released += more
        if finding is Finding.UNDECIDED:
            finding, released = Finding.PROGRAM, guard.end()
        if finding is Finding.PROGRAM:
            assert released + b"".join(rest) == whole
        results.append(finding)
    assert results[0] is results[1] or len(whole) > 8192


def info(data: bytes) -> None:
    """The answer to /info."""
    with suppress(ProtocolError):
        parse_info(data, _BASE)


TARGETS: dict[str, Target] = {
    "frame": frame,
    "frames": frames,
    "session": session,
    "xhr": _stream("xhr-streaming"),
    "eventsource": _stream("eventsource"),
    "eventsource-percent": _stream("eventsource", "percent"),
    "htmlfile": _stream("htmlfile"),
    "jsonp": _stream("jsonp-polling"),
    **{f"framing-{name}": _framing(framing.make_decoder) for name, framing in FRAMINGS.items()},
    "framing-envelope": _framing(EnvelopeDecoder),
    "http-guard": http_guard,
    "info": info,
}

SEEDS: tuple[bytes, ...] = (
    b"o", b"h", b'a["x"]', b'a["x","\\ud800",{"a": 1.50}, null]', b'm{"a":1}', b'c[3000,"Go away!"]', b'c[1,"a"b"]',
    b'a["a"]\na["b"]\nh\nc[1000,""]', b"\0\x40\x80\xc0" + b"h" * 300 + b"\no\na[\"x\"]\n",
    b'\0\x40\x80\xc0data: a["100%25"]\r\n\r\ndata: %0D5 %\r\n\r\n', b'\0\x40\x80\xc0<script>\np("a[\\"x\\"]");\n</script>\r\n',
    b'\0\x40\x80\xc0/**/cb("a[\\"x\\"]");\r\n', b"\0\x40\x80\xc0one\r\ntwo\n\nthree\xff", b'\0\x40\x80\xc0"a\\nb"\n{"data":"x","id":1}\n',
    b"\0\x40\x80\xc05:hello,0:,3:\xff\xfe\xfd,", b"\0\x40\x80\xc0\0\0\0\x05hello\0\0\0\0", b"\0\x40\x80\xc0a\0b\0",
    b"\0\x40\x80\xc0GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\x40\x80\xc0\x16\x03\x01", b"\0\x40\x80\xc0PRI * HTTP/2.0",
    b'{"websocket":true,"origins":["*:*"],"cookie_needed":false,"entropy":-1,"base_url":"/x"}',
)  # fmt: skip
"""Where mutations begin."""
