"""Liveness: when to send a PING, and when silence means death (protocol section 5)."""

from enum import Enum, auto
from math import inf


class Verdict(Enum):
    """What to do now."""

    ALIVE = auto()
    PING_DUE = auto()
    SILENT = auto()
    PONG_OVERDUE = auto()
    QUESTION_DUE = auto()


class Liveness:
    """Judges one connection. All times are seconds of one monotonic clock; 0 turns a limit off.

    Any byte counts as life. Silence counts only once the peer has shown a heartbeat, a PING or a
    PONG: some servers send none and are well. A PONG overdue by `ping_interval` is death where PONGs
    have come before. A peer that has shown nothing of this kind is asked, if it `answers_questions`,
    when it was silent for so long. While we do not read, nothing is judged: call `suspend` and `resume`.
    """

    def __init__(
        self, *, now: float, silence_timeout: float, ping_interval: float, answers_questions: bool = False
    ) -> None:
        self._silence_timeout = silence_timeout or inf
        self._ping_interval = ping_interval or inf
        self._last_byte = now
        self._next_ping = now + self._ping_interval
        self._unanswered_since: float | None = None
        self._shows_life = False
        self._pongs = False
        self._suspended = False
        self._answers_questions = answers_questions
        self._is_asked = False

    def receive_bytes(self, now: float) -> None:
        """Something arrived, whatever it was."""
        self._last_byte = max(self._last_byte, now)

    def receive_heartbeat(self, now: float) -> None:
        """A heartbeat frame or a PING: from now on silence counts."""
        self._shows_life = True
        self.receive_bytes(now)

    def receive_pong(self, now: float) -> None:
        """The answer to one of our PINGs."""
        self._pongs = True
        self._unanswered_since = None
        self.receive_heartbeat(now)

    def sent_question(self) -> None:
        """The peer was asked whether it is there. Whoever asked sees to it that an answer comes in time."""
        self._is_asked = True

    def receive_answer(self, now: float) -> None:
        """It is there, though nothing else came."""
        self._is_asked = False
        self.receive_bytes(now)

    def sent_ping(self, now: float) -> None:
        """A PING was sent, for whatever purpose."""
        self._next_ping = now + self._ping_interval
        if self._unanswered_since is None:
            self._unanswered_since = now

    def suspend(self) -> None:
        """We stopped reading on purpose: the peer cannot be judged."""
        self._suspended = True

    def resume(self, now: float) -> None:
        """We read again: both timers start anew."""
        self._suspended = False
        self._last_byte = now
        if self._unanswered_since is not None:
            self._unanswered_since = now

    def judge(self, now: float) -> Verdict:
        """Look at the clock."""
        if self._silent_from() <= now:
            return Verdict.SILENT
        if self._overdue_from() <= now:
            return Verdict.PONG_OVERDUE
        if self._question_from() <= now:
            return Verdict.QUESTION_DUE
        return Verdict.PING_DUE if self._next_ping <= now else Verdict.ALIVE

    def next_look(self) -> float:
        """When `judge` will next say something else than ALIVE; `inf` for never.

        A heartbeat, a PING, a PONG, `suspend` and `resume` change it.
        """
        return min(self._next_ping, self._silent_from(), self._overdue_from(), self._question_from())

    def _silent_from(self) -> float:
        return self._last_byte + self._silence_timeout if self._shows_life and not self._suspended else inf

    def _question_from(self) -> float:
        if not self._answers_questions or self._shows_life or self._is_asked or self._suspended:
            return inf
        return self._last_byte + self._silence_timeout

    def _overdue_from(self) -> float:
        if self._unanswered_since is None or not self._pongs or self._suspended:
            return inf
        return self._unanswered_since + self._ping_interval
