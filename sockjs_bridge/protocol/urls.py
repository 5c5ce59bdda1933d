"""Addresses of a SockJS endpoint (protocol section 1)."""

from dataclasses import dataclass

from yarl import URL

_HTTP_SCHEME = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORT = {"http": 80, "https": 443}
RAW_SUFFIX = "/websocket"


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """The base URL of a SockJS endpoint, from which every request address is made.

    `user_info` is (user, password) when the configured URL carried them: it becomes Basic
    authorization and is part of no address. `raw_websocket` is true when the configured URL
    ended in `/websocket`.
    """

    url: URL
    user_info: tuple[str, str] | None
    raw_websocket: bool

    @classmethod
    def parse(cls, text: str) -> "BaseUrl":
        """Take what a user wrote. Raises ValueError whose text repeats nothing secret."""
        text = text.strip()
        if not text.isprintable() or " " in text:
            raise ValueError("contains white space or control characters")
        try:
            url = URL(text)
            port = url.port
        except ValueError as error:
            raise ValueError("is not a valid URL") from error
        if url.scheme not in _HTTP_SCHEME:
            raise ValueError("must begin with http:// or https:// (ws:// and wss:// are taken for them)")
        if not url.raw_host or port == 0:
            raise ValueError("names no host" if not url.raw_host else "port 0 cannot be connected to")
        if url.raw_fragment:
            raise ValueError('has a fragment ("#..."), which is never sent to a server: remove it')
        has_user_info = url.raw_user is not None or url.raw_password is not None
        user_info = (url.user or "", url.password or "") if has_user_info else None
        # An ASCII URL is sent as it was written: re-quoting could break a signature in its query.
        written = URL(text, encoded=True) if text.isascii() else url
        path = written.raw_path.rstrip("/")
        raw = path.endswith(RAW_SUFFIX)
        clean = _build(url, path.removesuffix(RAW_SUFFIX) or "/", written.raw_query_string)
        return cls(clean, user_info, raw)

    @property
    def shown(self) -> str:
        """The URL as logs and errors may show it: without user info and query."""
        return str(self.url.with_query(None)).rstrip("/")

    @property
    def origin(self) -> str:
        """The origin that a page of this server would have, such as `http://host:8081`."""
        return str(self.url.origin())

    @property
    def host(self) -> str:
        """Host name or address to connect to, IDNA-encoded, without brackets."""
        return self.url.raw_host or ""

    @property
    def port(self) -> int:
        """Port to connect to."""
        return self.url.port or 0

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.url.scheme == "https"

    def session(self, server_id: str, session_id: str, transport: str, query: str = "") -> URL:
        """Address of one request of a session: `<base>/<server_id>/<session_id>/<transport>`."""
        return self._append(f"{server_id}/{session_id}/{transport}", query)

    def info(self) -> URL:
        """Address at which the server tells about itself: `<base>/info`."""
        return self._append("info")

    def raw(self) -> URL:
        """Address of the raw WebSocket: `<base>/websocket`."""
        return self._append("websocket")

    def _append(self, tail: str, query: str = "") -> URL:
        # The query string that the user configured stays behind every path.
        queries = "&".join(filter(None, [self.url.raw_query_string, query]))
        return _build(self.url, f"{self.url.raw_path.rstrip('/')}/{tail}", queries)


def _build(origin: URL, path: str, query: str) -> URL:
    host = f"[{origin.raw_host}]" if ":" in (origin.raw_host or "") else origin.raw_host
    scheme = _HTTP_SCHEME[origin.scheme]
    authority = f"{host}" if origin.port == _DEFAULT_PORT[scheme] else f"{host}:{origin.port}"
    return URL.build(scheme=scheme, authority=authority, path=path, query_string=query, encoded=True)
