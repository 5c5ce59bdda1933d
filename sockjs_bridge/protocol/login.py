"""Login: the steps that an open session goes through before local messages may flow (config.md, `on_connect`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message. `name` is how logs call the step: it holds no value."""

    name: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Expect:
    """Wait until a message contains `text`, at most `timeout` seconds."""

    name: str
    text: str = field(repr=False)
    timeout: float


LoginStep = Send | Expect


@dataclass(frozen=True, slots=True)
class LoginScript:
    """What one login does once the session is open, with every value in its place.

    `keepalive` are the messages that are sent again and again, in the order of the configuration;
    `requests` is how many HTTP steps went before.
    """

    steps: tuple[LoginStep, ...] = ()
    keepalive: tuple[str, ...] = field(default=(), repr=False)
    requests: int = 0


_LONGEST_ECHO = 200


class LoginRun:
    """Goes through the steps of one login, in order.

    `start` and `receive` return what is to be sent now. A message counts for what is awaited when it comes,
    in the order of the messages: how the server cuts them into frames makes no difference.
    All times are seconds of one monotonic clock.
    """

    __slots__ = ("_awaited", "_last", "_next", "_steps", "deadline", "is_done")

    def __init__(self, steps: Sequence[LoginStep]) -> None:
        self._steps = tuple(steps)
        self._next = 0
        self._awaited: Expect | None = None
        self._last = ""
        self.is_done = False
        self.deadline = inf
        """When the step that waits has waited too long."""

    def start(self, now: float) -> list[str]:
        """Begin."""
        return self._go_on(now)

    def receive(self, messages: list[str], now: float) -> list[str]:
        """Messages of the server, in order."""
        to_send: list[str] = []
        for message in messages:
            if self._awaited is None:
                break
            if self._awaited.text in message:
                to_send += self._go_on(now)
            else:
                self._last = message
        return to_send

    def cut_off(self, how: str) -> str:
        """What is to be said of the step that waits when the server has ended the session; nothing if none does."""
        if self._awaited is None:
            return ""
        said = f"; it had said {self._last[:_LONGEST_ECHO]!r}" if self._last else ""
        return f"{self._awaited.name}: the server ended the session: {how}{said}"

    def overdue(self) -> str:
        """What is to be said of the step that waits, once its time is over."""
        if self._awaited is None:
            return "no step waits"
        return f"{self._awaited.name}: no such message came within {self._awaited.timeout:g} s"

    def _go_on(self, now: float) -> list[str]:
        to_send: list[str] = []
        self._awaited, self.deadline = None, inf
        while self._next < len(self._steps):
            step = self._steps[self._next]
            self._next += 1
            if isinstance(step, Expect):
                self._awaited, self.deadline = step, now + step.timeout
                return to_send
            to_send.append(step.text)
        self.is_done = True
        return to_send


class ReloginRule:
    """Which messages ask for another login, and when it may begin: at most once in `interval` seconds.

    What asks for one sooner is not forgotten: it begins when the time has come.
    """

    __slots__ = ("_begun_at", "_interval", "_matches")

    def __init__(self, matches: Sequence[str], interval: float = 10.0) -> None:
        self._matches = tuple(matches)
        self._interval = interval
        self._begun_at = -inf

    def asks(self, messages: list[str]) -> bool:
        """Whether one of these messages asks for a login."""
        return any(match in message for message in messages for match in self._matches)

    def delay(self, now: float) -> float:
        """How many seconds are left until another login may begin."""
        return max(self._begun_at + self._interval - now, 0.0)

    def begin(self, now: float) -> None:
        """Another login begins."""
        self._begun_at = now
