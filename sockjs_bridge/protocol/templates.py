"""Texts of the configuration with `${...}` in them: where a value may stand, and how it is written there (config.md).

`${name}` is a value that a login step captured; `${env:NAME}`, `${file:/path}` and `${credential:NAME}` are secrets;
`$${` is a literal `${`. Nothing here reads a secret, and no error repeats a value.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

SECRET_KINDS = ("env", "file", "credential")
_MARK = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_HOST = re.compile(r"[A-Za-z0-9._\-:\[\]]+")
_LITERAL = 'a literal "${" is written "$${"'


class TemplateError(ValueError):
    """A text that is no template, or a value that cannot stand where it would have to. Repeats no value."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What stands between the braces. `kind` is one of SECRET_KINDS, or empty for a captured value."""

    kind: str
    name: str

    def __str__(self) -> str:
        """As the user has written it."""
        return "${" + (f"{self.kind}:" if self.kind else "") + self.name + "}"

    @property
    def is_secret(self) -> bool:
        """Whether it is read from the surroundings, rather than captured."""
        return bool(self.kind)


@dataclass(frozen=True, slots=True)
class Value:
    """What a reference stands for: as text, and as the JSON value that it was or would be."""

    text: str = field(repr=False)
    json: str = field(repr=False)

    @classmethod
    def of(cls, found: Any) -> "Value":
        """A part of a JSON document: a string as it is, anything else as compact JSON. Raises ValueError."""
        if isinstance(found, str):
            return cls(found, _json_string(found))
        text = json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return cls(text, text)


Values = Mapping[Reference, Value]
_Part = str | tuple[Reference, Callable[[Reference, Value], str]]


