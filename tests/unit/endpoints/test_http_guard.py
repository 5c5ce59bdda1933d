"""Browsers reach loopback ports: a first line that is a request of HTTP, or TLS, closes (architecture.md)."""

import pytest

from sockjs_bridge.endpoints.http_guard import Finding, HttpGuard

UNDECIDED = (Finding.UNDECIDED, b"")
HTTP = (Finding.HTTP, b"")
TLS = (Finding.TLS, b"")


def byte_by_byte(data: bytes) -> tuple[Finding, bytes, int]:
    """Feed single bytes until there is a finding; with how many it came."""
    guard = HttpGuard()
    for count in range(1, len(data) + 1):
        finding, released = guard.feed(data[count - 1 : count])
        if finding is not Finding.UNDECIDED:
            return finding, released, count
    return Finding.UNDECIDED, b"", len(data)


REQUEST_LINES = [
    b"GET / HTTP/1.1\r\n",
    b"POST /send?x=1 HTTP/1.1\r\n",
    b"PUT /x HTTP/1.1\r\n",
    b"DELETE /x HTTP/1.1\r\n",
    b"HEAD / HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"PATCH /x HTTP/1.1\r\n",
    b"TRACE / HTTP/1.1\r\n",
    b"CONNECT host:443 HTTP/1.1\r\n",
    b"GET http://host/ HTTP/1.1\r\n",
    b"GET /caf\xc3\xa9 HTTP/1.1\r\n",
    b"PROPFIND / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\n",
    b"GET / HTTP/2\r\n",
]


@pytest.mark.parametrize("line", REQUEST_LINES, ids=repr)
def test_a_request_line_is_http(line: bytes) -> None:
    assert HttpGuard().feed(line) == HTTP
    assert HttpGuard().feed(line + b"Host: localhost\r\n\r\nbody") == HTTP


@pytest.mark.parametrize("line", REQUEST_LINES, ids=repr)
def test_a_request_line_is_http_byte_by_byte_and_none_of_it_is_released(line: bytes) -> None:
    assert byte_by_byte(line) == (Finding.HTTP, b"", len(line))


def test_the_preface_of_http_2_is_http_before_its_line_ends() -> None:
    assert HttpGuard().feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == HTTP
    assert byte_by_byte(b"PRI * HTTP/2.0\r\n") == (Finding.HTTP, b"", len(b"PRI * "))


def test_a_tls_hello_is_tls() -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    assert HttpGuard().feed(hello) == TLS
    assert byte_by_byte(hello) == (Finding.TLS, b"", 2)


def test_the_first_byte_of_a_tls_hello_alone_is_held_back() -> None:
    guard = HttpGuard()
    assert guard.feed(b"\x16") == UNDECIDED
    assert guard.feed(b"\x02x\n") == (Finding.PROGRAM, b"\x16\x02x\n")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"hello", id="lines"),
        pytest.param(b"\n", id="an empty line"),
        pytest.param(b"\r\n", id="an empty line with CR"),
        pytest.param(b"Hello", id="a capital first letter"),
        pytest.param(b'{"data":"x"}', id="envelope"),
        pytest.param(b'"hello"', id="json"),
        pytest.param(b"5:hello,", id="netstring"),
        pytest.param(b"\0\0\0\x05hello", id="length32"),
        pytest.param(b"\0", id="nul, an empty message"),
        pytest.param("\u00c4".encode(), id="another alphabet"),
        pytest.param(b"get / http/1.1\r\n", id="lower case"),
        pytest.param(b" GET / HTTP/1.1", id="white space in front"),
    ],
)
def test_the_first_bytes_of_other_framings_pass_at_once(data: bytes) -> None:
    assert HttpGuard().feed(data) == (Finding.PROGRAM, data)


@pytest.mark.parametrize("data", [b"hello", b'{"data"', b"5:hello,", b"\0\0\0\x05"], ids=repr)
def test_the_very_first_byte_of_a_program_decides(data: bytes) -> None:
    assert byte_by_byte(data) == (Finding.PROGRAM, data[:1], 1)


@pytest.mark.parametrize(
    "line",
    [
        b"HELLO\n",
        b"HELLO WORLD\n",
        b"GET READY NOW\r\n",
        b"GET /\n",
        b"GET / FTP/1.1\n",
        b"GET  HTTP/1.1\n",
        b"A\n",
        b"PRI\n",
        b"PRI *\n",
    ],
    ids=repr,
)
def test_a_chat_line_in_capitals_passes_once_its_line_ends(line: bytes) -> None:
    guard = HttpGuard()
    assert guard.feed(line[:-1]) == UNDECIDED
    assert guard.feed(line[-1:]) == (Finding.PROGRAM, line)


@pytest.mark.parametrize(
    ("line", "count"),
    [
        (b"OH NO, it rains", len(b"OH NO, it ")),
        (b"GET a\tb", len(b"GET a\t")),
        (b"HELLO!", len(b"HELLO!")),
        (b"A" * 40, 33),
        (b"GET / HTTP/1.1 x", len(b"GET / HTTP/1.1 ")),
    ],
    ids=repr,
)
def test_a_line_passes_as_soon_as_it_cannot_become_a_request(line: bytes, count: int) -> None:
    assert byte_by_byte(line) == (Finding.PROGRAM, line[:count], count)


def test_with_a_program_come_all_bytes_that_were_held_back() -> None:
    guard = HttpGuard()
    assert guard.feed(b"HEL") == UNDECIDED
    assert guard.feed(b"LO\nGET / HTTP/1.1\r\n") == (Finding.PROGRAM, b"HELLO\nGET / HTTP/1.1\r\n")
    assert guard.end() == b""


def test_only_the_first_line_is_judged() -> None:
    data = b"hello\nGET / HTTP/1.1\r\n\r\n"
    assert HttpGuard().feed(data) == (Finding.PROGRAM, data)


def test_what_is_held_back_at_eof_is_a_programs() -> None:
    guard = HttpGuard()
    assert guard.feed(b"BYE") == UNDECIDED
    assert guard.end() == b"BYE"
    assert guard.end() == b""


def test_an_empty_read_decides_nothing() -> None:
    guard = HttpGuard()
    assert guard.feed(b"") == UNDECIDED
    assert guard.feed(b"hello") == (Finding.PROGRAM, b"hello")


# --- long lines -------------------------------------------------------------------------------------------

LONGEST_LINE = 8192


@pytest.mark.parametrize("target", [b"/", b"http://host/"], ids=repr)
def test_a_request_with_a_long_target_is_http_before_its_line_ends(target: bytes) -> None:
    """A web page chooses the length of its targets: nothing is held back without a bound."""
    guard = HttpGuard()
    start = b"POST " + target
    assert guard.feed(start.ljust(LONGEST_LINE, b"x")) == UNDECIDED
    assert guard.feed(b"x") == HTTP


def test_a_long_request_line_in_one_read_is_http() -> None:
    assert HttpGuard().feed(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n") == HTTP


def test_a_long_line_that_is_no_request_passes_at_the_bound() -> None:
    guard = HttpGuard()
    start = b"HELLO ".ljust(LONGEST_LINE, b"x")
    assert guard.feed(start) == UNDECIDED
    assert guard.feed(b"x") == (Finding.PROGRAM, start + b"x")
