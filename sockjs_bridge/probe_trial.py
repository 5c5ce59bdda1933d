"""What `probe` finds out of one transport: a session of its own, watched from close by."""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from sockjs_bridge.bridge.supervisor import RAW
from sockjs_bridge.errors import ConnectError, Obstacle
from sockjs_bridge.protocol.events import (
    Connect,
    HeartbeatReceived,
    MessagesReceived,
    SessionClosed,
    SessionEvent,
    SessionOpened,
)
from sockjs_bridge.protocol.session import Session
from sockjs_bridge.protocol.streams import FRAME_PER_LINE
from sockjs_bridge.protocol.urls import BaseUrl
from sockjs_bridge.transports.base import SendResult, Transport
from sockjs_bridge.wiring import TransportFactory, new_session_id

LARGEST_BYTES = 1 << 20
_SMALLEST_BYTES = 1024
_NORMAL_CLOSURE = 1000
_FORBIDDEN = 403
_ECHO_SECONDS = 2.0
_LARGE_ECHO_SECONDS = 5.0
_CLOSE_SECONDS = 0.5


class Heartbeat(StrEnum):
    """What kind of heartbeat came."""

    FRAME = "h frame"
    PING = "PING"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be found out. Times in seconds, 0 does not wait."""

    open_timeout: float
    heartbeat_wait: float
    sends: bool
    measures_size: bool


@dataclass(frozen=True, slots=True)
class TransportResult:
    """What came of one transport. Times in seconds, sizes in bytes; None is not measured."""

    transport: str
    opened: bool = False
    problem: str = ""
    """Why it did not open, or how it ended while it was watched."""
    status: int | None = None
    unreachable: bool = False
    """Whether no transport can do better."""
    origin_needed: bool = False
    open_seconds: float | None = None
    echoes: bool | None = None
    round_trip_seconds: float | None = None
    heartbeat: Heartbeat | None = None
    cookies: tuple[str, ...] = ()
    """Names only."""
    largest_accepted: int | None = None
    smallest_refused: int | None = None


async def try_transport(
    factory: TransportFactory,
    attempt: Connect,
    wishes: Wishes,
    turn: asyncio.Lock,
) -> TransportResult:
    """Try a transport; with an Origin once more where a 403 says that it may be missing.

    What would disturb the measurements of others is done in `turn`, waiting for heartbeats is not.
    `factory` has cookies of its own.
    """
    known = _cookie_names(factory)
    result = await _Watched(factory.make(attempt), attempt.transport, wishes, turn).run()
    if result.status == _FORBIDDEN and attempt.origin is None:
        again = replace(attempt, session_id=new_session_id(), origin=factory.base.origin)
        with_origin = await _Watched(factory.make(again), attempt.transport, wishes, turn).run()
        if with_origin.opened:
            result = replace(with_origin, origin_needed=True)
    return replace(result, cookies=tuple(sorted(_cookie_names(factory) - known)))


def plan(transport: str, base: BaseUrl | None, origin: str | None) -> Connect:
    """The attempt to open a session over this transport."""
    return Connect(transport, new_session_id(), origin, base)


def _cookie_names(factory: TransportFactory) -> set[str]:
    return {morsel.key for morsel in factory.cookies.jar}


class _Watched:
    """One session. It is the transport's `Receiver`, and notes what comes."""

    def __init__(self, transport: Transport, name: str, wishes: Wishes, turn: asyncio.Lock) -> None:
        self._transport = transport
        self._name = name
        self._wishes = wishes
        self._turn = turn
        self._session = Session(framed=name != RAW, by_lines=name in FRAME_PER_LINE)
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        # All moments are of time.perf_counter: the clock of uvloop counts whole milliseconds.
        self._opened_at: float | None = None
        self._closed: SessionClosed | None = None
        self._failure: ConnectError | None = None
        self._heartbeat: Heartbeat | None = None
        self._awaited = ""
        self._came_at: float | None = None

    async def run(self) -> TransportResult:
        """Open, measure, close; tells what was seen."""
        ending: asyncio.Task[None] | None = None
        try:
            async with self._turn:
                begun = time.perf_counter()
                result = await self._connect()
                if result is not None:
                    return result
                ending = self._loop.create_task(self._note_end(), name=f"probe-{self._name}")
                await self._until(lambda: self._opened_at is not None, self._wishes.open_timeout)
                if self._opened_at is None:
                    return self._not_opened()
                result = TransportResult(self._name, opened=True, open_seconds=self._opened_at - begun)
                if self._wishes.sends:
                    result = await self._measure_echo(result)
            result = await self._watch_heartbeat(result)
            if self._wishes.measures_size and result.echoes:
                async with self._turn:
                    result = await self._measure_size(result)
            return replace(result, problem=self._end_in_words())
        finally:
            await self._take_leave(ending)

    def receive_frames(self, payloads: list[bytes]) -> None:
        """Frames from the transport."""
        self._handle(self._session.receive_frames(payloads))

    def receive_ping(self) -> None:
        """The server has sent a PING."""
        self._heartbeat = self._heartbeat or Heartbeat.PING
        self._news.set()

    def receive_pong(self, payload: bytes = b"") -> None:
        """No PING is sent here."""

    def receive_send_result(self, result: SendResult) -> None:
        """The next message may go; whether one was taken shows when it comes back."""
        del result
        self._news.set()

    def resume_sending(self) -> None:
        """The next message may go."""
        self._news.set()

    def _handle(self, events: list[SessionEvent]) -> None:
        now = time.perf_counter()
        for event in events:
            match event:
                case SessionOpened():
                    self._opened_at = now
                case MessagesReceived(messages) if self._awaited:
                    if any(self._awaited in message for message in messages):
                        self._came_at = now
                case HeartbeatReceived():
                    self._heartbeat = self._heartbeat or Heartbeat.FRAME
                case SessionClosed():
                    self._closed = event
        self._news.set()

    async def _connect(self) -> TransportResult | None:
        limit = self._wishes.open_timeout
        try:
            async with asyncio.timeout(limit):
                await self._transport.connect(self)
        except TimeoutError:
            unreachable = not self._transport.reached
            return TransportResult(
                self._name, problem=f"no answer within {limit:g} s", unreachable=unreachable
            )
        except ConnectError as error:
            return self._failed(error)
        self._handle(self._session.receive_connected())
        return None

    async def _note_end(self) -> None:
        end = await self._transport.wait_closed()
        self._failure = end.failure
        self._handle(self._session.receive_closed(end.cause, end.code, end.reason))

    async def _until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds, or the session has ended, or the time is up; tells whether it holds."""
        try:
            async with asyncio.timeout(seconds):
                while not holds() and self._closed is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        return holds()

    def _failed(self, error: ConnectError) -> TransportResult:
        unreachable = error.obstacle is Obstacle.UNREACHABLE
        return TransportResult(self._name, problem=error.detail, status=error.status, unreachable=unreachable)

    def _not_opened(self) -> TransportResult:
        if self._failure is not None:
            return self._failed(self._failure)
        if self._closed is not None:
            return TransportResult(self._name, problem=self._end_in_words())
        return TransportResult(
            self._name, problem=f"connected, but no open frame came within {self._wishes.open_timeout:g} s"
        )

    def _end_in_words(self) -> str:
        if self._closed is None:
            return ""
        reason = f" ({ascii(self._closed.reason)[1:-1]})" if self._closed.reason else ""
        return f"the session ended: {self._closed.cause} {self._closed.code}{reason}"

    async def _measure_echo(self, result: TransportResult) -> TransportResult:
        seconds = await self._echo(0, _ECHO_SECONDS)
        return replace(result, echoes=seconds is not None, round_trip_seconds=seconds)

    async def _watch_heartbeat(self, result: TransportResult) -> TransportResult:
        if not self._wishes.heartbeat_wait:
            return result
        await self._until(lambda: self._heartbeat is not None, self._wishes.heartbeat_wait)
        return replace(result, heartbeat=self._heartbeat or Heartbeat.NONE)

    async def _measure_size(self, result: TransportResult) -> TransportResult:
        size = _SMALLEST_BYTES
        while size <= LARGEST_BYTES:
            if await self._echo(size, _LARGE_ECHO_SECONDS) is None:
                return replace(result, smallest_refused=size)
            result = replace(result, largest_accepted=size)
            size *= 2
        return result

    async def _echo(self, size: int, patience: float) -> float | None:
        """Send a message that nobody else sends; seconds until it came back, None if it did not."""
        if not await self._until(lambda: self._transport.can_send, patience) or self._closed is not None:
            return None
        token = f"sockjs-bridge probe {secrets.token_hex(8)}"
        self._awaited, self._came_at = token, None
        sent_at = time.perf_counter()
        self._transport.send([token.ljust(size, ".")])
        came = await self._until(lambda: self._came_at is not None, patience)
        self._awaited = ""
        return self._seconds_since(sent_at) if came else None

    def _seconds_since(self, sent_at: float) -> float | None:
        return None if self._came_at is None else self._came_at - sent_at

    async def _take_leave(self, ending: "asyncio.Task[None] | None") -> None:
        if ending is None:
            return
        if self._closed is None:
            self._transport.close(_NORMAL_CLOSURE, _CLOSE_SECONDS)
            await asyncio.wait([ending], timeout=2 * _CLOSE_SECONDS)
        self._transport.abandon(_NORMAL_CLOSURE)
        await ending
