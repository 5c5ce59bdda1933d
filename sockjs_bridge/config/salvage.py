"""Validation that goes on after the first error: rules between values need a whole configuration.

Wrong values are taken out, missing ones get a stand-in, until the models accept the rest.
"""

from typing import Any

from pydantic import ValidationError

from sockjs_bridge.config.models import Config
from sockjs_bridge.config.problems import Problem
from sockjs_bridge.config.sentences import location, validation_problems
from sockjs_bridge.config.tree import Loc, Tree

# Harmless values of the required keys, by name. Port 0 clashes with nothing.
_STAND_INS = {
    "url": "http://localhost/",
    "listen": "127.0.0.1:0",
    "type": "pub",
    "endpoint": "tcp://127.0.0.1:0",
    "match": "-",
    "send": "-",
    "every": 1,
}
_MOST_ROUNDS = 10


class Salvage:
    """What is left of a tree that does not validate, and what was wrong with it.

    `config` is None when nothing is left that makes sense.
    """

    def __init__(self, tree: Tree, error: ValidationError) -> None:
        self.problems = list(validation_problems(error, Config))
        self.config: Config | None = None
        self._touched: set[Loc] = set()
        tree = _unshared(tree)
        for _ in range(_MOST_ROUNDS):
            for details in error.errors(include_url=False, include_input=False):
                self._touched.add(_repair(tree, location(details), missing=details["type"] == "missing"))
            try:
                self.config = Config(**tree)
            except ValidationError as next_error:
                error = next_error
            else:
                break

    def is_sure_of(self, problem: Problem) -> bool:
        """Whether a problem of `config` is one of the real configuration too."""
        return not any(_related(loc, touched) for loc in problem.locs for touched in self._touched)


def _related(loc: Loc, other: Loc) -> bool:
    shorter = min(len(loc), len(other))
    return loc[:shorter] == other[:shorter]


def _repair(tree: Tree, loc: Loc, *, missing: bool) -> Loc:
    if missing:
        table = _at(tree, loc[:-1])
        if isinstance(table, dict):
            table[loc[-1]] = _STAND_INS[str(loc[-1])]
        return loc
    # The key of a table, not an element of an array: that would move the others.
    depth = max((index + 1 for index, key in enumerate(loc) if isinstance(key, str)), default=0)
    loc = loc[:depth]
    table = _at(tree, loc[:-1])
    if loc and isinstance(table, dict):
        table.pop(loc[-1], None)
    return loc


def _at(node: Any, loc: Loc) -> Any:
    # None where nothing is: an earlier repair may have taken out more than this one asks for.
    for key in loc:
        if isinstance(node, dict):
            node = node.get(key)
        elif isinstance(node, list) and isinstance(key, int) and key < len(node):
            node = node[key]
        else:
            return None
    return node


def _unshared(node: Any) -> Any:
    # copy.deepcopy would keep shared what sessions share with [defaults], and a repair is for one place.
    if isinstance(node, dict):
        return {key: _unshared(value) for key, value in node.items()}
    return [_unshared(value) for value in node] if isinstance(node, list) else node
