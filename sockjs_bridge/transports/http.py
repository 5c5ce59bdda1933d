"""The five HTTP transports: one request at a time receives, one at a time sends (protocol sections 3 and 4)."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import Any

from yarl import URL

from sockjs_bridge.errors import Cause, ConnectError, Obstacle, ProtocolError
from sockjs_bridge.protocol.session import DROPPED
from sockjs_bridge.protocol.streams import FrameSplitter, make_line_reader
from sockjs_bridge.transports.base import LONGEST_TURN_SECONDS, Receiver, SendResult, TransportClosed
from sockjs_bridge.transports.cookies import SessionCookies
from sockjs_bridge.transports.http_client import HttpClient, HttpOptions
from sockjs_bridge.transports.http_requests import CALLBACK, KINDS
from sockjs_bridge.transports.sender import Sender
from sockjs_bridge.transports.status import describe_status, hint_on_connecting

# A server gives up a session that nobody receives from after about 5 s.
_LONGEST_PAUSE_SECONDS = 2.0
_LONGEST_LULL_SECONDS = 1.0
_FIRST_LULL_SECONDS = 0.05
# What is cut into frames in one go; other sessions have their turn in between, where it takes long.
_LARGEST_BITE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class HttpTransportOptions:
    """Settings of one attempt. `name` is the transport's in the configuration."""

    name: str
    receive_url: URL
    send_url: URL
    info_url: URL
    http: HttpOptions
    max_frame_bytes: int
    eventsource_encoding: str = "auto"


