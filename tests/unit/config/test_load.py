from pathlib import Path

import pytest
from pydantic import ValidationError

from sockjs_bridge.config import Config, load
from sockjs_bridge.errors import ConfigError
from tests.unit.config.conftest import Finder, Loader

FOUR_LINES = """
[sessions.chat]
url = "http://localhost:8081/echo"
[[sessions.chat.tcp]]
listen = "127.0.0.1:9000"
"""


def test_four_lines_are_enough(read: Loader) -> None:
    config = read(FOUR_LINES)

    assert list(config.sessions) == ["chat"]
    session = config.sessions["chat"]
    assert session.url == "http://localhost:8081/echo"
    assert session.transports == ("websocket", "xhr-streaming", "xhr-polling")
    assert session.info
    assert [str(listener.address) for listener in session.tcp] == ["127.0.0.1:9000"]


def test_the_minimal_file_in_the_repository_is_those_four_lines() -> None:
    path = Path(__file__).parents[3] / "config" / "minimal.toml"
    lines = path.read_text().splitlines()

    assert lines[0].startswith("# ")
    assert lines[1:] == FOUR_LINES.strip().splitlines()
    assert list(load(path, {}).sessions) == ["chat"]


def test_defaults_are_those_of_the_contract(read: Loader) -> None:
    config = read(FOUR_LINES)
    session = config.sessions["chat"]

    assert config.bridge.model_dump() == {"startup": "retry", "drain_timeout": 8.0}
    assert config.log.model_dump() == {"level": "info", "format": "auto"}
    assert config.admin.model_dump() == {
        "listen": "",
        "allowed_hosts": (),
        "allow_remote": False,
        "token": "",
    }
    assert session.reconnect.model_dump() == {
        "initial": 1.0,
        "max": 30.0,
        "stable_after": 30.0,
        "max_attempts": 0,
    }
    assert session.queue.model_dump() == {
        "max_messages": 10_000,
        "max_bytes": 8_388_608,
        "max_age": 0.0,
        "overflow": "pause",
        "resend_in_doubt": False,
        "spool": "",
        "spool_max_bytes": 268_435_456,
    }
    assert session.tls.model_dump() == {"ca": "", "cert": "", "key": "", "server_name": "", "verify": True}
    tables = {"url", "transports", "info", "tls", "reconnect", "queue", "tcp"}
    assert session.model_dump(exclude=tables) == {
        "headers": {},
        "origin": "none",
        "cookies": {},
        "cookie_file": "",
        "server_id": "",
        "proxy": "",
        "connect_timeout": 10.0,
        "open_timeout": 10.0,
        "silence_timeout": 60.0,
        "ping_interval": 20.0,
        "max_frame_size": 16_777_216,
        "batch_bytes": 8000,
        "eventsource_encoding": "auto",
        "on_connect": (),
        "relogin_on": (),
        "keepalive": (),
        "zmq": (),
    }
    assert session.tcp[0].model_dump() == {
        "listen": "127.0.0.1:9000",
        "framing": "lines",
        "mode": "shared",
        "direction": "both",
        "max_clients": 1000,
        "max_message_size": 1_048_576,
        "slow_client": "pause",
        "client_buffer": 1_048_576,
        "stall_timeout": 3.0,
        "on_eof": "half-close",
        "eof_linger": 2.0,
        "replay": 0,
        "reject_http": True,
        "allow_remote": False,
        "allow": (),
        "tls": {"cert": "", "key": "", "client_ca": ""},
        "socket_mode": "0600",
    }


@pytest.mark.usefixtures("everything_available")
def test_defaults_of_a_zmq_endpoint_are_those_of_the_contract(read: Loader) -> None:
    config = read('[sessions.chat]\nurl="http://h"\nzmq=[{type="pub", endpoint="tcp://127.0.0.1:9001"}]')

    assert config.sessions["chat"].zmq[0].model_dump(exclude={"type", "endpoint"}) == {
        "bind": True,
        "topic": None,
        "layout": "plain",
        "hwm": 1000,
        "overflow": "drop-oldest",
        "linger": 2.0,
        "curve": {"secret_key_file": "", "allow": None, "server_key": None},
        "allow_remote": False,
    }


def test_every_model_is_frozen(read: Loader) -> None:
    config = read(FOUR_LINES)
    session = config.sessions["chat"]

    for model, field in (
        (config, "log"),
        (config.log, "level"),
        (session, "url"),
        (session.tcp[0], "listen"),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, field, "x")


def test_the_own_environment_is_not_read_behind_the_callers_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG", '{"level": "debug"}')
    monkeypatch.setenv("SOCKJS_BRIDGE_LOG__LEVEL", "debug")

    assert Config().log.level == "info"


def test_equal_files_give_equal_configurations(read: Loader) -> None:
    assert read(FOUR_LINES) == read(FOUR_LINES)
    assert read(FOUR_LINES) != read(FOUR_LINES + "max_clients = 1\n")


def test_secrets_are_in_no_repr(read: Loader) -> None:
    config = read(
        """
        [sessions.chat]
        url = "http://user:hunter2@localhost/echo?key=hunter2"
        headers = { Authorization = "Bearer hunter2" }
        cookies = { token = "hunter2" }
        [defaults]
        cookies = { other = "hunter2" }
        """
    )

    assert "hunter2" not in repr(config) + str(config)


