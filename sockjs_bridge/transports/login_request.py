"""One HTTP step of a login: a request, its cookies, and what is captured from the answer (config.md, `on_connect`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from yarl import URL

from sockjs_bridge.errors import ConnectError, LoginError
from sockjs_bridge.protocol.json_pointer import find
from sockjs_bridge.protocol.templates import Value
from sockjs_bridge.transports.cookies import SessionCookies
from sockjs_bridge.transports.http_client import HttpClient, HttpOptions
from sockjs_bridge.transports.status import describe_status

_LARGEST_ANSWER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """A request with every value in its place. `name` is how logs call the step: it holds no value."""

    name: str
    method: str
    url: URL = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    capture: Mapping[str, str] = field(default_factory=dict)
    """JSON pointers into the answer, by the name of what they capture."""
    is_foreign: bool = False
    """Whether it goes to another server than the session: then nothing that was meant for that goes along."""


async def perform(request: LoginRequest, http: HttpOptions, cookies: SessionCookies) -> dict[str, Value]:
    """Make the request; returns what was captured. Raises LoginError, which names the step."""
    headers = dict(request.headers)
    if request.is_foreign and (cookie := cookies.foreign_header(request.url)):
        headers["Cookie"] = cookie
    try:
        async with HttpClient(http, cookies, is_foreign=request.is_foreign) as client:
            status, answer = await client.ask(
                request.method,
                request.url,
                headers=headers,
                body=request.body,
                limit_bytes=_LARGEST_ANSWER_BYTES,
            )
    except ConnectError as error:
        raise LoginError(f"{request.name}: {error.detail}") from error
    except TimeoutError:
        text = f"{request.name}: no answer within connect_timeout ({http.connect_timeout:g} s)"
        raise LoginError(text) from None
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        text = describe_status(status, f"the request{_hint(status)}")
        raise LoginError(f"{request.name}: {text}", status=status)
    return _captured(request, answer) if request.capture else {}


def _hint(status: int) -> str:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return " (the credentials may be wrong, or have expired)"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return " (redirects are not followed)"
    return ""


def _captured(request: LoginRequest, answer: bytes) -> dict[str, Value]:
    try:
        document: Any = json.loads(answer)
    except (ValueError, RecursionError):
        raise LoginError(f"{request.name}: its answer is no JSON, so nothing can be captured") from None
    captured = {}
    for name, pointer in request.capture.items():
        try:
            captured[name] = Value.of(find(document, pointer))
        except LookupError:
            raise LoginError(f'{request.name}: its answer has nothing at "{pointer}", for {name}') from None
        except ValueError:
            raise LoginError(f'{request.name}: what its answer has at "{pointer}" is no JSON') from None
    return captured
