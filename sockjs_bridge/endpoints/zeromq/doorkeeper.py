"""Who may connect: the ZAP handler of the process (ZeroMQ RFC 27).

Sockets without CURVE are asked about too. libzmq accepts peers of ZMTP 1.0, for whom an HTTP request is
a row of messages; with a ZAP domain it refuses them before anything gets in.
"""

import contextlib
from collections.abc import Collection

import zmq
from zmq.utils import z85

from sockjs_bridge.endpoints.zeromq.polled import PolledSocket
from sockjs_bridge.log import EventLog

_ADDRESS = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_REQUEST_FRAMES = 6  # version, id, domain, address, identity, mechanism; then the credentials
_KEY_BYTES = 32
_MOST_REFUSED = 1000


class Doorkeeper:
    """Answers libzmq's question for each peer that connects to a socket with a ZAP domain."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], log: EventLog) -> None:
        self._socket = PolledSocket(context.socket(zmq.REP))
        self._socket.raw.bind(_ADDRESS)
        self._log = log
        self._allowed: dict[bytes, frozenset[bytes] | None] = {}
        self._refused: set[tuple[str, str | None]] = set()

    def guard(self, domain: str, allow: Collection[bytes] | None) -> None:
        """Tell who may enter a domain: the owners of these public keys (Z85), or without CURVE anybody."""
        keys = None if allow is None else frozenset(z85.decode(key) for key in allow)
        self._allowed[domain.encode()] = keys

    def start(self) -> None:
        """Begin to answer; peers that came before have waited."""
        self._socket.start(self._receive)

    def close(self) -> None:
        """Answer no more."""
        self._socket.close()

    def _receive(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                request = self._socket.raw.recv_multipart(zmq.NOBLOCK)
                self._socket.raw.send_multipart(self._answer(request), zmq.NOBLOCK)

    def _answer(self, request: list[bytes]) -> list[bytes]:
        if len(request) < _REQUEST_FRAMES or request[0] != _VERSION:
            return [_VERSION, request[1] if len(request) > 1 else b"", b"500", b"bad request", b"", b""]
        _, request_id, domain, address, _, mechanism, *credentials = request
        status, text = (
            (b"200", b"OK") if self._may_enter(domain, mechanism, credentials) else (b"400", b"refused")
        )
        if status != b"200":
            self._report(domain.decode(), address.decode(errors="replace"), mechanism, credentials)
        return [_VERSION, request_id, status, text, b"", b""]

    def _may_enter(self, domain: bytes, mechanism: bytes, credentials: list[bytes]) -> bool:
        if domain not in self._allowed:
            return False
        allowed = self._allowed[domain]
        if allowed is None:
            return mechanism == b"NULL"
        return mechanism == b"CURVE" and len(credentials) == 1 and credentials[0] in allowed

    def _report(self, domain: str, address: str, mechanism: bytes, credentials: list[bytes]) -> None:
        key = (
            z85.encode(credentials[0]).decode() if credentials and len(credentials[0]) == _KEY_BYTES else None
        )
        event = (
            "refused a peer: its CURVE key is not in allow"
            if key
            else "refused a peer: it does not use CURVE"
        )
        if len(self._refused) < _MOST_REFUSED:
            self._refused.add((domain, key))
        # Each key is worth a line, but whoever knocks can make up any number of them.
        known = key if (domain, key) in self._refused else "others"
        self._log.repeated(
            event,
            key=f"{event} {domain} {known}",
            endpoint=domain.partition(": ")[2] or domain,
            peer=address,
            public_key=key,
            mechanism=None if key else mechanism.decode(errors="replace"),
        )
