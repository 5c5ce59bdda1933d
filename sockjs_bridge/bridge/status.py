"""What an operator wants to know of one upstream session."""

from dataclasses import dataclass
from enum import StrEnum

from sockjs_bridge.errors import Cause


class UpstreamState(StrEnum):
    """What a supervisor is doing."""

    CONNECTING = "connecting"
    LOGGING_IN = "logging_in"
    """Taking its login steps, before the connect or on the open session: messages for the server wait."""
    OPEN = "open"
    WAITING = "waiting"
    """For the next try."""
    FAILED = "failed"
    """`max_attempts` rounds have failed: no further try."""
    STOPPED = "stopped"
    ON_DEMAND = "on_demand"
    """There is no session but those of the clients of dedicated listeners."""


@dataclass(frozen=True, slots=True)
class LastClose:
    """How the session before the present one ended. `at` is in seconds of the wall clock."""

    cause: Cause
    code: int
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class LastFailure:
    """Why the last attempt that failed did so. `at` is in seconds of the wall clock."""

    detail: str
    transport: str
    at: float


@dataclass(slots=True)
class UpstreamStatus:
    """Kept by the supervisor. Times are seconds of the wall clock: they are for people."""

    since: float
    state: UpstreamState = UpstreamState.CONNECTING
    transport: str = ""
    next_try_at: float | None = None
    last_close: LastClose | None = None
    last_failure: LastFailure | None = None

    def change(self, state: UpstreamState, now: float, *, next_try_at: float | None = None) -> None:
        """Enter a state."""
        if state is not self.state:
            self.state, self.since = state, now
        self.next_try_at = next_try_at
