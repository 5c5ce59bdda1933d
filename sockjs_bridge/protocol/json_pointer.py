"""JSON pointers, RFC 6901: which part of a document one means."""

import re
from typing import Any

_INDEX = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


def find(document: Any, pointer: str) -> Any:
    """What the pointer points at. Raises LookupError where there is nothing."""
    if not pointer:
        return document
    for token in pointer.split("/")[1:]:
        # In this order: ~01 is ~1, not a slash (RFC 6901 section 4).
        key = token.replace("~1", "/").replace("~0", "~")
        match document:
            case dict():
                document = document[key]
            case list() if _INDEX.fullmatch(key):
                document = document[int(key)]
            case _:
                raise LookupError("nothing is there")
    return document
