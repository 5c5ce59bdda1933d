"""How connections of a session get to its server: through which proxy, with which TLS."""

import socket
import ssl
from dataclasses import dataclass, field
from typing import TypedDict

from yarl import URL

from sockjs_bridge.transports.dial import dial
from sockjs_bridge.transports.proxy import choose_proxy
from sockjs_bridge.transports.tls import Tls

# A server that does not take leave of TLS holds nothing up.
_TLS_SHUTDOWN_SECONDS = 2.0


class TlsArguments(TypedDict, total=False):
    """What `loop.create_connection` takes for TLS; empty where none is spoken."""

    ssl: ssl.SSLContext
    server_hostname: str
    ssl_shutdown_timeout: float


@dataclass(frozen=True, slots=True)
class Route:
    """WebSocket and HTTP alike go this way. `proxy` is the configuration's setting; it may hold a password."""

    tls: Tls
    proxy: str = field(default="", repr=False)

    async def dial(self, url: URL, *, stay_at: str = "") -> socket.socket:
        """Connect to the server of an address, without TLS yet. Raises ConnectError; see `dial.dial`."""
        return await dial(url.raw_host or "", url.port or 0, choose_proxy(self.proxy, url), stay_at=stay_at)

    def tls_arguments(self, url: URL) -> TlsArguments:
        """How to speak TLS with the server of an address. Raises ConnectError where a file cannot be used."""
        if url.scheme != "https":
            return {}
        return {
            "ssl": self.tls.context(),
            "server_hostname": self.tls.name_of(url.raw_host or ""),
            "ssl_shutdown_timeout": _TLS_SHUTDOWN_SECONDS,
        }
