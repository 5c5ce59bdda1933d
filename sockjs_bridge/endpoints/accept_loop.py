"""Accepts the connections to one listening socket."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from sockjs_bridge.log import EventLog

_AT_ONCE = 64
_REST_SECONDS = 0.5
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end."""

    host: str
    """Its numeric address; empty on a Unix socket."""
    name: str
    """As logs call it: its address and port, or `unix`."""


class AcceptLoop:
    """Where descriptors have run out, those who connect wait in the kernel until there are some again.

    The event loop's own server would close them, without a word to anybody: what they have written would be
    lost. It also loses the address of one who has hung up by the time it is looked at.
    """

    def __init__(
        self,
        sock: socket.socket,
        make_protocol: Callable[[Peer], asyncio.Protocol],
        name: str,
        log: EventLog,
    ) -> None:
        """`sock` listens already, and is this one's to close."""
        self._sock = sock
        self._make_protocol = make_protocol
        self._name = name
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._arriving: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to accept."""
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock, self._accept)

    def stop(self) -> None:
        """Accept no more, and close the socket."""
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):  # the rest has its turn after others had theirs
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._wait(error)
                    return
                continue  # accept(2): an error that a connection brought along is no reason to stop
            task = self._loop.create_task(self._serve(sock, _peer(address)), name="accept")
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    async def _serve(self, sock: socket.socket, peer: Peer) -> None:
        try:
            sock.setblocking(False)
            if peer.host:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await self._loop.connect_accepted_socket(lambda: self._make_protocol(peer), sock)
        except OSError as error:  # it broke before it was begun with
            sock.close()
            self._log.debug("a client was gone before it was served", client=peer.name, error=str(error))

    def _wait(self, error: OSError) -> None:
        self._loop.remove_reader(self._sock)
        reason = os.strerror(error.errno or 0).lower()
        self._log.repeated(
            f"cannot accept clients: {reason}; who connects waits until there is room", listener=self._name
        )
        self._rest = self._loop.call_later(_REST_SECONDS, self.start)


def _peer(address: object) -> Peer:
    if isinstance(address, tuple):
        host, port = address[:2]
        return Peer(host, f"{host}:{port}")
    return Peer("", "unix")
