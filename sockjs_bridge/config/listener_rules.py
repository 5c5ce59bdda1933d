"""Rules between the values of a listener and its session."""

from collections.abc import Iterator

from sockjs_bridge.config.listeners import Curve, TcpListener, ZmqEndpoint
from sockjs_bridge.config.models import SessionConfig
from sockjs_bridge.config.problems import Problem
from sockjs_bridge.config.tree import Loc
from sockjs_bridge.config.units import show_size
from sockjs_bridge.endpoints.address import TcpAddress, UnixAddress


def listener_problems(session: SessionConfig, at: Loc) -> Iterator[Problem]:
    """Every broken rule of the listeners of a session."""
    for index, listener in enumerate(session.tcp):
        here: Loc = (*at, "tcp", index)
        yield from _message_size(listener, session, at, here)
        yield from _dedicated(listener, session, at, here)
        yield from _tls(listener, here)
        yield from _unix(listener, here)
        yield from _remote_tcp(listener, here)
    for index, endpoint in enumerate(session.zmq):
        here = (*at, "zmq", index)
        yield from _endpoint(endpoint, here)
        yield from _curve(endpoint.curve, (*here, "curve"))


def _message_size(listener: TcpListener, session: SessionConfig, at: Loc, here: Loc) -> Iterator[Problem]:
    message, queue = listener.max_message_size, session.queue.max_bytes
    if message > queue:
        text = (
            f"a message of max_message_size ({show_size(message)}) "
            f"does not fit into queue.max_bytes ({show_size(queue)})"
        )
        yield Problem((*here, "max_message_size"), text, ((*at, "queue", "max_bytes"),))


def _dedicated(listener: TcpListener, session: SessionConfig, at: Loc, here: Loc) -> Iterator[Problem]:
    if listener.mode != "dedicated":
        return
    shared_only = {
        "queue.spool": (session.queue.spool, (*at, "queue", "spool")),
        "cookie_file": (session.cookie_file, (*at, "cookie_file")),
        "replay": (listener.replay, (*here, "replay")),
    }
    for name, (value, loc) in shared_only.items():
        if value:
            text = f'mode = "dedicated" is not possible with {name}: nothing outlives a dedicated session'
            yield Problem((*here, "mode"), text, (loc,))


def _tls(listener: TcpListener, here: Loc) -> Iterator[Problem]:
    tls = listener.tls
    for key, value in (("key", tls.key), ("client_ca", tls.client_ca)):
        if value and not tls.cert:
            yield Problem((*here, "tls", key), "needs tls.cert too", ((*here, "tls", "cert"),))


def _unix(listener: TcpListener, here: Loc) -> Iterator[Problem]:
    """A Unix socket has no addresses to allow, and what goes through it stays on this machine."""
    if not isinstance(listener.address, UnixAddress):
        return
    for key, is_set in (("allow", listener.allow), ("tls", listener.tls.cert)):
        if is_set:
            text = (
                "is not possible on a Unix socket: socket_mode and the owner of the file say who may connect"
            )
            yield Problem((*here, key), text, ((*here, "listen"),))


def _remote_tcp(listener: TcpListener, here: Loc) -> Iterator[Problem]:
    address = listener.address
    if not isinstance(address, TcpAddress) or address.is_loopback:
        return
    if not (listener.allow_remote or listener.allow or listener.tls.client_ca):
        text = (
            f'{address} can be reached from other machines: add allow_remote = true or allow = ["192.0.2.0/24"] '
            "or tls with a client_ca, or listen on 127.0.0.1"
        )
        also = tuple((*here, key) for key in ("allow_remote", "allow", "tls"))
        yield Problem((*here, "listen"), text, also)


def _endpoint(endpoint: ZmqEndpoint, here: Loc) -> Iterator[Problem]:
    address = endpoint.address
    if not isinstance(address, TcpAddress):
        return
    if not endpoint.bind:
        if address.port == 0 or address.host == "*":
            yield Problem(
                (*here, "endpoint"), "a wildcard can only be bound, not connected to", ((*here, "bind"),)
            )
    elif not (address.is_loopback or endpoint.allow_remote or endpoint.curve.secret_key_file):
        text = (
            f"{address} can be reached from other machines: add allow_remote = true or curve, "
            "or bind to tcp://127.0.0.1"
        )
        also = tuple((*here, key) for key in ("bind", "allow_remote", "curve"))
        yield Problem((*here, "endpoint"), text, also)


def _curve(curve: Curve, here: Loc) -> Iterator[Problem]:
    if curve == Curve():
        return
    if (curve.allow is None) == (curve.server_key is None):
        text = "a server has secret_key_file and allow, a client has secret_key_file and server_key: write one of the two"
        yield Problem(here, text)
    if curve.allow == ():
        yield Problem(
            (*here, "allow"), "is empty, so nobody could connect: list the public keys of the clients"
        )
    if not curve.secret_key_file:
        yield Problem((*here, "secret_key_file"), "missing, but required for CURVE")
