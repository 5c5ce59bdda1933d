"""Two listeners on one address, found before either is bound."""

import ipaddress
import os.path
from collections.abc import Iterator
from dataclasses import dataclass

from sockjs_bridge.config.listeners import ZmqEndpoint
from sockjs_bridge.config.models import Config
from sockjs_bridge.config.problems import Problem
from sockjs_bridge.config.tree import Loc, shown
from sockjs_bridge.endpoints.address import ListenAddress, TcpAddress, UnixAddress, parse_listen

# Compared with what a user wrote, never bound from here.
_EVERY_V4, _EVERY_V6 = "0.0.0.0", "::"  # noqa: S104  # not bound from here
_ALIASES = {"localhost": ("127.0.0.1", "::1"), "*": (_EVERY_V4,)}


@dataclass(frozen=True, slots=True)
class _Listener:
    owner: Loc
    key: str
    address: ListenAddress
    pub: ZmqEndpoint | None = None

    @property
    def loc(self) -> Loc:
        return (*self.owner, self.key)


def clashes(config: Config) -> Iterator[Problem]:
    """Every pair of listeners that could not be bound together. Port 0 never clashes."""
    listeners = list(_listeners(config))
    for index, later in enumerate(listeners):
        earlier = next((other for other in listeners[:index] if _clash(other, later)), None)
        if earlier is not None:
            text = f"two listeners on one address, {later.address}: {shown(earlier.owner)} and {shown(later.owner)}"
            if earlier.pub and later.pub:
                text += " (pub endpoints share an address only if all their options but topic are the same)"
            yield Problem(later.loc, text, (earlier.loc,))


def _listeners(config: Config) -> Iterator[_Listener]:
    if config.admin.listen:
        yield _Listener(("admin",), "listen", parse_listen(config.admin.listen))
    for name, session in config.sessions.items():
        for index, listener in enumerate(session.tcp):
            yield _Listener(("sessions", name, "tcp", index), "listen", listener.address)
        for index, endpoint in enumerate(session.zmq):
            if endpoint.bind:
                pub = endpoint if endpoint.type == "pub" else None
                yield _Listener(("sessions", name, "zmq", index), "endpoint", endpoint.address, pub)


def _clash(one: _Listener, other: _Listener) -> bool:
    if one.pub and other.pub and _shareable(one.pub) == _shareable(other.pub):
        return False
    if isinstance(one.address, TcpAddress) and isinstance(other.address, TcpAddress):
        return _same_socket(one.address, other.address)
    if isinstance(one.address, UnixAddress) and isinstance(other.address, UnixAddress):
        return os.path.normpath(one.address.path) == os.path.normpath(other.address.path)
    return one.address == other.address


def _shareable(endpoint: ZmqEndpoint) -> dict[str, object]:
    # One PUB socket serves several sessions, told apart by their topics.
    return endpoint.model_dump(exclude={"topic"})


def _same_socket(one: TcpAddress, other: TcpAddress) -> bool:
    if one.port != other.port or one.port == 0:
        return False
    mine, theirs = _hosts(one.host), _hosts(other.host)
    return any(a == b or _covers(a, b) or _covers(b, a) for a in mine for b in theirs)


def _hosts(host: str) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return _ALIASES.get(host.lower(), (host.lower(),))


def _covers(wildcard: str, host: str) -> bool:
    # A host name may resolve to anything, but it is v4 on most machines' first answer: left to bind().
    if wildcard not in {_EVERY_V4, _EVERY_V6}:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (address.version == 6) == (wildcard == _EVERY_V6)
