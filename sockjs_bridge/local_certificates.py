"""From the configuration to the TLS of listeners: reads their files, at the start and at every reload."""

import socket
from dataclasses import dataclass

from sockjs_bridge.config import Config, TcpListener
from sockjs_bridge.config.listeners import ListenerTls
from sockjs_bridge.endpoints.server_tls import ServerTls, TlsFiles
from sockjs_bridge.errors import BindError


@dataclass(frozen=True, slots=True)
class RenewedCertificates:
    """What has changed in files that are in use. Nothing is changed before `adopt`."""

    changes: list[tuple[ServerTls, ServerTls]]
    lines: list[str]
    """What to tell of it, a line for each listener."""

    def adopt(self) -> None:
        """Let new connections have it; those that there are go on."""
        for used, newer in self.changes:
            used.adopt(newer)


class Certificates:
    """The TLS that listeners have: one for all that are configured with the same files."""

    def __init__(self) -> None:
        self._used: dict[ListenerTls, ServerTls] = {}

    def of(self, listener: TcpListener, where: str) -> ServerTls | None:
        """The TLS of a listener, None where it has none; `where` is its key path. Raises BindError."""
        if not listener.tls.cert:
            return None
        if listener.tls not in self._used:
            self._used[listener.tls] = _load(listener, where)
        return self._used[listener.tls]

    def read_again(self, config: Config) -> RenewedCertificates:
        """Read everything anew that is in use and in this configuration. Raises BindError with all problems."""
        newer: dict[ListenerTls, ServerTls | None] = {}
        problems: list[tuple[str, str]] = []
        lines: list[str] = []
        for where, session, listener in _tls_listeners(config):
            used = self._used.get(listener.tls)
            if used is None:
                continue
            if listener.tls not in newer:
                newer[listener.tls] = None
                try:
                    newer[listener.tls] = used.read_again()
                except BindError as error:
                    problems += _at(where, error)
            if newer[listener.tls] is not None:
                lines.append(f"session {session}: tcp {listener.address}: TLS files read again")
        if problems:
            raise BindError(problems)
        changes = [(self._used[tls], found) for tls, found in newer.items() if found is not None]
        return RenewedCertificates(changes, lines)


def certificate_problems(config: Config) -> list[tuple[str, str]]:
    """Every file of a listener's TLS that cannot be used, as (key path, what is wrong)."""
    problems: list[tuple[str, str]] = []
    for where, _, listener in _tls_listeners(config):
        try:
            _load(listener, where)
        except BindError as error:
            problems += error.problems
    return problems


def refuse_unix(listener: TcpListener, where: str, sockets: list[socket.socket]) -> None:
    """Refuse, with BindError, a Unix socket of the service manager where only TCP makes sense."""
    if any(sock.family == socket.AF_UNIX for sock in sockets):
        wrong = [key for key, is_set in (("allow", listener.allow), ("tls", listener.tls.cert)) if is_set]
        if wrong:
            text = "is not possible on a Unix socket: the mode and the owner of its file say who may connect"
            raise BindError([(f"{where}.{key}", text) for key in wrong])


def _tls_listeners(config: Config) -> list[tuple[str, str, TcpListener]]:
    return [
        (f"sessions.{name}.tcp[{index}]", name, listener)
        for name, session in config.sessions.items()
        for index, listener in enumerate(session.tcp)
        if listener.tls.cert
    ]


def _load(listener: TcpListener, where: str) -> ServerTls:
    tls = listener.tls
    try:
        return ServerTls(TlsFiles(tls.cert, tls.key, tls.client_ca))
    except BindError as error:
        raise BindError(_at(where, error)) from error


def _at(where: str, error: BindError) -> list[tuple[str, str]]:
    return [(f"{where}.{key}", what) for key, what in error.problems]
