"""Addresses of a SockJS endpoint (protocol section 1)."""

import pytest

from sockjs_bridge.protocol.urls import BaseUrl


def parsed(text: str) -> str:
    return str(BaseUrl.parse(text).url)


@pytest.mark.parametrize(
    ("written", "base"),
    [
        ("http://host:8081/echo", "http://host:8081/echo"),
        ("http://host:8081/echo/", "http://host:8081/echo"),
        ("http://host/echo//", "http://host/echo"),
        ("http://host/deep/er/echo/", "http://host/deep/er/echo"),
        (" http://host/echo\n", "http://host/echo"),
        ("http://host", "http://host/"),
        ("http://host/", "http://host/"),
    ],
    ids=repr,
)
def test_section_1_the_base_url_never_ends_with_a_slash(written: str, base: str) -> None:
    """All but a base at the root, whose path is one slash; no second one comes behind it, see below."""
    assert parsed(written) == base


@pytest.mark.parametrize(
    ("written", "session"),
    [
        ("http://host:8081/echo", "http://host:8081/echo/042/abcdefghijklmnop/xhr_streaming"),
        ("http://host:8081/echo/", "http://host:8081/echo/042/abcdefghijklmnop/xhr_streaming"),
        ("http://host", "http://host/042/abcdefghijklmnop/xhr_streaming"),
        ("http://host/", "http://host/042/abcdefghijklmnop/xhr_streaming"),
        ("http://host/echo?a=b&c=%20d", "http://host/echo/042/abcdefghijklmnop/xhr_streaming?a=b&c=%20d"),
        ("http://host/echo/?q", "http://host/echo/042/abcdefghijklmnop/xhr_streaming?q"),
        ("http://host?q=1", "http://host/042/abcdefghijklmnop/xhr_streaming?q=1"),
    ],
    ids=repr,
)
def test_section_1_a_session_lives_below_the_base_and_the_query_is_kept(written: str, session: str) -> None:
    assert str(BaseUrl.parse(written).session("042", "abcdefghijklmnop", "xhr_streaming")) == session


@pytest.mark.parametrize(
    ("written", "raw"),
    [
        ("http://host/echo", "http://host/echo/websocket"),
        ("http://host", "http://host/websocket"),
        ("https://host/echo?a=b", "https://host/echo/websocket?a=b"),
        ("http://host/echo/websocket", "http://host/echo/websocket"),
    ],
    ids=repr,
)
def test_rule_w_a_raw_websocket_lives_at_websocket_below_the_base(written: str, raw: str) -> None:
    assert str(BaseUrl.parse(written).raw()) == raw


@pytest.mark.parametrize(
    ("written", "base"),
    [
        ("http://host/echo/websocket", "http://host/echo"),
        ("http://host/echo/websocket/", "http://host/echo"),
        ("ws://host/echo/websocket?token=x", "http://host/echo?token=x"),
        ("http://host/websocket", "http://host/"),
        ("http://host/websocket/websocket", "http://host/websocket"),
    ],
    ids=repr,
)
def test_rule_w_a_url_that_ends_in_websocket_means_the_raw_websocket(written: str, base: str) -> None:
    url = BaseUrl.parse(written)
    assert url.raw_websocket
    assert str(url.url) == base


@pytest.mark.parametrize(
    "written",
    [
        "http://host/echo",
        "http://host/xwebsocket",
        "http://host/websocket/echo",
        "http://host/echo?x=/websocket",
        "http://websocket",
        "http://host/WebSocket",
    ],
)
def test_other_urls_do_not_mean_the_raw_websocket(written: str) -> None:
    assert not BaseUrl.parse(written).raw_websocket


def test_info_is_asked_below_the_base_with_the_query_of_the_user() -> None:
    assert str(BaseUrl.parse("https://host/echo?token=x").info()) == "https://host/echo/info?token=x"


@pytest.mark.parametrize(
    ("written", "base", "secure"),
    [
        ("http://host/echo", "http://host/echo", False),
        ("ws://host/echo", "http://host/echo", False),
        ("https://host/echo", "https://host/echo", True),
        ("wss://host/echo", "https://host/echo", True),
        ("HTTP://HOST/Echo", "http://host/Echo", False),
    ],
)
def test_ws_and_wss_are_taken_for_http_and_https(written: str, base: str, secure: bool) -> None:
    url = BaseUrl.parse(written)
    assert str(url.url) == base
    assert url.secure is secure


