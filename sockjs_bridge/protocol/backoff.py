"""How long to wait before the next round of attempts: decorrelated jitter."""

from collections.abc import Callable

_EARLY_SECONDS = 10.0
_EARLY_FACTOR = 1.75
_GROWTH = 3.0


class Backoff:
    """Delays between `initial` and `maximum` seconds, drawn so that many clients spread out.

    Each delay is drawn between `initial` and three times the one before (decorrelated jitter). In the
    first 10 s of an outage none is longer than 1.75 times `initial`, so that a server which restarts
    is found again at once. `random` returns a float in [0, 1).
    """

    def __init__(self, initial: float, maximum: float, random: Callable[[], float]) -> None:
        self._initial = initial
        self._maximum = maximum
        self._random = random
        self._previous = initial

    def next_delay(self, outage: float) -> float:
        """The next delay in seconds; `outage` is how long the session has been away, in seconds."""
        highest = min(self._maximum, self._previous * _GROWTH)
        if outage < _EARLY_SECONDS:
            highest = min(highest, self._initial * _EARLY_FACTOR)
        self._previous = self._initial + (highest - self._initial) * self._random()
        return self._previous

    def jump(self) -> float:
        """The longest delay, at once: to ask again soon would be of no use, or harmful."""
        self._previous = self._maximum
        return self._maximum

    def reset(self) -> None:
        """Start over: the session proved stable."""
        self._previous = self._initial
