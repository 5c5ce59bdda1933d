"""The options as users see them: key, default, meaning. Read off the models."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sockjs_bridge.config.shape import is_array
from sockjs_bridge.config.texts import texts_of
from sockjs_bridge.config.tree import Loc
from sockjs_bridge.config.units import parse_count, parse_duration, parse_size

_UNITS = {parse_duration: "duration", parse_size: "size", parse_count: "count"}
_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a table. `loc` is where it stands, for a session of any name and the first element of arrays."""

    loc: Loc
    field: FieldInfo
    text: str
    """What it means. Empty if the program was installed without its sources, which hold the texts."""

    @property
    def key(self) -> str:
        """The key, as it is written."""
        return str(self.loc[-1])

    @property
    def unit(self) -> str:
        """Whether the value is a "duration", a "size" or a "count"; empty for anything else."""
        for mark in self.field.metadata:
            if isinstance(mark, BeforeValidator):
                # Any: what validates may be any callable, most of which are no key of this table.
                function: Any = mark.func
                return _UNITS.get(function, "")
        return ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that there are, if they can be counted."""
        annotation = self.field.annotation
        return get_args(annotation) if get_origin(annotation) is Literal else ()

    @property
    def table(self) -> type[BaseModel] | None:
        """The model of the table that stands here, or of each of an array of tables."""
        return _model(self.field.annotation)

    @property
    def is_array_of_tables(self) -> bool:
        """Whether this is written `[[...]]`."""
        return self.table is not None and is_array(self.field.annotation)

    def inner(self) -> Iterator["Option"]:
        """Return the options of the table that stands here, or of each of an array of tables."""
        if self.table is not None:
            yield from options(self.table, (*self.loc, 0) if self.is_array_of_tables else self.loc)

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.field.is_required()

    @property
    def default(self) -> str:
        """The default in TOML. Empty where there is none, or none that TOML can express."""
        return "" if self._default is None else toml(self._default, self.unit)

    @property
    def example(self) -> str:
        """A value in TOML that can stand here: an example if the default says little, else the default."""
        if self.field.examples:
            return toml(self.field.examples[0])
        if self.table is not None and not self.is_array_of_tables:
            inner = ((option.key, option.example) for option in self.inner())
            return "{ " + ", ".join(f"{key} = {value}" for key, value in inner if value) + " }"
        return self.default

    @property
    def _default(self) -> Any:
        value = self.field.get_default(call_default_factory=True, validated_data={})
        return None if value is PydanticUndefined else value


def options(table: type[BaseModel], at: Loc) -> Iterator[Option]:
    """The options of a table, in the order of the contract, but required ones first."""
    texts = texts_of(table)
    found = [
        Option((*at, field.alias or name), field, " ".join(texts.get(name, "").split()))
        for name, field in table.model_fields.items()
    ]
    return iter(sorted(found, key=lambda option: not option.required))


def all_options(table: type[BaseModel], at: Loc) -> Iterator[Option]:
    """The options of a table and of the tables in it, without arrays of tables. A table is one too, before its own."""
    for option in options(table, at):
        if option.is_array_of_tables:
            continue
        yield option
        if option.table is not None:
            yield from all_options(option.table, option.loc)


def plain(text: str) -> str:
    """What the text of an option is outside of Markdown."""
    return text.replace('`"', '"').replace('"`', '"')


def toml(value: Any, unit: str = "") -> str:
    """A value in TOML, with its unit as users write it."""
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True, exclude_defaults=True)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    if isinstance(value, str):
        return _string(value)
    if unit == "duration" and value:
        return f'"{value:g}s"' if value >= 1 else f'"{value * 1000:g}ms"'
    if unit == "size":
        name, size = next(((name, size) for name, size in _SIZES if value and value % size == 0), ("", 1))
        return f'"{value // size}{name}"' if name else str(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _string(text: str) -> str:
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    # Whatever JSON writes is a string of TOML too, for the characters that a default or an example may have.
    return json.dumps(text, ensure_ascii=False)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model(part))), None)
