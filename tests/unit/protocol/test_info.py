"""What `GET <base>/info` answers (protocol section 1)."""

import json

import pytest

from sockjs_bridge.errors import ProtocolError
from sockjs_bridge.protocol.info import Info, parse_info
from sockjs_bridge.protocol.urls import BaseUrl

BASE = BaseUrl.parse("http://host:8081/echo")
WITH_QUERY = BaseUrl.parse("http://host:8081/echo?token=a%2Bb")
OTHER_ORIGIN = "base_url of /info names another origin; not followed"
NO_ADDRESS = "base_url of /info is no valid address; not followed"


def info_of(answer: object, base: BaseUrl = BASE) -> Info:
    return parse_info(json.dumps(answer).encode(), base)


def followed(base_url: str, base: BaseUrl = BASE) -> str:
    info = info_of({"base_url": base_url}, base)
    assert info.base is not None, info.problem
    assert info.problem == ""
    return str(info.base.url)


# --- websocket and cookie_needed --------------------------------------------------------------------------


def test_section_1_the_answer_of_a_real_server_is_understood() -> None:
    answer = {"websocket": True, "origins": ["*:*"], "cookie_needed": True, "entropy": 1722862331}
    assert info_of(answer) == Info(websocket=True, cookie_needed=True, base=None, problem="")


@pytest.mark.parametrize(
    ("value", "websocket"),
    [(True, True), (False, False), (None, True), (0, True), ("", True), ("false", True), ([], True)],
    ids=repr,
)
def test_only_a_literal_false_says_that_there_is_no_websocket(value: object, websocket: bool) -> None:
    assert info_of({"websocket": value}).websocket is websocket


@pytest.mark.parametrize(
    ("value", "needed"),
    [(True, True), (False, False), (None, False), (1, False), ("true", False), ({}, False)],
    ids=repr,
)
def test_only_a_literal_true_says_that_cookies_are_needed(value: object, needed: bool) -> None:
    assert info_of({"cookie_needed": value}).cookie_needed is needed


def test_an_empty_answer_means_a_websocket_and_no_cookies() -> None:
    assert info_of({}) == Info() == Info(websocket=True, cookie_needed=False, base=None, problem="")


# --- tolerance --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"entropy": -12}',
        b'{"entropy": "high"}',
        b'{"entropy": 1e400}',
        b'{"entropy": ' + b"9" * 5000 + b"}",
        b'{"entropy": NaN}',
        b'{"origins": 5, "transports": {"websocket": false}}',
        b'{"unknown": {"websocket": false}}',
        b'{"name": "\\ud800"}',
        b'{"name": "\xff"}',
        b"\xef\xbb\xbf{}",
        b" {}\r\n",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_section_1_unknown_keys_and_odd_values_are_tolerated(body: bytes) -> None:
    assert parse_info(body, BASE) == Info()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"<html>Not found</html>", b'{"websocket": false', b"\xff", b"[" * 200_000, b"{} {}"],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^the answer to /info is no JSON$"):
        parse_info(body, BASE)


