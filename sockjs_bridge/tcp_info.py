"""What the kernel knows of a TCP connection (tcp_info of linux/tcp.h)."""

import socket
import struct

_STATE = struct.Struct("=B")
_LAST_DATA_RECEIVED = struct.Struct("=52xI")
_TCP_CLOSE = 7


def is_dead(sock: socket.socket) -> bool:
    """Whether the connection was reset or timed out. False for what is not TCP."""
    info = _tcp_info(sock, _STATE.size)
    return info is not None and _STATE.unpack(info)[0] == _TCP_CLOSE


def seconds_since_last_data(sock: socket.socket) -> float | None:
    """Seconds since the peer's last byte reached this machine, read by us or not; None if unknown."""
    info = _tcp_info(sock, _LAST_DATA_RECEIVED.size)
    return None if info is None else float(_LAST_DATA_RECEIVED.unpack(info)[0]) / 1000


def _tcp_info(sock: socket.socket, size: int) -> bytes | None:
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    except OSError:
        return None
    return info if len(info) == size else None
