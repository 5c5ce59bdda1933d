"""Which proxy an address takes."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from yarl import URL

from sockjs_bridge.errors import ConnectError, Obstacle
from sockjs_bridge.transports.proxy import Proxy, choose_proxy, parse_proxy

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *map(str.upper, VARIABLES), "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)


def chosen(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], url: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = choose_proxy("env", URL(url))
    return proxy.shown if proxy else ""


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://p.example:3128", Proxy("http", "p.example", 3128)),
        ("http://p.example/", Proxy("http", "p.example", 80)),
        ("p.example:3128", Proxy("http", "p.example", 3128)),
        ("socks5://p.example", Proxy("socks5", "p.example", 1080)),
        ("socks5h://p.example:9", Proxy("socks5", "p.example", 9)),
        ("http://[::1]:8080", Proxy("http", "::1", 8080)),
        ("http://us%40er:p%3Ass%2F@p:1", Proxy("http", "p", 1, "us@er", "p:ss/")),
        ("http://user@p:1", Proxy("http", "p", 1, "user", "")),
        ("socks5://user:pass@p:1", Proxy("socks5", "p", 1, "user", "pass")),
    ],
)
def test_parse(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    [
        "https://p:1",
        "socks4://p:1",
        "http://:80",
        "http://p:0",
        "http://p:99999",
        "http://[p",
        "http://hun%3Ater2:x@p:1",
        "socks5://hunter2@p:1",
        "socks5://:hunter2@p:1",
        "socks5://hunter2:p%C3%A4ss@p:1",
        f"socks5://hunter2:{'x' * 256}@p:1",
    ],
)
def test_what_is_wrong_is_told_without_the_secret(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_proxy(text)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConnectError) as refused:
        choose_proxy(text, URL("http://h"))
    assert refused.value.obstacle is Obstacle.UNREACHABLE


def test_a_proxy_is_shown_without_user_and_password() -> None:
    proxy = parse_proxy("http://hunter1:hunter2@[::1]:3128")
    assert proxy.shown == "http://[::1]:3128"
    assert "hunter" not in repr(proxy) + str(proxy)


def test_a_setting_counts_for_every_address_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HTTP_PROXY", "http://other:1")
    assert choose_proxy("http://p:1", URL("http://h")) == Proxy("http", "p", 1)
    assert choose_proxy("", URL("http://h")) is None


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://h", ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://h", "http://p:1"),
        ({"http_proxy": "http://p:1", "HTTP_PROXY": "http://q:1"}, "http://h", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "https://h", ""),
        ({"HTTPS_PROXY": "http://p:1"}, "https://h", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://h", ""),
        ({"ALL_PROXY": "socks5://p:1"}, "http://h", "socks5://p:1"),
        ({"all_proxy": "socks5h://p:1"}, "https://h", "socks5://p:1"),
        ({"ALL_PROXY": "socks5://p:1", "HTTP_PROXY": "q:2"}, "http://h", "http://q:2"),
        ({"HTTP_PROXY": ""}, "http://h", ""),
    ],
)
def test_variables(
    environment: dict[str, str], url: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(monkeypatch, environment, url) == proxy


@pytest.mark.parametrize(
    ("exempt", "host", "is_exempt"),
    [
        ("", "h.example", False),
        ("*", "h.example", True),
        ("h.example", "h.example", True),
        ("H.Example", "h.example", True),
        ("example", "h.example", True),
        (".example", "h.example", True),
        ("other, example ", "h.example", True),
        ("ample", "h.example", False),
        ("h.example:8081", "h.example", True),
        ("h.example:80", "h.example", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1:8081", "127.0.0.1", True),
        ("127.0.0.1:80", "127.0.0.1", False),
        ("127.0.0.0/8", "127.1.2.3", True),
        ("10.0.0.0/8", "127.1.2.3", False),
        ("::1", "[::1]", True),
        ("[::1]", "[::1]", True),
        ("2001:db8::/32", "[2001:db8::7]", True),
        ("2001:db8::/32", "[2001:db9::7]", False),
        ("*", "[::1]", True),
        ("localhost", "127.0.0.1", False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy(
    name: str, exempt: str, host: str, is_exempt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"HTTP_PROXY": "http://p:1", name: exempt}
    assert (chosen(monkeypatch, environment, f"http://{host}:8081/echo") == "") is is_exempt


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_variable_that_makes_no_sense_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectError, match=f"^{variable} in the environment: must be the URL") as caught:
        chosen(monkeypatch, {variable: "ftp://user:hunter2@p:1"}, "http://h")
    assert "hunter2" not in str(caught.value)


def test_passwords_of_netrc_are_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".netrc"
    file.write_text("machine p login user password hunter2\n", encoding="ascii")
    file.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(file))
    monkeypatch.setenv("HTTP_PROXY", "http://p:1")
    assert choose_proxy("env", URL("http://h")) == Proxy("http", "p", 1)
