"""The rules of `on_connect`. One named case for each."""

import pytest

from tests.unit.config.conftest import Finder, Loader

LOGIN = '{ http = { url = "/login" }, capture = { user = "/name" } }'
LITERAL = 'a literal "${" is written "$${"'

# name: (the steps, the lines without the path of on_connect)
CASES = {
    "the contract's own example": (
        [
            (
                '{ http = { method = "POST", url = "/api/login", json = { passive = true }, headers = {} }, '
                'capture = { user = "/name", session = "/session" } }'
            ),
            '{ send = \'{"auth":"${user}:${session}"}\' }',
            '{ expect = \'"connected"\', timeout = "5s" }',
        ],
        [],
    ),
    "no kind": (["{}"], ["[0]: a step has exactly one of http, send and expect"]),
    "two kinds": (
        ['{ send = "a", expect = "b" }'],
        ["[0]: a step has exactly one of http, send and expect, not send and expect"],
    ),
    "unknown kind": (['{ snd = "a" }'], ['[0].snd: unknown key (did you mean "send"?)']),
    "empty expect": (['{ expect = "" }'], ["[0].expect: must not be empty"]),
    "no time to expect": (['{ expect = "a", timeout = 0 }'], ["[0].timeout: must be more than 0"]),
    "capture without http": (
        ['{ send = "a", capture = { b = "/b" } }'],
        ["[0].capture: only an http step has an answer to capture from"],
    ),
    "timeout without expect": (
        ['{ send = "a", timeout = 5 }'],
        ["[0].timeout: only an expect step has a timeout (http steps have connect_timeout)"],
    ),
    "http after send": (['{ send = "a" }', LOGIN], ["[1].http: http steps come before send and expect"]),
    "http after expect": (['{ expect = "a" }', LOGIN], ["[1].http: http steps come before send and expect"]),
    "two bodies": (
        ['{ http = { url = "/", json = 0, form = {}, body = "" } }'],
        ["[0].http: a request has one body at most, not json and form and body"],
    ),
    "one body each": (
        [
            '{ http = { url = "/", json = [1] } }',
            '{ http = { url = "/", form = { a = "b" } } }',
            '{ http = { url = "/", body = "b" } }',
        ],
        [],
    ),
    "url": (
        ['{ http = { url = "login" } }'],
        ['[0].http.url: must be a path on the server, such as "/api/login", or an http(s) URL'],
    ),
    "url of another host in disguise": (
        ['{ http = { url = "//h/login" } }'],
        ['[0].http.url: must be a path on the server, such as "/api/login", or an http(s) URL'],
    ),
    "absolute url": (['{ http = { url = "https://h/login" } }'], []),
    "method": (
        ['{ http = { url = "/", method = "post" } }'],
        ['[0].http.method: must be an HTTP method in capitals, such as "POST"'],
    ),
    "header": (
        ['{ http = { url = "/", headers = { Cookie = "a" } } }'],
        ["[0].http.headers.Cookie: use the session's cookies table instead of a Cookie header"],
    ),
    "pointer": (
        ['{ http = { url = "/" }, capture = { a = "name" } }'],
        ['[0].capture.a: must be a JSON pointer, such as "/user/name" (~ is written ~0, a / in a name ~1)'],
    ),
    "pointer with a bare tilde": (
        ['{ http = { url = "/" }, capture = { a = "/~2" } }'],
        ['[0].capture.a: must be a JSON pointer, such as "/user/name" (~ is written ~0, a / in a name ~1)'],
    ),
    "pointers": (['{ http = { url = "/" }, capture = { a = "", b = "/", c = "/0/~0~1/x y" } }'], []),
    "name of a captured value": (
        ['{ http = { url = "/" }, capture = { "env:A" = "/a" } }'],
        [
            '[0].capture."env:A": is no name for a captured value: letters, digits, _ and -, beginning with a letter'
        ],
    ),
    "captured and used in later requests": (
        [LOGIN, '{ http = { url = "/${user}", headers = { A = "${user}" }, json = { a = ["${user}"] } } }'],
        [],
    ),
    "never captured": (
        [LOGIN, '{ send = "${name}" }'],
        [f'[1].send: unknown variable "${{name}}" (captured before: user; {LITERAL})'],
    ),
    "captured too late": (
        ['{ http = { url = "/", json = { a = ["${user}"] } } }', LOGIN],
        [f'[0].http.json.a[0]: unknown variable "${{user}}" (nothing is captured before; {LITERAL})'],
    ),
    "captured by the same step": (
        ['{ http = { url = "/${user}" }, capture = { user = "" } }'],
        [f'[0].http.url: unknown variable "${{user}}" (nothing is captured before; {LITERAL})'],
    ),
    "secrets and literals": (['{ send = "${env:A} $${x} $x" }'], []),
    "secrets that are not there": (
        ['{ send = "${env:B} ${file:/nowhere} ${credential:a}" }'],
        [
            "[0].send: ${env:B} is not set in the environment",
            "[0].send: ${file:/nowhere} cannot be read: no such file or directory",
            "[0].send: ${credential:a} cannot be found: CREDENTIALS_DIRECTORY is not set (systemd sets it for LoadCredential=)",
        ],
    ),
    "not closed": (['{ send = "${env:A" }'], [f'[0].send: a "${{" is not closed ({LITERAL})']),
    "names nothing": (['{ send = "${env:}" }'], [f'[0].send: "${{env:}}" must name something ({LITERAL})']),
    "no JSON": (
        ['{ http = { url = "/", json = { at = 2026-01-01 } } }'],
        ["[0].http.json: cannot be written as JSON: no dates, times, inf or nan there"],
    ),
    "url that a variable begins": (['{ http = { url = "${env:A}/login" } }'], []),
}


@pytest.mark.parametrize("name", CASES)
def test_rule(problems: Finder, name: str) -> None:
    steps, lines = CASES[name]
    found = problems(f'[sessions.chat]\nurl = "http://h"\non_connect = [{", ".join(steps)}]', A="a")

    assert found == ["bridge.toml: sessions.chat.on_connect" + line for line in lines]


def test_captured_values_work_in_keepalive_and_nowhere_else(problems: Finder) -> None:
    lines = problems(
        f"""
        [sessions.chat]
        url = "http://h"
        headers = {{ A = "${{user}}" }}
        on_connect = [{LOGIN}]
        keepalive = [{{ send = "${{user}}", every = 5 }}]
        [admin]
        token = "${{user}}"
        """
    )

    assert [line.split(": ")[1] for line in lines] == ["sessions.chat.headers.A", "admin.token"]


def test_the_attributes_of_a_step(read: Loader) -> None:
    config = read(f'[sessions.chat]\nurl = "http://h"\non_connect = [{LOGIN}, {{ expect = "a" }}]')
    login, expect = config.sessions["chat"].on_connect

    assert login.http is not None
    assert (login.http.method, login.http.url, login.http.json_value) == ("POST", "/login", None)
    assert login.capture == {"user": "/name"}
    assert (expect.expect, expect.timeout) == ("a", 10.0)
