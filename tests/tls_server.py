"""A TLS server on OpenSSL itself, without an event loop in between, so that its alerts reach the client."""

import socket
import ssl
import threading
from contextlib import suppress
from typing import Self

from tests.bridge_process import read_head

_SECONDS = 10.0
_ANSWER = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class TlsServer:
    """Shakes hands, and answers the first request of each connection with 404. `names` has what clients asked for."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.names: list[str | None] = []
        self.serials: list[str] = []
        """The serial numbers of the certificates that clients showed."""
        context.sni_callback = self._note_name
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}/echo"

    def _note_name(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.names.append(name)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(_SECONDS)
        with self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as tls:
            with suppress(OSError):
                tls.do_handshake()
                certificate = tls.getpeercert()
                if certificate:
                    self.serials.append(str(certificate["serialNumber"]))
                read_head(tls)
                tls.sendall(_ANSWER)
            # As servers do that want their last words to arrive: to close now would be a reset.
            with suppress(OSError):
                tls.shutdown(socket.SHUT_WR)
                while tls.recv(65536):
                    pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(_SECONDS)
