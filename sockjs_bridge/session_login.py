"""The login of one configured session: from its steps and secrets to requests and a script (config.md, `on_connect`)."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import encode_basic_auth
from yarl import URL

from sockjs_bridge.access import Access, telling_parts
from sockjs_bridge.config import HttpRequest, SessionConfig, Step
from sockjs_bridge.config.fields import check_header_value, check_step_url
from sockjs_bridge.errors import LoginError, SecretError
from sockjs_bridge.log import EventLog
from sockjs_bridge.protocol.login import Expect, LoginScript, LoginStep, ReloginRule, Send
from sockjs_bridge.protocol.templates import (
    JsonTemplate,
    Reference,
    Template,
    Value,
    shown_url,
)
from sockjs_bridge.transports.cookies import SessionCookies
from sockjs_bridge.transports.http_client import HttpOptions
from sockjs_bridge.transports.login_request import LoginRequest, perform

_LONGEST_SHOWN = 60
_JSON, _FORM, _TEXT = (
    "application/json",
    "application/x-www-form-urlencoded",
    "text/plain;charset=UTF-8",
)
_Known = dict[Reference, Value]


class SessionLogin:
    """Logs in, as often as it is asked. All sessions of one configuration share it.

    `http_options` makes what requests with these headers have in common.
    """

    def __init__(
        self,
        config: SessionConfig,
        access: Access,
        cookies: SessionCookies,
        http_options: Callable[[dict[str, str]], HttpOptions],
        log: EventLog,
    ) -> None:
        self._access = access
        self._cookies = cookies
        self._http_options = http_options
        self._log = log
        named = [(f"on_connect[{index}]", step) for index, step in enumerate(config.on_connect)]
        self._requests = [_Request.of(name, step.http, step) for name, step in named if step.http is not None]
        self._steps = [_Message.of(name, step) for name, step in named if step.http is None]
        self._pings = [Template.message(each.send) for each in config.keepalive]
        self.periods = tuple(each.every for each in config.keepalive)
        self._matches = tuple(each.match for each in config.relogin_on)

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do, before the connect or after."""
        return self.guides or bool(self._requests or self._secret_references())

    @property
    def guides(self) -> bool:
        """Whether there is anything to do for an open session."""
        return bool(self._steps or self._pings or self._matches)

    def relogin_rule(self) -> ReloginRule | None:
        """Which messages ask for another login; None where none does."""
        return ReloginRule(self._matches) if self._matches else None

    async def log_in(self, origin: str | None) -> LoginScript:
        """Read the secrets and make the requests; returns what is to be done then. Raises LoginError."""
        known: _Known = {}
        secret = self._secret_references()
        if secret:
            known.update(await asyncio.to_thread(self._read, secret))
            self._access.renew(known)
            self._cookies.configure(self._access.base.url, self._access.cookies)
        for request in self._requests:
            filled = request.fill(known, self._access)
            self._access.secrets.remember_likely(telling_parts(filled.headers, filled.url))
            headers = self._access.foreign_headers if filled.is_foreign else self._access.headers
            options = self._http_options(headers)
            if not filled.is_foreign:
                options = options.with_origin(origin)
            captured = await perform(filled, options, self._cookies)
            self._access.secrets.remember_captured(value.text for value in captured.values())
            known.update({Reference("", name): value for name, value in captured.items()})
            self._log.debug(f"{request.name} has succeeded")
        return self._script(known)

    def _script(self, known: _Known) -> LoginScript:
        steps = tuple(step.fill(known) for step in self._steps)
        pings = tuple(
            _filled(f"keepalive[{index}]", template, known) for index, template in enumerate(self._pings)
        )
        return LoginScript(steps, pings, len(self._requests))

    def _secret_references(self) -> frozenset[Reference]:
        references = self._access.references.union(
            *[request.references for request in self._requests],
            *[step.references for step in self._steps],
            *[ping.references for ping in self._pings],
        )
        return frozenset(reference for reference in references if reference.is_secret)

    def _read(self, references: frozenset[Reference]) -> _Known:
        """Read all of them; not on the event loop. Raises LoginError that names what cannot be read."""
        values: _Known = {}
        problems: list[str] = []
        for reference in sorted(references, key=str):
            try:
                values[reference] = Value.of(self._access.secrets.read(reference.kind, reference.name))
            except SecretError as error:
                problems.append(f"{reference} {error}")
        if problems:
            raise LoginError("; ".join(problems))
        return values


