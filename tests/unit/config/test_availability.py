"""What this version refuses though the contract names it, and what it takes though it does nothing with it."""

from typing import get_args

import pytest

from sockjs_bridge.config import Config, availability
from sockjs_bridge.config.shape import inside, is_array
from sockjs_bridge.config.tree import Loc
from tests.unit.config.conftest import Finder

SESSION = '[sessions.chat]\nurl = "http://h"\n'
LISTENER = SESSION + '[[sessions.chat.tcp]]\nlisten = "9000"\n'

# name: (text, the key path, what follows the sentence)
NOT_YET = {}


@pytest.mark.parametrize("name", NOT_YET)
def test_not_available(problems: Finder, name: str) -> None:
    text, path, rest = NOT_YET[name]

    assert problems(text) == [f"bridge.toml: {path}: not available in this version{rest}"]


def test_a_value_that_says_what_is_done_anyway_is_no_error(problems: Finder) -> None:
    text = """
        [admin]
        listen = ""
        allowed_hosts = []
        allow_remote = false
        token = ""
        [sessions.chat]
        url = "http://h"
        info = false
        proxy = ""
        eventsource_encoding = "auto"
        on_connect = []
        relogin_on = []
        keepalive = []
        zmq = []
        tls = { ca = "", cert = "", key = "", server_name = "", verify = true }
        queue = { max_age = "0s", overflow = "pause", resend_in_doubt = false, spool = "", spool_max_bytes = "256MiB" }
        tcp = [{ listen = "9000", mode = "shared", slow_client = "pause", replay = 0, allow = [], tls = {} }]
        """

    assert problems(text) == []


def test_what_this_version_does(problems: Finder) -> None:
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


@pytest.mark.usefixtures("everything_available")
def test_without_the_limits_all_of_it_is_taken(problems: Finder) -> None:
    wrong = {name: problems(text) for name, (text, *_) in NOT_YET.items()}

    assert {name: lines for name, lines in wrong.items() if lines} == {}


@pytest.mark.parametrize("pattern", availability.LIMITS)
def test_a_limit_is_about_a_key_that_exists_and_allows_its_default(pattern: str) -> None:
    annotation: object = Config
    loc: Loc = ()
    for key in pattern.replace("session.", "sessions.chat.", 1).split("."):
        loc = (*loc, 0 if is_array(annotation) else key)
        annotation = inside(annotation, loc[-1])

    assert annotation is not None
    assert not availability.works(loc, "nothing like this") or pattern.endswith("tcp.*.listen")
    limit = availability.LIMITS[pattern]
    if isinstance(limit, tuple) and get_args(annotation) and not is_array(annotation):
        assert set(limit) <= set(get_args(annotation))
