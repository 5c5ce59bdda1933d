"""The one cookie jar of a configured session (protocol section 5, rule W: behave like a browser)."""

from collections.abc import Iterable, Mapping

from aiohttp import CookieJar
from yarl import URL


def make_jar(url: URL, cookies: Mapping[str, str]) -> CookieJar:
    """A jar that holds the configured cookies for the whole host of `url`. Needs a running loop."""
    # A server under test is often an IP address, and load balancers' values break when quoted.
    jar = CookieJar(unsafe=True, quote_cookie=False)
    jar.update_cookies_from_headers([f"{name}={value}; Path=/" for name, value in cookies.items()], url)
    return jar


def cookie_header(jar: CookieJar, url: URL) -> str:
    """The value of the Cookie header for a request to `url`; empty for none."""
    return "; ".join(f"{morsel.key}={morsel.coded_value}" for morsel in jar.filter_cookies(url).values())


def store_cookies(jar: CookieJar, url: URL, set_cookie_headers: Iterable[str]) -> None:
    """Take the cookies of an answer, whatever its status was."""
    jar.update_cookies_from_headers(list(set_cookie_headers), url)
