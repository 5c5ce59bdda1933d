"""The environment as a configuration.

pydantic-settings can not read it: it explodes names by the fields of a model, so a session called
like a field (`url`, `tcp`) gets lost, and a mistyped name at the top is ignored. Here names are
walked along the models instead, which also says what is text and what is JSON.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sockjs_bridge.config.problems import closest
from sockjs_bridge.config.shape import inside, is_array, is_free_table, is_structured, keys
from sockjs_bridge.config.tree import Loc, Tree, merge

PREFIX = "SOCKJS_BRIDGE_"
# Kubernetes injects these into every container beside a service called sockjs-bridge.
_FOREIGN = re.compile(r"SERVICE_.*|PORT.*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable that sets the value at a location."""

    name: str
    loc: Loc
    value: Any


@dataclass(frozen=True, slots=True)
class Environment:
    """What the environment says: a tree, which variable said what, and lines about the rest."""

    tree: Tree
    variables: tuple[Variable, ...]
    problems: tuple[str, ...]


def read_environment(environ: Mapping[str, str], root: Any) -> Environment:
    """Read the variables of the bridge, for the model `root`."""
    variables: dict[Loc, Variable] = {}
    problems: list[str] = []
    for name, text in sorted(environ.items()):
        if not name.upper().startswith(PREFIX) or _FOREIGN.fullmatch(name, len(PREFIX)):
            continue
        try:
            variable = _variable(name, text, root)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        first = variables.setdefault(variable.loc, variable)
        if first is not variable:
            problems.append(f"{name}: sets the same value as {first.name}")
    tree: Tree = {}
    # A table first, then the variables of single keys in it.
    by_depth = sorted(variables.values(), key=lambda variable: len(variable.loc))
    for variable in by_depth:
        tree = merge(tree, _planted(variable))
    return Environment(tree, tuple(by_depth), tuple(problems))


def _variable(name: str, text: str, root: Any) -> Variable:
    loc, annotation = _location(name, root)
    if not is_structured(annotation):
        return Variable(name, loc, text)
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        example = '["a", "b"]' if is_array(annotation) else '{"key": "value"}'
        raise ValueError(f"must be JSON, such as {example}") from None
    if type(value) is not (list if is_array(annotation) else dict):
        raise ValueError(f"must be a JSON {'array' if is_array(annotation) else 'object'}")
    return Variable(name, loc, value)


def _location(name: str, root: Any) -> tuple[Loc, Any]:
    written = name[len(PREFIX) :].split("__")
    loc: Loc = ()
    annotation = root
    for index, part in enumerate(written):
        if is_array(annotation):
            whole = PREFIX + "__".join(written[:index])
            raise ValueError(f"a single element cannot be set: set {whole} to a JSON array")
        # Headers and cookies keep their spelling; everything else of the contract is lower case.
        free = is_free_table(annotation) and loc != ("sessions",)
        key = part if free else part.lower()
        known, annotation = annotation, inside(annotation, key)
        if annotation is None or not key:
            raise ValueError("unknown variable" + _meant(written, index, known))
        loc = (*loc, key)
    return loc, annotation


def _meant(written: list[str], wrong: int, table: Any) -> str:
    # Only what follows the part that is right: a long common beginning makes any two names alike.
    session = written[1] if len(written) > 1 else "NAME"
    right = PREFIX + "".join(part + "__" for part in written[:wrong])
    return closest("__".join(written[wrong:]), _paths(table, session), right)


def _paths(annotation: Any, session: str) -> Iterator[str]:
    for key in keys(annotation):
        above, below = key.upper(), inside(annotation, key)
        yield above
        if key == "sessions":
            above, below = f"{above}__{session.upper()}", inside(below, session)
            yield above
        yield from (f"{above}__{path}" for path in _paths(below, session))


def _planted(variable: Variable) -> Tree:
    value = variable.value
    for key in reversed(variable.loc):
        value = {key: value}
    return dict(value)
