"""The reference of the configuration, made from the models: `config/bridge.toml`, the tables of the README, a schema."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from pydantic import BaseModel

from sockjs_bridge.config.listeners import TcpListener, ZmqEndpoint
from sockjs_bridge.config.models import (
    AdminConfig,
    BridgeConfig,
    LogConfig,
    SessionConfig,
    SessionDefaults,
)
from sockjs_bridge.config.options import Option, all_options, options, plain
from sockjs_bridge.config.schema import json_schema
from sockjs_bridge.config.steps import Keepalive, Relogin, Step
from sockjs_bridge.config.tree import Loc

__all__ = ["example_toml", "json_schema", "option_tables"]

_WIDTH = 100
_SESSION = ("sessions", "chat")
_PROCESS: dict[str, type[BaseModel]] = {"bridge": BridgeConfig, "log": LogConfig, "admin": AdminConfig}
_BY_ITSELF: dict[str, type[BaseModel]] = {"on_connect": Step, "relogin_on": Relogin, "keepalive": Keepalive}
# A step is one of three kinds, so no example has all the keys.
_STEPS = {
    "A step at every connect: they are taken in order, those over HTTP first.": ("http", "capture"),
    "A step that sends.": ("send",),
    "A step that waits.": ("expect", "timeout"),
}
# These have a row of their own in the README; the other tables are there by their keys.
_TOLD_AS_A_WHOLE = ("curve", "http")


# --- config/bridge.toml -----------------------------------------------------------------------------------------


def example_toml() -> str:
    """Return a file with every option: it works as it is, and whatever is commented out may be uncommented."""
    parts = [[*_comment(_head())]]
    for name, table in _PROCESS.items():
        parts += [[f"[{name}]"], *_explained(options(table, (name,)))]
    parts.append(
        [*_comment("Every key of a session but `url`. Sessions inherit it table by table."), "[defaults]"]
    )
    for option in options(SessionDefaults, ("defaults",)):
        if option.table is None:
            parts += _explained([option])
    for option in options(SessionDefaults, ("defaults",)):
        if option.table is not None and not option.is_array_of_tables:
            parts.append([*_comment(option.text), f"[defaults.{option.key}]"])
            parts += _explained(option.inner())
    parts += _example_session()
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head() -> str:
    return (
        "Every option of sockjs-bridge, written by `make reference`. A line that begins with # and no space is an "
        "option with its default: take the # away to change it. In a block that begins with #[[ do so for all of "
        "them.\n"
        'Durations are seconds, or "500ms", "10s", "5m", "1h"; sizes are bytes, or "64KiB", "8MiB".\n'
        "In any string ${env:NAME}, ${file:/path} and ${credential:NAME} are replaced; $${ is a literal ${."
    )


def _example_session() -> Iterator[list[str]]:
    url, *_ = options(SessionConfig, _SESSION)
    head = "A session. Its name is of a-z, 0-9, - and single _; every key of [defaults] can stand here too, and goes before."
    yield [*_comment(head), "[sessions.chat]", *_comment(plain(url.text)), f"{url.key} = {url.example}"]
    listen, *others = options(TcpListener, (*_SESSION, "tcp", 0))
    head = "A stream socket for local programs; any number of them."
    yield [
        *_comment(head),
        "[[sessions.chat.tcp]]",
        *_comment(plain(listen.text)),
        f"{listen.key} = {listen.example}",
    ]
    yield from _explained(others)
    yield _block("zmq", "A ZeroMQ socket for local programs; any number of them.")
    for head, kind in _STEPS.items():
        yield _block("on_connect", head, kind)
    yield _block("relogin_on", "When to run the steps again.")
    yield _block("keepalive", "A message that is sent again and again while the session is ready.")


def _explained(found: Iterable[Option]) -> Iterator[list[str]]:
    for option in found:
        yield _lines(option)


def _block(name: str, head: str, only: Sequence[str] = ()) -> list[str]:
    whole = next(option for option in options(SessionDefaults, _SESSION) if option.key == name)
    lines = [*_comment(head), f"#[[sessions.chat.{name}]]"]
    for option in whole.inner():
        if not only or option.key in only:
            lines += _lines(option)
    return lines


def _lines(option: Option) -> list[str]:
    lines = [*_comment(plain(option.text))]
    if option.table is not None:
        # The keys of a table that is written in one line.
        for inner in all_options(option.table, option.loc):
            lines += _comment(f"{inner.key}: {plain(inner.text)}", "#   ")
    return [*lines, f"#{option.key} = {option.example}"]


def _comment(text: str, mark: str = "# ") -> Iterator[str]:
    for paragraph in text.split("\n"):
        yield from textwrap.wrap(
            paragraph,
            _WIDTH,
            initial_indent=mark,
            subsequent_indent=mark,
            break_long_words=False,
            break_on_hyphens=False,
        )


# --- README -----------------------------------------------------------------------------------------------------


_ZMQ_LEAD = "Of a ZeroMQ socket, `[[sessions.NAME.zmq]]` (what they do is told [below](#zeromq)):"
_BY_ITSELF_LEAD = (
    "Of what a session does by itself: steps at every connect, `[[sessions.NAME.on_connect]]`, each with one of `http`, "
    "`send` and `expect`; `[[sessions.NAME.relogin_on]]`; `[[sessions.NAME.keepalive]]`:"
)


def option_tables() -> str:
    """Return the tables of the README: every key with its default and what it means."""
    process = [row for name, table in _PROCESS.items() for row in _rows(table, (name,), f"{name}.")]
    session = [*_rows(SessionConfig, _SESSION)]
    by_itself = [
        row for name, table in _BY_ITSELF.items() for row in _rows(table, (*_SESSION, name, 0), f"{name}.")
    ]
    groups = [
        ("", process),
        ("Of a session, `[sessions.NAME]` (a name is of `a-z`, `0-9`, `-` and single `_`):", session),
        ("Of a listener, `[[sessions.NAME.tcp]]`:", _rows(TcpListener, (*_SESSION, "tcp", 0))),
        (_ZMQ_LEAD, _rows(ZmqEndpoint, (*_SESSION, "zmq", 0))),
        (_BY_ITSELF_LEAD, by_itself),
    ]
    head = ["| key | default | meaning |", "|---|---|---|"]
    tables = [
        "\n".join([*([textwrap.fill(lead, 120), ""] if lead else []), *head, *rows]) for lead, rows in groups
    ]
    return "\n\n".join(tables) + "\n"


def _rows(table: type[BaseModel], at: Loc, prefix: str = "") -> Iterator[str]:
    for option in all_options(table, at):
        if option.table is not None and option.key not in _TOLD_AS_A_WHOLE:
            continue
        # A bar would end the cell.
        said = option.text.replace("|", "\\|")
        key = prefix + ".".join(str(part) for part in option.loc[len(at) :])
        default = " required" if option.required else f" `{option.default}`" if option.default else ""
        yield f"| `{key}` |{default} | {said} |"
