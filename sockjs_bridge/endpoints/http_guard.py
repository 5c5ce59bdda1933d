"""Telling a browser from a local program: web pages can make requests to loopback ports."""

import re
from enum import Enum, auto

_LONGEST_REQUEST_LINE = 8192
_TLS_HELLO = b"\x16\x03"
_HTTP2_PREFACE = b"PRI * "
_MAYBE_REQUEST = re.compile(rb"[A-Z]{1,32}(?: [!-\xff]*(?: [!-\xff]*)?)?\r?\Z")
_REQUEST_LINE = re.compile(rb"[A-Z]{1,32} [!-\xff]+ HTTP/\d(?:\.\d)?\r?\Z")
_LONG_TARGET = re.compile(rb"(?:GET|POST|PUT|DELETE|HEAD|OPTIONS|PATCH|CONNECT|TRACE) (?:/|http)")


class Finding(Enum):
    """What the first bytes of a client are."""

    UNDECIDED = auto()
    PROGRAM = auto()
    HTTP = auto()
    TLS = auto()


class HttpGuard:
    """Holds the first line of a client back until it is clear that it is not a request of HTTP or TLS."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> tuple[Finding, bytes]:
        """Look at what came. With PROGRAM come all bytes that were held back."""
        self._held += data
        finding = self._judge(bytes(self._held))
        return finding, self._release() if finding is Finding.PROGRAM else b""

    def end(self) -> bytes:
        """The client sends no more: what was held back is a program's."""
        return self._release()

    def _release(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held

    def _judge(self, held: bytes) -> Finding:
        if _TLS_HELLO.startswith(held[:2]):
            return Finding.TLS if len(held) > 1 else Finding.UNDECIDED
        if held.startswith(_HTTP2_PREFACE):
            return Finding.HTTP
        line, line_break, _ = held.partition(b"\n")
        if line_break:
            return Finding.HTTP if _REQUEST_LINE.match(line) else Finding.PROGRAM
        if not _MAYBE_REQUEST.match(line):
            return Finding.PROGRAM
        if len(line) > _LONGEST_REQUEST_LINE:
            return Finding.HTTP if _LONG_TARGET.match(line) else Finding.PROGRAM
        return Finding.UNDECIDED
