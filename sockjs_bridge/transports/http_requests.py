"""What each HTTP transport asks for, and how it posts messages (protocol sections 3 and 4)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_plus

CALLBACK: Final = "jp"
"""The name of the JavaScript function that htmlfile and jsonp answers call. Servers restrict its letters."""
_PLAIN: Final = "text/plain;charset=UTF-8"  # Node and Spring answer 500 to others


@dataclass(frozen=True, slots=True)
class RequestKind:
    """The requests of one HTTP transport; paths are below the session's address."""

    method: str
    receive_path: str
    receive_query: str = ""
    send_path: str = "xhr_send"
    content_type: str = _PLAIN
    encode_body: Callable[[bytes], bytes] = bytes


def _form(array: bytes) -> bytes:
    return b"d=" + quote_plus(array).encode()


KINDS: Mapping[str, RequestKind] = {
    "xhr-streaming": RequestKind("POST", "xhr_streaming"),
    "eventsource": RequestKind("GET", "eventsource"),
    "htmlfile": RequestKind("GET", "htmlfile", f"c={CALLBACK}"),
    "xhr-polling": RequestKind("POST", "xhr"),
    "jsonp-polling": RequestKind(
        "GET", "jsonp", f"c={CALLBACK}", "jsonp_send", "application/x-www-form-urlencoded", _form
    ),
}
"""By the transport's name in the configuration."""