@pytest.mark.parametrize(
    ("written", "host", "port", "origin"),
    [
        ("http://host/echo", "host", 80, "http://host"),
        ("http://host:80/echo", "host", 80, "http://host"),
        ("https://host/echo", "host", 443, "https://host"),
        ("https://host:80/echo", "host", 80, "https://host:80"),
        ("wss://host:8443/echo?a=b", "host", 8443, "https://host:8443"),
        ("http://[::1]:8081/echo", "::1", 8081, "http://[::1]:8081"),
        ("http://[::1]/echo", "::1", 80, "http://[::1]"),
        ("http://127.0.0.1:1/echo", "127.0.0.1", 1, "http://127.0.0.1:1"),
        ("http://b\u00fccher.example/echo", "xn--bcher-kva.example", 80, "http://xn--bcher-kva.example"),
        ("http://user:secret@host/echo", "host", 80, "http://host"),
    ],
    ids=ascii,
)
def test_host_port_and_origin(written: str, host: str, port: int, origin: str) -> None:
    url = BaseUrl.parse(written)
    assert (url.host, url.port, url.origin) == (host, port, origin)


def test_requests_go_to_ipv6_addresses_in_brackets() -> None:
    assert str(BaseUrl.parse("http://[::1]:8081/echo").raw()) == "http://[::1]:8081/echo/websocket"


@pytest.mark.parametrize(
    "written",
    [
        "http://host/a%2Fb%20c",
        "http://host/echo?sig=a%2Bb+c%3D&empty=&flag",
        "http://host/a?b?c=d",
        "http://host/%zz?x=%zz",
        "http://host/a/./b",
    ],
)
def test_an_ascii_url_is_sent_as_it_was_written(written: str) -> None:
    """Re-quoting could break a signature in its query."""
    assert parsed(written) == written


def test_a_url_with_other_letters_is_quoted() -> None:
    assert parsed("http://b\u00fccher.example/stra\u00dfe?q=\u00e9") == (
        "http://xn--bcher-kva.example/stra%C3%9Fe?q=%C3%A9"
    )


@pytest.mark.parametrize(
    ("written", "user_info"),
    [
        ("http://host/echo", None),
        ("http://user:secret@host/echo", ("user", "secret")),
        ("http://user@host/echo", ("user", "")),
        ("http://u%40x:p%3A%2F@host/echo", ("u@x", "p:/")),
        ("http://:secret@host/echo", ("", "secret")),
    ],
)
def test_user_info_is_handed_out_and_part_of_no_address(
    written: str, user_info: tuple[str, str] | None
) -> None:
    url = BaseUrl.parse(written)
    assert url.user_info == user_info
    addresses = [str(url.url), url.shown, url.origin, str(url.session("000", "s", "xhr")), str(url.raw())]
    assert not any("@" in address or "secret" in address for address in addresses)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("http://user:secret@host:8081/echo?token=secret", "http://host:8081/echo"),
        ("http://host", "http://host"),
        ("wss://host/echo/websocket?token=secret", "https://host/echo"),
    ],
)
def test_what_logs_show_holds_neither_user_info_nor_query(written: str, shown: str) -> None:
    assert BaseUrl.parse(written).shown == shown


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("", "must begin with http"),
        ("host:8081/echo", "must begin with http"),
        ("//host/echo", "must begin with http"),
        ("ftp://user:secret@host/", "must begin with http"),
        ("http:///echo", "names no host"),
        ("http://?q=secret", "names no host"),
        ("http://user:secret@host:0/", "port 0"),
        ("http://user:secret@host:99999/", "not a valid URL"),
        ("http://user:secret@host:secret/", "not a valid URL"),
        ("http://[::1/?secret", "not a valid URL"),
        ("http://user:secret@host/#x", "fragment"),
        ("http://user:secret @host/", "white space"),
        ("http://host/a secret", "white space"),
        ("http://host/secret\x07", "control characters"),
        ("http://host/\u2028secret", "control characters"),
    ],
    ids=ascii,
)
def test_what_cannot_be_used_is_refused_without_repeating_secrets(written: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        BaseUrl.parse(written)
    assert "secret" not in str(refused.value)
