"""The JSON Schema of the configuration file, for editors that complete and check it."""

from typing import Any, get_args

from pydantic import BaseModel

from sockjs_bridge.config.models import Config
from sockjs_bridge.config.options import Option, options, plain
from sockjs_bridge.config.tree import Loc
from sockjs_bridge.config.units import PositiveCount

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What fields.py takes for a session's name; there it is checked with a sentence about what is wrong.
_SESSION_NAME = r"^[a-z0-9-]+(_[a-z0-9-]+)*$"
_UNITS: dict[str, dict[str, Any]] = {
    "duration": {"type": ["number", "string"], "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h)?$"},
    "size": {"type": ["integer", "string"], "pattern": r"^[0-9]+ ?(B|KiB|MiB|GiB)?$"},
    # In the environment a count is text; in a file it is a number.
    "count": {"type": "integer"},
}
# The models keep it to themselves, but every type of more than zero ends in this one mark.
_MORE_THAN_ZERO = get_args(PositiveCount)[-1]


def json_schema() -> dict[str, Any]:
    """Return the schema of the TOML file. What the environment adds, it does not know of: a file has each url."""
    generated = Config.model_json_schema(by_alias=True)
    models = {model.__name__: (model, at) for model, at in _tables(Config, ())}
    definitions = {
        name: _object(generated["$defs"][name], model, at)
        for name, (model, at) in models.items()
        if name in generated["$defs"]
    }
    top = _object(generated, Config, ())
    top["properties"]["sessions"]["propertyNames"] = {"pattern": _SESSION_NAME}
    top["description"] = "The configuration of sockjs-bridge."
    return {"$schema": _DIALECT, "title": "sockjs-bridge", **top, "$defs": definitions}


def _tables(model: type[BaseModel], at: Loc) -> list[tuple[type[BaseModel], Loc]]:
    found = [(model, at)]
    for option in options(model, at):
        if option.table is not None:
            below: Loc = (
                (0,) if option.is_array_of_tables else ("chat",) if option.loc == ("sessions",) else ()
            )
            found += _tables(option.table, (*option.loc, *below))
    return found


def _object(generated: dict[str, Any], model: type[BaseModel], at: Loc) -> dict[str, Any]:
    found = {option.key: option for option in options(model, at)}
    clean: dict[str, Any] = {
        "type": "object",
        # The rest of what is said there is for those who read the code.
        "description": generated["description"].partition(". ")[0].rstrip(".") + ".",
        "properties": {key: _property(generated["properties"][key], option) for key, option in found.items()},
        "additionalProperties": False,
    }
    required = [key for key, option in found.items() if option.required]
    return clean | ({"required": required} if required else {})


def _property(generated: dict[str, Any], option: Option) -> dict[str, Any]:
    clean = {
        key: value
        for key, value in generated.items()
        if key not in {"title", "anyOf", "description", "default"}
    }
    for one in generated.get("anyOf", ()):
        # TOML has no null: an option that may be None is one that may be left out.
        clean |= one if one.get("type") != "null" else {}
    if option.unit:
        clean.pop("minimum", None)
        least = "exclusiveMinimum" if _MORE_THAN_ZERO in option.field.metadata else "minimum"
        clean |= {**_UNITS[option.unit], least: 0}
    if option.text:
        clean["description"] = plain(option.text)
    if option.table is None and generated.get("default") is not None:
        clean["default"] = _as_written(generated["default"], option)
    return clean


def _as_written(default: Any, option: Option) -> Any:
    return option.default.strip('"') if option.unit and option.default.startswith('"') else default