class HttpTransport:
    """A `Transport` over HTTP requests. Streaming and polling differ only in when the server ends a response."""

    def __init__(self, options: HttpTransportOptions, cookies: SessionCookies) -> None:
        self._options = options
        self._kind = KINDS[options.name]
        self._cookies = cookies
        self._read_lines = make_line_reader(
            options.name, eventsource_encoding=options.eventsource_encoding, callback=CALLBACK
        )
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[TransportClosed] = self._loop.create_future()
        self._unpaused = asyncio.Event()
        self._unpaused.set()
        self._last_byte_at = self._loop.time()
        self._receiver: Receiver
        self._client: HttpClient
        self._sender: Sender
        self._tasks: asyncio.TaskGroup
        self._question: asyncio.Task[None] | None = None
        self._main: asyncio.Task[None] | None = None
        self._is_closing = False
        self._brought_frames = False
        self._saw_open_frame = False
        self.is_http = True
        self.replaced = 0

    @property
    def reached(self) -> bool:
        """Whether a connection to the server came about."""
        return self._main is not None and self._client.reached.done()

    @property
    def can_send(self) -> bool:
        """Whether no request to send is under way."""
        is_running = self._main is not None and not self._ended.done() and not self._is_closing
        return is_running and not self._sender.is_busy

    @property
    def unsent_bytes(self) -> int:
        """Bytes of messages that the server has not taken yet."""
        return 0 if self._main is None or self._ended.done() else self._sender.unsent_bytes

    @property
    def unanswered(self) -> SendResult | None:
        """What is known of a `send` that was not answered until the end."""
        return self._sender.unanswered if self._main is not None else None

    async def connect(self, receiver: Receiver) -> None:
        """Connect, and ask for the first frames; that they come is not waited for. Raises ConnectError."""
        self._receiver = receiver
        self._client = HttpClient(self._options.http, self._cookies)
        self._sender = Sender(self._client, self._kind, self._options.send_url, self._note_sent)
        self._main = self._loop.create_task(self._run(), name=self._options.name)
        reached = self._client.reached
        try:
            steps: list[asyncio.Future[Any]] = [reached, self._ended]
            await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.abandon(DROPPED)
            raise
        if not reached.done() and (failure := self._ended.result().failure):
            raise failure

    async def wait_closed(self) -> TransportClosed:
        """Wait for the end of the session, or until it is abandoned."""
        return await self._ended

    def send(self, batch: list[str]) -> None:
        """Post messages together. Only while `can_send`."""
        self._sender.send(batch)

    def send_ping(self, number: int) -> None:  # noqa: ARG002  # every answer is as good
        """Ask whether the server is there, by `GET /info` (protocol section 5)."""
        if not self._ended.done():
            self._question = self._tasks.create_task(self._ask(), name="ask-info")

    def pause_reading(self) -> None:
        """Wait a little before the next request to receive: a response is always read to its end."""
        self._unpaused.clear()

    def resume_reading(self) -> None:
        """Receive again."""
        self._unpaused.set()

    def seconds_since_last_byte(self) -> float | None:
        """Seconds since a response brought something."""
        return self._loop.time() - self._last_byte_at

    def close(self, code: int, within: float) -> None:
        """Wait for the answer to what is being sent, at most `within` seconds, and ask for nothing more."""
        self._is_closing = True
        left = TransportClosed(Cause.STOPPING, code)
        if self._main is not None and self._sender.is_busy:
            self._loop.call_later(within, self._end, left)
        else:
            self._end(left)

    def abandon(self, code: int) -> None:  # noqa: ARG002  # HTTP has no word for it
        """End every request."""
        self._end(TransportClosed(Cause.TRANSPORT_LOST, DROPPED))

    def _end(self, how: TransportClosed) -> None:
        if not self._ended.done():
            self._ended.set_result(how)

    async def _run(self) -> None:
        """Receive and send until the end, then close every connection."""
        try:
            async with self._client, asyncio.TaskGroup() as self._tasks:
                work = [
                    self._tasks.create_task(self._receive(), name="receive"),
                    self._tasks.create_task(self._sender.run(), name="send"),
                ]
                await asyncio.wait([self._ended])
                for task in [*work, self._question]:
                    if task is not None:
                        task.cancel()
        except* Exception as faults:  # noqa: BLE001  # a fault of ours, in a callback: wait_closed raises it
            if not self._ended.done():
                self._ended.set_exception(faults.exceptions[0])

    async def _receive(self) -> None:
        """One request after the other: the next at once after a clean end, none after another one."""
        lull = 0.0
        while not self._ended.done() and not self._is_closing:
            await self._pause()
            try:
                brought_frames = await self._receive_response()
            except ConnectError as error:
                failure = error.to_keep()
                self._end(TransportClosed(Cause.TRANSPORT_LOST, DROPPED, error.detail, failure))
            except ProtocolError as error:
                self._end(TransportClosed(Cause.PROTOCOL_VIOLATION, DROPPED, str(error)))
            else:
                if brought_frames:
                    lull = 0.0
                    continue
                # A server that answers with nothing again and again must not be asked in a busy loop.
                await asyncio.sleep(lull)
                lull = min(max(2 * lull, _FIRST_LULL_SECONDS), _LONGEST_LULL_SECONDS)

    async def _receive_response(self) -> bool:
        """Read one response to its end; tells whether it held any frame."""
        body = FrameSplitter(self._read_lines, self._options.max_frame_bytes)
        self._brought_frames = False
        async with self._client.receive(self._kind.method, self._options.receive_url) as response:
            if response.status != HTTPStatus.OK:
                self._refuse(response.status)
                return True
            async for data in response.content.iter_any():
                self._last_byte_at = self._loop.time()
                for start in range(0, len(data), _LARGEST_BITE_BYTES):
                    begun = monotonic()
                    self._hand_on(body.feed(data[start : start + _LARGEST_BITE_BYTES]))
                    if body.problem:
                        raise ProtocolError(body.problem)
                    if monotonic() - begun > LONGEST_TURN_SECONDS:
                        await asyncio.sleep(0)
        self._hand_on(body.end())
        if not self._saw_open_frame:
            problem = f"{self._kind.receive_path} was answered without an open frame"
            raise ConnectError(Obstacle.NOT_OPENED, f"{problem} (is this a SockJS endpoint?)")
        return self._brought_frames

    def _hand_on(self, frames: list[bytes]) -> None:
        if not frames:
            return
        self._brought_frames = True
        if not self._saw_open_frame:
            self._saw_open_frame = any(line.strip() == b"o" for line in b"\n".join(frames).split(b"\n"))
        self._receiver.receive_frames(frames)

    async def _pause(self) -> None:
        if not self._unpaused.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_PAUSE_SECONDS):
                    await self._unpaused.wait()

    def _refuse(self, status: int) -> None:
        problem = describe_status(status, self._kind.receive_path)
        failure = ConnectError(Obstacle.STATUS, problem + hint_on_connecting(status), status=status)
        cause = Cause.SESSION_LOST if status == HTTPStatus.NOT_FOUND else Cause.TRANSPORT_LOST
        self._end(TransportClosed(cause, DROPPED, problem, failure))

    def _note_sent(self, result: SendResult, end: TransportClosed | None) -> None:
        # Even after the end: nobody else knows of it any more.
        self._receiver.receive_send_result(result)
        if end is not None:
            self._end(end)
        elif self._is_closing and not self._sender.is_busy:
            self._end(TransportClosed(Cause.STOPPING, DROPPED))

    async def _ask(self) -> None:
        try:
            await self._client.get(self._options.info_url)
        except (ConnectError, TimeoutError) as error:
            problem = f"nothing came, and GET /info was not answered: {str(error) or 'it timed out'}"
            self._end(TransportClosed(Cause.SILENCE, DROPPED, problem))
        else:
            self._receiver.receive_pong()
