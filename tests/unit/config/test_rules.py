"""Rules between values. One named case for each."""

from pathlib import Path

import pytest

from tests.unit.config.conftest import Finder

SESSION = '[sessions.chat]\nurl = "http://h"\n'
KEY = "a" * 40
REMOTE = "can be reached from other machines: add"

# name: (text, the lines without "bridge.toml: ")
CASES = {
    "admin: no address": (
        SESSION + '[admin]\nlisten = "unix:a"',
        ['admin.listen: "unix:" must be followed by an absolute path, such as "unix:/run/chat.sock"'],
    ),
    "admin: no socket activation": (
        SESSION + '[admin]\nlisten = "systemd:a"',
        ['admin.listen: must be "host:port", "[::1]:port", a port, "unix:/path", or empty for none'],
    ),
    "admin: remote": (
        SESSION + '[admin]\nlisten = "0.0.0.0:9180"',
        [f"admin.listen: 0.0.0.0:9180 {REMOTE} allow_remote = true and a token, or listen on 127.0.0.1"],
    ),
    "admin: remote without token": (
        SESSION + '[admin]\nlisten = "0.0.0.0:9180"\nallow_remote = true',
        [f"admin.listen: 0.0.0.0:9180 {REMOTE} a token"],
    ),
    "admin: remote with all": (
        SESSION + '[admin]\nlisten = "0.0.0.0:9180"\nallow_remote = true\ntoken = "x"',
        [],
    ),
    "admin: local": (SESSION + '[admin]\nlisten = "[::1]:9180"\nallowed_hosts = ["bridge.example"]', []),
    "admin: host with port": (
        SESSION + '[admin]\nallowed_hosts = ["a:80"]',
        ["admin.allowed_hosts[0]: must be a host name, without scheme and port"],
    ),
    "admin: token with a line break": (
        SESSION + '[admin]\ntoken = "a\\nb"',
        ["admin.token: a header's value is printable ASCII: no line breaks, no control characters"],
    ),
    "proxy": (
        SESSION + 'proxy = "socks4://h"',
        [
            'sessions.chat.proxy: must be "", "env", or the URL of a proxy: "http://host:port" or "socks5://host:port"'
        ],
    ),
    "proxy: good": (SESSION + 'proxy = "socks5://user:x@h:1080"', []),
    "ping_interval with spool": (
        SESSION + 'ping_interval = 0\nqueue.spool = "s.db"',
        [
            (
                "sessions.chat.ping_interval: ping_interval = 0 is not possible with queue.spool: "
                "only a PONG confirms a message"
            )
        ],
    ),
    "ping_interval with resend_in_doubt": (
        SESSION + "ping_interval = 0\nqueue.resend_in_doubt = true",
        [
            (
                "sessions.chat.ping_interval: ping_interval = 0 is not possible with queue.resend_in_doubt: "
                "only a PONG confirms a message"
            )
        ],
    ),
    "upstream key without cert": (SESSION + 'tls.key = "k"', ["sessions.chat.tls.key: needs tls.cert too"]),
    "upstream cert that holds its key": (SESSION + 'tls.cert = "c"', []),
    "dedicated with everything shared": (
        SESSION
        + 'cookie_file = "jar"\nqueue.spool = "s.db"\ntcp = [{ listen = "1", mode = "dedicated", replay = 1 }]',
        [
            f'sessions.chat.tcp[0].mode: mode = "dedicated" is not possible with {name}: '
            "nothing outlives a dedicated session"
            for name in ("queue.spool", "cookie_file", "replay")
        ],
    ),
    "dedicated": (SESSION + 'tcp = [{ listen = "1", mode = "dedicated" }]', []),
    "tcp: remote": (
        SESSION + 'tcp = [{ listen = "192.0.2.1:9000" }]',
        [
            (
                f'sessions.chat.tcp[0].listen: 192.0.2.1:9000 {REMOTE} allow_remote = true or allow = ["192.0.2.0/24"] '
                "or tls with a client_ca, or listen on 127.0.0.1"
            )
        ],
    ),
    "tcp: remote by name": (
        SESSION + 'tcp = [{ listen = "example.com:9000", tls = { cert = "c", key = "k" } }]',
        [
            (
                f'sessions.chat.tcp[0].listen: example.com:9000 {REMOTE} allow_remote = true or allow = ["192.0.2.0/24"] '
                "or tls with a client_ca, or listen on 127.0.0.1"
            )
        ],
    ),
    "tcp: remote with allow_remote": (SESSION + 'tcp = [{ listen = "[::]:1", allow_remote = true }]', []),
    "tcp: remote with allow": (
        SESSION + 'tcp = [{ listen = "0.0.0.0:1", allow = ["10.0.0.0/8", "::1"] }]',
        [],
    ),
    "tcp: remote with client_ca": (
        SESSION + 'tcp = [{ listen = "0.0.0.0:1", tls = { cert = "c", key = "k", client_ca = "a" } }]',
        [],
    ),
    "tcp: socket activation is not ours to judge": (SESSION + 'tcp = [{ listen = "systemd:chat" }]', []),
    "tcp: key and client_ca without cert": (
        SESSION + 'tcp = [{ listen = "1", tls = { key = "k", client_ca = "a" } }]',
        [
            "sessions.chat.tcp[0].tls.key: needs tls.cert too",
            "sessions.chat.tcp[0].tls.client_ca: needs tls.cert too",
        ],
    ),
    "tcp: a Unix socket has no addresses, and no TLS": (
        SESSION + 'tcp = [{ listen = "unix:/a", allow = ["::1"], tls.cert = "c" }]',
        [
            f"sessions.chat.tcp[0].{key}: is not possible on a Unix socket: "
            "socket_mode and the owner of the file say who may connect"
            for key in ("allow", "tls")
        ],
    ),
    "tcp: allow with host bits": (
        SESSION + 'tcp = [{ listen = "1", allow = ["10.0.0.1/8"] }]',
        [
            (
                'sessions.chat.tcp[0].allow[0]: must be a network such as "192.0.2.0/24" or "2001:db8::/32": '
                "10.0.0.1/8 has host bits set"
            )
        ],
    ),
    "zmq: hwm": (
        SESSION + 'zmq = [{ type = "push", endpoint = "ipc://a", hwm = 0 }]',
        ["sessions.chat.zmq[0].hwm: must be more than 0"],
    ),
    "zmq: type": (
        SESSION + 'zmq = [{ type = "pusch", endpoint = "ipc://a" }]',
        [
            (
                'sessions.chat.zmq[0].type: unknown value "pusch", must be one of pub, push, sub, pull, dealer '
                '(did you mean "push"?)'
            )
        ],
    ),
    "zmq: missing": (
        SESSION + "zmq = [{}]",
        [
            "sessions.chat.zmq[0].type: missing, but required",
            "sessions.chat.zmq[0].endpoint: missing, but required",
        ],
    ),
    "zmq: abstract": (
        SESSION + 'zmq = [{ type = "pub", endpoint = "ipc://@a" }]',
        [
            'sessions.chat.zmq[0].endpoint: "ipc://@": an abstract socket has no permissions: use "ipc:///path"'
        ],
    ),
    "zmq: empty path": (
        SESSION + 'zmq = [{ type = "pub", endpoint = "ipc://" }]',
        ['sessions.chat.zmq[0].endpoint: "ipc://" must be followed by a path of at most 107 bytes'],
    ),
    "zmq: remote": (
        SESSION + 'zmq = [{ type = "pub", endpoint = "tcp://*:9001" }]',
        [
            f"sessions.chat.zmq[0].endpoint: *:9001 {REMOTE} allow_remote = true or curve, or bind to tcp://127.0.0.1"
        ],
    ),
    "zmq: remote with allow_remote": (
        SESSION + 'zmq = [{ type = "pub", endpoint = "tcp://*:9001", allow_remote = true }]',
        [],
    ),
    "zmq: remote with curve": (
        SESSION
        + f'zmq = [{{ type = "pub", endpoint = "tcp://*:1", curve = {{ secret_key_file = "k", allow = ["{KEY}"] }} }}]',
        [],
    ),
    "zmq: connecting is not listening": (
        SESSION + 'zmq = [{ type = "sub", endpoint = "tcp://192.0.2.1:9001", bind = false, topic = "" }]',
        [],
    ),
    "zmq: connecting to a wildcard": (
        SESSION + 'zmq = [{ type = "sub", endpoint = "tcp://127.0.0.1:*", bind = false }]',
        ["sessions.chat.zmq[0].endpoint: a wildcard can only be bound, not connected to"],
    ),
    "curve: allow is empty": (
        SESSION
        + 'zmq = [{ type = "pub", endpoint = "ipc://a", curve = { secret_key_file = "k", allow = [] } }]',
        [
            "sessions.chat.zmq[0].curve.allow: is empty, so nobody could connect: list the public keys of the clients"
        ],
    ),
    "curve: neither server nor client": (
        SESSION + 'zmq = [{ type = "pub", endpoint = "ipc://a", curve = { secret_key_file = "k" } }]',
        [
            (
                "sessions.chat.zmq[0].curve: a server has secret_key_file and allow, "
                "a client has secret_key_file and server_key: write one of the two"
            )
        ],
    ),
    "curve: server and client": (
        SESSION
        + 'zmq = [{ type = "pub", endpoint = "ipc://a", curve = '
        + f'{{ secret_key_file = "k", allow = ["{KEY}"], server_key = "{KEY}" }} }}]',
        [
            (
                "sessions.chat.zmq[0].curve: a server has secret_key_file and allow, "
                "a client has secret_key_file and server_key: write one of the two"
            )
        ],
    ),
    "curve: no secret key": (
        SESSION + f'zmq = [{{ type = "sub", endpoint = "ipc://a", curve = {{ server_key = "{KEY}" }} }}]',
        ["sessions.chat.zmq[0].curve.secret_key_file: missing, but required for CURVE"],
    ),
    "curve: no key": (
        SESSION
        + 'zmq = [{ type = "sub", endpoint = "ipc://a", curve = { secret_key_file = "k", server_key = "short" } }]',
        ["sessions.chat.zmq[0].curve.server_key: must be a CURVE public key: 40 characters of Z85"],
    ),
    "relogin_on: empty": (
        SESSION + 'relogin_on = [{ match = "" }]',
        ["sessions.chat.relogin_on[0].match: must not be empty"],
    ),
    "keepalive: never": (
        SESSION + 'keepalive = [{ send = "x", every = 0 }]',
        ["sessions.chat.keepalive[0].every: must be more than 0"],
    ),
    "keepalive: missing": (
        SESSION + "keepalive = [{}]",
        [
            "sessions.chat.keepalive[0].send: missing, but required",
            "sessions.chat.keepalive[0].every: missing, but required",
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rule(problems: Finder, name: str) -> None:
    text, lines = CASES[name]

    assert problems(text) == ["bridge.toml: " + line for line in lines]


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1:9001",
        "tcp://localhost:0",
        "tcp://[::1]:9001",
        "tcp://127.0.0.1:*",
        "ipc:///run/a",
        "ipc://a",
    ],
)
def test_an_endpoint(problems: Finder, endpoint: str) -> None:
    assert problems(SESSION + f'zmq = [{{ type = "pub", endpoint = "{endpoint}" }}]') == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "127.0.0.1:9001",
        "inproc://a",
        "udp://a:1",
        "tcp://",
        "tcp://a",
        "tcp://:1",
        "tcp://a:70000",
        "tcp://::1:9",
    ],
)
def test_what_is_no_endpoint(problems: Finder, endpoint: str) -> None:
    assert problems(SESSION + f'zmq = [{{ type = "pub", endpoint = "{endpoint}" }}]') == [
        'bridge.toml: sessions.chat.zmq[0].endpoint: must be "tcp://host:port" or "ipc:///path"'
    ]


