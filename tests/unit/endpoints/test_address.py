"""`listen` values (config.md, `sessions.*.tcp`)."""

import pytest

from sockjs_bridge.endpoints.address import (
    ActivatedSocket,
    ListenAddress,
    TcpAddress,
    UnixAddress,
    parse_listen,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", TcpAddress("127.0.0.1", 9000)),
        ("localhost:9000", TcpAddress("localhost", 9000)),
        ("[::1]:9000", TcpAddress("::1", 9000)),
        ("0.0.0.0:0", TcpAddress("0.0.0.0", 0)),
        ("[::]:65535", TcpAddress("::", 65535)),
        ("9000", TcpAddress("127.0.0.1", 9000)),
        ("0", TcpAddress("127.0.0.1", 0)),
        ("unix:/run/chat.sock", UnixAddress("/run/chat.sock")),
        ("unix:/run/a:b c", UnixAddress("/run/a:b c")),
        ("systemd:chat", ActivatedSocket("chat")),
        ("systemd:chat:1", ActivatedSocket("chat:1")),
    ],
)
def test_the_forms_of_an_address(text: str, address: ListenAddress) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:9000",
        "localhost:0",
        "[::1]:9000",
        "unix:/run/chat.sock",
        "systemd:chat",
    ],
)
def test_an_address_is_shown_as_it_is_written(text: str) -> None:
    assert str(parse_listen(text)) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not an address"),
        ("localhost", "is not an address"),
        ("localhost:", "is not an address"),
        (":9000", "is not an address"),
        ("[]:9000", "is not an address"),
        ("localhost:65536", "is not an address"),
        ("localhost:-1", "is not an address"),
        ("localhost:http", "is not an address"),
        ("localhost:9000 ", "is not an address"),
        ("localhost:\u0669", "is not an address"),
        ("localhost:\u00b2", "is not an address"),
        ("::1:9000", "goes into brackets"),
        ("::1", "goes into brackets"),
        ("[::1:9000", "goes into brackets"),
        ("::1]:9000", "goes into brackets"),
        ("unix:", "absolute path"),
        ("unix:chat.sock", "absolute path"),
        ("unix:@chat", "absolute path"),
        ("unix:/run/\0chat", "no NUL"),
        ("systemd:", "FileDescriptorName"),
    ],
    ids=ascii,
)
def test_other_text_is_refused_with_the_forms_there_are(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_listen(text)


def test_the_path_of_a_unix_socket_has_at_most_107_bytes() -> None:
    """The kernel's field holds 108 with the closing NUL."""
    longest = "/" + "x" * 106
    assert parse_listen(f"unix:{longest}") == UnixAddress(longest)
    with pytest.raises(ValueError, match="at most 107 bytes"):
        parse_listen(f"unix:{longest}x")
    with pytest.raises(ValueError, match="at most 107 bytes"):
        parse_listen("unix:/" + "\u00e9" * 54)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_addresses(host: str) -> None:
    assert TcpAddress(host, 9000).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "fe80::1", "localhost.example", "host"])
def test_other_addresses_may_be_reached_from_elsewhere(host: str) -> None:
    """A name is trusted only if it is localhost."""
    assert not TcpAddress(host, 9000).is_loopback
