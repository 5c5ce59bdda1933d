"""The one cookie jar of a configured session (protocol section 5, rule W: behave like a browser)."""

import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from http.cookies import BaseCookie, CookieError
from pathlib import Path
from pickle import PickleError

from aiohttp import CookieJar
from yarl import URL

from sockjs_bridge.log import EventLog

_NOWHERE = URL()
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_STRINGS_OF_A_COOKIE = ("key", "value", "coded_value")
# What reading the file, our look at it and aiohttp's `load` raise; the first is for nested JSON.
_LOAD_ERRORS = (
    RecursionError,
    AttributeError,
    CookieError,
    EOFError,
    LookupError,
    OSError,
    PickleError,
    TypeError,
    ValueError,
)


def _forget(_values: Iterable[str]) -> None:
    """Nobody wants to know."""


class SessionCookies:
    """The one cookie jar of a configured session, and the file that keeps it over restarts.

    The configured cookies hold for the whole host of `url`, except those whose name the file has for
    it. `remember` is told the values of cookies: nothing may show them. Making one needs a running loop and reads the file: a missing one is normal, a broken one is
    reported and moved to `<file>.broken`.
    """

    def __init__(
        self,
        url: URL,
        cookies: Mapping[str, str],
        file: Path | None,
        log: EventLog,
        remember: Callable[[Iterable[str]], None] = _forget,
    ) -> None:
        # A server under test is often an IP address, and load balancers' values break when quoted.
        self._jar = _Jar(unsafe=True, quote_cookie=False)
        self._log = log
        self._remember = remember
        # A link is followed once and stays: its target is where the user wants the content to be, and the
        # temporary file has to be on the same file system as that.
        self._file = Path(os.path.realpath(file)) if file else None
        self._saved: object = self._contents()
        if self._file:
            self._load(self._file)
        self._configured = dict(cookies)
        self._tell()
        held = self._jar.filter_cookies(url)
        for name, value in cookies.items():
            if name not in held:
                self._put(url, name, value)

    @property
    def jar(self) -> CookieJar:
        """The jar itself, for aiohttp. Call `save` after a request that went through it."""
        return self._jar

    def header(self, url: URL) -> str:
        """The value of the Cookie header for a request to `url`; empty for none."""
        morsels = self._jar.filter_cookies(url).values()
        return "; ".join(f"{morsel.key}={morsel.coded_value}" for morsel in morsels)

    def foreign_header(self, url: URL) -> str:
        """The same for a server that is not the session's: without what the user configured for that one."""
        morsels = self._jar.filter_cookies(url).values()
        return "; ".join(
            f"{morsel.key}={morsel.coded_value}"
            for morsel in morsels
            if self._configured.get(morsel.key) != morsel.coded_value
        )

    def configure(self, url: URL, cookies: Mapping[str, str]) -> None:
        """Take the configured cookies as they are now: those that have changed go before what the jar has."""
        for name, value in cookies.items():
            if self._configured.get(name) != value:
                self._put(url, name, value)
        self._configured = dict(cookies)

    def _tell(self) -> None:
        self._remember(value for morsel in self._jar for value in (morsel.value, morsel.coded_value))

    def _put(self, url: URL, name: str, value: str) -> None:
        self._jar.update_cookies_from_headers([f"{name}={value}; Path=/"], url)

    def store(self, url: URL, set_cookie_headers: Iterable[str]) -> None:
        """Take the cookies of an answer, whatever its status was, and save."""
        self._jar.update_cookies_from_headers(list(set_cookie_headers), url)
        self.save()

    def save(self) -> None:
        """Write the file, if the jar has changed since. A failure is logged, and tried again next time."""
        self._tell()
        if self._file is None:
            return
        contents = self._contents()
        if contents == self._saved and not self._jar.prolonged:
            return
        try:
            self._write(self._file)
        except (OSError, ValueError) as error:
            self._log.repeated("cookies could not be saved", file=str(self._file), problem=_reason(error))
        else:
            self._saved, self._jar.prolonged = contents, False

    def _contents(self) -> object:
        cookies = [(morsel.key, morsel.coded_value, *morsel.items()) for morsel in self._jar]
        return cookies, self._jar.host_only_cookies

    def _write(self, file: Path) -> None:
        # Without fsync, which would stop the loop for long: after a power cut the file may be empty, and is
        # then set aside. A kill at any moment leaves the old file or the new one.
        handle, name = tempfile.mkstemp(prefix=".cookies-", dir=file.parent)
        temporary = Path(name)
        try:
            try:
                os.fchmod(handle, 0o600)  # the umask may have taken bits away
            finally:
                os.close(handle)
            self._jar.save(temporary)
            temporary.replace(file)
        except BaseException:  # also a cancellation: a half-written file of secrets must not stay
            with suppress(OSError):
                temporary.unlink()
            raise

    def _load(self, file: Path) -> None:
        try:
            mode = file.stat().st_mode
            if not stat.S_ISREG(mode):
                # Nothing that we should move or replace: it may be /dev/null, or the folder of all state.
                self._leave_alone(file, "not a regular file")
                return
            # aiohttp would take a file that is not JSON for a pickle.
            _check(file.read_text(encoding="utf-8"))
            self._jar.load(file)
        except FileNotFoundError:
            return
        except _LOAD_ERRORS as error:
            self._set_aside(file, _reason(error))
            return
        # A file that others can read is written anew at the next chance.
        self._saved = None if mode & _OTHERS else self._contents()

    def _set_aside(self, file: Path, problem: str) -> None:
        broken = f"{file}.broken"
        try:
            file.replace(broken)
        except OSError as error:
            self._leave_alone(file, problem, not_moved=_reason(error))
            return
        self._log.warning(
            "the cookie_file is broken; starting without it", file=str(file), problem=problem, moved_to=broken
        )

    def _leave_alone(self, file: Path, problem: str, not_moved: str | None = None) -> None:
        self._file = None
        self._log.warning(
            "the cookie_file is broken and stays as it is; cookies are not kept over a restart",
            file=str(file),
            problem=problem,
            not_moved=not_moved,
        )


class _Jar(CookieJar):
    """A jar that gives values back exactly as they came, as browsers do, in quotes or not.

    `prolonged` tells when a cookie may have been given longer to live, which does not show in the contents.
    """

    prolonged = False

    def filter_cookies(self, request_url: URL = _NOWHERE) -> "BaseCookie[str]":
        filtered = super().filter_cookies(request_url)
        for stored in self:
            if stored.coded_value != stored.value:  # it came in quotes, which the jar leaves out
                found = filtered.get(stored.key)
                if found is not None and found.value == stored.value:
                    found.set(stored.key, stored.value, stored.coded_value)
        return filtered

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        super().update_cookies_from_headers(headers, response_url)
        self.prolonged = self.prolonged or any("max-age" in header.lower() for header in headers)


def _check(text: str) -> None:
    """Raise one of `_LOAD_ERRORS` if this is not JSON of the form that aiohttp's `save` writes."""
    for cookies in json.loads(text).values():
        for cookie in cookies.values():
            if not all(isinstance(cookie[name], str) for name in _STRINGS_OF_A_COOKIE):
                raise TypeError("a cookie is made of strings")


def _reason(error: Exception) -> str:
    """What was wrong, without any of the content: cookies are secrets."""
    match error:
        case OSError():
            return os.strerror(error.errno).lower() if error.errno else str(error)
        case UnicodeDecodeError():
            return "not UTF-8"
        case json.JSONDecodeError():
            return f"not JSON: {error.msg} in line {error.lineno}"
        case _:
            return "not a saved cookie jar"
