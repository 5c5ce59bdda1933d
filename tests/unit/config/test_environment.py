import pytest

from tests.unit.config.conftest import Finder, Loader

FILE = '[sessions.chat]\nurl = "http://h"\n'


def test_the_environment_can_replace_the_file_whole(read: Loader) -> None:
    config = read(
        None,
        SOCKJS_BRIDGE_LOG__LEVEL="debug",
        SOCKJS_BRIDGE_BRIDGE__DRAIN_TIMEOUT="5",
        SOCKJS_BRIDGE_SESSIONS__CHAT__URL="http://h/echo",
        SOCKJS_BRIDGE_SESSIONS__CHAT__TRANSPORTS='["websocket-raw"]',
        SOCKJS_BRIDGE_SESSIONS__CHAT__SERVER_ID="007",
        SOCKJS_BRIDGE_SESSIONS__CHAT__QUEUE__MAX_BYTES="4MiB",
        SOCKJS_BRIDGE_SESSIONS__CHAT__TCP='[{"listen": "9000", "max_clients": "5", "reject_http": "false"}]',
    )
    session = config.sessions["chat"]

    assert (config.log.level, config.bridge.drain_timeout) == ("debug", 5.0)
    assert (session.url, session.transports, session.server_id) == (
        "http://h/echo",
        ("websocket-raw",),
        "007",
    )
    assert session.queue.max_bytes == 4 << 20
    assert (session.tcp[0].max_clients, session.tcp[0].reject_http) == (5, False)


def test_a_variable_is_over_the_file(read: Loader) -> None:
    config = read(
        FILE + "ping_interval = 5\ntcp = [{ listen = '1' }, { listen = '2' }]",
        SOCKJS_BRIDGE_SESSIONS__CHAT__PING_INTERVAL="6s",
        SOCKJS_BRIDGE_SESSIONS__CHAT__TCP='[{"listen": "3"}]',
        SOCKJS_BRIDGE_SESSIONS__CHAT__RECONNECT='{"max": 40}',
    )
    session = config.sessions["chat"]

    assert session.url == "http://h"
    assert session.ping_interval == 6.0
    assert [listener.listen for listener in session.tcp] == ["3"]
    assert (session.reconnect.initial, session.reconnect.max) == (1.0, 40.0)


def test_a_single_key_is_over_a_table_as_json(read: Loader) -> None:
    config = read(
        None,
        SOCKJS_BRIDGE_SESSIONS='{"chat": {"url": "http://table", "server_id": "001"}}',
        SOCKJS_BRIDGE_SESSIONS__CHAT__URL="http://key",
    )

    assert (config.sessions["chat"].url, config.sessions["chat"].server_id) == ("http://key", "001")


@pytest.mark.parametrize("name", ["queue", "url", "tcp", "sessions", "headers", "my-chat", "a_b", "log"])
def test_a_session_may_be_called_like_a_field(read: Loader, name: str) -> None:
    upper = name.upper()
    environ = {
        f"SOCKJS_BRIDGE_SESSIONS__{upper}__URL": "http://h",
        f"SOCKJS_BRIDGE_SESSIONS__{upper}__QUEUE__MAX_MESSAGES": "5",
        f"SOCKJS_BRIDGE_SESSIONS__{upper}__TCP": '[{"listen": "9000"}]',
    }
    config = read(None, **environ)

    assert list(config.sessions) == [name]
    assert config.sessions[name].queue.max_messages == 5
    assert config.sessions[name].tcp[0].listen == "9000"


def test_headers_and_cookies_keep_their_spelling(read: Loader) -> None:
    session = read(
        FILE + 'headers = { A = "file" }',
        SOCKJS_BRIDGE_SESSIONS__CHAT__HEADERS__Authorization="Bearer x",
        SOCKJS_BRIDGE_SESSIONS__CHAT__COOKIES__JSESSIONID="1",
    ).sessions["chat"]

    assert session.headers == {"A": "file", "Authorization": "Bearer x"}
    assert session.cookies == {"JSESSIONID": "1"}


def test_lower_case_names_count_too(read: Loader, problems: Finder) -> None:
    assert read(FILE, sockjs_bridge_log__level="debug").log.level == "debug"
    assert problems(FILE, sockjs_bridge_log__level="debug", SOCKJS_BRIDGE_LOG__LEVEL="info") == [
        "sockjs_bridge_log__level: sets the same value as SOCKJS_BRIDGE_LOG__LEVEL"
    ]


def test_text_is_taken_as_it_is(read: Loader) -> None:
    session = read(FILE, SOCKJS_BRIDGE_SESSIONS__CHAT__HEADERS__X='{"a": [1]}').sessions["chat"]

    assert session.headers == {"X": '{"a": [1]}'}


def test_what_kubernetes_injects_is_ignored(problems: Finder) -> None:
    lines = problems(
        FILE,
        SOCKJS_BRIDGE_SERVICE_HOST="10.0.0.1",
        SOCKJS_BRIDGE_SERVICE_PORT="9000",
        SOCKJS_BRIDGE_SERVICE_PORT_CHAT="9000",
        SOCKJS_BRIDGE_PORT="tcp://10.0.0.1:9000",
        SOCKJS_BRIDGE_PORT_9000_TCP_ADDR="10.0.0.1",
        SOCKJS_BRIDGEX="x",
        OTHER_SOCKJS_BRIDGE_LOG="x",
    )

    assert lines == []


