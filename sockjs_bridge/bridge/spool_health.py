"""What keeps a spool from taking or giving messages: told once when it begins, and when it is over."""

from collections.abc import Callable
from enum import StrEnum

from sockjs_bridge.log import EventLog


class SpoolWork(StrEnum):
    """What can fail by itself."""

    OPENING = "opening"
    READING = "reading"
    WRITING = "writing"


class SpoolHealth:
    """`problem` is what fails now, as a text for people; None while nothing does.

    `changed` is called when it begins to fail, and when all does what it should again: what programs offer meets
    another answer then.
    """

    def __init__(self, log: EventLog, changed: Callable[[], None]) -> None:
        self._log = log
        self._changed = changed
        self._problems: dict[SpoolWork, str] = {}

    @property
    def problem(self) -> str | None:
        """What fails; of several things the one that began first."""
        return next(iter(self._problems.values()), None)

    def fails(self, work: SpoolWork) -> bool:
        """Whether this fails now."""
        return work in self._problems

    def note(self, work: SpoolWork, problem: str | None) -> None:
        """It fails for now, and is tried again; or, with None, it does not fail any more."""
        had_problem = self.problem is not None
        if problem is not None:
            self._problems[work] = problem
            if not had_problem:
                self._log.error("the spool takes no messages; it is tried again each second", problem=problem)
                self._changed()
        elif had_problem:
            self._problems.pop(work, None)
            if self.problem is None:
                self._log.info("the spool takes messages again")
                self._changed()

    def note_lasting(self, work: SpoolWork, problem: str) -> None:
        """It fails, and nothing but a restart can mend that."""
        self._problems[work] = problem
        self._log.error(
            "the spool cannot be used until a restart; what is in it stays there", problem=problem
        )
        self._changed()
