"""The two WebSocket transports, framed and raw, on picows: callbacks, no task for each message."""

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import picows
from picows import WSMsgType, WSTransport
from yarl import URL

from sockjs_bridge.errors import Cause, ConnectError, Obstacle
from sockjs_bridge.protocol.frames import encode_messages
from sockjs_bridge.protocol.session import DROPPED
from sockjs_bridge.tcp_info import seconds_since_last_data
from sockjs_bridge.transports.base import Receiver, TransportClosed
from sockjs_bridge.transports.cookies import SessionCookies
from sockjs_bridge.transports.dial import plain_reason
from sockjs_bridge.transports.handshake import (
    cookies_of_refusal,
    explain,
    explain_silence,
    hear_out,
    let_go,
    see_through,
)
from sockjs_bridge.transports.route import Route, TlsArguments
from sockjs_bridge.transports.websocket_listener import CLOSE_SECONDS, WebSocketListener

_READ_BUFFER_BYTES = 128 * 1024
# Of the kernel. Left to itself it grows to 32 MiB while reading is paused; picows doubles its own buffer until one
# read takes all of that, and keeps it. So much a round trip is still many times what a session carries.
_RECEIVE_BUFFER_BYTES = 256 * 1024
# picows would log what is reported here anyway, with other words.
_picows_log = logging.getLogger("picows.client")
_picows_log.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """Settings of one connection; sizes in bytes. `headers` go out as they are."""

    url: URL
    framed: bool
    headers: Mapping[str, str]
    max_frame_bytes: int
    batch_bytes: int
    route: Route


