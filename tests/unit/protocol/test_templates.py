"""Where a value may stand in a text of the configuration, and how it is written there (config.md)."""

import json
from typing import Any

import pytest

from sockjs_bridge.protocol.templates import (
    JsonTemplate,
    Reference,
    Template,
    TemplateError,
    Value,
    references_in,
    shown_url,
)

HOSTILE = 'a"b\\c\n${x}\x00'


def values(**known: Any) -> dict[Reference, Value]:
    return {Reference("", name): Value.of(value) for name, value in known.items()}


# --- what is a reference ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("no $ at { all }", []),
        ("${a}", ["${a}"]),
        ("${a}${b} ${a}", ["${a}", "${b}", "${a}"]),
        ("${env:A}-${file:/x y/z}-${credential:c}", ["${env:A}", "${file:/x y/z}", "${credential:c}"]),
        ("$${a}", []),
        ("$$${a}", []),
        ("$$ {a} $a", []),
        ("$${${a}}", ["${a}"]),
        ("${foo:bar}", ["${foo:bar}"]),
        ("${}", ["${}"]),
    ],
    ids=repr,
)
def test_references(text: str, names: list[str]) -> None:
    assert [str(reference) for reference in references_in(text)] == names


@pytest.mark.parametrize("text", ["${a", "x${", "${env:A ${", "${env:}", "${file:}", "${env:a\nb}"])
def test_what_is_no_template(text: str) -> None:
    for make in (references_in, Template.plain, Template.message, Template.url):
        with pytest.raises(TemplateError):
            make(text)


def test_captured_and_secret_ones_are_told_apart() -> None:
    captured, secret = references_in("${foo:bar}${env:bar}")

    assert (captured.is_secret, captured.name) == (False, "foo:bar")
    assert (secret.is_secret, secret.kind, secret.name) == (True, "env", "bar")


@pytest.mark.parametrize("make", [Template.plain, Template.message, Template.url])
def test_the_escape_is_a_literal_everywhere(make: Any) -> None:
    assert make("/a$${x}b").fill({}) == "/a${x}b"


def test_a_value_is_never_filled_again() -> None:
    assert Template.plain("${a}${b}").fill(values(a="${b}", b="$${")) == "${b}$${"


def test_no_value_is_in_a_repr() -> None:
    assert "hunter2" not in repr(Value.of("hunter2"))


# --- messages and bodies ------------------------------------------------------------------------------------------