@pytest.mark.parametrize(
    "text",
    [
        'url = "${env:SECRET}"',
        'url = "http://h"\nheaders = { X = "${env:SECRET}\n" }',
        'url = "http://h"\norigin = "${env:SECRET}"',
        'url = "http://h"\neventsource_encoding = "${env:SECRET}"',
        'url = "http://h"\neventsource_encoding = "${env:SHORT}"',
        'url = "http://h"\ntcp = [{ listen = "${env:SECRET}" }]',
        'url = "ftp://user:hunter2@localhost"',
        'url = ["hunter2"]',
        'url = "http://h"\nheaders = { X = "hunter2\\n" }',
        'url = "http://h"\nheaders = { X = ["hunter2"] }',
        'url = "http://h"\nheaders = "hunter2"',
        'url = "http://h"\ncookies = { a = "hunter2;" }',
        'url = "http://h"\norigin = "http://user:hunter2@h"',
        'url = "http://h"\nproxy = "ftp://user:hunter2@h"',
        'url = "http://user:hunter2@h/websocket?hunter2"\ntransports = ["websocket"]',
        'url = "http://h"\non_connect = [{ http = { url = "hunter2", json = { a = "hunter2" } } }]',
    ],
)
def test_secrets_are_in_no_error(problems: Finder, text: str) -> None:
    lines = problems(f"[sessions.chat]\n{text}\n", SECRET="hunter2", SHORT="uhu")

    assert lines
    assert "hunter2" not in "\n".join(lines)
    assert "uhu" not in "\n".join(lines)


def test_no_validation_error_hangs_behind_a_config_error(read: Loader) -> None:
    with pytest.raises(ConfigError) as caught:
        read('[sessions.chat]\nurl = "ftp://hunter2"')

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_all_errors_come_at_once(problems: Finder) -> None:
    lines = problems(
        """
        [log]
        level = "inof"
        [sessions.chat]
        server_id = "12"
        spool = "x"
        keepalive = [{ send = "x", every = 1 }]
        [sessions.chat.reconnect]
        initial = "1h"
        [[sessions.chat.tcp]]
        listen = "0.0.0.0:9000"
        framng = "lines"
        [sessions.news]
        url = "http://localhost"
        [[sessions.news.tcp]]
        listen = "9000"
        """,
        SOCKJS_BRIDGE_LOGG="x",
    )

    assert [line.split(": ")[:2] for line in lines if line.startswith("bridge")] == [
        ["bridge.toml", "sessions.chat.keepalive"],
        ["bridge.toml", "log.level"],
        ["bridge.toml", "sessions.chat.server_id"],
        ["bridge.toml", "sessions.chat.tcp[0].framng"],
        ["bridge.toml", "sessions.chat.url"],
        ["bridge.toml", "sessions.chat.spool"],
        ["bridge.toml", "sessions.chat.reconnect.initial"],
        ["bridge.toml", "sessions.chat.tcp[0].listen"],
        ["bridge.toml", "sessions.news.tcp[0].listen"],
    ]
    assert lines[0] == 'SOCKJS_BRIDGE_LOGG: unknown variable (did you mean "SOCKJS_BRIDGE_LOG"?)'


def test_a_wrong_value_does_not_break_rules_that_depend_on_it(problems: Finder) -> None:
    lines = problems(FOUR_LINES.replace("127.0.0.1", "0.0.0.0") + 'allow_remote = "maybe"\n')

    assert lines == ["bridge.toml: sessions.chat.tcp[0].allow_remote: must be true or false"]


def test_no_session_shows_the_smallest_file(problems: Finder) -> None:
    example = "\n".join("  " + line for line in FOUR_LINES.strip().splitlines())

    for text in ("", '[log]\nlevel = "info"', "[sessions]", '[defaults]\nserver_id = "001"'):
        assert problems(text) == [f"bridge.toml: no session; the smallest working file is\n{example}"]
    (line,) = problems(None)
    assert line.startswith("no configuration file, and no session in the environment; ")
    assert line.endswith(example)


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "absent.toml"
    with pytest.raises(ConfigError) as caught:
        load(path, {})

    assert caught.value.problems == (f"{path}: cannot be read: No such file or directory",)


def test_a_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {})

    assert caught.value.problems == (f"{tmp_path}: cannot be read: Is a directory",)


def test_an_unreadable_file_does_not_hide_what_is_wrong_with_the_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {"SOCKJS_BRIDGE_X": ""})

    assert caught.value.problems[1] == "SOCKJS_BRIDGE_X: unknown variable"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb == 2\n", "bridge.toml: line 2, column 4: invalid value"),
        ("[log\n", "bridge.toml: line 1, column 5: expected ']' at the end of a table declaration"),
        ("a = [", "bridge.toml: end of document: unclosed array"),
        (b'a = "\xff"\n', "bridge.toml: is not UTF-8: byte 5 cannot be decoded"),
    ],
)
def test_a_file_that_is_no_toml_is_one_line_with_the_place(
    problems: Finder, text: str | bytes, line: str
) -> None:
    (found,) = problems(text)

    assert found.startswith(line.partition(": ")[0])
    assert line.split(": ")[1] in found


def test_numbers_and_nesting_beyond_the_parser_are_an_error_and_not_a_crash(problems: Finder) -> None:
    for text in ("a = " + "9" * 5000, "a = " + "[" * 5000):
        (line,) = problems(text)
        assert line.startswith("bridge.toml: ")


def test_a_byte_order_mark_does_not_matter(read: Loader) -> None:
    assert read(b"\xef\xbb\xbf" + FOUR_LINES.encode()) == read(FOUR_LINES)


def test_the_models_have_a_json_schema() -> None:
    schema = Config.model_json_schema()

    assert set(schema["properties"]) == {"bridge", "log", "admin", "defaults", "sessions"}
