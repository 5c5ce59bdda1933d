"""The reference that is made from the models: what it shows works, is complete and true, and was written anew."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from sockjs_bridge.config import Config, load, reference
from sockjs_bridge.config.options import Option, options, toml
from sockjs_bridge.config.units import parse_duration, parse_size
from tests.unit.config.conftest import Finder, Loader
from tests.unit.config.reference_files import CONFIG, EXAMPLE, README, section

RUN_IT = "the models, or what is available, have changed: run `make reference` and commit what it writes"
EXAMPLES = sorted(CONFIG.glob("*.toml"))
TEXT = reference.example_toml()
LINES = TEXT.splitlines()
OPTION = re.compile(r"^#(?=[^ #\n])", re.MULTILINE)


def everything(model: type[BaseModel] = Config) -> Iterator[Option]:
    """Every option at every depth, of a session called chat."""
    for option in options(model, ()):
        yield from down(option)


def down(option: Option) -> Iterator[Option]:
    yield option
    if option.loc == ("sessions",):
        assert option.table
        for inner in options(option.table, ("sessions", "chat")):
            yield from down(inner)
        return
    for inner in option.inner():
        yield from down(inner)


OPTIONS = list(everything())
LEAVES = [option for option in OPTIONS if option.table is None]


def without_marks(text: str) -> str:
    """Take the mark away from every option."""
    return OPTION.sub("", text)


def blocks() -> list[str]:
    """The commented arrays of tables."""
    return [part for part in TEXT.split("\n\n") if re.search(r"^#\[\[", part, re.MULTILINE)]


def single_lines() -> list[int]:
    """The numbers of the commented options that stand for themselves."""
    inside = {line for block in blocks() for line in block.splitlines()}
    return [number for number, line in enumerate(LINES) if OPTION.match(line) and line not in inside]


# --- drift -----------------------------------------------------------------------------------------------------


def test_the_example_is_what_the_models_say() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == TEXT, RUN_IT


def test_the_readme_is_what_the_models_say() -> None:
    assert section(README.read_text(encoding="utf-8")) == reference.option_tables(), RUN_IT


# --- config/bridge.toml ----------------------------------------------------------------------------------------


def test_the_example_works_as_it_is(read: Loader) -> None:
    config = read(TEXT)

    assert config.sessions.keys() == {"chat"}
    assert [str(listener.address) for listener in config.sessions["chat"].tcp] == ["127.0.0.1:9000"]
    # Its headers alone: everything else is as in the smallest file.
    assert config == load(CONFIG / "minimal.toml", {})


def test_there_are_lines_and_blocks_to_try() -> None:
    assert len(single_lines()) > 50
    assert len(blocks()) == 6


@pytest.mark.parametrize(
    "number", single_lines(), ids=lambda number: f"{number}-{LINES[number].partition(' =')[0]}"
)
def test_a_line_without_its_mark_changes_nothing(read: Loader, number: int) -> None:
    # So it is valid, in the right table, and what it shows is the default.
    changed = [*LINES[:number], LINES[number][1:], *LINES[number + 1 :]]

    assert tomllib.loads("\n".join(changed)) != tomllib.loads(TEXT)
    assert read("\n".join(changed)) == read(TEXT)


def with_block(number: int) -> str:
    block = blocks()[number]
    opened = without_marks(block)
    text = TEXT.replace(block, opened)
    if "${user}" in opened:
        # What it sends was captured by the step before.
        text = text.replace(blocks()[number - 1], without_marks(blocks()[number - 1]))
    return text


@pytest.mark.parametrize("number", range(len(blocks())))
def test_a_block_without_its_marks_is_valid(problems: Finder, number: int) -> None:
    text = with_block(number)

    assert text != TEXT
    assert problems(text) == []


def test_all_of_it_at_once_is_valid_and_complete(read: Loader) -> None:
    opened = without_marks(TEXT)
    read(opened)
    tree = tomllib.loads(opened)
    shown = set(paths(tree))
    missing = [option for option in LEAVES if not in_file(option, shown)]

    # None of these has a default that TOML can write: the comment tells of them.
    assert {option.key for option in missing} == {"form", "body", "allow", "server_key"}
    for option in missing:
        assert re.search(rf"^#   {option.key}: ", TEXT, re.MULTILINE)


def paths(node: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield at
    if isinstance(node, dict):
        for key, value in node.items():
            yield from paths(value, (*at, key))
    elif isinstance(node, list):
        for value in node:
            yield from paths(value, at)


def in_file(option: Option, shown: set[tuple[str, ...]]) -> bool:
    path = tuple(str(key) for key in option.loc if key != 0)
    # The keys of a session that are not its listeners and steps are explained once, in [defaults].
    if path[:1] == ("defaults",):
        path = ("sessions", "chat", *path[1:])
    return path in shown or (path[:2] == ("sessions", "chat") and ("defaults", *path[2:]) in shown)


def test_the_defaults_in_blocks_are_those_of_the_models() -> None:
    opened = without_marks(TEXT)
    session = tomllib.loads(opened)["sessions"]["chat"]
    checked = 0
    for option in OPTIONS:
        *table, index, key = option.loc if len(option.loc) > 3 else ("", "", "")
        if table[:2] != ["sessions", "chat"] or index != 0 or option.field.examples or option.table:
            continue
        for written in session[table[2]]:
            if key in written:
                assert toml_value(option.default) == written[key]
                checked += 1
    assert checked > 20


def toml_value(text: str) -> Any:
    return tomllib.loads(f"x = {text}")["x"]


# --- texts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: ".".join(map(str, option.loc)))
def test_every_option_is_explained(option: Option) -> None:
    assert option.text
    assert not option.text.endswith(".")
    named = {option.default.strip('"'), *re.findall(r'`"?([^`"]+)"?`', option.text)}
    assert set(option.choices) <= named


def test_every_option_has_a_row_in_the_readme() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", reference.option_tables(), re.MULTILINE)
    wanted = [
        ".".join(str(key) for key in option.loc if key != 0)
        for option in LEAVES
        if option.loc[0] != "defaults"
    ]
    wanted = [key.removeprefix("sessions.chat.").removeprefix("tcp.").removeprefix("zmq.") for key in wanted]

    assert sorted({*wanted, "curve", "on_connect.http"}) == sorted(set(rows))
    assert len(rows) == len(wanted) + 2


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (8.0, "duration", '"8s"'),
        (0.5, "duration", '"500ms"'),
        (0.0, "duration", "0"),
        (8 << 20, "size", '"8MiB"'),
        (8000, "size", "8000"),
        (0, "size", "0"),
        (10_000, "count", "10000"),
        (True, "", "true"),
        ("a\nb", "", '"a\\nb"'),
        ('{"a":1}', "", "'{\"a\":1}'"),
        ({"a b": ("x", 1)}, "", '{ "a b" = ["x", 1] }'),
    ],
)
def test_values_in_toml(value: object, unit: str, text: str) -> None:
    assert toml(value, unit) == text
    written = toml_value(text)
    if unit == "duration":
        assert parse_duration(written) == value
    if unit == "size":
        assert parse_size(written) == value


# --- the files that come along ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_example_loads(path: Any) -> None:
    assert load(path, {"CHAT_PASSWORD": "a"}).sessions


def test_the_example_of_many_sessions_shows_what_it_says() -> None:
    chat, prices, news = load(CONFIG / "many-sessions.toml", {}).sessions.values()

    assert (chat.transports, news.transports) == (("websocket", "xhr-streaming"), ("xhr-polling",))
    assert {session.reconnect.max for session in (chat, prices, news)} == {10.0}
    assert (str(prices.tcp[0].address)[:5], prices.tcp[0].direction) == ("unix:", "from-server")


def test_the_example_of_a_login_shows_every_part_of_one() -> None:
    (chat,) = load(CONFIG / "login.toml", {"CHAT_PASSWORD": "a"}).sessions.values()

    assert [step.http is not None for step in chat.on_connect] == [True, False, False]
    assert chat.on_connect[0].capture.keys() == {"user", "session"}
    assert chat.on_connect[2].expect
    assert chat.relogin_on
    assert chat.keepalive[0].every == 5.0


# --- JSON Schema -----------------------------------------------------------------------------------------------

SCHEMA = reference.json_schema()


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    name = node.get("$ref", "").removeprefix("#/$defs/")
    return SCHEMA["$defs"][name] | node if name else node


def unknown(value: Any, node: dict[str, Any], at: str = "") -> Iterator[str]:
    """Find the keys of a file that the schema does not know, and required ones that it has not."""
    node = resolved(node)
    if isinstance(value, dict) and "properties" in node:
        yield from (f"{at}.{key} is missing" for key in node.get("required", ()) if key not in value)
        assert node["additionalProperties"] is False
        for key, inner in value.items():
            if key in node["properties"]:
                yield from unknown(inner, node["properties"][key], f"{at}.{key}")
            else:
                yield f"{at}.{key}"
    elif isinstance(value, dict) and isinstance(node.get("additionalProperties"), dict):
        for key, inner in value.items():
            yield from unknown(inner, node["additionalProperties"], f"{at}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from unknown(inner, node["items"], at)
    elif not fits(value, node):
        yield f"{at} = {value}"


def fits(value: Any, node: dict[str, Any]) -> bool:
    if isinstance(value, str) and not re.search(node.get("pattern", ""), value):
        return False
    return value in node.get("enum", [value])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_schema_knows_the_examples(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    opened = without_marks(text) if path == EXAMPLE else text

    assert list(unknown(tomllib.loads(opened), SCHEMA)) == []


def test_the_schema_finds_mistakes() -> None:
    tree = tomllib.loads(
        '[sessions.a]\nurll = "x"\nopen_timeout = "soon"\norigin = "x"\n[log]\nlevel = "loud"'
    )

    assert sorted(unknown(tree, SCHEMA)) == [
        ".log.level = loud",
        ".sessions.a.open_timeout = soon",
        ".sessions.a.url is missing",
        ".sessions.a.urll",
    ]


def test_the_shape_of_the_schema() -> None:
    session = SCHEMA["$defs"]["SessionConfig"]

    assert SCHEMA["$schema"].startswith("https://json-schema.org/")
    assert session["required"] == ["url"]
    assert "url" not in SCHEMA["$defs"]["SessionDefaults"]["properties"]
    assert session["properties"]["connect_timeout"]["type"] == ["number", "string"]
    assert session["properties"]["connect_timeout"]["default"] == "10s"
    assert session["properties"]["max_frame_size"]["default"] == "16MiB"
    assert SCHEMA["$defs"]["TcpListener"]["properties"]["max_clients"]["default"] == 1000
    for name, table in SCHEMA["$defs"].items():
        assert table["additionalProperties"] is False, name
        assert table["description"], name
        for key, option in table["properties"].items():
            assert option["description"], (name, key)
            assert not option.keys() & {"title", "anyOf"}, (name, key)


@pytest.mark.parametrize("text", ["10", "10s", "1.5s", "500ms", "5 m", "1h", "-1", "1d", "s", "", "64KiB"])
def test_the_pattern_of_durations(text: str) -> None:
    pattern = SCHEMA["$defs"]["BridgeConfig"]["properties"]["drain_timeout"]["pattern"]

    assert bool(re.search(pattern, text)) == accepts(parse_duration, text)


@pytest.mark.parametrize("text", ["10", "10B", "64KiB", "8 MiB", "1GiB", "1.5MiB", "64KB", "-1", "", "10s"])
def test_the_pattern_of_sizes(text: str) -> None:
    pattern = SCHEMA["$defs"]["QueueConfig"]["properties"]["max_bytes"]["pattern"]

    assert bool(re.search(pattern, text)) == accepts(parse_size, text)


def accepts(parse: Any, text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True
