"""Strings with rules, as annotated types: addresses, headers, cookies, keys.

No message repeats the value of a URL, a header or a cookie: they may be secrets.
"""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from sockjs_bridge.endpoints.address import ActivatedSocket, TcpAddress, UnixAddress, parse_listen
from sockjs_bridge.protocol.urls import BaseUrl

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SERVER_ID = re.compile(r"(?:[0-9]{3})?")
_SESSION_NAME = re.compile(r"[a-z0-9-]+(?:_[a-z0-9-]+)*")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_SOCKET_MODE = re.compile(r"0?[0-7]{3}")
_CAPTURE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_METHOD = re.compile(r"[A-Z]+")
_Z85_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_ENDPOINT = re.compile(r"(?:\[([^\]]+)\]|([^:;\[\]/]+)):([0-9]{1,5}|\*)", re.ASCII)
_LAST_PORT = 65535
_LONGEST_UNIX_PATH = 107
_HOP_HEADERS = frozenset({"connection", "upgrade", "content-length", "transfer-encoding"})


def _session_name(name: str) -> str:
    if not _SESSION_NAME.fullmatch(name):
        raise ValueError(
            'is no session name: a-z, 0-9 and -, parts joined by a single _, such as "my-chat_2"'
        )
    return name


def _url(text: str) -> str:
    BaseUrl.parse(text)
    return text


def is_raw_url(text: object) -> bool:
    """Whether a configured URL stands for a raw WebSocket. False for what is no URL at all."""
    if not isinstance(text, str):
        return False
    try:
        return BaseUrl.parse(text).raw_websocket
    except ValueError:
        return False


def _origin(text: str) -> str:
    if text in {"none", "same"}:
        return text
    message = (
        'must be "none", "same" or an origin: scheme, host and port only, such as "https://example.com:8443"'
    )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(message) from None
    exact = (
        text == f"{parts.scheme}://{parts.netloc}" and parts.netloc.isascii() and parts.netloc.isprintable()
    )
    if parts.scheme not in {"http", "https"} or not parts.hostname or not exact or port == 0:
        raise ValueError(message)
    if "@" in parts.netloc or " " in parts.netloc:
        raise ValueError(message)
    return text


def _proxy(text: str) -> str:
    if text in {"", "env"}:
        return text
    message = 'must be "", "env", or the URL of a proxy: "http://host:port" or "socks5://host:port"'
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(message) from None
    if parts.scheme not in {"http", "socks5"} or not parts.hostname or port == 0:
        raise ValueError(message)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(message)
    return text


def _server_id(text: str) -> str:
    if not _SERVER_ID.fullmatch(text):
        raise ValueError('must be exactly three digits, such as "007", or empty for a random one')
    return text


def _header_name(name: str) -> str:
    lower = name.lower()
    if not _TOKEN.fullmatch(name):
        raise ValueError("is no header name")
    if lower == "cookie":
        raise ValueError("use the session's cookies table instead of a Cookie header")
    if lower in _HOP_HEADERS or lower.startswith("sec-websocket-"):
        raise ValueError("is set by the bridge itself and cannot be configured")
    return name


def check_header_value(value: str) -> str:
    """Return the value of a header. Raises ValueError."""
    # ASCII: the HTTP libraries underneath disagree about the encoding of anything else.
    if not value.isascii() or not value.replace("\t", " ").isprintable():
        raise ValueError("a header's value is printable ASCII: no line breaks, no control characters")
    return value


def _one_spelling(headers: dict[str, str]) -> dict[str, str]:
    seen: dict[str, str] = {}
    for name in headers:
        first = seen.setdefault(name.lower(), name)
        if first != name:
            raise ValueError(
                f'"{first}" and "{name}" are the same header: keep one of them, spelled alike everywhere'
            )
    return headers


def _cookie_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("is no cookie name")
    return name


def check_cookie_value(value: str) -> str:
    """Return the value of a cookie. Raises ValueError."""
    if not value.isascii() or not value.isprintable() or ";" in value:
        raise ValueError("a cookie's value is printable ASCII without semicolons")
    return value


def _listen(text: str) -> str:
    parse_listen(text)
    return text


