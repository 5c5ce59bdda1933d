"""From a host name to a connected socket, with errors that say what was tried."""

import asyncio
import os
import socket

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from sockjs_bridge.errors import ConnectError, Obstacle

# RFC 8305 section 5: so long the first address gets before the next is tried beside it.
_HAPPY_EYEBALLS_SECONDS = 0.25
# Without a limit the kernel takes 4 MB of unsent data before it says that the server does not keep up.
_NOTSENT_LOWAT_BYTES = 128 * 1024
# A peer that is gone without a word is found after a minute, also where no heartbeat is due.
_KEEPALIVE_IDLE_SECONDS = 30
_KEEPALIVE_INTERVAL_SECONDS = 10
_KEEPALIVE_PROBES = 3


async def dial(host: str, port: int) -> socket.socket:
    """Connect to the first address of `host` that answers. Raises ConnectError.

    The caller bounds the time. On cancellation no socket is left behind.
    """
    loop = asyncio.get_running_loop()
    try:
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise ConnectError(Obstacle.UNREACHABLE, f"cannot resolve {host}: {error.strerror}") from error
    try:
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS, interleave=1
        )
    except OSError as error:
        raise ConnectError(
            Obstacle.UNREACHABLE, f"cannot reach {host} port {port}: {plain_reason(error)}"
        ) from error
    _tune(sock)
    return sock


def make_socket(address: AddrInfoType) -> socket.socket:
    """Make a socket that is not connected yet, for a library that connects by itself."""
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    _tune(sock)
    return sock


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_LOWAT_BYTES)


def plain_reason(error: OSError) -> str:
    """The words of the system for an error number, such as `connection refused`."""
    return os.strerror(error.errno).lower() if error.errno is not None else str(error)
