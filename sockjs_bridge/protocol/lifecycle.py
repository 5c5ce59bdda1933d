"""Lifecycle: which attempt comes next. Fallback, backoff, giving up; one event in, one command out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from sockjs_bridge.errors import Obstacle
from sockjs_bridge.protocol.backoff import Backoff
from sockjs_bridge.protocol.events import (
    AskInfo,
    AttemptFailed,
    CarryOn,
    Connect,
    DelayElapsed,
    Finish,
    GiveUp,
    InfoReceived,
    LifecycleCommand,
    LifecycleEvent,
    LoggedIn,
    LogIn,
    LoginFailed,
    SessionClosed,
    SessionOpened,
    Wait,
)

UNAUTHORIZED, FORBIDDEN = 401, 403
_WEBSOCKETS = ("websocket", "websocket-raw")
# TCP, TLS, the handshake, the open frame.
_ROUND_TRIPS_TO_OPEN = 4


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """`initial`, `maximum` and `stable_after` in seconds; `max_attempts` in rounds, 0 is for ever."""

    initial: float = 1.0
    maximum: float = 30.0
    stable_after: float = 30.0
    max_attempts: int = 0


class Lifecycle:
    """Decides what one configured session does next (protocol section 5, "Fallback").

    A *round* tries the transports in order, each with a fresh session id, until one opens. After a
    failed round, and after a session that ended, comes a delay. What opened last is tried first;
    once a session has been open for `stable_after` the delays start over and the full order counts.
    With `logs_in` a round begins with the login steps that go before the connect, with `asks_info` the
    question what the server offers comes next; it need not answer. SessionOpened means that messages may
    flow: where there are steps on the open session, after the last of them. A login that fails ends its
    round, whichever transport it was; where the server refused it (401, 403), the longest delay follows.
    All times are seconds of one monotonic clock. `origin` is the configured Origin header, if any;
    without one, a 403 is tried once more with `same_origin`, and what opened is kept. Without `reopens`,
    the end of the first session that opens is the end of all.
    """

    def __init__(
        self,
        transports: Sequence[str],
        policy: ReconnectPolicy,
        *,
        logs_in: bool = False,
        asks_info: bool = False,
        reopens: bool = True,
        origin: str | None,
        same_origin: str,
        random: Callable[[], float],
        new_session_id: Callable[[], str],
    ) -> None:
        self._transports = tuple(transports)
        self._policy = policy
        self._logs_in = logs_in
        self._asks_info = asks_info
        self._reopens = reopens
        self._info = InfoReceived(None, 0.0)
        self._origin = origin
        self._same_origin = same_origin
        self._backoff = Backoff(policy.initial, policy.maximum, random)
        self._new_session_id = new_session_id
        self._round: list[str] = []
        self._current = ""
        self._trying_origin = False
        self._opened_at: float | None = None
        self._away_since = 0.0
        self._preferred: str | None = None
        self.failed_rounds = 0
        """Rounds that have failed since the last session was open."""

    def start(self, now: float) -> LifecycleCommand:
        """Begin the first round."""
        self._away_since = now
        return self._begin_round()

    def receive(self, event: LifecycleEvent, now: float) -> LifecycleCommand:
        """Take what happened, answer what to do."""
        match event:
            case SessionOpened():
                return self._opened(now)
            case SessionClosed():
                return self._closed(now)
            case AttemptFailed():
                return self._failed(event, now)
            case DelayElapsed():
                return self._begin_round()
            case InfoReceived():
                return self._informed(event)
            case LoggedIn():
                return self._begin_attempts()
            case LoginFailed():
                return self._login_failed(event, now)
            case _:
                assert_never(event)

    def _opened(self, now: float) -> LifecycleCommand:
        self._opened_at = now
        self._preferred = self._current
        self.failed_rounds = 0
        if self._trying_origin:
            self._origin, self._trying_origin = self._same_origin, False
        return CarryOn()

    def _closed(self, now: float) -> LifecycleCommand:
        if not self._reopens:
            return Finish()
        if self._opened_at is None:
            # It ended before its login was complete.
            return self._end_round(now)
        self._note_closed(now)
        return Wait(self._backoff.next_delay(now - self._away_since))

    def _note_closed(self, now: float) -> None:
        lasted = now - self._opened_at if self._opened_at is not None else 0.0
        self._opened_at = None
        # A session that ends as soon as it opens is no end of an outage: its server gets growing delays.
        if lasted >= self._policy.initial:
            self._away_since = now
        if lasted >= self._policy.stable_after:
            self._backoff.reset()
            self._preferred = None

    def _login_failed(self, event: LoginFailed, now: float) -> LifecycleCommand:
        if event.ended_session and not self._reopens:
            return Finish()
        was_refused = event.status in {UNAUTHORIZED, FORBIDDEN}
        if self._opened_at is None:
            return self._end_round(now, was_refused=was_refused)
        self._note_closed(now)
        return Wait(self._backoff.jump() if was_refused else self._backoff.next_delay(now - self._away_since))

    def _failed(self, event: AttemptFailed, now: float) -> LifecycleCommand:
        if event.status == FORBIDDEN and self._origin is None and not self._trying_origin:
            self._trying_origin = True
            return self._attempt(self._same_origin)
        # No other transport reaches a server that does not answer at all.
        if self._round and event.obstacle is not Obstacle.UNREACHABLE:
            self._trying_origin = False
            return self._next_in_round()
        return self._end_round(now)

    def _end_round(self, now: float, *, was_refused: bool = False) -> LifecycleCommand:
        self._trying_origin = False
        self.failed_rounds += 1
        if 0 < self._policy.max_attempts <= self.failed_rounds:
            return GiveUp(self.failed_rounds)
        return Wait(self._backoff.jump() if was_refused else self._backoff.next_delay(now - self._away_since))

    def _begin_round(self) -> LifecycleCommand:
        self._round = list(self._transports)
        if self._preferred is not None:
            self._round.remove(self._preferred)
            self._round.insert(0, self._preferred)
        # What it said before the last session may be wrong by now (protocol section 1).
        self._info = InfoReceived(None, 0.0)
        return LogIn(self._origin) if self._logs_in else self._begin_attempts()

    def _begin_attempts(self) -> LifecycleCommand:
        return AskInfo(self._origin) if self._asks_info else self._next_in_round()

    def _informed(self, event: InfoReceived) -> LifecycleCommand:
        self._info = event
        if event.info is not None and not event.info.websocket:
            # Where nothing else may be tried, the answer is worth less than an attempt.
            self._round = [name for name in self._round if name not in _WEBSOCKETS] or self._round
        return self._next_in_round()

    def _next_in_round(self) -> LifecycleCommand:
        self._current = self._round.pop(0)
        return self._attempt(self._origin)

    def _attempt(self, origin: str | None) -> Connect:
        base = self._info.info.base if self._info.info is not None else None
        patience = _ROUND_TRIPS_TO_OPEN * self._info.seconds
        return Connect(self._current, self._new_session_id(), origin, base, patience)