OTHER = '[sessions.other]\nurl = "http://h"\n'


@pytest.mark.parametrize("paths", [("jar", "jar"), ("jar", "./a/../jar"), ("/a/jar", "/a//jar")])
def test_two_sessions_with_one_cookie_file(problems: Finder, paths: tuple[str, str]) -> None:
    mine, theirs = (f'cookie_file = "{path}"\n' for path in paths)
    (line,) = problems(SESSION + mine + OTHER + theirs)

    assert line == (
        f"bridge.toml: sessions.other.cookie_file: one file for two uses, {Path(paths[0]).absolute()}: "
        "sessions.chat.cookie_file and sessions.other.cookie_file"
    )


def test_two_sessions_inherit_one_cookie_file(problems: Finder) -> None:
    (line,) = problems('[defaults]\ncookie_file = "/a/jar"\n' + SESSION + OTHER)

    assert line.startswith("bridge.toml: defaults.cookie_file: one file for two uses, /a/jar: ")


def test_a_spool_belongs_to_one_session(problems: Finder) -> None:
    (line,) = problems(SESSION + 'queue.spool = "a"\n' + OTHER + 'cookie_file = "a"\n')

    assert line.endswith("sessions.chat.queue.spool and sessions.other.cookie_file")


def test_every_session_has_a_cookie_file_of_its_own(problems: Finder) -> None:
    text = SESSION + 'cookie_file = "jar"\n' + OTHER + 'cookie_file = "a/jar"\n'

    assert problems(text) == []
    assert problems(SESSION + OTHER) == []
