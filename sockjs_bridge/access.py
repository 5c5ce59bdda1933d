"""What one session shows the server, beside messages: the URL, headers and cookies, as they are at its last login."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from aiohttp import encode_basic_auth
from yarl import URL

from sockjs_bridge import __version__
from sockjs_bridge.config import SessionConfig
from sockjs_bridge.config.fields import check_cookie_value, check_header_value
from sockjs_bridge.errors import LoginError
from sockjs_bridge.protocol.templates import Reference, Template, Values
from sockjs_bridge.protocol.urls import BaseUrl
from sockjs_bridge.secret_store import SecretStore

_Checked = TypeVar("_Checked")
# Headers whose values anybody may see.
_PUBLIC_HEADERS = {"accept", "accept-language", "content-type", "origin", "referer", "user-agent"}


class Access:
    """Holds them, and takes them up anew. All sessions of one configuration share it.

    `foreign_headers` is what other servers get to see.
    """

    def __init__(self, config: SessionConfig) -> None:
        self._config = config
        written = config.as_written
        self._url = Template.url(written.url)
        self._headers = {name: Template.plain(text) for name, text in written.headers.items()}
        self._cookies = {name: Template.plain(text) for name, text in written.cookies.items()}
        self._secrets = written.secrets
        self.base = BaseUrl.parse(config.url)
        self.shown_url = config.shown_url
        self.headers = _headers(self.base, config.headers)
        self.foreign_headers = {
            name: value for name, value in self.headers.items() if name.lower() == "user-agent"
        }
        self.cookies: Mapping[str, str] = config.cookies
        self._remember()

    @property
    def secrets(self) -> SecretStore:
        """Where secrets are read, and what must not be shown."""
        return self._secrets

    @property
    def references(self) -> frozenset[Reference]:
        """What is read anew."""
        templates = (self._url, *self._headers.values(), *self._cookies.values())
        return frozenset(reference for template in templates for reference in template.references)

    def renew(self, values: Values) -> None:
        """Take up the URL, headers and cookies with these values. Raises LoginError; then nothing has changed."""
        base = _checked("url", BaseUrl.parse, self._url, values)
        headers = dict(_each("headers", check_header_value, self._headers, values))
        cookies = dict(_each("cookies", check_cookie_value, self._cookies, values))
        self.base, self.headers, self.cookies = base, _headers(base, headers), cookies
        self._remember()

    def _remember(self) -> None:
        """What servers send back must not show these, whatever a log line is about."""
        self._secrets.remember_likely(telling_parts(self.headers, self.base.url))
        self._secrets.remember_likely(self.cookies.values())
        if self.base.user_info is not None:
            self._secrets.remember(self.base.user_info[1])
        if "@" in self._config.proxy:
            self._secrets.remember(URL(self._config.proxy).password or "")


def telling_parts(headers: Mapping[str, str], url: URL) -> Iterator[str]:
    """What of a request may be secret, though nobody has said so."""
    for name, value in headers.items():
        if name.lower() not in _PUBLIC_HEADERS:
            yield value
            yield value.partition(" ")[2]  # of `Bearer ...`, the rest
    yield url.raw_query_string
    yield url.query_string
    yield from url.query.values()


def _headers(base: BaseUrl, configured: Mapping[str, str]) -> dict[str, str]:
    """What every request and handshake carries; what the user configured wins."""
    headers = {"User-Agent": f"sockjs-bridge/{__version__}"}
    if base.user_info is not None:
        headers["Authorization"] = encode_basic_auth(*base.user_info, encoding="utf-8")
    own = {name.lower() for name in configured}
    return {**{name: value for name, value in headers.items() if name.lower() not in own}, **configured}


def _each(
    key: str, check: Callable[[str], str], templates: Mapping[str, Template], values: Values
) -> Iterator[tuple[str, str]]:
    for name, template in templates.items():
        yield name, _checked(f"{key}.{name}", check, template, values)


def _checked(key: str, check: Callable[[str], _Checked], template: Template, values: Values) -> _Checked:
    try:
        return check(template.fill(values))
    except ValueError as error:  # its text repeats no value
        raise LoginError(f"{key}: {error}") from None