@dataclass(frozen=True, slots=True)
class _Request:
    """An HTTP step, before its values are known."""

    name: str
    method: str
    url: Template
    headers: Mapping[str, Template]
    content_type: str | None
    body: "Template | JsonTemplate | None"
    form: Mapping[str, Template] | None
    capture: Mapping[str, str]

    @classmethod
    def of(cls, name: str, http: HttpRequest, step: Step) -> "_Request":
        content_type: str | None = None
        body: Template | JsonTemplate | None = None
        if http.json_value is not None:
            content_type, body = _JSON, JsonTemplate(http.json_value)
        elif http.body is not None:
            content_type, body = _TEXT, Template.message(http.body)
        elif http.form is not None:
            content_type = _FORM
        return cls(
            f"{name} ({http.method} {shown_url(http.url)})",
            http.method,
            Template.url(http.url),
            {name: Template.plain(text) for name, text in http.headers.items()},
            content_type,
            body,
            {name: Template.plain(text) for name, text in http.form.items()}
            if http.form is not None
            else None,
            step.capture,
        )

    @property
    def references(self) -> frozenset[Reference]:
        return frozenset(reference for template in self._templates() for reference in template.references)

    def _templates(self) -> Iterator[Template | JsonTemplate]:
        yield self.url
        yield from self.headers.values()
        if self.body is not None:
            yield self.body
        if self.form is not None:
            yield from self.form.values()

    def fill(self, known: _Known, access: Access) -> LoginRequest:
        """The request with its values. Raises LoginError."""
        written = _filled(self.name, self.url, known)
        try:
            check_step_url(written)
            url = _absolute(written, access.base.url)
        except ValueError as error:
            raise LoginError(f"{self.name}: {error}") from None
        headers: dict[str, str] = {}
        if url.raw_user is not None or url.raw_password is not None:
            headers["Authorization"] = encode_basic_auth(url.user or "", url.password or "", encoding="utf-8")
        if self.content_type is not None:
            headers["Content-Type"] = self.content_type
        own = {name.lower(): name for name in headers}
        for name, template in self.headers.items():
            try:
                value = check_header_value(_filled(self.name, template, known))
            except ValueError as error:
                raise LoginError(f"{self.name}: header {name}: {error}") from None
            headers.pop(own.get(name.lower(), ""), None)
            headers[name] = value
        is_foreign = _origin(url) != _origin(access.base.url)
        url = url.with_user(None)
        return LoginRequest(
            self.name, self.method, url, headers, self._body(known), self.capture, is_foreign=is_foreign
        )

    def _body(self, known: _Known) -> bytes | None:
        if self.form is not None:
            fields = {name: _filled(self.name, template, known) for name, template in self.form.items()}
            return urlencode(fields, errors="replace").encode()
        if self.body is None:
            return None
        return _filled(self.name, self.body, known).encode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Message:
    """A step of the open session, before its values are known. `timeout` None: a message to send."""

    name: str
    text: Template
    timeout: float | None

    @classmethod
    def of(cls, name: str, step: Step) -> "_Message":
        if step.expect is not None:
            shown = (
                step.expect if len(step.expect) <= _LONGEST_SHOWN else step.expect[:_LONGEST_SHOWN] + "..."
            )
            return cls(f"{name} (expect {shown})", Template.plain(step.expect), step.timeout)
        return cls(f"{name} (send)", Template.message(step.send or ""), None)

    @property
    def references(self) -> frozenset[Reference]:
        return self.text.references

    def fill(self, known: _Known) -> LoginStep:
        """The step with its values. Raises LoginError."""
        text = _filled(self.name, self.text, known)
        return Send(self.name, text) if self.timeout is None else Expect(self.name, text, self.timeout)


def _filled(name: str, template: Template | JsonTemplate, known: _Known) -> str:
    try:
        return template.fill(known)
    except ValueError as error:
        raise LoginError(f"{name}: {error}") from None


def _origin(url: URL) -> tuple[str, str, int | None]:
    return url.scheme, (url.raw_host or "").lower(), url.port


def _absolute(written: str, base: URL) -> URL:
    # An ASCII URL is sent as it was written, see urls.py.
    text = f"{base.origin()}{written}" if written.startswith("/") else written
    url = URL(text, encoded=text.isascii())
    if not url.raw_host or not url.absolute:
        raise ValueError("names no host")
    return url
