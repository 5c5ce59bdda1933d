"""The form of each value, and what is said about a wrong one. One named case for each rule."""

import pytest

from tests.unit.config.conftest import Finder, Loader

SESSION = '[sessions.chat]\nurl = "http://h"\n'


def test_the_example_of_the_contract(problems: Finder) -> None:
    lines = problems(SESSION + '[[sessions.chat.tcp]]\nlisten = "9000"\nframng = "lines"\n')

    assert lines == ['bridge.toml: sessions.chat.tcp[0].framng: unknown key (did you mean "framing"?)']


# name: (text of the file, the lines without "bridge.toml: ")
CASES = {
    "unknown table": (SESSION + "[lgo]", ['lgo: unknown key (did you mean "log"?)']),
    "unknown key, nothing near": (SESSION + "xyzzy = 1", ["sessions.chat.xyzzy: unknown key"]),
    "unknown key in an odd spelling": (SESSION + '"a\\nb" = 1', ['sessions.chat."a\\nb": unknown key']),
    "missing url": ("[sessions.chat]", ["sessions.chat.url: missing, but required"]),
    "missing listen": (SESSION + "tcp = [{}]", ["sessions.chat.tcp[0].listen: missing, but required"]),
    "url without scheme": (
        '[sessions.chat]\nurl = "localhost"',
        ["sessions.chat.url: must begin with http:// or https:// (ws:// and wss:// are taken for them)"],
    ),
    "number for a string": (SESSION + "server_id = 7", ["sessions.chat.server_id: must be a string"]),
    "value for a table": ("sessions = 5", ["sessions: must be a table"]),
    "value for a session": ("[sessions]\nchat = 5", ["sessions.chat: must be a table"]),
    "array for a table": (
        '[[sessions.chat]]\nurl = "http://h"',
        ["sessions.chat: must be a table: write [sessions.chat]"],
    ),
    "table for an array": (
        SESSION + '[sessions.chat.tcp]\nlisten = "9000"',
        ["sessions.chat.tcp: must be an array of tables: write [[sessions.chat.tcp]]"],
    ),
    "value for an array": (
        SESSION + 'transports = "websocket"',
        ["sessions.chat.transports: must be an array"],
    ),
    "value in an array of tables": (SESSION + "tcp = [5]", ["sessions.chat.tcp[0]: must be a table"]),
    "unknown level": (
        SESSION + '[log]\nlevel = "INFO"',
        [
            'log.level: unknown value "INFO", must be one of debug, info, warning, error (did you mean "info"?)'
        ],
    ),
    "value that is no string for a choice": (
        SESSION + "[bridge]\nstartup = 1",
        ["bridge.startup: must be one of retry, fail"],
    ),
    "control characters in a choice": (
        SESSION + '[bridge]\nstartup = "re\\ntry"',
        ['bridge.startup: unknown value "re\\ntry", must be one of retry, fail (did you mean "retry"?)'],
    ),
    "unknown transport": (
        SESSION + 'transports = ["websockt"]',
        [
            (
                'sessions.chat.transports[0]: unknown value "websockt", must be one of websocket, xhr-streaming, '
                "xhr-polling, websocket-raw, eventsource, htmlfile, jsonp-polling "
                '(did you mean "websocket"?)'
            )
        ],
    ),
    "no transports": (
        SESSION + "transports = []",
        ["sessions.chat.transports: must name at least one transport"],
    ),
    "a transport twice": (
        SESSION + 'transports = ["websocket", "websocket"]',
        ['sessions.chat.transports: names "websocket" more than once'],
    ),
    "stall_timeout over 8s": (
        SESSION + 'tcp = [{ listen = "0", stall_timeout = "8001ms" }]',
        [
            (
                "sessions.chat.tcp[0].stall_timeout: must be at most 8s: "
                "a server kills a session that is not read for about 10s"
            )
        ],
    ),
    "one header in two spellings": (
        SESSION + 'headers = { a = "1", A = "2" }',
        [
            'sessions.chat.headers: "a" and "A" are the same header: keep one of them, spelled alike everywhere'
        ],
    ),
    "origin in the headers too": (
        SESSION + 'origin = "same"\nheaders = { Origin = "http://h" }',
        ["sessions.chat.headers.Origin: origin is set as well: keep one of them"],
    ),
    "initial over max": (
        SESSION + 'reconnect = { max = "500ms" }',
        ["sessions.chat.reconnect.max: reconnect.initial (1s) is more than reconnect.max (0.5s)"],
    ),
    "message over the queue": (
        SESSION + 'queue = { max_bytes = "1MiB" }\ntcp = [{ listen = "0", max_message_size = "2MiB" }]',
        [
            (
                "sessions.chat.tcp[0].max_message_size: "
                "a message of max_message_size (2MiB) does not fit into queue.max_bytes (1MiB)"
            )
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rule(problems: Finder, name: str) -> None:
    text, lines = CASES[name]

    assert problems(text) == ["bridge.toml: " + line for line in lines]


def accepted_and_refused(key: str, good: list[str], bad: list[str]) -> list[tuple[str, str, bool]]:
    return [(key, value, True) for value in good] + [(key, value, False) for value in bad]


VALUES = [
    *accepted_and_refused(
        "origin",
        ["none", "same", "http://h", "https://example.com:8443", "http://[::1]:80"],
        [
            "",
            "h",
            "ws://h",
            "http://h/",
            "http://h/p",
            "http://h?q",
            "http://u@h",
            "http://h:0",
            "http://h:x",
            "*",
        ],
    ),
    *accepted_and_refused("server_id", ["", "000", "999"], ["1", "1000", "abc", " 12", "١٢٣", "007\n"]),
    *accepted_and_refused(
        "url",
        ["http://h", "https://h/p?q", "ws://h", "wss://h"],
        ["", "h", "ftp://h", "http://", "http://h#f"],
    ),
    *accepted_and_refused(
        "headers.X", ["", "a b", "a\tb", '"q"'], ["a\rb", "a\nb", "a\0b", "\x7f", "é", "€"]
    ),
    *accepted_and_refused("headers.Host", ["other"], []),
    *accepted_and_refused("cookies.a", ["", "b", "b=c", '"b"'], ["b;c", "b\n", "b\0", "é"]),
    *[
        (f"headers.{name}", "x", False)
        for name in ("Connection", "upgrade", "Content-Length", "Transfer-Encoding")
    ],
    *[
        (f"headers.{name}", "x", False)
        for name in ("Sec-WebSocket-Key", "sec-websocket-protocol", "cookie", '"a b"', '""')
    ],
    *[(f"cookies.{name}", "x", False) for name in ('"a b"', '"a;"', '""', '"a="')],
]


def toml(text: str) -> str:
    return '"' + "".join(f"\\u{ord(char):04x}" if not char.isalnum() else char for char in text) + '"'


@pytest.mark.parametrize(("key", "value", "good"), VALUES)
def test_string_of_a_session(problems: Finder, key: str, value: str, good: bool) -> None:
    rest = "" if key == "url" else 'url = "http://h"\n'
    lines = problems(f"[sessions.chat]\n{rest}{key} = {toml(value)}\n")

    assert [line.startswith(f"bridge.toml: sessions.chat.{key}: ") for line in lines] == (
        [] if good else [True]
    )


LISTENER_VALUES = [
    *accepted_and_refused(
        "listen",
        ["9000", "localhost:9000", "[::1]:9000", "unix:/run/a"],
        ["", "x", "::1:90", "unix:a", "h:70000"],
    ),
    *accepted_and_refused("socket_mode", ["0600", "660"], ["", "0888", "600000", "rw", "0o600"]),
    *accepted_and_refused("framing", ["lines", "json", "nul", "netstring", "length32"], ["", "Lines"]),
    *accepted_and_refused("direction", ["both", "from-server", "to-server"], ["none"]),
    *accepted_and_refused("on_eof", ["half-close", "close"], ["none"]),
]


@pytest.mark.parametrize(("key", "value", "good"), LISTENER_VALUES)
def test_string_of_a_listener(problems: Finder, key: str, value: str, good: bool) -> None:
    rest = "" if key == "listen" else 'listen = "9000", '
    lines = problems(SESSION + f"tcp = [{{ {rest}{key} = {toml(value)} }}]")

    assert [line.startswith(f"bridge.toml: sessions.chat.tcp[0].{key}: ") for line in lines] == (
        [] if good else [True]
    )


@pytest.mark.parametrize("name", ["chat", "my-chat", "a_b", "0", "a-_-b"])
def test_session_names(read: Loader, name: str) -> None:
    assert list(read(f'[sessions.{name}]\nurl = "http://h"').sessions) == [name]


@pytest.mark.parametrize("name", ["Chat", "a__b", "_a", "a_", "a.b", "", "é", "a b", "a\\n"])
def test_what_is_no_session_name(problems: Finder, name: str) -> None:
    (line,) = problems(f'[sessions."{name}"]\nurl = "http://h"')

    assert "is no session name: a-z, 0-9 and -" in line
    assert "\n" not in line


def test_a_url_in_websocket_chooses_the_raw_transport(read: Loader) -> None:
    config = read(
        """
        [defaults]
        transports = ["websocket"]
        [sessions.raw]
        url = "http://h/echo/websocket?q=1"
        [sessions.framed]
        url = "http://h/echo"
        [sessions.both]
        url = "http://h/echo/websocket/"
        transports = ["websocket-raw", "websocket"]
        """
    )

    assert config.sessions["raw"].transports == ("websocket-raw",)
    assert config.sessions["raw"].url == "http://h/echo/websocket?q=1"
    assert config.sessions["framed"].transports[0] == "websocket"
    assert config.sessions["both"].transports == ("websocket-raw", "websocket")


def test_a_url_in_websocket_contradicts_other_transports(problems: Finder) -> None:
    (line,) = problems('[sessions.chat]\nurl = "http://h/websocket"\ntransports = ["websocket"]')

    assert line.startswith("bridge.toml: sessions.chat.transports: the url ends in /websocket, which means")


def test_a_suggestion_is_one_of_the_keys_of_that_table(problems: Finder) -> None:
    lines = problems(SESSION + "que = 1\n[sessions.chat.queue]\nmax_byte = 1\n")

    assert lines == [
        'bridge.toml: sessions.chat.queue.max_byte: unknown key (did you mean "max_bytes"?)',
        'bridge.toml: sessions.chat.que: unknown key (did you mean "queue"?)',
    ]


def test_a_long_value_is_not_repeated_whole(problems: Finder) -> None:
    (line,) = problems(SESSION + f'[log]\nlevel = "{"x" * 500}"')

    assert len(line) < 200


def test_all_that_there_is_can_be_set(problems: Finder) -> None:
    text = """
        [bridge]
        startup = "fail"
        drain_timeout = "5s"
        [log]
        level = "debug"
        format = "json"
        [sessions.chat]
        url = "http://h"
        transports = ["websocket-raw", "websocket"]
        headers = { A = "b" }
        origin = "same"
        cookies = { a = "b" }
        cookie_file = "jar"
        server_id = "123"
        proxy = "socks5://user:hunter2@p:1080"
        tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem", server_name = "h", verify = false }
        connect_timeout = 1
        open_timeout = 1
        silence_timeout = 1
        ping_interval = 1
        max_frame_size = 100000
        batch_bytes = 0
        reconnect = { initial = 2, max = 3, stable_after = 4, max_attempts = 5 }
        queue = { max_messages = 1, max_bytes = "1MiB", overflow = "pause" }
        on_connect = [{ http = { url = "/", body = "${env:A}" }, capture = { b = "" } }, { send = "${b}" }, { expect = "c" }]
        relogin_on = [{ match = "d" }]
        keepalive = [{ send = "${b}", every = 1 }]
        [[sessions.chat.tcp]]
        listen = "[::]:9000"
        framing = "length32"
        direction = "to-server"
        max_clients = 1
        max_message_size = 1
        slow_client = "drop-oldest"
        client_buffer = 1
        stall_timeout = 8
        replay = 100
        on_eof = "close"
        eof_linger = 1
        reject_http = false
        allow_remote = true
        [[sessions.chat.tcp]]
        listen = "0.0.0.0:9001"
        allow = ["192.0.2.0/24"]
        tls = { cert = "cert.pem", key = "key.pem", client_ca = "ca.pem" }
        [[sessions.chat.tcp]]
        listen = "unix:/run/chat.sock"
        framing = "envelope"
        slow_client = "disconnect"
        socket_mode = "0660"
        [sessions.each]
        url = "http://h"
        tcp = [{ listen = "9002", mode = "dedicated" }]
        """

    assert problems(text, A="a") == []
