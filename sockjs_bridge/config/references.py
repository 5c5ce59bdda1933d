"""`${...}` in the strings of the configuration: read at the start, all problems at once (config.md)."""

from collections.abc import Iterator
from typing import Any

from sockjs_bridge.config.problems import Problem
from sockjs_bridge.config.tree import Loc, Tree
from sockjs_bridge.errors import SecretError
from sockjs_bridge.protocol.templates import Reference, Template, TemplateError, Value, references_in
from sockjs_bridge.secret_store import SecretStore

LOGIN_KEYS = ("on_connect", "keepalive")
"""What a login fills with what it has captured, each time anew."""
_URLS = ("url", "proxy")


class Resolved(str):
    """A string that holds a secret: no error may repeat it."""

    __slots__ = ()


class References:
    """Reads what the strings of a tree refer to. Reading has to be repeated for nothing but a login."""

    def __init__(self, secrets: SecretStore) -> None:
        self._secrets = secrets
        self.problems: list[Problem] = []

    def resolve(self, tree: Tree) -> Tree:
        """The tree with values in place of references. What a login fills stays as it is, but is tried."""
        return {key: self._resolved(value, (key,)) for key, value in tree.items()}

    def _resolved(self, node: Any, loc: Loc) -> Any:
        match node:
            case dict():
                return {key: self._resolved(value, (*loc, key)) for key, value in node.items()}
            case list():
                return [self._resolved(value, (*loc, index)) for index, value in enumerate(node)]
            case str() if "${" in node and not _is_public_key(loc):
                return self._text(node, loc)
        return node

    def _text(self, text: str, loc: Loc) -> str:
        try:
            references = references_in(text)
        except TemplateError as error:
            self.problems.append(Problem(loc, str(error)))
            return text
        values = dict(self._values(references, loc))
        if is_filled_by_logins(loc):
            return text
        unknown = [reference for reference in references if not reference.is_secret]
        self.problems += [unknown_variable(reference, loc, set()) for reference in unknown]
        if len(values) < len(set(references)):
            return text
        template = Template.url(text) if loc[-1] in _URLS else Template.plain(text)
        try:
            return Resolved(template.fill(values))
        except TemplateError as error:
            self.problems.append(Problem(loc, str(error)))
            return text

    def _values(self, references: list[Reference], loc: Loc) -> Iterator[tuple[Reference, Value]]:
        for reference in references:
            if reference.is_secret:
                try:
                    yield reference, Value.of(self._secrets.read(reference.kind, reference.name))
                except SecretError as error:
                    self.problems.append(Problem(loc, f"{reference} {error}"))


def is_filled_by_logins(loc: Loc) -> bool:
    """Whether what stands there may hold what a login step has captured."""
    inside = loc[2:] if loc[:1] == ("sessions",) else loc[1:]
    return inside[:1] != () and inside[0] in LOGIN_KEYS and loc[0] in {"sessions", "defaults"}


def unknown_variable(reference: Reference, loc: Loc, known: set[str]) -> Problem:
    """The problem with a reference to something that nobody has captured."""
    captured = f"captured before: {', '.join(sorted(known))}" if known else "nothing is captured before"
    return Problem(loc, f'unknown variable "{reference}" ({captured}; a literal "${{" is written "$${{")')


def _is_public_key(loc: Loc) -> bool:
    """Z85 has all three characters: one key in 185 looks as if it held a variable."""
    return "curve" in loc and ("allow" in loc or loc[-1] == "server_key")
