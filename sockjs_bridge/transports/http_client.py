"""The HTTP client of one session attempt, on aiohttp: one address, the session's cookies, errors in our words."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientTimeout
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from sockjs_bridge.errors import ConnectError, Obstacle
from sockjs_bridge.transports.cookies import SessionCookies
from sockjs_bridge.transports.dial import plain_reason
from sockjs_bridge.transports.handshake import let_go, see_through
from sockjs_bridge.transports.route import Route, TlsArguments
from sockjs_bridge.transports.tls import explain_tls, failure_of, tls_failure

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

# Node closes an idle connection after 5 s; to use one at that moment puts what is sent in doubt.
_KEEP_SECONDS = 3.0
_READ_BUFFER_BYTES = 256 * 1024
_LARGEST_ANSWER_BYTES = 64 * 1024
_LARGEST_PIECE_BYTES = 1024 * 1024
_SLOWEST_UPLOAD_BYTES_PER_SECOND = 16 * 1024


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What all requests of a session have in common. Time in seconds."""

    headers: Mapping[str, str]
    connect_timeout: float
    route: Route

    def with_origin(self, origin: str | None) -> "HttpOptions":
        """The same with an Origin header, if there is to be one."""
        return replace(self, headers={**self.headers, "Origin": origin}) if origin else self


class _Broken(aiohttp.ClientError):
    """A connection ended before the answer came.

    aiohttp would ask a second time for its own errors of this kind: two receivers on one session.
    """


async def _ask_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken(str(error) or "the server closed the connection") from error


