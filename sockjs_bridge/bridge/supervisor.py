"""Supervisor: keeps one configured session alive by carrying out what its Lifecycle decides."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from sockjs_bridge.bridge.connection import Connection, ConnectionLimits
from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.login_guide import Login, LoginPlan
from sockjs_bridge.bridge.status import LastClose, LastFailure, UpstreamState, UpstreamStatus
from sockjs_bridge.errors import Cause, LoginError, Obstacle
from sockjs_bridge.log import EventLog
from sockjs_bridge.protocol.events import (
    AskInfo,
    AttemptFailed,
    Connect,
    DelayElapsed,
    Finish,
    GiveUp,
    InfoReceived,
    LifecycleCommand,
    LoggedIn,
    LogIn,
    LoginFailed,
    SessionClosed,
    SessionOpened,
    Wait,
)
from sockjs_bridge.protocol.lifecycle import Lifecycle
from sockjs_bridge.protocol.login import LoginScript
from sockjs_bridge.protocol.session import DROPPED, Session
from sockjs_bridge.protocol.streams import FRAME_PER_LINE
from sockjs_bridge.transports.base import Transport

RAW = "websocket-raw"
_FAILING = "cannot connect"
_LOGIN_FAILING = "cannot log in"
_LOOK_SECONDS = 0.02
_SHORTEST_CLOSE_SECONDS = 0.2
_LONGEST_CONFIRMATION_SECONDS = 1.0
_LAST_STEPS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """One configured session as a supervisor needs it. `shown_url` holds nothing secret."""

    name: str
    shown_url: str
    lifecycle: Lifecycle
    limits: ConnectionLimits
    make_transport: Callable[[Connect], Transport]
    ask_info: Callable[[AskInfo], Awaitable[InfoReceived | AttemptFailed]]
    login: Login | None = None
    """What the session does by itself, if anything; then its Lifecycle asks for it."""


class Supervisor:
    """Runs the attempts of one session, one after the other, until it is told to stop.

    `first_round` is done once it is known whether the first round of transports opened a session
    (None) or not (the failure).
    """

    def __init__(self, upstream: Upstream, hub: Hub, log: EventLog) -> None:
        self.name = upstream.name
        self.has_given_up = False
        self._has_finished = False
        self._stopping = False
        self._upstream = upstream
        self._hub = hub
        self._log = log
        self._loop = asyncio.get_running_loop()
        self.first_round: asyncio.Future[AttemptFailed | None] = self._loop.create_future()
        self._connection: Connection | None = None
        self._opened_at: float | None = None
        self._is_ready = False
        self._has_been_ready = False
        self._script = LoginScript()
        self._transport_name = ""
        self._hurry = asyncio.Event()
        self.status = UpstreamStatus(since=time.time())
        self._task: asyncio.Task[None] | None = None

    @property
    def epoch(self) -> int:
        """How many upstream sessions have opened."""
        return self._hub.epoch

    @property
    def is_open(self) -> bool:
        """Whether messages can flow: the session is open, and logged in where it has to."""
        return self._is_ready

    @property
    def _is_connected(self) -> bool:
        return self._opened_at is not None

    @property
    def is_fine(self) -> bool:
        """Whether an operator has nothing to look for here."""
        return self.is_open

    @property
    def reconnects(self) -> bool:
        """Whether `reconnect` means anything."""
        return True

    @property
    def shown_url(self) -> str:
        """The URL without anything secret."""
        return self._upstream.shown_url

    def reconnect(self) -> None:
        """Begin a new session now: end the open one, or cut the waiting for the next try short."""
        self._hurry.set()
        if self._connection is not None and self._is_connected:
            self._connection.close(_SHORTEST_CLOSE_SECONDS, Cause.RELOAD)

    async def run(self) -> None:
        """Keep the session alive; returns when the Lifecycle gives up or after `stop`."""
        self._task = asyncio.current_task()
        self._log.info(f"connecting to {self._upstream.shown_url}")
        command = self._upstream.lifecycle.start(self._loop.time())
        while not self._stopping:
            match command:
                case Connect():
                    command = await self._attempt(command)
                case LogIn():
                    command = await self._log_in(command)
                case AskInfo():
                    command = await self._ask_info(command)
                case Wait(delay):
                    await self._wait(delay)
                    command = self._upstream.lifecycle.receive(DelayElapsed(), self._loop.time())
                case GiveUp():
                    self.has_given_up = True
                    self.status.change(UpstreamState.FAILED, time.time())
                    return
                case Finish():
                    self._has_finished = True
                    self.status.change(UpstreamState.STOPPED, time.time())
                    return
                case _:
                    raise AssertionError(command)

    async def stop(self, deadline: float) -> None:
        """Send what waits, then close the session; by `deadline`, in seconds of the loop's clock.

        While messages wait and the server is away, the attempts go on until then.
        """
        await self._until(lambda: self.has_given_up or self._has_finished or self._has_sent_all, deadline)
        connection = self._connection
        if connection is not None and self._is_connected:
            await self._confirm(connection, min(deadline, self._loop.time() + _LONGEST_CONFIRMATION_SECONDS))
        self._stopping = True
        connection = self._connection
        if connection is not None and self._is_connected:
            # The answer to our Close proves that the server has read all before it: worth the time there is.
            connection.close(max(deadline - self._loop.time(), _SHORTEST_CLOSE_SECONDS))
            await self._until(lambda: not self._is_connected, deadline + 2 * _SHORTEST_CLOSE_SECONDS)
        await self._end_task()
        self.status.change(UpstreamState.STOPPED, time.time())
        self._hub.dispatcher.give_up_rest()

    async def hand_over(self, cause: Cause) -> None:
        """End the session, if it is open, for another supervisor; what waits in the queue is left to it."""
        self._stopping = True
        connection = self._connection
        if connection is not None and self._is_connected:
            await self._confirm(connection, self._loop.time() + _SHORTEST_CLOSE_SECONDS)
            connection.close(_SHORTEST_CLOSE_SECONDS, cause)
            await self._until(lambda: not self._is_connected, self._loop.time() + 2 * _SHORTEST_CLOSE_SECONDS)
        await self._end_task()

    @property
    def _has_sent_all(self) -> bool:
        connection = self._connection
        is_flushed = connection is None or not self._is_connected or connection.has_flushed
        return self._hub.queue.is_empty and is_flushed

    async def _end_task(self) -> None:
        """End `run`. Only then is it known what became of everything that was sent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_LAST_STEPS_SECONDS)

    async def _confirm(self, connection: Connection, deadline: float) -> None:
        """Let the server read what was sent before it is told that we leave: some give up what they have to answer."""
        connection.ask_for_confirmation()
        await self._until(lambda: not self._is_connected or connection.is_confirmed, deadline)

    async def _until(self, done: Callable[[], bool], deadline: float) -> None:
        # Polled, because it is only for a drain: nothing else would ever wait for these conditions.
        while not done() and self._loop.time() < deadline:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(_LOOK_SECONDS)

    async def _wait(self, delay: float) -> None:
        now = time.time()
        self.status.change(UpstreamState.WAITING, now, next_try_at=now + delay)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._hurry.wait()

    async def _ask_info(self, question: AskInfo) -> LifecycleCommand:
        self._begin("info")
        answer = await self._upstream.ask_info(question)
        command = self._upstream.lifecycle.receive(answer, self._loop.time())
        if isinstance(answer, AttemptFailed):
            self._report(answer, command)
        elif answer.info is not None:
            if answer.info.problem:
                self._log.repeated(answer.info.problem)
            if not answer.info.websocket:
                self._log.debug("the server offers no WebSocket, says its /info")
        return command

    async def _log_in(self, command: LogIn) -> LifecycleCommand:
        self._begin("login", UpstreamState.LOGGING_IN)
        login = self._upstream.login
        try:
            self._script = await login.log_in(command.origin) if login is not None else LoginScript()
        except LoginError as error:
            return self._conclude(LoginFailed(error.detail, error.status))
        except Exception as error:  # noqa: BLE001  # a fault of ours is reported, and costs one login
            self._log.failure("an internal error ended the login", error)
            return self._conclude(LoginFailed("internal error"))
        return self._upstream.lifecycle.receive(LoggedIn(), self._loop.time())

    async def _attempt(self, command: Connect) -> LifecycleCommand:
        self._begin(command.transport)
        login = self._upstream.login
        is_guided = login is not None and login.guides
        plan = LoginPlan(login, self._script, command.origin) if login is not None and is_guided else None
        transport = self._upstream.make_transport(command)
        session = Session(framed=command.transport != RAW, by_lines=command.transport in FRAME_PER_LINE)
        log = self._log.bind(transport=command.transport)
        limits = self._upstream.limits
        limits = replace(limits, open_timeout=max(limits.open_timeout, command.patience))
        connection = Connection(transport, session, self._hub, limits, self, log, plan)
        self._connection = connection
        try:
            end = await connection.run()
        except Exception as error:  # noqa: BLE001  # a fault of ours is reported, and costs one session
            # A fault of ours while handling one session must not take the others down: it costs this
            # session one incarnation.
            log.failure("an internal error ended the session", error)
            end = self._after_fault()
        finally:
            self._connection = None
        return self._conclude(end, connection.login_error)

    def _conclude(
        self, end: AttemptFailed | SessionClosed | LoginFailed, login_error: LoginError | None = None
    ) -> LifecycleCommand:
        """Ask what comes next, and tell of both."""
        event: AttemptFailed | SessionClosed | LoginFailed = end
        if login_error is not None and isinstance(end, SessionClosed) and end.cause is Cause.LOGIN_FAILED:
            event = LoginFailed(login_error.detail, login_error.status, ended_session=True)
        command = self._upstream.lifecycle.receive(event, self._loop.time())
        self._report(end, command)
        return command

    def _begin(self, transport: str, state: UpstreamState = UpstreamState.CONNECTING) -> None:
        self._transport_name = transport
        self._hurry.clear()
        self.status.transport = transport
        self.status.change(state, time.time())

    def _after_fault(self) -> AttemptFailed | SessionClosed:
        if self._is_connected:
            return SessionClosed(Cause.PROTOCOL_VIOLATION, DROPPED, "internal error")
        return AttemptFailed(Obstacle.LOST, "internal error")

    def note_opened(self) -> None:
        """The session is open."""
        self._opened_at = self._loop.time()
        self.status.change(UpstreamState.LOGGING_IN, time.time())
        self._hub.begin_epoch(self._transport_name)
        self._hub.stats.connects[self._transport_name, "opened"] += 1

    def note_login_begun(self) -> None:
        """The session logs in once more."""
        self._is_ready = False
        self.status.change(UpstreamState.LOGGING_IN, time.time())

    def note_ready(self) -> None:
        """Messages can flow, for the first time in this session or again."""
        self._is_ready = True
        self.status.change(UpstreamState.OPEN, time.time())
        if self._has_been_ready:
            return
        self._has_been_ready = True
        self._upstream.lifecycle.receive(SessionOpened(), self._loop.time())
        held_back = self._log.forget_repeats(_FAILING) + self._log.forget_repeats(_LOGIN_FAILING)
        self._log.info(
            "open",
            transport=self._transport_name,
            epoch=self.epoch,
            queued=self._hub.queue.messages or None,
            held_back=held_back or None,
        )
        self._settle_first_round(None)

    def _report(self, end: AttemptFailed | SessionClosed | LoginFailed, next_step: LifecycleCommand) -> None:
        delay = (
            f"; next try in {next_step.delay:.1f} s"
            if isinstance(next_step, Wait) and not self._stopping and not self._hurry.is_set()
            else ""
        )
        match end:
            case SessionClosed():
                self._report_closed(end, delay)
            case AttemptFailed(obstacle, detail):
                self._report_failed(_FAILING, obstacle, detail, delay)
                if not isinstance(next_step, Connect):
                    self._settle_first_round(end)
            case LoginFailed(detail, status):
                self._report_failed(_LOGIN_FAILING, Obstacle.LOGIN, detail, delay)
                self._settle_first_round(AttemptFailed(Obstacle.LOGIN, detail, status))
        if isinstance(next_step, GiveUp):
            self._log.error(f"gave up after {next_step.rounds} failed rounds of attempts")

    def _report_failed(self, what: str, obstacle: Obstacle, detail: str, delay: str) -> None:
        self.status.last_failure = LastFailure(detail, self._transport_name, time.time())
        self._hub.stats.connects[self._transport_name, obstacle] += 1
        self._log.repeated(
            f"{what}: {detail}{delay}",
            key=f"{what}: {detail}",
            url=self._upstream.shown_url,
            transport=self._transport_name,
        )

    def _report_closed(self, end: SessionClosed, delay: str) -> None:
        cause, code, reason = end.cause, end.code, end.reason
        lasted = self._loop.time() - (self._opened_at or 0.0)
        was_ready = self._has_been_ready
        self._opened_at, self._is_ready, self._has_been_ready = None, False, False
        self._hub.end_epoch(cause, code, reason)
        self.status.last_close = LastClose(cause, code, reason, time.time())
        self._hub.stats.closes[cause] += 1
        if cause is Cause.LOGIN_FAILED:
            # A login that fails each time is one event, however often it is tried.
            what = f"{_LOGIN_FAILING}: {reason}"
            self._log.repeated(f"{what}{delay}", key=what, transport=self._transport_name, epoch=self.epoch)
        else:
            self._log.info(
                f"closed{delay}",
                cause=cause,
                code=code,
                reason=reason or None,
                transport=self._transport_name,
                epoch=self.epoch,
                lasted=round(lasted, 1),
            )
        if not was_ready and not self._stopping:
            self._settle_first_round(
                AttemptFailed(Obstacle.LOGIN, f"closed before it was logged in: {cause} {reason}".rstrip())
            )

    def _settle_first_round(self, outcome: AttemptFailed | None) -> None:
        if not self.first_round.done():
            self.first_round.set_result(outcome)
