"""Where the configuration comes from, for pydantic-settings: the file and the environment, as plain data."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from sockjs_bridge.config.tree import Tree
from sockjs_bridge.errors import ConfigError

_TOML_PLACE = re.compile(r"(.*) \(at (line \d+, column \d+|end of document)\)", re.DOTALL)


class Layer(PydanticBaseSettingsSource):
    """One source of settings whose tree is read already, so that all its errors are known."""

    def __init__(self, settings_cls: type[BaseSettings], tree: Tree) -> None:
        super().__init__(settings_cls)
        self._tree = tree

    # The signature is that of the base class, for which this method is abstract.
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002  # the base class has it
        """Give one top-level table, as pydantic-settings asks for it."""
        return self._tree.get(field_name), field_name, False

    def __call__(self) -> Tree:
        """Give the whole tree."""
        return self._tree


def read_toml(path: Path) -> Tree:
    """Read a configuration file. Raises ConfigError of one line that names the file."""
    try:
        # A byte order mark is what some editors put there; TOML has no use for it.
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8: byte {error.start} cannot be decoded"
    except tomllib.TOMLDecodeError as error:
        match = _TOML_PLACE.fullmatch(str(error))
        reason = f"{match[2]}: {match[1][:1].lower()}{match[1][1:]}" if match else str(error)
    except (ValueError, RecursionError):
        # Beyond tomllib: a number of thousands of digits, arrays nested a thousand deep.
        reason = "is not a usable TOML file: a number is too long, or tables are nested too deep"
    raise ConfigError([f"{path}: {reason}"])