@pytest.mark.parametrize("body", [b"[]", b"null", b"true", b'"websocket"', b"5"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^the answer to /info is no JSON object$"):
        parse_info(body, BASE)


# --- base_url ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, False, 5, ["/x"], {}, "", " "], ids=repr)
def test_a_base_url_that_is_no_text_is_ignored(value: object) -> None:
    assert info_of({"base_url": value}) == Info()


@pytest.mark.parametrize(
    ("base_url", "base"),
    [
        ("http://host:8081/other", "http://host:8081/other"),
        ("HTTP://HOST:8081/Other", "http://host:8081/Other"),
        ("ws://host:8081/other", "http://host:8081/other"),
        (" http://host:8081/other\n", "http://host:8081/other"),
        ("http://host:8081", "http://host:8081/"),
        ("http://host:8081/stra\u00dfe", "http://host:8081/stra%C3%9Fe"),
        ("http://host:8081/a%2Fb", "http://host:8081/a%2Fb"),
    ],
    ids=ascii,
)
def test_section_1_a_base_url_of_the_same_origin_is_followed(base_url: str, base: str) -> None:
    assert followed(base_url) == base


def test_the_port_that_a_scheme_has_anyway_makes_no_other_origin() -> None:
    assert followed("https://host:443/other", BaseUrl.parse("https://host/echo")) == "https://host/other"


@pytest.mark.parametrize(
    ("base_url", "base"),
    [
        ("/other", "http://host:8081/other"),
        ("other", "http://host:8081/other"),
        ("./deep/er", "http://host:8081/deep/er"),
        ("../other", "http://host:8081/other"),
        ("//host:8081/other", "http://host:8081/other"),
        ("?a=b", "http://host:8081/echo?a=b"),
    ],
)
def test_a_relative_base_url_begins_at_the_configured_one(base_url: str, base: str) -> None:
    assert followed(base_url) == base


@pytest.mark.parametrize("base_url", ["/other/", "/other//", "http://host:8081/other/", "other/"])
def test_section_1_a_base_url_never_ends_with_a_slash(base_url: str) -> None:
    assert followed(base_url) == "http://host:8081/other"


@pytest.mark.parametrize(
    ("base_url", "base"),
    [
        ("/other", "http://host:8081/other?token=a%2Bb"),
        ("/other/", "http://host:8081/other?token=a%2Bb"),
        ("http://host:8081/other", "http://host:8081/other?token=a%2Bb"),
        ("http://host:8081", "http://host:8081/?token=a%2Bb"),
        ("/other?", "http://host:8081/other?token=a%2Bb"),
        ("/other?a=%2F", "http://host:8081/other?a=%2F"),
    ],
)
def test_section_1_the_configured_query_is_kept_where_the_base_url_has_none(base_url: str, base: str) -> None:
    assert followed(base_url, WITH_QUERY) == base


@pytest.mark.parametrize("base_url", ["/other", "http://host:8081/other", "http://us:me@host:8081/other"])
def test_credentials_stay_those_that_the_user_gave(base_url: str) -> None:
    info = info_of({"base_url": base_url}, BaseUrl.parse("http://user:secret@host:8081/echo"))
    assert info.base == BaseUrl.parse("http://user:secret@host:8081/other")


def test_a_base_url_does_not_choose_the_raw_websocket() -> None:
    info = info_of({"base_url": "/other/websocket"})
    assert info.base == BaseUrl.parse("http://host:8081/other")


@pytest.mark.parametrize(
    "base_url",
    [
        "https://host:8081/secret",
        "http://host/secret",
        "http://host:8082/secret",
        "http://elsewhere:8081/secret",
        "//elsewhere/secret",
        "wss://host:8081/?token=secret",
        "http://host:8081@elsewhere/secret",
    ],
)
def test_section_1_a_base_url_of_another_origin_is_not_followed(base_url: str) -> None:
    assert info_of({"base_url": base_url}, WITH_QUERY) == Info(problem=OTHER_ORIGIN)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://[::1/secret",
        "http://host:secret/",
        "http://host:99999/secret",
        "ftp://host:8081/secret",
        "javascript:secret",
        "/other#secret",
        "/a secret",
        "/a\tsecret",
        "/secret\ud800",
    ],
    ids=ascii,
)
def test_a_base_url_that_is_no_address_is_not_followed(base_url: str) -> None:
    assert info_of({"base_url": base_url}) == Info(problem=NO_ADDRESS)


def test_what_is_wrong_with_the_base_url_spoils_nothing_else() -> None:
    answer = {"websocket": False, "cookie_needed": True, "base_url": "http://elsewhere/"}
    assert info_of(answer) == Info(websocket=False, cookie_needed=True, base=None, problem=OTHER_ORIGIN)
