"""Through a proxy: from a connection to the proxy to one that reaches the server."""

import asyncio
import re
import socket
from base64 import b64encode
from typing import cast

from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy as Socks

from sockjs_bridge.errors import ConnectError, Obstacle
from sockjs_bridge.transports.proxy import Proxy

_BEGINNING = b"HTTP/"
_HEAD_END = b"\r\n\r\n"
_LARGEST_HEAD_BYTES = 64 * 1024
_PIECE_BYTES = 4096
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})")
_SCHEMES = re.compile(rb"^(?:proxy|www)-authenticate:[ \t]*([\w-]+)", re.IGNORECASE | re.MULTILINE)
# The library wants a limit of its own; the caller's is the one that counts.
_SOCKS_SECONDS = 24 * 3600.0
_SOCKS_REPLIES = {  # RFC 1928 section 6
    1: "cannot reach {target}: general failure",
    2: "does not allow a connection to {target}",
    3: "cannot reach {target}: network unreachable",
    4: "cannot reach {target}: host unreachable",
    5: "cannot reach {target}: connection refused",
    6: "cannot reach {target}: TTL expired",
    7: "cannot do CONNECT",
    8: "cannot do this kind of address: {target}",
}


async def open_tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Ask the proxy at the other end of `sock` for a connection. Raises ConnectError; the caller closes `sock`.

    Names are resolved by the proxy. Every failure is `UNREACHABLE`: no transport gets past the proxy then.
    """
    try:
        if proxy.kind == "http":
            await _connect_http(sock, proxy, host, port)
        else:
            await _connect_socks(sock, proxy, host, port)
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else str(error)
        raise _failure(proxy, f"broke the connection: {reason}") from error


async def _connect_http(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    # python-socks takes the first piece that arrives for the whole answer, and what is left of it for the server's.
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.user is not None:
        credentials = b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        request += f"Proxy-Authorization: Basic {credentials}\r\n"
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, f"{request}\r\n".encode())
    head = bytearray()
    while _HEAD_END not in head:
        piece = await loop.sock_recv(sock, _PIECE_BYTES)
        head += piece
        is_http = head.startswith(_BEGINNING[: len(head)])
        if not piece or not is_http or len(head) > _LARGEST_HEAD_BYTES:
            break
    found = _STATUS_LINE.match(head)
    if found is None:
        raise _failure(proxy, "gave no HTTP answer to CONNECT (is it an HTTP proxy?)")
    status = int(found[1])
    if not 200 <= status < 300:
        raise _failure(proxy, _http_refusal(status, head, proxy, target))
    if not head.endswith(_HEAD_END):  # a server speaks after we do
        raise _failure(proxy, "gave an answer to CONNECT that makes no sense")


def _http_refusal(status: int, head: bytes | bytearray, proxy: Proxy, target: str) -> str:
    match status:
        case 401 | 407:  # tinyproxy says 401 where user and password are wrong
            schemes = {name.decode().lower() for name in _SCHEMES.findall(head)}
            if schemes and "basic" not in schemes:
                return f"wants a login that the bridge does not know ({', '.join(sorted(schemes))}): {status}"
            if proxy.user is None:
                return f"wants user and password, as in http://user:password@host:port: {status}"
            return f"does not accept user and password: {status}"
        case 403:
            return f"does not allow a connection to {target}: 403"
    if status >= 500:
        return f"cannot reach {target}: {status}"
    return f"refuses a connection to {target}: {status}"


class _Connected:
    """What python-socks takes for a proxy before the proxy: a connection that is there already."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, dest_host: str, dest_port: int, timeout: float | None = None) -> socket.socket:  # noqa: ARG002, ASYNC109  # the library's signature
        return self._sock


async def _connect_socks(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    through = cast("Socks", _Connected(sock))
    socks = Socks(
        ProxyType.SOCKS5, proxy.host, proxy.port, proxy.user, proxy.password, rdns=True, forward=through
    )
    target = f"{host} port {port}"
    try:
        await socks.connect(host, port, timeout=_SOCKS_SECONDS)
    except ProxyError as error:
        raise _failure(proxy, _socks_refusal(error, proxy).format(target=target)) from error
    except UnicodeError as error:
        raise _failure(proxy, f"cannot be asked for {target}: not a valid name") from error


def _socks_refusal(error: ProxyError, proxy: Proxy) -> str:
    if error.error_code is not None:
        code = int(error.error_code)
        return _SOCKS_REPLIES.get(code, f"refuses a connection to {{target}}: {code}")
    # There is no code for these.
    if "authentication failure" in str(error):
        return "does not accept user and password"
    if "No acceptable authentication" in str(error):
        if proxy.user is None:
            return "wants user and password, as in socks5://user:password@host:port"
        return "wants a login that the bridge does not know"
    if proxy.user is not None and "closed" in str(error):
        return "hung up (does it accept this user and password?)"
    return "gave no SOCKS5 answer (is it a SOCKS5 proxy?)"


def _failure(proxy: Proxy, what: str) -> ConnectError:
    return ConnectError(Obstacle.UNREACHABLE, f"the proxy {proxy.shown} {what}")
