from sockjs_bridge.config.inheritance import inherit
from tests.unit.config.conftest import Finder, Loader


def test_tables_merge_key_by_key(read: Loader) -> None:
    session = read(
        """
        [defaults]
        headers = { A = "default", B = "default" }
        [defaults.reconnect]
        initial = "2s"
        max = "20s"
        [sessions.chat]
        url = "http://h"
        headers = { B = "own" }
        reconnect = { max = "10s" }
        """
    ).sessions["chat"]

    assert session.headers == {"A": "default", "B": "own"}
    assert (session.reconnect.initial, session.reconnect.max, session.reconnect.stable_after) == (
        2.0,
        10.0,
        30.0,
    )


def test_arrays_replace(read: Loader) -> None:
    config = read(
        """
        [[defaults.tcp]]
        listen = "127.0.0.1:0"
        framing = "json"
        [sessions.heir]
        url = "http://h"
        [sessions.own]
        url = "http://h"
        [[sessions.own.tcp]]
        listen = "9001"
        """
    )

    assert [listener.framing for listener in config.sessions["heir"].tcp] == ["json"]
    assert [(listener.listen, listener.framing) for listener in config.sessions["own"].tcp] == [
        ("9001", "lines")
    ]


def test_the_environment_is_over_the_file_and_a_session_over_the_defaults(read: Loader) -> None:
    config = read(
        """
        [defaults]
        server_id = "001"
        connect_timeout = 1
        [sessions.a]
        url = "http://h"
        connect_timeout = 3
        [sessions.b]
        url = "http://h"
        """,
        SOCKJS_BRIDGE_DEFAULTS__CONNECT_TIMEOUT="2",
        SOCKJS_BRIDGE_SESSIONS__B__SERVER_ID="002",
    )

    assert (config.sessions["a"].connect_timeout, config.sessions["a"].server_id) == (3.0, "001")
    assert (config.sessions["b"].connect_timeout, config.sessions["b"].server_id) == (2.0, "002")


def test_an_error_in_the_defaults_is_reported_once_and_there(problems: Finder) -> None:
    lines = problems(
        """
        [defaults]
        server_id = "1"
        origni = "same"
        [[defaults.tcp]]
        listen = "127.0.0.1:0"
        framing = "linse"
        [sessions.a]
        url = "http://h"
        [sessions.b]
        url = "http://h"
        """
    )

    assert [line.split(": ")[1] for line in lines] == [
        "defaults.server_id",
        "defaults.tcp[0].framing",
        "defaults.origni",
    ]
    assert lines[2].endswith('unknown key (did you mean "origin"?)')


def test_the_defaults_are_checked_though_no_session_inherits_the_value(problems: Finder) -> None:
    lines = problems('[defaults]\nserver_id = "1"\n[sessions.a]\nurl = "http://h"\nserver_id = "001"')

    assert [line.split(": ")[1] for line in lines] == ["defaults.server_id"]


def test_a_broken_rule_between_inherited_values_is_reported_in_the_defaults(problems: Finder) -> None:
    lines = problems(
        """
        [defaults]
        reconnect = { initial = 50, max = 40 }
        [sessions.a]
        url = "http://h"
        [sessions.b]
        url = "http://h"
        """
    )

    assert lines == [
        "bridge.toml: defaults.reconnect.initial: reconnect.initial (50s) is more than reconnect.max (40s)"
    ]


def test_defaults_may_be_incomplete_where_every_session_completes_them(read: Loader) -> None:
    config = read(
        """
        [defaults]
        reconnect = { initial = 50 }
        [sessions.a]
        url = "http://h"
        reconnect = { max = 60 }
        """
    )

    assert config.sessions["a"].reconnect.initial == 50.0


def test_the_defaults_have_no_url(problems: Finder) -> None:
    lines = problems('[defaults]\nurl = "http://h"\n[sessions.a]\nserver_id = "001"')

    assert lines == [
        "bridge.toml: defaults.url: each session has its own url: write it there",
        "bridge.toml: sessions.a.url: missing, but required",
    ]


def test_one_listener_in_the_defaults_clashes_for_two_sessions(problems: Finder) -> None:
    (line,) = problems(
        '[defaults]\ntcp = [{ listen = "9000" }]\n[sessions.a]\nurl = "http://h"\n[sessions.b]\nurl = "http://h"'
    )

    assert line == (
        "bridge.toml: defaults.tcp[0].listen: two listeners on one address, 127.0.0.1:9000: "
        "sessions.a.tcp[0] and sessions.b.tcp[0]"
    )


def test_inheriting_leaves_what_is_no_table_for_the_models() -> None:
    for tree in (
        {},
        {"defaults": 5},
        {"defaults": {}, "sessions": 5},
        {"defaults": {"a": 1}, "sessions": {"b": 5}},
    ):
        assert inherit(tree) == tree
