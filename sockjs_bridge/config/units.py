"""Numbers with units, as annotated types: durations become float seconds, sizes int bytes.

Every type takes numbers in strings too, because the environment holds nothing else.
"""

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?(ms|s|m|h|)", re.ASCII)
_SECONDS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0}
_LONGEST_SECONDS = 366 * 24 * 3600.0
_SIZE = re.compile(r"(\d{1,18}) ?(B|KiB|MiB|GiB|)", re.ASCII)
_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_LARGEST = (1 << 63) - 1
_COUNT = re.compile(r"\d{1,18}", re.ASCII)
_SWITCH = {
    "true": True,
    "false": False,
    "yes": True,
    "no": False,
    "on": True,
    "off": False,
    "1": True,
    "0": False,
}

_DURATION_FORMS = 'must be a duration, 0 or more: seconds as a number, or "500ms", "10s", "5m", "1h"'
_SIZE_FORMS = 'must be a size, 0 or more: bytes as a whole number, or "64KiB", "8MiB", "1GiB"'
_COUNT_FORMS = "must be a whole number, 0 or more"
_SWITCH_FORMS = "must be true or false"


def parse_duration(value: object) -> float:
    """Seconds from a number or a string with a unit. Raises ValueError that shows the forms."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        seconds = float(match[1]) * _SECONDS[match[2]] if match else -1.0
    else:
        seconds = value if isinstance(value, int | float) and not isinstance(value, bool) else -1
    # Compared before the conversion: float() of a huge integer raises OverflowError.
    if _LONGEST_SECONDS < seconds < math.inf:
        raise ValueError("is too long: at most 8784h")
    if not 0 <= seconds < math.inf:
        raise ValueError(_DURATION_FORMS)
    return float(seconds)


def parse_size(value: object) -> int:
    """Bytes from a number or a string with a unit. Raises ValueError that shows the forms."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        size = int(match[1]) * _BYTES[match[2]] if match else -1
    else:
        size = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if not 0 <= size <= _LARGEST:
        raise ValueError(_SIZE_FORMS)
    return size


def parse_count(value: object) -> int:
    """A whole number, not negative. Raises ValueError."""
    if isinstance(value, str):
        count = int(value) if _COUNT.fullmatch(value.strip()) else -1
    else:
        count = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if not 0 <= count <= _LARGEST:
        raise ValueError(_COUNT_FORMS)
    return count


def parse_switch(value: object) -> bool:
    """A boolean; from the environment also yes, no, on, off, 1, 0. Raises ValueError."""
    if isinstance(value, bool):
        return value
    switch = _SWITCH.get(value.strip().lower()) if isinstance(value, str) else None
    if switch is None:
        raise ValueError(_SWITCH_FORMS)
    return switch


def show_seconds(seconds: float) -> str:
    """A duration for error messages."""
    return f"{seconds:g}s"


def show_size(size_bytes: int) -> str:
    """A size for error messages, in the largest unit that is exact."""
    for unit in ("GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % _BYTES[unit] == 0:
            return f"{size_bytes // _BYTES[unit]}{unit}"
    return f"{size_bytes} bytes"


def _positive(value: Any) -> Any:
    if not value:
        raise ValueError("must be more than 0")
    return value


Duration = Annotated[
    float, BeforeValidator(parse_duration), WithJsonSchema({"type": ["number", "string"], "minimum": 0})
]
"""Seconds, 0 or more."""
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
"""Seconds, more than 0."""
Size = Annotated[
    int, BeforeValidator(parse_size), WithJsonSchema({"type": ["integer", "string"], "minimum": 0})
]
"""Bytes, 0 or more."""
PositiveSize = Annotated[Size, AfterValidator(_positive)]
"""Bytes, more than 0."""
Count = Annotated[
    int, BeforeValidator(parse_count), WithJsonSchema({"type": ["integer", "string"], "minimum": 0})
]
"""A number of things, 0 or more."""
PositiveCount = Annotated[Count, AfterValidator(_positive)]
"""A number of things, more than 0."""
Switch = Annotated[bool, BeforeValidator(parse_switch)]
"""true or false."""