class WebSocketTransport:
    """A `Transport` over one WebSocket connection."""

    def __init__(self, options: WebSocketOptions, cookies: SessionCookies) -> None:
        self._options = options
        self._cookies = cookies
        self._sock: socket.socket | None = None
        self._ws: WSTransport
        self._listener: WebSocketListener | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[TransportClosed] = asyncio.get_running_loop().create_future()
        self.is_http = False
        self.unanswered = None
        self.reached = False
        self.replaced = 0
        """Messages in which a lone surrogate had to be replaced: a raw WebSocket cannot carry them."""

    @property
    def can_send(self) -> bool:
        """Whether the connection is open and the server keeps up."""
        return self._listener is not None and self._listener.writable and not self._is_ending

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        if self._listener is None or self._ws.is_disconnected:
            return 0
        return self._ws.underlying_transport.get_write_buffer_size()

    @property
    def _is_ending(self) -> bool:
        # picows lets a send pass silently in both states.
        return self._ws.is_disconnected or self._ws.is_close_frame_sent

    async def connect(self, receiver: Receiver) -> None:
        """Connect and shake hands. Raises ConnectError; the caller bounds the time."""
        url, route = self._options.url, self._options.route
        tls = route.tls_arguments(url)
        self._sock = sock = await route.dial(url)
        self.reached = True
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        try:
            spare = sock.dup()
        except OSError as error:  # no descriptors left
            sock.close()
            raise ConnectError(
                Obstacle.UNREACHABLE, f"no socket for the server: {plain_reason(error)}"
            ) from error
        with spare:
            await self._shake_hands(sock, spare, tls, receiver)

    async def _shake_hands(
        self, sock: socket.socket, spare: socket.socket, tls: TlsArguments, receiver: Receiver
    ) -> None:
        url, name = self._options.url, tls.get("server_hostname", "")
        listener = WebSocketListener(
            receiver,
            self._connected,
            self._ended,
            framed=self._options.framed,
            max_message_bytes=self._options.max_frame_bytes,
        )
        try:
            connecting = picows.ws_connect(
                lambda _request, _response: listener,
                "ws" + str(url).removeprefix("http"),
                ssl_context=tls.pop("ssl", None),
                socket_factory=lambda _url: sock,
                websocket_handshake_timeout=None,
                logger_name=_picows_log,
                enable_auto_pong=False,
                max_frame_size=self._options.max_frame_bytes,
                extra_headers=self._handshake_headers(),
                max_redirects=0,
                read_buffer_init_size=_READ_BUFFER_BYTES,
                use_aiofastnet=False,
                **tls,
            )
            ws, listening = await see_through(connecting, spare)
        except (picows.WSHandshakeError, OSError) as error:
            self._cookies.store(url, cookies_of_refusal(error))
            if isinstance(error, picows.WSHandshakeError):
                await hear_out(spare)
            let_go(sock, spare)
            raise explain(error, name) from error
        except asyncio.CancelledError:
            let_go(sock, spare)
            raise
        # picows returns as if connected, but without a listener, when the peer hung up meanwhile.
        if cast("picows.WSListener | None", listening) is None:
            let_go(sock, spare)
            raise explain_silence(ws, name)

    async def wait_closed(self) -> TransportClosed:
        """Wait for the end of the connection, or until it is abandoned."""
        return await self._ended

    def send(self, batch: list[str]) -> None:
        """Write messages: framed, joined up to `batch_bytes`; raw, one by one."""
        if self._options.framed:
            for array in encode_messages(batch, self._options.batch_bytes):
                self._ws.send(WSMsgType.TEXT, array)
        else:
            for message in batch:
                self._ws.send(WSMsgType.TEXT, self._utf8(message))

    def send_ping(self, number: int) -> None:
        """Send a PING that holds the number."""
        if not self._is_ending:
            self._ws.send_ping(b"%d" % number)

    def pause_reading(self) -> None:
        """Stop reading from the socket."""
        if self._listener is not None and not self._ws.is_disconnected:
            self._listener.pause_reading(self._ws)

    def resume_reading(self) -> None:
        """Read again."""
        if self._listener is not None and not self._ws.is_disconnected:
            self._listener.resume_reading(self._ws)

    def seconds_since_last_byte(self) -> float | None:
        """Seconds since the last byte came in: parts of a large frame are seen by the kernel alone."""
        return seconds_since_last_data(self._sock) if self._sock else None

    def close(self, code: int, within: float) -> None:
        """Send a Close frame, and hang up when it is answered or after `within` seconds."""
        if self._listener is not None:
            self._listener.close(self._ws, code, "", within)
        elif self._sock is not None:
            _hang_up(self._sock)

    def abandon(self, code: int) -> None:
        """Close without waiting for the server's side of it."""
        if not self._ended.done():
            self._ended.set_result(TransportClosed(Cause.TRANSPORT_LOST, DROPPED))
        self.close(code, CLOSE_SECONDS)

    async def _watch(self, ws: WSTransport, listener: WebSocketListener) -> None:
        """Wait for picows to be done with the connection, and take from it how that came about."""
        try:
            (error,) = await asyncio.gather(ws.wait_disconnected(), return_exceptions=True)
        except asyncio.CancelledError:
            # The loop ends: the timer that would hang up on a server that does not answer a Close never runs.
            ws.disconnect(False)
            raise
        if self._ended.done():
            return
        if isinstance(error, picows.WSProtocolError):
            code = int(cast("int", error.code))
            self._ended.set_result(TransportClosed(Cause.PROTOCOL_VIOLATION, code, str(error)))
        elif error is not None:  # a fault of ours, in a callback: wait_closed raises it
            self._ended.set_exception(error)
        else:
            self._ended.set_result(listener.outcome or TransportClosed(Cause.TRANSPORT_LOST, DROPPED))

    def _connected(self, ws: WSTransport, listener: WebSocketListener) -> None:
        """The handshake is done; the first frames may come before `connect` goes on."""
        self._cookies.store(self._options.url, ws.response.headers.getall("Set-Cookie", []))
        self._ws, self._listener = ws, listener
        self._watcher = asyncio.get_running_loop().create_task(
            self._watch(ws, listener), name="websocket-watch"
        )

    def _handshake_headers(self) -> dict[str, str]:
        headers = dict(self._options.headers)
        cookies = self._cookies.header(self._options.url)
        if cookies:
            headers["Cookie"] = cookies
        return headers

    def _utf8(self, message: str) -> bytes:
        try:
            return message.encode()
        except UnicodeEncodeError:
            self.replaced += 1
            return message.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):  # it may be disconnected already
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
