"""From a host name to a connected socket, with errors that say what was tried."""

import asyncio
import os
import socket

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from sockjs_bridge.errors import ConnectError, Obstacle
from sockjs_bridge.transports.proxy import Proxy
from sockjs_bridge.transports.tunnel import open_tunnel

# RFC 8305 section 5: so long the first address gets before the next is tried beside it.
_HAPPY_EYEBALLS_SECONDS = 0.25
# Without a limit the kernel takes 4 MB of unsent data before it says that the server does not keep up.
_NOTSENT_LOWAT_BYTES = 128 * 1024
# A peer that is gone without a word is found after a minute, also where no heartbeat is due.
_KEEPALIVE_IDLE_SECONDS = 30
_KEEPALIVE_INTERVAL_SECONDS = 10
_KEEPALIVE_PROBES = 3


async def dial(host: str, port: int, proxy: Proxy | None = None, *, stay_at: str = "") -> socket.socket:
    """Connect to the first address of `host` that answers, or have the proxy do so. Raises ConnectError.

    `stay_at` is the address that was connected to before, of the host or of the proxy: no other one is tried
    while the name still has it. The caller bounds the time. On cancellation no socket is left behind.
    """
    if proxy is None:
        return await _connect(host, port, host, f"{host} port {port}", stay_at)
    sock = await _connect(
        proxy.host, proxy.port, f"the proxy {proxy.host}", f"the proxy {proxy.shown}", stay_at
    )
    try:
        await open_tunnel(sock, proxy, host, port)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(host: str, port: int, name: str, place: str, stay_at: str) -> socket.socket:
    try:
        addresses = await resolve(host, port)
    except socket.gaierror as error:
        raise ConnectError(Obstacle.UNREACHABLE, f"cannot resolve {name}: {error.strerror}") from error
    addresses = [address for address in addresses if address[4][0] == stay_at] or addresses
    try:
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS, interleave=1
        )
    except OSError as error:
        raise ConnectError(Obstacle.UNREACHABLE, f"cannot reach {place}: {plain_reason(error)}") from error
    _tune(sock)
    return sock


async def resolve(host: str, port: int) -> list[AddrInfoType]:
    """The addresses of a name. Raises socket.gaierror."""
    return list(await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_LOWAT_BYTES)


def plain_reason(error: OSError) -> str:
    """The words of the system for an error number, such as `connection refused`."""
    return os.strerror(error.errno).lower() if error.errno is not None else str(error)
