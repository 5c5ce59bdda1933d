"""Lifecycle: its rules hold in every order of failures, openings and ends (protocol section 5)."""

from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sockjs_bridge.errors import Cause, Obstacle
from sockjs_bridge.protocol.events import (
    AskInfo,
    AttemptFailed,
    CarryOn,
    Connect,
    DelayElapsed,
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
from sockjs_bridge.protocol.info import Info
from sockjs_bridge.protocol.lifecycle import Lifecycle, ReconnectPolicy

TRANSPORTS = ["websocket", "xhr-streaming", "xhr-polling", "websocket-raw"]
SAME_ORIGIN = "http://host"
EARLY_SECONDS = 10.0
ROUNDING = 1e-9

LUCK = st.floats(0, 1, exclude_max=True)
SECONDS = st.floats(0, 60)
FAILURES = st.one_of(
    st.sampled_from(list(Obstacle)).map(lambda obstacle: AttemptFailed(obstacle, "failed")),
    st.sampled_from([401, 403, 403, 404, 500]).map(
        lambda status: AttemptFailed(Obstacle.STATUS, "failed", status)
    ),
)
ANSWERS = st.sampled_from([None, Info(), Info(websocket=False)])
ENDS = st.sampled_from([SessionClosed(Cause.SERVER_CLOSED, 3000), SessionClosed(Cause.TRANSPORT_LOST, 1006)])


class LifecycleMachine(RuleBasedStateMachine):
    """Carries out the commands as a supervisor does, beside a model of the round.

    `doing` is the last command that counts: Connect while an attempt runs or its session is open, Wait
    while a delay passes, GiveUp at the end. Each rule is possible only where the supervisor could
    report it.
    """

    @initialize(
        transports=st.lists(st.sampled_from(TRANSPORTS), min_size=1, unique=True),
        initial=st.floats(0.1, 5),
        spread=st.floats(0, 60),
        stable_after=st.floats(0, 60),
        max_attempts=st.integers(0, 4),
        origin=st.sampled_from([None, None, "https://example.org"]),
        luck=LUCK,
        asks_info=st.booleans(),
        logs_in=st.booleans(),
        answer=ANSWERS,
    )
    def start(
        self,
        transports: list[str],
        initial: float,
        spread: float,
        stable_after: float,
        max_attempts: int,
        origin: str | None,
        luck: float,
        asks_info: bool,
        logs_in: bool,
        answer: Info | None,
    ) -> None:
        self.asks_info = asks_info
        self.logs_in = logs_in
        self.answer = answer
        self.now = 1000.0
        self.luck = luck
        self.policy = ReconnectPolicy(initial, initial + spread, stable_after, max_attempts)
        self.transports = transports
        self.preferred: str | None = None
        self.origin = origin
        self.retrying = False
        self.opened_at: float | None = None
        self.away_since = self.now
        self.failed_rounds = 0
        self.last_delay = initial
        self.session_ids: set[str] = set()
        numbers = count()
        self.lifecycle = Lifecycle(
            transports,
            self.policy,
            asks_info=asks_info,
            logs_in=logs_in,
            origin=origin,
            same_origin=SAME_ORIGIN,
            random=lambda: self.luck,
            new_session_id=lambda: f"id{next(numbers)}",
        )
        self.doing: LifecycleCommand = CarryOn()
        self._expect_round(self.lifecycle.start(self.now), answer)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: isinstance(self.doing, Connect) and self.opened_at is None)
    @rule(failure=FAILURES, luck=LUCK)
    def attempt_fails(self, failure: AttemptFailed, luck: float) -> None:
        self.luck = luck
        command = self.lifecycle.receive(failure, self.now)
        attempt = self.doing
        assert isinstance(attempt, Connect)
        if failure.status == 403 and self.origin is None and not self.retrying:
            self.retrying = True
            self._expect_attempt(command, attempt.transport, SAME_ORIGIN)
            return
        self.retrying = False
        if self.left_in_round and failure.obstacle is not Obstacle.UNREACHABLE:
            self._expect_next_attempt(command)
            return
        self._expect_end_of_round(command)

    @precondition(lambda self: isinstance(self.doing, LogIn))
    @rule()
    def login_succeeds(self) -> None:
        self._expect_attempts(self.lifecycle.receive(LoggedIn(), self.now))

    @precondition(
        lambda self: (
            isinstance(self.doing, LogIn)
            or (self.logs_in and isinstance(self.doing, Connect) and self.opened_at is None)
        )
    )
    @rule(status=st.sampled_from([None, 401, 403, 500]), luck=LUCK)
    def login_fails(self, status: int | None, luck: float) -> None:
        self.luck = luck
        event = LoginFailed("failed", status, ended_session=isinstance(self.doing, Connect))
        self._expect_end_of_round(self.lifecycle.receive(event, self.now), was_refused=status in {401, 403})

    @precondition(lambda self: isinstance(self.doing, Connect) and self.opened_at is None)
    @rule(end=ENDS, luck=LUCK)
    def session_ends_before_it_is_ready(self, end: SessionClosed, luck: float) -> None:
        self.luck = luck
        self._expect_end_of_round(self.lifecycle.receive(end, self.now))

    def _expect_end_of_round(self, command: LifecycleCommand, *, was_refused: bool = False) -> None:
        self.retrying = False
        self.failed_rounds += 1
        if self.failed_rounds == self.policy.max_attempts:
            assert command == GiveUp(self.failed_rounds)
            self.doing = command
        elif was_refused:
            assert command == Wait(self.policy.maximum)
            self.last_delay = self.policy.maximum
            self.doing = command
        else:
            self._expect_delay(command)

    @precondition(lambda self: isinstance(self.doing, Connect) and self.opened_at is None)
    @rule()
    def session_opens(self) -> None:
        assert isinstance(self.doing, Connect)
        assert self.lifecycle.receive(SessionOpened(), self.now) == CarryOn()
        self.preferred, self.origin, self.retrying = self.doing.transport, self.doing.origin, False
        self.opened_at = self.now
        self.failed_rounds = 0

    @precondition(lambda self: self.opened_at is not None)
    @rule(end=ENDS, luck=LUCK)
    def session_ends(self, end: SessionClosed, luck: float) -> None:
        self.luck = luck
        assert self.opened_at is not None
        lasted = self.now - self.opened_at
        if lasted >= self.policy.initial:
            self.away_since = self.now
        if lasted >= self.policy.stable_after:
            self.preferred = None
            self.last_delay = self.policy.initial
        self.opened_at = None
        self._expect_delay(self.lifecycle.receive(end, self.now))

    @precondition(lambda self: isinstance(self.doing, Wait))
    @rule(share=st.sampled_from([1.0, 1.0, 0.5, 0.0]), answer=ANSWERS)
    def delay_elapses(self, share: float, answer: Info | None) -> None:
        """Somebody may cut it short."""
        assert isinstance(self.doing, Wait)
        self.now += self.doing.delay * share
        self._expect_round(self.lifecycle.receive(DelayElapsed(), self.now), answer)

    @invariant()
    def counts_the_rounds_that_failed(self) -> None:
        assert self.lifecycle.failed_rounds == self.failed_rounds

    @invariant()
    def gives_up_only_after_max_attempts(self) -> None:
        """And then no rule applies any more: GiveUp is final."""
        if self.policy.max_attempts:
            assert (self.failed_rounds == self.policy.max_attempts) is isinstance(self.doing, GiveUp)
        else:
            assert not isinstance(self.doing, GiveUp)

    def _full_round(self) -> list[str]:
        others = [transport for transport in self.transports if transport != self.preferred]
        return others if self.preferred is None else [self.preferred, *others]

    def _expect_round(self, command: LifecycleCommand, answer: Info | None) -> None:
        self.left_in_round = self._full_round()
        self.answer = answer
        if self.logs_in:
            assert command == LogIn(self.origin)
            self.doing = command
        else:
            self._expect_attempts(command)

    def _expect_attempts(self, command: LifecycleCommand) -> None:
        answer = self.answer
        if self.asks_info:
            assert command == AskInfo(self.origin)
            command = self.lifecycle.receive(InfoReceived(answer, 0.1), self.now)
            if answer is not None and not answer.websocket:
                others = [name for name in self.left_in_round if not name.startswith("websocket")]
                self.left_in_round = others or self.left_in_round
        self._expect_next_attempt(command)

    def _expect_next_attempt(self, command: LifecycleCommand) -> None:
        self._expect_attempt(command, self.left_in_round.pop(0), self.origin)

    def _expect_attempt(self, command: LifecycleCommand, transport: str, origin: str | None) -> None:
        assert isinstance(command, Connect)
        assert (command.transport, command.origin) == (transport, origin)
        assert command.session_id not in self.session_ids
        self.session_ids.add(command.session_id)
        self.doing = command

    def _expect_delay(self, command: LifecycleCommand) -> None:
        assert isinstance(command, Wait)
        highest = min(self.policy.maximum, 3 * self.last_delay)
        if self.now - self.away_since < EARLY_SECONDS:
            highest = min(highest, 2 * self.policy.initial)
        assert self.policy.initial - ROUNDING <= command.delay <= highest + ROUNDING
        self.last_delay = command.delay
        self.doing = command


TestLifecycleMachine = LifecycleMachine.TestCase