class Template:
    """A text with places for values, each with the way in which a value is written there.

    Making one raises TemplateError.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[_Part, ...]) -> None:
        self._parts = parts

    @classmethod
    def plain(cls, text: str) -> "Template":
        """A text in which values stand as they are."""
        return cls(tuple(_placed(_parse(text), lambda _: _as_it_is)))

    @classmethod
    def message(cls, text: str) -> "Template":
        """A text that may be JSON: then values are escaped inside its strings, and are JSON values elsewhere.

        A text that is nothing but one reference is no JSON: the value is the whole message.
        """
        parts = _parse(text)
        writers = _json_writers(parts)
        if writers is None:
            return cls.plain(text)
        each = iter(writers)
        return cls(tuple(_placed(parts, lambda _: next(each))))

    @classmethod
    def url(cls, text: str) -> "Template":
        """A URL, or a path: values are percent-encoded, but for one that the URL begins with, and for the host."""
        parts = _parse(text)
        return cls(tuple(_placed(parts, lambda index: _url_writer(parts, index))))

    @property
    def references(self) -> frozenset[Reference]:
        """What has to be known to fill it."""
        return frozenset(part[0] for part in self._parts if not isinstance(part, str))

    def fill(self, values: Values) -> str:
        """The text with its values. Raises TemplateError, which names a reference, never a value."""
        return "".join(
            part if isinstance(part, str) else part[1](part[0], values[part[0]]) for part in self._parts
        )


class JsonTemplate:
    """A tree of data whose strings are templates; filled, it is JSON. Making one raises TemplateError."""

    __slots__ = ("_tree",)

    def __init__(self, tree: Any) -> None:
        self._tree = _leaves_as_templates(tree)
        self.fill(dict.fromkeys(self.references, Value("", '""')))  # so that what is no JSON shows now

    @property
    def references(self) -> frozenset[Reference]:
        """What has to be known to fill it."""
        return frozenset(reference for leaf in _templates(self._tree) for reference in leaf.references)

    def fill(self, values: Values) -> str:
        """The JSON text, in ASCII."""
        try:
            return json.dumps(_filled(self._tree, values), separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError):
            raise TemplateError("cannot be written as JSON: no dates, times, inf or nan there") from None


def references_in(text: str) -> list[Reference]:
    """All references of a text, in order. Raises TemplateError."""
    return [part for part in _parse(text) if isinstance(part, Reference)]


def shown_url(text: str) -> str:
    """A URL as logs may show it: without user info and query, with references in place of values."""
    references: list[str] = []

    def keep(match: re.Match[str]) -> str:
        references.append(match[0])
        return f"\0{len(references) - 1}\0"

    marked = re.split(r"[?#]", _MARK.sub(keep, text), maxsplit=1)[0]
    scheme, slashes, rest = marked.rpartition("://")
    authority, slash, path = rest.partition("/")
    shown = scheme + slashes + authority.rpartition("@")[2] + slash + path
    return re.sub(r"\0(\d+)\0", lambda match: references[int(match[1])], shown).rstrip("/")


def _parse(text: str) -> list[str | Reference]:
    parts: list[str | Reference] = []
    end = 0
    for match in _MARK.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match[1] is None:
            parts.append("${")
            continue
        if not match[2]:
            raise TemplateError(f'a "${{" is not closed ({_LITERAL})')
        parts.append(_reference(match[1]))
    parts.append(text[end:])
    return [part for part in parts if part]


def _reference(written: str) -> Reference:
    kind, colon, name = written.partition(":")
    if colon and kind in SECRET_KINDS:
        if not name or not name.isprintable():
            raise TemplateError(f'"${{{kind}:}}" must name something ({_LITERAL})')
        return Reference(kind, name)
    return Reference("", written)


def _placed(
    parts: list[str | Reference], writer_at: Callable[[int], Callable[[Reference, Value], str]]
) -> Iterator[_Part]:
    for index, part in enumerate(parts):
        yield part if isinstance(part, str) else (part, writer_at(index))


def _as_it_is(_reference: Reference, value: Value) -> str:
    return value.text


def _inside_json_string(_reference: Reference, value: Value) -> str:
    return _json_string(value.text)[1:-1]


def _as_json_string(_reference: Reference, value: Value) -> str:
    return _json_string(value.text)


def _as_json_value(_reference: Reference, value: Value) -> str:
    return value.json


def _json_string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate can travel as an escape only
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False)


def _json_writers(parts: list[str | Reference]) -> list[Callable[[Reference, Value], str]] | None:
    """How each value is written, if the whole is JSON; None if it is not."""
    if not "".join(part for part in parts if isinstance(part, str)).strip():
        return None
    inside = list(_stand_in_strings(parts))
    as_strings = ["x" if is_inside else '"x"' for is_inside in inside]
    if not _is_json(_with_stand_ins(parts, as_strings)):
        return None
    writers: list[Callable[[Reference, Value], str]] = []
    for index, is_inside in enumerate(inside):
        if is_inside:
            writers.append(_inside_json_string)
            continue
        # The key of an object is a string, whatever the value is.
        as_number = [*as_strings[:index], "0", *as_strings[index + 1 :]]
        is_key = not _is_json(_with_stand_ins(parts, as_number))
        writers.append(_as_json_string if is_key else _as_json_value)
    return writers


def _stand_in_strings(parts: list[str | Reference]) -> Iterator[bool]:
    inside = escaped = False
    for part in parts:
        if isinstance(part, Reference):
            yield inside
            continue
        for character in part:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = inside
            elif character == '"':
                inside = not inside


def _with_stand_ins(parts: list[str | Reference], stand_ins: list[str]) -> str:
    each = iter(stand_ins)
    return "".join(part if isinstance(part, str) else next(each) for part in parts)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _url_writer(parts: list[str | Reference], index: int) -> Callable[[Reference, Value], str]:
    # What stands around it decides; other references are letters there, which mean nothing in a URL.
    before = "".join(part if isinstance(part, str) else "x" for part in parts[:index])
    after = "".join(part if isinstance(part, str) else "x" for part in parts[index + 1 :])
    if not index:
        return _as_it_is
    _, slashes, rest = before.partition("://")
    begun = rest if slashes else before
    if re.search(r"[/?#]", begun):
        return _percent_encoded
    authority = re.split(r"[/?#]", after, maxsplit=1)[0]
    return _percent_encoded if "@" in authority else _in_host


def _percent_encoded(_reference: Reference, value: Value) -> str:
    return quote(value.text, safe="", errors="replace")


def _in_host(reference: Reference, value: Value) -> str:
    if not _HOST.fullmatch(value.text):
        raise TemplateError(f"the value of {reference} cannot stand in a host")
    return value.text


def _leaves_as_templates(node: Any) -> Any:
    match node:
        case str():
            return Template.plain(node)
        case dict():
            return {key: _leaves_as_templates(value) for key, value in node.items()}
        case list() | tuple():
            return [_leaves_as_templates(value) for value in node]
    return node


def _templates(node: Any) -> Iterator[Template]:
    match node:
        case Template():
            yield node
        case dict():
            for value in node.values():
                yield from _templates(value)
        case list():
            for value in node:
                yield from _templates(value)


def _filled(node: Any, values: Values) -> Any:
    match node:
        case Template():
            return node.fill(values)
        case dict():
            return {key: _filled(value, values) for key, value in node.items()}
        case list():
            return [_filled(value, values) for value in node]
    return node
