import pytest

from tests.unit.config.conftest import Finder


def config(*listeners: str) -> str:
    """One session for each listener, in the order of the alphabet."""
    return "\n".join(
        f'[sessions.{name}]\nurl = "http://h"\n{listener}'
        for name, listener in zip("abcdef", listeners, strict=False)
    )


def tcp(listen: str) -> str:
    return f'tcp = [{{ listen = "{listen}", allow_remote = true }}]'


def zmq(endpoint: str, options: str = 'type = "pub"') -> str:
    return f'zmq = [{{ endpoint = "{endpoint}", allow_remote = true, {options} }}]'


CLASHES = {
    "the same": (tcp("127.0.0.1:9000"), tcp("127.0.0.1:9000")),
    "a port alone": (tcp("9000"), tcp("127.0.0.1:9000")),
    "localhost": (tcp("localhost:9000"), tcp("[::1]:9000")),
    "two spellings": (tcp("[::1]:9000"), tcp("[0:0:0:0:0:0:0:1]:9000")),
    "every address": (tcp("0.0.0.0:9000"), tcp("9000")),
    "every address, the other way": (tcp("[2001:db8::1]:9000"), tcp("[::]:9000")),
    "names": (tcp("Example.com:9000"), tcp("example.com:9000")),
    "unix": (tcp("unix:/run/a"), tcp("unix:/run/./a")),
    "systemd": (tcp("systemd:a"), tcp("systemd:a")),
    "tcp and zmq": (tcp("9000"), zmq("tcp://127.0.0.1:9000")),
    "unix and ipc": (tcp("unix:/run/a"), zmq("ipc:///run/a")),
    "zmq on every address": (zmq("tcp://*:9000"), tcp("9000")),
    "two push": (zmq("ipc://a", 'type = "push"'), zmq("ipc://a", 'type = "push"')),
    "pub and push": (zmq("ipc://a"), zmq("ipc://a", 'type = "push"')),
    "pub of two layouts": (zmq("ipc://a"), zmq("ipc://a", 'type = "pub", layout = "meta"')),
}


@pytest.mark.parametrize("name", CLASHES)
def test_two_listeners_on_one_address(problems: Finder, name: str) -> None:
    (line,) = problems(config(*CLASHES[name]))

    assert line.startswith("bridge.toml: sessions.b.")
    assert "two listeners on one address" in line
    assert ": sessions.a." in line
    assert " and sessions.b." in line
    assert ("topic" in line) == (name == "pub of two layouts")


APART = {
    "ports": (tcp("9000"), tcp("9001")),
    "addresses": (tcp("127.0.0.1:9000"), tcp("127.0.0.2:9000")),
    "families": (tcp("0.0.0.0:9000"), tcp("[::1]:9000")),
    "every address and a name that may be anything": (tcp("0.0.0.0:9000"), tcp("example.com:9000")),
    "port 0": (tcp("0"), tcp("0")),
    "wildcard port": (zmq("tcp://127.0.0.1:*"), zmq("tcp://127.0.0.1:*", 'type = "push"')),
    "unix": (tcp("unix:/run/a"), tcp("unix:/run/b")),
    "kinds": (tcp("unix:/a"), tcp("systemd:/a")),
    "pub with other topics": (zmq("ipc://a", 'type = "pub", topic = "x"'), zmq("ipc://a")),
    "connecting": (
        zmq("ipc://a", 'type = "sub", bind = false'),
        zmq("ipc://a", 'type = "sub", bind = false'),
    ),
}


@pytest.mark.parametrize("name", APART)
def test_listeners_that_go_together(problems: Finder, name: str) -> None:
    assert problems(config(*APART[name])) == []


def test_the_admin_listener_counts_too(problems: Finder) -> None:
    (line,) = problems(config(tcp("9180")) + '\n[admin]\nlisten = "127.0.0.1:9180"')

    assert line == (
        "bridge.toml: sessions.a.tcp[0].listen: two listeners on one address, 127.0.0.1:9180: admin and sessions.a.tcp[0]"
    )


def test_each_listener_is_reported_once(problems: Finder) -> None:
    assert len(problems(config(tcp("9000"), tcp("9000"), tcp("9000")))) == 2
