"""Pydantic's errors as sentences for the user. None repeats a value that may be a secret."""

from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sockjs_bridge.config.problems import Problem, closest
from sockjs_bridge.config.references import Resolved
from sockjs_bridge.config.shape import inside, keys
from sockjs_bridge.config.tree import Loc, shown

_LONGEST_ECHO = 60


def validation_problems(error: ValidationError, root: Any) -> Iterator[Problem]:
    """Turn pydantic's errors about the model `root` into sentences for the user."""
    for details in error.errors(include_url=False):
        loc = location(details)
        sentence = _SENTENCES.get(details["type"], _as_pydantic_says)
        yield Problem(loc, sentence(details, loc, root))


def location(details: ErrorDetails) -> Loc:
    """Where pydantic found an error. What it marks as an error in a table's key is at that key."""
    loc = details["loc"]
    return loc[:-1] if loc[-1:] == ("[key]",) else loc


def _annotation(root: Any, loc: Loc) -> Any:
    for key in loc:
        root = inside(root, key)
    return root


def _unknown_key(_details: ErrorDetails, loc: Loc, root: Any) -> str:
    key = str(loc[-1])
    if loc == ("defaults", "url"):
        return "each session has its own url: write it there"
    return "unknown key" + closest(key, keys(_annotation(root, loc[:-1])))


def _unknown_value(details: ErrorDetails, loc: Loc, root: Any) -> str:
    allowed = [str(value) for value in get_args(_annotation(root, loc))]
    value = details["input"]
    sentence = f"must be one of {', '.join(allowed)}"
    if not isinstance(value, str) or isinstance(value, Resolved):
        return sentence
    return f'unknown value "{_echo(value)}", {sentence}{closest(value, allowed)}'


def _echo(value: str) -> str:
    text = value if value.isprintable() else ascii(value)[1:-1]
    return text if len(text) <= _LONGEST_ECHO else text[:_LONGEST_ECHO] + "..."


def _our_own(details: ErrorDetails, _loc: Loc, _root: Any) -> str:
    return str(details["ctx"]["error"])


def _not_a_table(details: ErrorDetails, loc: Loc, _root: Any) -> str:
    as_array = isinstance(details["input"], list) and all(isinstance(key, str) for key in loc)
    return "must be a table" + (f": write [{shown(loc)}]" if as_array else "")


def _not_an_array(details: ErrorDetails, loc: Loc, root: Any) -> str:
    # The usual slip: [sessions.chat.tcp] for [[sessions.chat.tcp]].
    as_table = isinstance(details["input"], dict) and keys(inside(_annotation(root, loc), 0))
    return "must be an array" + (f" of tables: write [[{shown(loc)}]]" if as_table else "")


def _as_pydantic_says(details: ErrorDetails, _loc: Loc, _root: Any) -> str:
    message = details["msg"]
    return message[:1].lower() + message[1:]


_SENTENCES: dict[str, Callable[[ErrorDetails, Loc, Any], str]] = {
    "extra_forbidden": _unknown_key,
    "literal_error": _unknown_value,
    "value_error": _our_own,
    "missing": lambda *_: "missing, but required",
    "string_type": lambda *_: "must be a string",
    "model_type": _not_a_table,
    "model_attributes_type": _not_a_table,
    "dict_type": _not_a_table,
    "tuple_type": _not_an_array,
}