# variable: what is said about it
UNKNOWN = {
    "SOCKJS_BRIDGE_": "",
    "SOCKJS_BRIDGE_XYZZY": "",
    "SOCKJS_BRIDGE_SERVICES": "",
    "SOCKJS_BRIDGE_LOG__LEVLE": "SOCKJS_BRIDGE_LOG__LEVEL",
    "SOCKJS_BRIDGE_LOG_LEVEL": "SOCKJS_BRIDGE_LOG__LEVEL",
    "SOCKJS_BRIDGE_SESSION__CHAT__URL": "SOCKJS_BRIDGE_SESSIONS__CHAT__URL",
    "SOCKJS_BRIDGE_SESSIONS__CHAT__ULR": "SOCKJS_BRIDGE_SESSIONS__CHAT__URL",
    "SOCKJS_BRIDGE_SESSIONS__CHAT__QUEUE_MAX_BYTES": "SOCKJS_BRIDGE_SESSIONS__CHAT__QUEUE__MAX_BYTES",
    "SOCKJS_BRIDGE_SESSIONS__CHAT__": "",
    "SOCKJS_BRIDGE_SESSIONS____URL": "",
    "SOCKJS_BRIDGE_DEFAULTS__ORIGN": "SOCKJS_BRIDGE_DEFAULTS__ORIGIN",
    "SOCKJS_BRIDGE_DEFAULTS__URL": "",
    "SOCKJS_BRIDGE_LOG__LEVEL__X": "",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_variable_is_an_error(problems: Finder, name: str) -> None:
    meant = f' (did you mean "{UNKNOWN[name]}"?)' if UNKNOWN[name] else ""

    assert problems(FILE, **{name: "x"}) == [f"{name}: unknown variable{meant}"]


# variable: (value, what is said about it)
WRONG = {
    "SESSIONS__CHAT__TRANSPORTS": ("websocket", 'must be JSON, such as ["a", "b"]'),
    "SESSIONS__CHAT__HEADERS": ("A: b", 'must be JSON, such as {"key": "value"}'),
    "SESSIONS__CHAT__COOKIES": ("[]", "must be a JSON object"),
    "SESSIONS__CHAT__TCP": ("{}", "must be a JSON array"),
    "SESSIONS__CHAT__ZMQ": ("[" * 100_000, 'must be JSON, such as ["a", "b"]'),
    "SESSIONS__CHAT__TCP__0__LISTEN": (
        "9000",
        "a single element cannot be set: set SOCKJS_BRIDGE_SESSIONS__CHAT__TCP to a JSON array",
    ),
    "LOG__LEVEL": (
        "inof",
        'unknown value "inof", must be one of debug, info, warning, error (did you mean "info"?)',
    ),
    "BRIDGE__DRAIN_TIMEOUT": (
        "",
        'must be a duration, 0 or more: seconds as a number, or "500ms", "10s", "5m", "1h"',
    ),
    "SESSIONS__CHAT__URL": (
        "h",
        "must begin with http:// or https:// (ws:// and wss:// are taken for them)",
    ),
    "SESSIONS__CHAT__RECONNECT__MAX": ("100ms", "reconnect.initial (1s) is more than reconnect.max (0.1s)"),
    "SESSIONS__CHAT__QUEUE": ('{"max_byte": 1}', 'max_byte: unknown key (did you mean "max_bytes"?)'),
    "DEFAULTS__TCP": ('[{"listn": "1", "listen": "0"}]', '[0].listn: unknown key (did you mean "listen"?)'),
    "DEFAULTS__HEADERS__X": (
        "${x}",
        'unknown variable "${x}" (nothing is captured before; a literal "${" is written "$${")',
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_names_the_variable(problems: Finder, name: str) -> None:
    value, sentence = WRONG[name]

    assert problems(FILE, **{f"SOCKJS_BRIDGE_{name}": value}) == [f"SOCKJS_BRIDGE_{name}: {sentence}"]


def test_an_error_in_the_file_does_not_name_a_variable_of_the_same_table(problems: Finder) -> None:
    lines = problems(
        FILE + 'server_id = "1"\nheaders = { "a b" = "" }',
        SOCKJS_BRIDGE_SESSIONS__CHAT='{"origin": "x", "headers": {"B": ""}}',
    )

    assert sorted(line.split(": ")[:2] for line in lines) == [
        ["SOCKJS_BRIDGE_SESSIONS__CHAT", "origin"],
        ["bridge.toml", 'sessions.chat.headers."a b"'],
        ["bridge.toml", "sessions.chat.server_id"],
    ]


def test_a_variable_that_covers_a_wrong_value_of_the_file(problems: Finder) -> None:
    assert problems(FILE + 'server_id = "1"', SOCKJS_BRIDGE_SESSIONS__CHAT__SERVER_ID="001") == []


def test_what_is_missing_in_a_session_of_the_environment(problems: Finder) -> None:
    missing = "environment: sessions.news.url: missing, but required"

    assert problems(None, SOCKJS_BRIDGE_SESSIONS__NEWS__SERVER_ID="001") == [missing]
    assert problems(FILE, SOCKJS_BRIDGE_SESSIONS__NEWS__SERVER_ID="001") == [missing]
    assert problems("[sessions.news]", SOCKJS_BRIDGE_SESSIONS__NEWS__SERVER_ID="001") == [
        "bridge.toml: sessions.news.url: missing, but required"
    ]


def test_a_session_name_that_only_the_environment_has(problems: Finder) -> None:
    (line,) = problems(None, **{"SOCKJS_BRIDGE_SESSIONS__A.B__URL": "http://h"})

    assert line.startswith('environment: sessions."a.b": is no session name')
