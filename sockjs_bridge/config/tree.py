"""Configuration as plain data, before any model: nested tables, addressed by locations."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Tree = dict[str, Any]
Loc = tuple[str | int, ...]
"""Keys and array indexes from the top of the configuration, as pydantic gives them."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Lay one tree over another: tables key by key, anything else is replaced. Neither is changed."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def holds(tree: object, loc: Loc) -> bool:
    """Whether the value at a location is decided by this tree.

    An array is decided as a whole, so any location inside one that exists is held.
    """
    for key in loc:
        if not isinstance(tree, dict):
            return True
        if key not in tree:
            return False
        tree = tree[key]
    return True


def strings(tree: object, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Every string value below a table or array, with its location."""
    if isinstance(tree, str):
        yield loc, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from strings(value, (*loc, key))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from strings(value, (*loc, index))


def shown(loc: Loc) -> str:
    """A location as the user would write it: `sessions.chat.tcp[0].framing`."""
    text = ""
    for key in loc:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + (key if _BARE_KEY.fullmatch(key) else _quoted(key))
    return text


def _quoted(key: str) -> str:
    # One error is one line: a key may hold a line break or a control character.
    text = key if key.isprintable() else key.encode("unicode_escape").decode("ascii")
    return '"' + text.replace('"', '\\"') + '"'
