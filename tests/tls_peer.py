"""The client's side of TLS without a socket: what asyncio's and ssl's own clients can not be made to do."""

import contextlib
import ssl


class TlsPeer:
    """Takes and gives encrypted bytes. `context` is that of a client."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.is_up = False
        self.has_ended = False
        """Whether the server has ended TLS."""

    def receive(self, encrypted: bytes = b"") -> bytes:
        """What the server has sent, decrypted; the handshake goes on by itself. Raises ssl.SSLError."""
        self._incoming.write(encrypted)
        received = b""
        try:
            if not self.is_up:
                self._tls.do_handshake()
                self.is_up = True
            while not self.has_ended:
                chunk = self._tls.read(1 << 16)
                received += chunk
                self.has_ended = not chunk
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        return received

    def send(self, data: bytes) -> bytes:
        """Encrypt."""
        self._tls.write(data)
        return self.to_send()

    def end(self) -> bytes:
        """Say that nothing more will come."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self.to_send()

    def to_send(self) -> bytes:
        """What is to go to the server."""
        return self._outgoing.read()