# name: (template, captured values, the message)
MESSAGES: dict[str, tuple[str, dict[str, Any], str]] = {
    "in a string": ('{"auth":"${u}:${s}"}', {"u": "me", "s": "x"}, '{"auth":"me:x"}'),
    "hostile in a string": (
        '{"a":"${u}"}',
        {"u": HOSTILE},
        json.dumps({"a": HOSTILE}, separators=(",", ":")),
    ),
    "number in a string": ('["${u}"]', {"u": 42}, '["42"]'),
    "object in a string": ('["${u}"]', {"u": {"a": "b"}}, r'["{\"a\":\"b\"}"]'),
    "string as a value": ('{"a":${u}}', {"u": "x"}, '{"a":"x"}'),
    "hostile as a value": ("[${u}]", {"u": HOSTILE}, json.dumps([HOSTILE])),
    "number as a value": ('{"a": ${u} }', {"u": 42}, '{"a": 42 }'),
    "object as a value": ("[${u}]", {"u": {"a": [1, True, None]}}, '[{"a":[1,true,null]}]'),
    "key": ("{${u}:1}", {"u": "k"}, '{"k":1}'),
    "number as a key": ("{${u}:1}", {"u": 42}, '{"42":1}'),
    "behind an escaped quote": (r'["\"${u}"]', {"u": '"'}, r'["\"\""]'),
    "behind an escaped backslash": (r'["\\",${u}]', {"u": 1}, r'["\\",1]'),
    "a string alone": ('"${u}"', {"u": '"'}, r'"\""'),
    "with a literal": ('{"$${a":"${u}"}', {"u": '"'}, r'{"${a":"\""}'),
    "letters beyond ASCII": ('["\u00e9${u}"]', {"u": "\u20ac"}, '["\u00e9\u20ac"]'),
    "nothing else": ("${u}", {"u": HOSTILE}, HOSTILE),
    "nothing but white space": (" ${u}\n", {"u": "x"}, " x\n"),
    "no JSON: words": ('hello "${u}"', {"u": '"'}, 'hello """'),
    "no JSON: STOMP": ("CONNECT\npasscode:${u}\n\n\0", {"u": "a\\b"}, "CONNECT\npasscode:a\\b\n\n\0"),
    "no JSON: a part of a number": ("[1${u}]", {"u": 2}, "[12]"),
    "no JSON: a part of an escape": (r'["\u00${u}"]', {"u": "41"}, r'["\u0041"]'),
    "no JSON: a constant beside it": ("[NaN, ${u}]", {"u": "x"}, "[NaN, x]"),
    "no JSON: two beside each other": ("[${u}${u}]", {"u": "x"}, "[xx]"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message(name: str) -> None:
    text, known, message = MESSAGES[name]

    assert Template.message(text).fill(values(**known)) == message


def test_a_lone_surrogate_goes_into_json_as_an_escape() -> None:
    assert Template.message('["${u}"]').fill(values(u="\ud800")) == r'["\ud800"]'


def test_a_secret_is_a_string_in_json() -> None:
    (port,) = references_in("${env:PORT}")

    assert Template.message('{"a":${env:PORT}}').fill({port: Value.of("8080")}) == '{"a":"8080"}'


def test_deep_nesting_is_no_fault() -> None:
    deep = "[" * 100_000
    assert Template.message(deep + "${u}").fill(values(u="x")) == deep + "x"


# --- JSON as a table of the configuration -------------------------------------------------------------------------


def test_strings_of_a_tree_are_filled_and_encoded() -> None:
    tree = {"a": ["${u}", 1, True, 2.5], "b": {"c": "x${u}y", "${u}": "$${u}"}}
    template = JsonTemplate(tree)

    assert json.loads(template.fill(values(u=HOSTILE))) == {
        "a": [HOSTILE, 1, True, 2.5],
        "b": {"c": f"x{HOSTILE}y", "${u}": "${u}"},
    }
    assert template.references == {Reference("", "u")}


def test_a_number_becomes_a_string_there() -> None:
    assert JsonTemplate(["${u}"]).fill(values(u=42)) == '["42"]'


@pytest.mark.parametrize("tree", [{"a": float("nan")}, [float("inf")], {"a": object()}])
def test_a_tree_that_is_no_json(tree: Any) -> None:
    with pytest.raises(TemplateError):
        JsonTemplate(tree)


# --- URLs -----------------------------------------------------------------------------------------------------------

# name: (template, values, the URL)
URLS: dict[str, tuple[str, dict[str, str], str]] = {
    "user info": ("http://${u}:${p}@h/x", {"u": "a@b", "p": "p:/?#"}, "http://a%40b:p%3A%2F%3F%23@h/x"),
    "path": ("/api/${u}", {"u": "a/../b c?"}, "/api/a%2F..%2Fb%20c%3F"),
    "query": (
        "http://h/x?a=${u}&b=${p}",
        {"u": "1&b=2", "p": "\u20ac"},
        "http://h/x?a=1%26b%3D2&b=%E2%82%AC",
    ),
    "query without a path": ("http://h?t=${u}", {"u": "a+b"}, "http://h?t=a%2Bb"),
    "host": ("https://${u}.example:${p}/x", {"u": "chat-1", "p": "8443"}, "https://chat-1.example:8443/x"),
    "host, with a literal @ in the path": ("http://${u}/@me", {"u": "h"}, "http://h/@me"),
    "beginning": ("${u}/login?x=${p}", {"u": "https://h/base", "p": "a/b"}, "https://h/base/login?x=a%2Fb"),
    "all of it": ("${u}", {"u": "http://u:p@h/x?y"}, "http://u:p@h/x?y"),
    "hostile": ("/${u}", {"u": '"\n${x}%41'}, "/%22%0A%24%7Bx%7D%2541"),
}


@pytest.mark.parametrize("name", URLS)
def test_a_url(name: str) -> None:
    text, known, url = URLS[name]

    assert Template.url(text).fill(values(**known)) == url


@pytest.mark.parametrize("value", ["a/b", "a@b", "a?b", "", "a b", "a\n"])
def test_a_value_that_would_change_the_host(value: str) -> None:
    with pytest.raises(TemplateError, match=r"the value of \$\{u\} cannot stand in a host"):
        Template.url("http://${u}/x").fill(values(u=value))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:1/x/?token=${env:A}", "http://h:1/x"),
        ("http://${env:U}:${file:/a@b/c?d}@h/x", "http://h/x"),
        ("http://${env:HOST}/${file:/run/a?b#c}", "http://${env:HOST}/${file:/run/a?b#c}"),
        ("${env:URL}", "${env:URL}"),
        ("/api/login?user=${env:U}", "/api/login"),
        ("/me@here", "/me@here"),
        ("https://u:p@h#x", "https://h"),
    ],
)
def test_a_url_is_shown_with_references_and_without_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown
