"""Where a local listener listens: `host:port`, `port`, `unix:/path`, `systemd:NAME`."""

import ipaddress
from dataclasses import dataclass

_LAST_PORT = 65535
_LONGEST_UNIX_PATH = 107  # sun_path is 108 bytes with its closing NUL


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP address to bind. Port 0 lets the system choose."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect. A name is trusted only if it is localhost."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix domain socket to bind."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class ActivatedSocket:
    """A socket that the service manager has bound already, by its FileDescriptorName."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


ListenAddress = TcpAddress | UnixAddress | ActivatedSocket


def parse_listen(text: str) -> ListenAddress:
    """Take a `listen` value. Raises ValueError that says what forms there are."""
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    if text.startswith("systemd:"):
        name = text.removeprefix("systemd:")
        if not name:
            raise ValueError('"systemd:" must be followed by the FileDescriptorName of a socket unit')
        return ActivatedSocket(name)
    host, colon, port = text.rpartition(":")
    if not colon:
        host = "127.0.0.1"
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f'"{text}": an IPv6 address goes into brackets, such as "[::1]:9000"')
    if (
        not port.isascii()
        or not port.isdigit()
        or int(port) > _LAST_PORT
        or not host
        or set(host) & set("[]/ ")
    ):
        raise ValueError(
            f'"{text}" is not an address: use "host:port", "[::1]:port", a port alone (on 127.0.0.1), '
            '"unix:/path" or "systemd:NAME"'
        )
    return TcpAddress(host, int(port))


def _unix(path: str) -> UnixAddress:
    if not path.startswith("/"):
        raise ValueError('"unix:" must be followed by an absolute path, such as "unix:/run/chat.sock"')
    if "\0" in path or len(path.encode()) > _LONGEST_UNIX_PATH:
        raise ValueError(f"the path of a Unix socket holds at most {_LONGEST_UNIX_PATH} bytes and no NUL")
    return UnixAddress(path)
