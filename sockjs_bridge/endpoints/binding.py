"""Opening listening sockets, with their mode right from the start."""

import os
import socket
import stat
from pathlib import Path

from sockjs_bridge.endpoints.address import ListenAddress, TcpAddress, UnixAddress

_PROBE_SECONDS = 1.0
BACKLOG = 1024
"""How many clients the kernel lets wait until they are accepted."""


def bind(address: ListenAddress, socket_mode: int) -> list[socket.socket]:
    """Listen on `address`; a host name may give several sockets. Raises OSError with a text for the user.

    `socket_mode` is the file mode of a Unix socket. Clients that connect now wait until somebody accepts.
    """
    match address:
        case TcpAddress():
            return _bind_tcp(address)
        case UnixAddress(path):
            return [_bind_unix(path, socket_mode)]
    raise OSError(f"cannot bind {address}: only a service manager can pass this socket")


def _bind_tcp(address: TcpAddress) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise OSError(f"cannot bind {address}: {error.strerror}") from error
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            bound.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Where a name has several addresses, they share the port that the first one got.
            port = address.port or (bound[0].getsockname()[1] if len(bound) > 1 else 0)
            sock.bind((where[0], port, *where[2:]))
            # Two processes may bind the same address, but only one of them may listen.
            sock.listen(BACKLOG)
    except OSError as error:
        for sock in bound:
            sock.close()
        raise OSError(f"cannot bind {address}: {os.strerror(error.errno or 0).lower()}") from error
    return bound


def _bind_unix(path: str, socket_mode: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_stale(path)
        # The file is born with its mode: a chmod afterwards would leave a moment for anybody to connect.
        previous = os.umask(0o777 & ~socket_mode)
        try:
            sock.bind(path)
        finally:
            os.umask(previous)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        detail = os.strerror(error.errno).lower() if error.errno else str(error)
        raise OSError(f"cannot bind unix:{path}: {detail}") from error
    return sock


def remove_stale(path: str) -> None:
    """Remove the socket file that a process left behind, if nobody answers on it."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError("there is a file of another kind at that path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except FileNotFoundError:
            return
    raise OSError("another process listens there")


def unlink_own(path: str, inode: int) -> None:
    """Remove our socket file, unless another process has put its own there meanwhile."""
    try:
        if os.lstat(path).st_ino == inode:
            Path(path).unlink()
    except FileNotFoundError:
        pass
