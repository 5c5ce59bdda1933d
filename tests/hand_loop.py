"""A stand-in for the event loop, for timers without any waiting."""

from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace

import pytest


class HandTimer:
    """What `call_later` of a HandLoop returns."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class HandLoop:
    """The part of an event loop that the bridge uses; time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[HandTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> HandTimer:
        timer = HandTimer(self.now + delay, callback)
        self._timers.append(timer)
        return timer

    def call_at(self, when: float, callback: Callable[..., None], *arguments: object) -> HandTimer:
        return self.call_later(when - self.now, partial(callback, *arguments))

    @property
    def pending(self) -> int:
        return sum(not timer.cancelled for timer in self._timers)

    def replace_in(self, patch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        """Let these modules find this loop where they ask asyncio for theirs."""
        for module in modules:
            patch.setattr(module, "asyncio", SimpleNamespace(get_running_loop=lambda: self))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self._timers if timer.when <= self.now and not timer.cancelled]
        self._timers = [timer for timer in self._timers if timer not in due]
        for timer in due:
            timer.callback()
