"""The base of every table of the configuration.

The string below a key says what it means to the user: the reference in the README, `config/bridge.toml` and the JSON
Schema are all made from it, see texts.py.
"""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table: immutable, with no keys but its own, and with errors that never repeat a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
