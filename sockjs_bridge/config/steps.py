"""What a session does by itself: login steps, logging in again, application pings."""

from typing import Annotated, Any

from pydantic import Field

from sockjs_bridge.config.fields import CaptureName, Headers, Method, NotEmpty, Pointer, StepUrl
from sockjs_bridge.config.table import Table
from sockjs_bridge.config.units import PositiveDuration


class HttpRequest(Table):
    """A request before the SockJS connect; its cookies go to the session's jar. One body at most."""

    method: Method = "POST"
    """the method of the request"""
    url: Annotated[StepUrl, Field(repr=False, examples=["/api/login"])]
    """a path on the server, or the URL of another"""
    headers: Headers = Field(default_factory=dict, repr=False)
    """sent with this request alone"""
    # The key is `json`; an attribute of that name would hide one of pydantic's.
    json_value: Annotated[Any, Field(alias="json", repr=False, examples=[{"passive": True}])] = None
    """the body, as JSON"""
    form: Annotated[dict[str, str] | None, Field(repr=False)] = None
    """or the body as the fields of a form"""
    body: Annotated[str | None, Field(repr=False)] = None
    """or the body as it is"""


class Step(Table):
    """One step of `on_connect`: exactly one of http, send and expect."""

    http: HttpRequest | None = None
    """a request before the SockJS connect; its cookies go to the jar. An answer of 2xx succeeds, redirects are not followed"""
    capture: dict[CaptureName, Pointer] = Field(
        default_factory=dict, examples=[{"user": "/name", "session": "/session"}]
    )
    """JSON pointers into the answer; what they find is `${user}` and so on in what follows"""
    send: Annotated[str | None, Field(repr=False, examples=['{"auth":"${user}:${session}"}'])] = None
    """a message to the server"""
    expect: Annotated[NotEmpty | None, Field(examples=['"connected"'])] = None
    """wait until a message contains this; failing: disconnect, back off"""
    timeout: PositiveDuration = 10.0
    """how long to wait for `expect`"""


class Relogin(Table):
    """A message from the server that contains `match` runs the steps again."""

    match: Annotated[NotEmpty, Field(examples=['"reauthRequired"'])]
    """a message from the server that contains this runs the steps again, at most once in 10 s; local clients stay"""


class Keepalive(Table):
    """A message sent every so many seconds while the session is ready."""

    send: Annotated[str, Field(repr=False, examples=['{"type":"ping"}'])]
    """the message"""
    every: Annotated[PositiveDuration, Field(examples=["5s"])]
    """how often"""
