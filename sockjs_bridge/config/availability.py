"""What the configuration contract names and this version does not do yet.

The program grows feature by feature, the contract is complete from the start. A key that asks for
something that is not there is an error rather than a promise: take its line out of `LIMITS` in the
release that brings the feature.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sockjs_bridge.config.problems import Problem
from sockjs_bridge.config.tree import Loc

Limit = tuple[object, ...] | Callable[[Any], bool]
"""The values that work (the first is what the program does anyway), or a test of a value."""


# `*` is any table or array element; `session` is each session and [defaults].
LIMITS: Mapping[str, Limit] = {}


def works(loc: Loc, value: object) -> bool:
    """Whether a value at a location would do something in this version."""
    path = ["*" if isinstance(key, int) else key for key in loc]
    if path[:1] == ["sessions"]:
        path = ["session", *path[2:]]
    elif path[:1] == ["defaults"]:
        path = ["session", *path[1:]]
    return _allows(LIMITS.get(".".join(path)), value)


def missing_features(dump: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what a configuration asks for in vain.

    `dump` is the validated configuration as plain data, defaults filled in: a value that was not
    written is what the program does anyway, and no limit forbids that.
    """
    for pattern, limit in LIMITS.items():
        head, *rest = pattern.split(".")
        starts: list[Loc] = [(head,)]
        if head == "session":
            starts = [("defaults",), *(("sessions", name) for name in dump["sessions"])]
        for start in starts:
            for loc, value in _matching(dump, (*start, *rest), ()):
                if not _allows(limit, value):
                    yield Problem(loc, _sentence(value, limit))


def _allows(limit: Limit | None, value: Any) -> bool:
    if limit is None:
        return True
    return limit(value) if callable(limit) else value in limit


def _matching(node: Any, pattern: Loc, loc: Loc) -> Iterator[tuple[Loc, Any]]:
    if len(loc) == len(pattern):
        yield loc, node
        return
    key = pattern[len(loc)]
    if key == "*":
        for index, value in enumerate(node):
            yield from _matching(value, pattern, (*loc, index))
    else:
        yield from _matching(node[key], pattern, (*loc, key))


def _sentence(value: object, limit: Limit) -> str:
    sentence = "not available in this version"
    names = [name for name in limit if name and isinstance(name, str)] if isinstance(limit, tuple) else []
    return f'{sentence}: "{value}" (there is: {", ".join(names)})' if names else sentence
