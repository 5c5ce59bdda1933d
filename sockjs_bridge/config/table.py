"""The base of every table of the configuration."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table: immutable, with no keys but its own, and with errors that never repeat a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