def _admin_listen(text: str) -> str:
    if text and isinstance(parse_listen(text), ActivatedSocket):
        raise ValueError('must be "host:port", "[::1]:port", a port, "unix:/path", or empty for none')
    return text


def _host_name(text: str) -> str:
    if not _HOST_NAME.fullmatch(text):
        raise ValueError("must be a host name, without scheme and port")
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'must be a network such as "192.0.2.0/24" or "2001:db8::/32": {error}') from None
    return text


def _socket_mode(text: str) -> str:
    if not _SOCKET_MODE.fullmatch(text):
        raise ValueError('must be an octal file mode in quotes, such as "0600"')
    return text


def parse_endpoint(text: str) -> TcpAddress | UnixAddress:
    """Take a ZeroMQ endpoint; port `*` is 0, host `*` stays. Raises ValueError that says what forms there are."""
    scheme, _, rest = text.partition("://")
    if scheme == "ipc":
        if rest.startswith("@"):
            raise ValueError('"ipc://@": an abstract socket has no permissions: use "ipc:///path"')
        if not rest or "\0" in rest or len(rest.encode()) > _LONGEST_UNIX_PATH:
            raise ValueError(f'"ipc://" must be followed by a path of at most {_LONGEST_UNIX_PATH} bytes')
        return UnixAddress(rest)
    match = _ENDPOINT.fullmatch(rest) if scheme == "tcp" else None
    port = int(match[3]) if match and match[3] != "*" else 0
    if match is None or port > _LAST_PORT:
        raise ValueError('must be "tcp://host:port" or "ipc:///path"')
    return TcpAddress(match[1] or match[2], port)


def _endpoint(text: str) -> str:
    parse_endpoint(text)
    return text


def _curve_key(text: str) -> str:
    if not _Z85_KEY.fullmatch(text):
        raise ValueError("must be a CURVE public key: 40 characters of Z85")
    return text


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _capture_name(name: str) -> str:
    if not _CAPTURE_NAME.fullmatch(name):
        raise ValueError("is no name for a captured value: letters, digits, _ and -, beginning with a letter")
    return name


def _pointer(text: str) -> str:
    if not _POINTER.fullmatch(text):
        raise ValueError('must be a JSON pointer, such as "/user/name" (~ is written ~0, a / in a name ~1)')
    return text


def _method(text: str) -> str:
    if not _METHOD.fullmatch(text):
        raise ValueError('must be an HTTP method in capitals, such as "POST"')
    return text


def check_step_url(text: str) -> str:
    """Return the URL of a login step. Raises ValueError."""
    message = 'must be a path on the server, such as "/api/login", or an http(s) URL'
    if text.startswith("${"):
        return text  # it is looked at again once it is filled
    if not text.startswith("/"):
        try:
            parts = urlsplit(text)
        except ValueError:
            raise ValueError(message) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(message)
    elif text.startswith("//"):
        raise ValueError(message)
    return text


SessionName = Annotated[str, AfterValidator(_session_name)]
Url = Annotated[str, AfterValidator(_url)]
Origin = Annotated[str, AfterValidator(_origin)]
Proxy = Annotated[str, AfterValidator(_proxy)]
ServerId = Annotated[str, AfterValidator(_server_id)]
HeaderValue = Annotated[str, AfterValidator(check_header_value)]
Headers = Annotated[
    dict[Annotated[str, AfterValidator(_header_name)], HeaderValue],
    AfterValidator(_one_spelling),
]
Cookies = dict[
    Annotated[str, AfterValidator(_cookie_name)], Annotated[str, AfterValidator(check_cookie_value)]
]
Listen = Annotated[str, AfterValidator(_listen)]
AdminListen = Annotated[str, AfterValidator(_admin_listen)]
HostName = Annotated[str, AfterValidator(_host_name)]
Network = Annotated[str, AfterValidator(_network)]
SocketMode = Annotated[str, AfterValidator(_socket_mode)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
CurveKey = Annotated[str, AfterValidator(_curve_key)]
NotEmpty = Annotated[str, AfterValidator(_not_empty)]
CaptureName = Annotated[str, AfterValidator(_capture_name)]
Pointer = Annotated[str, AfterValidator(_pointer)]
Method = Annotated[str, AfterValidator(_method)]
StepUrl = Annotated[str, AfterValidator(check_step_url)]
