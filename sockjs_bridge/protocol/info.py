"""What `GET <base>/info` answers (protocol section 1)."""

import json
from dataclasses import dataclass, replace

from yarl import URL

from sockjs_bridge.errors import ProtocolError
from sockjs_bridge.protocol.urls import BaseUrl


@dataclass(frozen=True, slots=True)
class Info:
    """What a server tells about itself, as far as it matters here.

    `base` is where it wants its sessions instead, None for where they are. `problem` says in words
    for a log why such a wish is not followed; it repeats nothing secret.
    """

    websocket: bool = True
    cookie_needed: bool = False
    base: BaseUrl | None = None
    problem: str = ""


def parse_info(body: bytes, base: BaseUrl) -> Info:
    """Take what matters and overlook everything else. `base` is the configured base URL.

    Raises ProtocolError if the body is no JSON object.
    """
    try:
        # Whole numbers as float: Python refuses to read an int of thousands of digits.
        answer = json.loads(body.decode("utf-8-sig", "replace"), parse_int=float)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("the answer to /info is no JSON") from error
    if not isinstance(answer, dict):
        raise ProtocolError("the answer to /info is no JSON object")
    other_base, problem = _other_base(answer.get("base_url"), base)
    return Info(
        websocket=answer.get("websocket") is not False,
        cookie_needed=answer.get("cookie_needed") is True,
        base=other_base,
        problem=problem,
    )


def _other_base(base_url: object, base: BaseUrl) -> tuple[BaseUrl | None, str]:
    """The base URL that the server names, or what is wrong with it. It may be relative to the configured one."""
    if not isinstance(base_url, str) or not base_url.strip():
        return None, ""
    try:
        other = BaseUrl.parse(_joined(base_url.strip(), base.url))
    except ValueError:
        return None, "base_url of /info is no valid address; not followed"
    if other.origin != base.origin:
        return None, "base_url of /info names another origin; not followed"
    # Credentials are the user's to give, not the server's, and so is the choice of the raw WebSocket.
    return replace(other, user_info=base.user_info, raw_websocket=base.raw_websocket), ""


def _joined(base_url: str, base: URL) -> str:
    """The absolute address, with the configured query where it has none. Raises ValueError."""
    if not base_url.isprintable():
        raise ValueError("contains control characters")  # yarl would leave them out
    # What is ASCII is kept as it was written, as in the configured URL.
    joined = base.join(URL(base_url, encoded=base_url.isascii()))
    if joined.raw_query_string or not base.raw_query_string:
        return str(joined)
    return f"{joined}?{base.raw_query_string}"
