"""RFC 6901: the table of section 5, the rules of sections 3 and 4."""

import json
from typing import Any

import pytest

from sockjs_bridge.protocol.json_pointer import find

# RFC 6901 section 5.
DOCUMENT = json.loads(
    r'{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}'
)


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
    ids=repr,
)
def test_section_5(pointer: str, found: Any) -> None:
    assert find(DOCUMENT, pointer) == found


@pytest.mark.parametrize(
    ("document", "pointer", "found"),
    [
        ({"~1": "x"}, "/~01", "x"),
        ({"a": {"": {"b": None}}}, "/a//b", None),
        ([[1, 2], [3]], "/1/0", 3),
        ({"0": "key"}, "/0", "key"),
        (list(range(11)), "/10", 10),
        ("alone", "", "alone"),
        ({"a": False}, "/a", False),
    ],
    ids=repr,
)
def test_what_is_there(document: Any, pointer: str, found: Any) -> None:
    assert find(document, pointer) == found


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (DOCUMENT, "/bar"),
        (DOCUMENT, "/foo/2"),
        (DOCUMENT, "/foo/-"),
        (DOCUMENT, "/foo/00"),
        (DOCUMENT, "/foo/01"),
        (DOCUMENT, "/foo/+1"),
        (DOCUMENT, "/foo/-1"),
        (DOCUMENT, "/foo/1e0"),
        (DOCUMENT, "/foo/\u0661"),
        (DOCUMENT, "/foo/" + "9" * 30),
        (DOCUMENT, "/foo/bar"),
        (DOCUMENT, "/foo/0/0"),
        (DOCUMENT, "//x"),
        (None, "/a"),
        ("text", "/0"),
    ],
    ids=repr,
)
def test_what_is_not_there(document: Any, pointer: str) -> None:
    with pytest.raises(LookupError):
        find(document, pointer)
