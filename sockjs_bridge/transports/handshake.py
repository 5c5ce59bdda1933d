"""When a WebSocket handshake fails: why, in words that help and quote no secret, and what to do with the socket."""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeVar

import picows

from sockjs_bridge.errors import ConnectError, Obstacle
from sockjs_bridge.transports.status import describe_status, hint_on_connecting
from sockjs_bridge.transports.tls import explain_tls, failure_of

_T = TypeVar("_T")
_HEAR_OUT_SECONDS = 0.5
_HEAR_OUT_BYTES = 65536
# picows gives no response object for HTTP/1.0 and for statuses it does not know.
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})")


def explain(error: Exception, name: str) -> ConnectError:
    """Map what picows, ssl or a socket raised during a handshake; `name` is the server's in TLS."""
    if isinstance(error, picows.WSHandshakeError):
        return _refusal(error)
    if isinstance(error, ssl.SSLError):
        return explain_tls(error, name)
    return ConnectError(Obstacle.HANDSHAKE, f"the connection broke during the handshake: {error}")


def explain_silence(ws: picows.WSTransport, name: str) -> ConnectError:
    """Say why the server may have hung up instead of answering the handshake."""
    failure = failure_of(ws.underlying_transport)
    if failure is not None:
        return explain_tls(failure, name)
    return ConnectError(Obstacle.HANDSHAKE, "the server closed the connection during the WebSocket handshake")


def _refusal(error: picows.WSHandshakeError) -> ConnectError:
    found = _STATUS_LINE.match(error.raw_header or b"")
    status = int(found[1]) if found else None
    if status is None or status == HTTPStatus.SWITCHING_PROTOCOLS:
        return ConnectError(
            Obstacle.HANDSHAKE, f"the answer is no WebSocket handshake: {_fault(error)}", status=status
        )
    text = describe_status(status, "the WebSocket handshake") + hint_on_connecting(status)
    return ConnectError(Obstacle.STATUS, text, status=status)


def _fault(error: picows.WSHandshakeError) -> str:
    # The library's own text quotes the answer, in which there may be cookies.
    if isinstance(error, picows.WSInvalidHeaderError):
        return f"its {error.name} header is not the expected one"
    return "it is malformed, or no HTTP/1.1"


def cookies_of_refusal(error: Exception) -> list[str]:
    """The Set-Cookie headers of an answer that is no handshake; none where there is no answer."""
    raw_header = (error.raw_header or b"") if isinstance(error, picows.WSHandshakeError) else b""
    lines = (line.partition(b":") for line in raw_header.split(b"\r\n"))
    return [
        value.strip().decode("latin-1") for name, _, value in lines if name.strip().lower() == b"set-cookie"
    ]


async def see_through(connecting: Coroutine[Any, Any, _T], spare: socket.socket) -> _T:
    """Await what begins to talk on a connected socket, of which `spare` is a duplicate.

    It is never cancelled itself: uvloop would then close a connection that its TLS goes on writing to, and
    picows leaves one open that waits for its handshake. Instead the connection is broken, so that it fails.
    """
    task = asyncio.get_running_loop().create_task(connecting, name="connect")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(OSError):
            spare.shutdown(socket.SHUT_RDWR)
        await asyncio.gather(task, return_exceptions=True)
        raise


async def hear_out(spare: socket.socket) -> None:
    """Read a refusal to its end before the connection closes, for a moment at most.

    picows closes at once, and unread bytes make that a reset: sockjs-node has no error handler on a
    connection that it refused to upgrade, and the whole server dies of it. `spare` keeps it open.
    """
    loop = asyncio.get_running_loop()
    with suppress(OSError, TimeoutError):
        spare.setblocking(False)
        spare.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_HEAR_OUT_SECONDS):
            while await loop.sock_recv(spare, _HEAR_OUT_BYTES):
                pass


def let_go(sock: socket.socket, spare: socket.socket) -> None:
    """End a connection whose handshake failed; `spare` is a duplicate of `sock`.

    uvloop takes a socket over once connected. Where the connection breaks before that, it has closed the
    descriptor, and `sock` does not know: its number may be another connection's by now.
    """
    with suppress(OSError):
        spare.shutdown(socket.SHUT_RDWR)
    try:
        is_ours = os.path.sameopenfile(sock.fileno(), spare.fileno())
    except OSError:
        is_ours = False
    if is_ours:
        sock.close()
    else:
        sock.detach()
