"""A proxy before a real server that keeps what both sides said: the only witness of cookies and heartbeats."""

import re
import socket
import socketserver
import threading
from contextlib import suppress
from typing import Self

_HEAD = re.compile(rb"(?:GET|POST) (\S+) HTTP/1\.1\r\n(?:[^\r\n]+\r\n)+\r\n")
_CONNECT_SECONDS = 10.0


class Connection:
    """One TCP connection that went through: all bytes of each direction."""

    def __init__(self) -> None:
        """Nothing has been said."""
        self.from_bridge = bytearray()
        self.from_server = bytearray()


class Recorder:
    """Listens on 127.0.0.1 and passes everything on to a server there. No byte is changed."""

    def __init__(self, server_port: int) -> None:
        """Listen on a free port."""
        self.connections: list[Connection] = []
        self._open: set[socket.socket] = set()
        recorder = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    recorder._pass_on(self.request, server_port)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def requests(self) -> list[str]:
        """The heads of all requests: in the order in which their connections came, then in that of the bytes."""
        heads: list[str] = []
        for connection in list(self.connections):
            heads += [found[0].decode("latin-1") for found in _HEAD.finditer(bytes(connection.from_bridge))]
        return heads

    @property
    def from_server(self) -> bytes:
        """All that the server said, one connection after the other."""
        return b"".join(bytes(connection.from_server) for connection in list(self.connections))

    def requests_for(self, ending: str) -> int:
        """Count the requests whose path ends so."""
        paths = [head.split(" ")[1].partition("?")[0] for head in self.requests]
        return sum(path.endswith(ending) for path in paths)

    def hang_up(self) -> None:
        """Break the connections that are open."""
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        """Do nothing: it listens."""
        return self

    def __exit__(self, *_: object) -> None:
        """Break all connections and listen no more."""
        self._server.shutdown()
        self._thread.join()
        self.hang_up()
        self._server.server_close()

    def _pass_on(self, bridge: socket.socket, server_port: int) -> None:
        connection = Connection()
        self.connections.append(connection)
        with socket.create_connection(("127.0.0.1", server_port), _CONNECT_SECONDS) as server:
            server.settimeout(None)
            ends = {bridge, server}
            for sock in ends:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= ends
            upwards = threading.Thread(
                target=_pump, args=(bridge, server, connection.from_bridge), daemon=True
            )
            upwards.start()
            _pump(server, bridge, connection.from_server)
            upwards.join(_CONNECT_SECONDS)
            self._open -= ends


def _pump(source: socket.socket, sink: socket.socket, record: bytearray) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            record += piece
            sink.sendall(piece)
    for sock in (source, sink):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
