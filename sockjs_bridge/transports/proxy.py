"""Proxies: what the configuration and the environment say of them. Nothing here connects."""

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from yarl import URL

from sockjs_bridge.errors import ConnectError, Obstacle

FROM_ENVIRONMENT = "env"
"""The setting that means `HTTP_PROXY` and its like."""
_DEFAULT_PORT = {"http": 80, "socks5": 1080}
_LONGEST_SOCKS_BYTES = 255  # RFC 1929


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and what it is told of us. `kind` is `http` (asked by CONNECT) or `socks5`."""

    kind: str
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The proxy as logs and errors may show it: without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}"


def parse_proxy(text: str) -> Proxy:
    """Take the URL of a proxy. Raises ValueError, whose text repeats nothing of it.

    `socks5h` is taken for `socks5`: names are resolved by the proxy anyway.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        raise ValueError("is no valid URL of a proxy") from None
    kind = "socks5" if parts.scheme == "socks5h" else parts.scheme
    if kind not in _DEFAULT_PORT or not parts.hostname or port == 0:
        raise ValueError("must be the URL of a proxy: http://host:port or socks5://host:port")
    user = None if parts.username is None else unquote(parts.username)
    password = unquote(parts.password or "")
    if kind == "socks5" and user is not None and not all(map(_fits_socks, (user, password))):
        raise ValueError("user and password for a SOCKS5 proxy are 1 to 255 characters of ASCII each")
    if kind == "http" and ":" in (user or ""):
        raise ValueError("a user name for a proxy has no colon (RFC 7617)")
    return Proxy(kind, parts.hostname, port or _DEFAULT_PORT[kind], user, password)


def _fits_socks(text: str) -> bool:
    return text.isascii() and 0 < len(text) <= _LONGEST_SOCKS_BYTES


def choose_proxy(setting: str, url: URL) -> Proxy | None:
    """The proxy for one address, None for a direct connection. Raises ConnectError where there is no sense in it.

    `setting` is the configuration's: empty, `env`, or the URL of a proxy.
    """
    try:
        if setting != FROM_ENVIRONMENT:
            return parse_proxy(setting) if setting else None
        return _from_environment(url)
    except ValueError as error:
        raise ConnectError(Obstacle.UNREACHABLE, str(error)) from None


def _from_environment(url: URL) -> Proxy | None:
    # Not the library's own way, which would also read passwords from ~/.netrc.
    proxies = getproxies_environment()
    variable = url.scheme if proxies.get(url.scheme) else "all"
    written = proxies.get(variable)
    if not written or _is_exempt(url.raw_host or "", url.port or 0, proxies):
        return None
    try:
        return parse_proxy(written)
    except ValueError as error:
        raise ValueError(f"{variable.upper()}_PROXY in the environment: {error}") from None


def _is_exempt(host: str, port: int, proxies: dict[str, str]) -> bool:
    """Whether NO_PROXY names the host, the end of its name, or a network that its address is in."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(proxy_bypass(f"{host}:{port}", proxies))
    if address.version == 4 and proxy_bypass(f"{host}:{port}", proxies):  # also host:port
        return True
    items = [item.strip().strip("[]") for item in proxies.get("no", "").split(",")]
    return "*" in items or any(_is_in(address, item) for item in items)


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, item: str) -> bool:
    try:
        return address in ipaddress.ip_network(item, strict=False)
    except ValueError:  # a name
        return False
