"""What a session does by itself: login steps, logging in again, application pings."""

from typing import Annotated, Any

from pydantic import Field

from sockjs_bridge.config.fields import CaptureName, Headers, Method, NotEmpty, Pointer, StepUrl
from sockjs_bridge.config.table import Table
from sockjs_bridge.config.units import PositiveDuration


class HttpRequest(Table):
    """A request before the SockJS connect; its cookies go to the session's jar. One body at most."""

    method: Method = "POST"
    url: Annotated[StepUrl, Field(repr=False)]
    headers: Headers = Field(default_factory=dict, repr=False)
    # The key is `json`; an attribute of that name would hide one of pydantic's.
    json_value: Annotated[Any, Field(alias="json", repr=False)] = None
    form: Annotated[dict[str, str] | None, Field(repr=False)] = None
    body: Annotated[str | None, Field(repr=False)] = None


class Step(Table):
    """One step of `on_connect`: exactly one of http, send and expect."""

    http: HttpRequest | None = None
    capture: dict[CaptureName, Pointer] = Field(default_factory=dict)
    send: Annotated[str | None, Field(repr=False)] = None
    expect: NotEmpty | None = None
    timeout: Annotated[PositiveDuration, Field(description="seconds to wait for `expect`")] = 10.0


class Relogin(Table):
    """A message from the server that contains `match` runs the steps again."""

    match: NotEmpty


class Keepalive(Table):
    """A message sent every so many seconds while the session is ready."""

    send: Annotated[str, Field(repr=False)]
    every: PositiveDuration
