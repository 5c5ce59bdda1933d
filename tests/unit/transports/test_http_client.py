"""What becomes of a socket on which no HTTP connection comes about."""

import socket
import struct

import pytest
from yarl import URL

from sockjs_bridge.errors import ConnectError, Obstacle
from sockjs_bridge.log import EventLog
from sockjs_bridge.transports.cookies import SessionCookies
from sockjs_bridge.transports.http_client import HttpClient, HttpOptions
from sockjs_bridge.transports.route import Route
from sockjs_bridge.transports.tls import Tls, TlsOptions

URL_OF_ALL = URL("http://127.0.0.1:1/info")
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def test_a_connection_that_is_reset_at_once_is_closed() -> None:
    dialled: list[socket.socket] = []

    class ResetRoute(Route):
        """Its server takes the connection and breaks it before anything is done with it."""

        async def dial(self, url: URL, *, stay_at: str = "") -> socket.socket:
            dialled.append(a_reset_connection())
            return dialled[-1]

    options = HttpOptions(headers={}, connect_timeout=1.0, route=ResetRoute(Tls(TlsOptions(), "")))
    async with HttpClient(options, SessionCookies(URL_OF_ALL, {}, None, EventLog())) as client:
        with pytest.raises(ConnectError, match="port 1 broke at once") as caught:
            await client.get(URL_OF_ALL)
    assert caught.value.obstacle is Obstacle.UNREACHABLE
    assert [sock.fileno() for sock in dialled] == [-1]


def a_reset_connection() -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    peer.close()
    return sock
