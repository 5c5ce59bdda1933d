"""What libzmq tells about the connections of a socket: who came, who left, who was no ZeroMQ peer."""

import contextlib
import struct

import zmq

from sockjs_bridge.endpoints.zeromq.polled import PolledSocket
from sockjs_bridge.log import EventLog

_FAILURES = {
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "it hung up, or is no ZeroMQ peer",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "it does not speak ZMTP as this endpoint does (CURVE on both sides? the right server_key?)",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "it refuses our key",
}
_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_ACCEPT_FAILED
)
_EVENT = struct.Struct("=hi")


class Monitor:
    """Counts and logs the peers of one socket. Made before the socket is bound or connected.

    `is_guarded`: the doorkeeper has already told of peers that it refused.
    """

    def __init__(self, socket: zmq.Socket[bytes], *, is_guarded: bool) -> None:
        self._watched = socket
        self._socket = PolledSocket(socket.get_monitor_socket(_EVENTS))
        self._is_guarded = is_guarded
        self._log = EventLog()
        self._strangers: dict[int, None] = {}
        self._peers: set[int] = set()
        self._failure = 0

    @property
    def peers(self) -> int:
        """How many peers are connected."""
        return len(self._peers)

    def start(self, log: EventLog) -> None:
        """Begin to read what libzmq tells."""
        self._log = log
        self._socket.start(self._receive)

    def close(self) -> None:
        """Close before the socket that is watched."""
        if not self._watched.closed:
            self._watched.disable_monitor()
        self._socket.close()

    def _receive(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                told = self._socket.raw.recv_multipart(zmq.NOBLOCK)
                self._note(*_EVENT.unpack(told[0]))

    def _note(self, event: int, value: int) -> None:
        """Take one event; for most of them `value` is the descriptor of the connection."""
        if event in {zmq.EVENT_ACCEPTED, zmq.EVENT_CONNECTED}:
            self._strangers[value] = None
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED and self._strangers:
            # libzmq does not say whose handshake it was. They are quick, so the longest one under way.
            peer = next(iter(self._strangers))
            del self._strangers[peer]
            self._peers.add(peer)
            self._log.info("peer in", peers=self.peers)
        elif event in _FAILURES:
            self._failure = event
        elif event == zmq.EVENT_DISCONNECTED and value in self._peers:
            self._peers.discard(value)
            self._log.info("peer out", peers=self.peers)
        elif event == zmq.EVENT_DISCONNECTED:
            self._strangers.pop(value, None)
            self._report_failure()
        elif event == zmq.EVENT_ACCEPT_FAILED:
            self._log.repeated("could not accept a peer", error=zmq.strerror(value))

    def _report_failure(self) -> None:
        failure, self._failure = self._failure, 0
        if not (self._is_guarded and failure == zmq.EVENT_HANDSHAKE_FAILED_AUTH):
            reason = _FAILURES[zmq.Event(failure or zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)]
            self._log.repeated(f"no ZeroMQ handshake with a peer: {reason}")
