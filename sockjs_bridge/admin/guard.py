"""Who may ask: the admin listener is on loopback, where every web page can send requests.

A page under a name of its own can make the browser resolve that name to 127.0.0.1 (DNS rebinding), and
read answers as if they were its own: so the Host header must be localhost, an IP literal, or configured.
A form of another site can POST, but cannot set a header: so POST needs one.
"""

import hmac
import ipaddress
from collections.abc import Collection

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

POST_HEADER = "X-Sockjs-Bridge"
_SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


def make_guard(allowed_hosts: Collection[str], token: str) -> Middleware:
    """A middleware that refuses what a browser sends for somebody else. Without `token` POST needs none."""
    names = frozenset(host.lower().rstrip(".") for host in allowed_hosts)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        # A Unix socket has no browser in front of it, and no host.
        if not _is_unix(request) and not _is_good_host(request.headers.get(hdrs.HOST, ""), names):
            raise web.HTTPForbidden(
                text="refused: this Host is neither localhost, an IP address nor in admin.allowed_hosts\n"
            )
        if request.method not in _SAFE_METHODS:
            if request.headers.get(POST_HEADER) != "1":
                raise web.HTTPForbidden(text=f"refused: {request.method} needs the header {POST_HEADER}: 1\n")
            if token and not _has_token(request, token):
                raise web.HTTPUnauthorized(
                    text="refused: needs the token of [admin], as Authorization: Bearer TOKEN\n",
                    headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
                )
        response = await handler(request)
        if not response.prepared:
            response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["X-Frame-Options"] = "DENY"
        return response

    return guard


def _is_unix(request: web.Request) -> bool:
    transport = request.transport
    return transport is not None and isinstance(transport.get_extra_info("sockname"), str | bytes)


def _has_token(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    # aiohttp hands over bytes that are no UTF-8 as surrogates.
    return scheme.lower() == "bearer" and hmac.compare_digest(_to_bytes(given.strip()), _to_bytes(token))


def _to_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _is_good_host(header: str, names: frozenset[str]) -> bool:
    host = header.partition("]")[0].removeprefix("[") if header.startswith("[") else header.partition(":")[0]
    host = host.lower().rstrip(".")
    if host == "localhost" or host in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
