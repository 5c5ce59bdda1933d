"""Whatever a value is, a filled text is what its template was."""

import json
from urllib.parse import parse_qsl, unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from sockjs_bridge.protocol.templates import JsonTemplate, Reference, Template, Value, references_in

NAME = Reference("", "x")
PLACE = "\ue000"
json_values: SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
texts = st.text(st.characters(exclude_characters=PLACE))
documents: SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | texts
    | st.just(PLACE)
    | st.builds("{}{}{}".format, texts, st.just(PLACE), texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.just(PLACE), inner, max_size=3),
    max_leaves=6,
)


def replaced(node: object, text: str) -> object:
    match node:
        case str():
            return node.replace(PLACE, text)
        case dict():
            return {key.replace(PLACE, text): replaced(value, text) for key, value in node.items()}
        case list():
            return [replaced(value, text) for value in node]
    return node


@given(documents, json_values)
def test_filled_json_parses_and_holds_the_value(document: object, value: object) -> None:
    written = json.dumps([document]).replace("${", "$${").replace(json.dumps(PLACE)[1:-1], "${x}")
    filled = Template.message(written).fill({NAME: Value.of(value)})

    assert json.loads(filled) == replaced([document], Value.of(value).text)


@given(documents, json_values)
def test_a_value_by_itself_stays_what_it_is(document: object, value: object) -> None:
    written = json.dumps(document).replace("${", "$${").replace(json.dumps(PLACE)[1:-1], "")
    filled = Template.message(f"[{written}, ${{x}}]").fill({NAME: Value.of(value)})

    assert json.loads(filled)[1] == value


@given(documents, st.text())
def test_a_filled_tree_is_the_tree_with_the_value(document: object, value: str) -> None:
    tree = json.loads(json.dumps(document).replace("${", "$${"))
    filled = JsonTemplate([_with_places(tree)]).fill({NAME: Value.of(value)})

    assert json.loads(filled) == [_leaves(document, value)]


def _with_places(node: object) -> object:
    match node:
        case str():
            return node.replace(PLACE, "${x}")
        case dict():
            return {key: _with_places(value) for key, value in node.items()}
        case list():
            return [_with_places(value) for value in node]
    return node


def _leaves(node: object, value: str) -> object:
    """Keys are not filled: they stay as they were written."""
    match node:
        case str():
            return node.replace(PLACE, value)
        case dict():
            return {key.replace("${", "$${"): _leaves(inner, value) for key, inner in node.items()}
        case list():
            return [_leaves(inner, value) for inner in node]
    return node


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_a_value_stays_in_its_part_of_a_url(path: str, query: str) -> None:
    known = {NAME: Value.of(path), Reference("", "y"): Value.of(query)}
    url = urlsplit(Template.url("http://u:${x}@h/a/${x}/b?k=${y}&l=m").fill(known))

    assert (url.scheme, url.hostname, url.username, url.fragment) == ("http", "h", "u", "")
    assert unquote(url.password or "") == path
    assert [unquote(part) for part in url.path.split("/")] == ["", "a", path, "b"]
    assert parse_qsl(url.query, keep_blank_values=True) == [("k", query), ("l", "m")]


@given(st.text())
def test_an_escaped_text_is_that_text(text: str) -> None:
    written = text.replace("${", "$${")

    assert references_in(written) == []
    assert Template.plain(written).fill({}) == text