class _Connector(aiohttp.BaseConnector):
    """Connects as a WebSocket does, tells when the server has been reached, and stays with its address."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._addresses: dict[str, str] = {}
        # Those that speak TLS, as long as they are not closed altogether.
        self._secured: WeakKeyDictionary[ResponseHandler, asyncio.WriteTransport] = WeakKeyDictionary()
        self._newest: asyncio.BaseTransport | None = None
        self.reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        super().__init__(limit=0, keepalive_timeout=_KEEP_SECONDS)

    async def connect(
        self,
        req: ClientRequest,
        traces: "list[Trace]",
        timeout: ClientTimeout,  # noqa: ASYNC109  # aiohttp's signature
    ) -> "Connection":
        """Connect, or take a kept connection."""
        connection = await super().connect(req, traces, timeout)
        if not self.reached.done():
            self.reached.set_result(None)
        return connection

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: "list[Trace]",  # noqa: ARG002  # aiohttp's signature
        timeout: ClientTimeout,  # noqa: ASYNC109  # its signature
    ) -> ResponseHandler:
        url, host = req.url, req.url.raw_host or ""
        try:
            async with asyncio.timeout(timeout.sock_connect):
                tls = self._route.tls_arguments(url)
                sock = await self._route.dial(url, stay_at=self._addresses.get(host, ""))
                address, spare = _look_at(sock)
                with spare:
                    protocol = await self._start(sock, spare, tls)
        except TimeoutError:
            text = f"no answer from {host} port {url.port}"
            raise ConnectError(Obstacle.UNREACHABLE, text) from None
        except ssl.SSLError as error:
            raise explain_tls(error, self._route.tls.name_of(host)) from error
        except OSError as error:
            text = f"the connection to {host} port {url.port} broke at once: {plain_reason(error)}"
            raise ConnectError(Obstacle.UNREACHABLE, text) from error
        self._addresses.setdefault(host, address)
        return protocol

    async def _start(self, sock: socket.socket, spare: socket.socket, tls: TlsArguments) -> ResponseHandler:
        try:
            connecting = self._loop.create_connection(self._factory, sock=sock, **tls)
            transport, protocol = await see_through(connecting, spare)
        except BaseException:
            let_go(sock, spare)
            raise
        if tls:
            self._secured[protocol] = self._newest = transport
        return protocol

    @property
    def tls_failure(self) -> ssl.SSLError | None:
        """What reading from the newest connection failed with: aiohttp does not tell while it has not written yet."""
        return failure_of(self._newest) if self._newest is not None else None

    def close(self, *, abort_ssl: bool = True) -> Awaitable[None]:
        """Close every connection, also those that still wait for the server to take leave of TLS."""
        closing = super().close(abort_ssl=abort_ssl)
        for transport in list(self._secured.values()):
            transport.abort()
        return closing


def _look_at(sock: socket.socket) -> tuple[str, socket.socket]:
    """The address at the other end, and a duplicate. Both fail on a bad day: after a reset, without descriptors."""
    try:
        return str(sock.getpeername()[0]), sock.dup()
    except OSError:
        sock.close()
        raise


class HttpClient:
    """Makes requests for one attempt. Needs a running loop; use as an async context manager."""

    def __init__(self, options: HttpOptions, cookies: SessionCookies, *, is_foreign: bool = False) -> None:
        self._options = options
        self._cookies = cookies
        self._is_foreign = is_foreign
        self._connector = _Connector(options.route)
        # The page "Connecting to SockJS without the browser": so that nothing has to be unzipped.
        headers = {"Accept-Encoding": "identity", **options.headers}
        self._http = aiohttp.ClientSession(
            connector=self._connector,
            # A server that is not the session's gets the cookies that `ask` picks for it.
            cookie_jar=aiohttp.DummyCookieJar() if is_foreign else cookies.jar,
            headers=headers,
            timeout=ClientTimeout(total=None, sock_connect=options.connect_timeout),
            middlewares=(_ask_once,),
            read_bufsize=_READ_BUFFER_BYTES,
            raise_for_status=False,
            trust_env=False,
        )

    @property
    def reached(self) -> "asyncio.Future[None]":
        """Done as soon as a connection to the server has come about."""
        return self._connector.reached

    @asynccontextmanager
    async def receive(self, method: str, url: URL) -> AsyncIterator[ClientResponse]:
        """Ask for something that the server may answer whenever it likes. Raises ConnectError."""
        with _ErrorsOf(url, self._options.route, self._connector):
            async with self._http.request(method, url, allow_redirects=False) as response:
                self._keep_cookies(response)
                yield response

    async def post(self, url: URL, body: bytes, content_type: str) -> int:
        """Post, and tell the status of the answer. Raises ConnectError and TimeoutError."""
        limit = self._options.connect_timeout + len(body) / _SLOWEST_UPLOAD_BYTES_PER_SECOND
        with _ErrorsOf(url, self._options.route, self._connector):
            async with self._http.post(
                url,
                # In one piece a large one stops the loop for long, and aiohttp warns of it.
                data=body if len(body) <= _LARGEST_PIECE_BYTES else BytesIO(body),
                headers={"Content-Type": content_type},
                allow_redirects=False,
                timeout=ClientTimeout(total=limit, sock_connect=self._options.connect_timeout),
            ) as response:
                self._keep_cookies(response)
                await response.content.read(_LARGEST_ANSWER_BYTES)
                return response.status

    async def get(self, url: URL) -> tuple[int, bytes]:
        """Get a small document: its status and body. Raises ConnectError and TimeoutError."""
        return await self.ask("GET", url)

    async def ask(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit_bytes: int = _LARGEST_ANSWER_BYTES,
    ) -> tuple[int, bytes]:
        """Ask for a small document: its status and body. Raises ConnectError and TimeoutError."""
        timeout = ClientTimeout(total=self._options.connect_timeout)
        with _ErrorsOf(url, self._options.route, self._connector):
            async with self._http.request(
                method, url, headers=headers, data=body, allow_redirects=False, timeout=timeout
            ) as response:
                self._keep_cookies(response)
                answer = b""
                async for piece in response.content.iter_any():
                    answer += piece
                    if len(answer) > limit_bytes:
                        raise ConnectError(Obstacle.LOST, f"the answer has more than {limit_bytes >> 10} KiB")
                return response.status, answer

    def _keep_cookies(self, response: ClientResponse) -> None:
        if "Set-Cookie" not in response.headers:
            return
        if self._is_foreign:
            self._cookies.store(response.url, response.headers.getall("Set-Cookie"))
        else:  # aiohttp has put them into the jar already, whatever the status is
            self._cookies.save()

    async def __aenter__(self) -> Self:
        """Nothing is open yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._http.close()
        await asyncio.sleep(0)  # the next turn of the loop sees what was aborted closed


class _ErrorsOf:
    """Maps what aiohttp raises to ConnectError, once, at this seam."""

    def __init__(self, url: URL, route: Route, connector: _Connector) -> None:
        self._url = url
        self._route = route
        self._connector = connector

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, aiohttp.ClientError):
            _forget_frames(error)
            failure = tls_failure(error) or self._connector.tls_failure
            if failure is not None:
                raise explain_tls(failure, self._route.tls.name_of(self._url.raw_host or "")) from error
            raise _explain(error, self._url) from error


def _forget_frames(error: BaseException) -> None:
    """In aiohttp it is in a circle with the frame that has read the answer: up to 256 KiB for each attempt."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__


def _explain(error: aiohttp.ClientError, url: URL) -> ConnectError:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return ConnectError(Obstacle.UNREACHABLE, f"no answer from {url.raw_host} port {url.port}")
        case aiohttp.ClientResponseError():
            # Its own text quotes what came, in which there may be cookies.
            return ConnectError(Obstacle.HANDSHAKE, "the answer is malformed, or no HTTP")
        case aiohttp.ClientPayloadError():
            return ConnectError(Obstacle.LOST, "the connection broke in the middle of an answer")
    return ConnectError(Obstacle.LOST, f"the connection broke: {error}")
