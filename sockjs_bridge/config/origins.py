"""Which file or variable a value came from, so that an error points at what the user wrote."""

from collections.abc import Sequence
from dataclasses import dataclass

from sockjs_bridge.config.environment import Variable
from sockjs_bridge.config.problems import Problem
from sockjs_bridge.config.tree import Loc, Tree, holds, shown

ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Origins:
    """The sources of a configuration. `written` is all of them merged, without inheritance."""

    label: str | None
    file: Tree
    variables: Sequence[Variable]
    written: Tree

    def line(self, problem: Problem) -> str:
        """A problem as the user reads it: file or variable, key path, what is wrong."""
        locs = [self.source(loc) for loc in problem.locs]
        loc = next((loc for loc in locs if holds(self.written, loc)), locs[0])
        variable = self._variable(loc)
        if variable is None:
            parts = [self._label(loc), shown(loc), problem.text]
        else:
            parts = [variable.name, shown(loc[len(variable.loc) :]), problem.text]
        return ": ".join(part for part in parts if part)

    def source(self, loc: Loc) -> Loc:
        """Where the value of a session was written: in the session itself or in [defaults]."""
        inherited: Loc = ("defaults", *loc[2:])
        inheritable = loc[:1] == ("sessions",) and len(loc) > 2 and loc[2] != "url"
        if inheritable and not holds(self.written, loc) and holds(self.written, inherited):
            return inherited
        return loc

    def _variable(self, loc: Loc) -> Variable | None:
        for variable in reversed(self.variables):
            depth = len(variable.loc)
            if loc[:depth] == variable.loc and holds(variable.value, loc[depth:]):
                return variable
        return None

    def _label(self, loc: Loc) -> str:
        # A missing key is missing where its table is.
        for depth in range(len(loc), 0, -1):
            if holds(self.file, loc[:depth]):
                break
            if any(variable.loc[:depth] == loc[:depth] for variable in self.variables):
                return ENVIRONMENT
        return self.label or ENVIRONMENT
