"""LoginGuide: leads an open session through its login, again when the server asks, and keeps it alive after."""

import asyncio
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from sockjs_bridge.errors import LoginError
from sockjs_bridge.log import EventLog
from sockjs_bridge.protocol.login import LoginRun, LoginScript, ReloginRule
from sockjs_bridge.transports.base import TransportClosed


class Login(Protocol):
    """What a session does by itself. All sessions of one configuration share it."""

    periods: tuple[float, ...]
    """How often each message of `keepalive` is sent, in seconds."""

    @property
    def guides(self) -> bool:
        """Whether there is anything to do for an open session."""

    def relogin_rule(self) -> ReloginRule | None:
        """Which messages ask for another login; None where none does."""

    async def log_in(self, origin: str | None) -> LoginScript:
        """Do what goes before the steps on the open session; returns those. Raises LoginError."""


class GuidedSession(Protocol):
    """The open session."""

    def send_own(self, messages: list[str]) -> bool:
        """Send messages that are no program's; False, and nothing sent, where the server does not keep up."""

    def begin_login(self) -> None:
        """Another login begins: messages of programs wait."""

    def become_ready(self) -> None:
        """The login has succeeded: messages of programs may flow."""

    def fail_login(self, error: LoginError) -> None:
        """The login has failed: end the session."""


@dataclass(frozen=True, slots=True)
class LoginPlan:
    """What a session does by itself once it is open. `script` was prepared before the attempt, `origin` is its Origin header."""

    login: Login
    script: LoginScript
    origin: str | None


class LoginGuide:
    """One for each connection."""

    def __init__(self, plan: LoginPlan, session: GuidedSession, log: EventLog) -> None:
        self._login = login = plan.login
        self._script = plan.script
        self._session = session
        self._origin = plan.origin
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._rule = login.relogin_rule()
        self._run: LoginRun | None = None
        self._begun_at = self._loop.time()
        self._is_over = False
        self._is_logging_in = True
        self._is_asked = asyncio.Event()
        self._to_send: deque[str] = deque()
        self._due_pings: dict[int, None] = {}
        self._overdue: asyncio.TimerHandle | None = None
        self._pings: dict[int, asyncio.TimerHandle] = {}

    def begin(self) -> None:
        """The session is open, or its next login has come so far: take the steps."""
        if self._is_over:
            return
        self._run = LoginRun(self._script.steps)
        self._go_on(self._run.start(self._loop.time()))

    def receive(self, messages: list[str]) -> None:
        """Messages of the server; programs have them already."""
        if self._run is not None:
            self._go_on(self._run.receive(messages, self._loop.time()))
        elif self._rule is not None and not self._is_logging_in and self._rule.asks(messages):
            self._is_asked.set()

    def flush(self) -> None:
        """Send what waits, as far as the server keeps up: it goes before messages of programs."""
        while self._to_send and self._session.send_own([self._to_send[0]]):
            self._to_send.popleft()
        # A ping that could not go out is due once, however long that lasts.
        while self._due_pings and not self._to_send:
            index = next(iter(self._due_pings))
            if not self._session.send_own([self._script.keepalive[index]]):
                return
            self._due_pings.pop(index, None)

    def cut_off(self, how: str) -> LoginError | None:
        """The server has ended the session: an error that names the step that was waited for, if one was."""
        problem = self._run.cut_off(how) if self._run is not None else ""
        return LoginError(problem) if problem else None

    def end(self) -> None:
        """The session has ended."""
        self._is_over = True
        self._run = None
        self._to_send.clear()
        self._stop_timers()

    async def run(self, closed: Awaitable[TransportClosed]) -> TransportClosed:
        """Wait for the end of the connection; meanwhile log in again whenever the server asks for it."""
        if self._rule is None:
            return await closed
        async with asyncio.TaskGroup() as group:
            again = group.create_task(self._log_in_again(self._rule), name="log-in-again")
            try:
                return await closed
            finally:
                again.cancel()

    async def _log_in_again(self, rule: ReloginRule) -> None:
        while True:
            await self._is_asked.wait()
            await asyncio.sleep(rule.delay(self._loop.time()))
            self._is_asked.clear()
            rule.begin(self._loop.time())
            self._is_logging_in = True
            self._begun_at = self._loop.time()
            self._stop_timers()
            self._log.info("the server asks for another login")
            self._session.begin_login()
            try:
                self._script = await self._login.log_in(self._origin)
            except LoginError as error:
                self._session.fail_login(error)
                return
            self.begin()

    def _go_on(self, to_send: list[str]) -> None:
        run = self._run
        if run is None:
            return
        self._to_send += to_send
        if to_send:
            self.flush()
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        if run.is_done:
            self._finish()
        else:
            self._overdue = self._loop.call_at(run.deadline, self._time_out, run)

    def _finish(self) -> None:
        self._run = None
        self._is_logging_in = False
        steps = len(self._script.steps) + self._script.requests
        if steps:
            self._log.info("logged in", steps=steps, seconds=round(self._loop.time() - self._begun_at, 3))
        now = self._loop.time()
        for index, every in enumerate(self._login.periods):
            self._plan_ping(index, now + every)
        self._session.become_ready()

    def _time_out(self, run: LoginRun) -> None:
        self._overdue = None
        self._session.fail_login(LoginError(run.overdue()))

    def _plan_ping(self, index: int, when: float) -> None:
        self._pings[index] = self._loop.call_at(when, self._ping, index, when)

    def _ping(self, index: int, when: float) -> None:
        every, now = self._login.periods[index], self._loop.time()
        # Where the loop was held up for long, what was missed is not made up for.
        self._plan_ping(index, when + every if when + every > now else now + every)
        self._due_pings[index] = None
        self.flush()

    def _stop_timers(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        for timer in self._pings.values():
            timer.cancel()
        self._pings.clear()
        self._due_pings.clear()
