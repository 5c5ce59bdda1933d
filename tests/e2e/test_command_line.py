"""The command line: what it prints, where to, and with which exit code it ends."""

import base64
import json
import os
import re
import socket
from pathlib import Path

import pytest

import sockjs_bridge
from sockjs_bridge.cli import main
from tests.bridge_process import (
    BridgeStarter,
    HandshakeServer,
    LineClient,
    pass_on,
    run_command,
    smallest,
)
from tests.real_servers import RealServer

# login.toml shows what a later version brings, and says so.
EXAMPLES = sorted(
    path for path in (Path(__file__).parents[2] / "config").glob("*.toml") if path.name != "login.toml"
)
NOBODY = "http://127.0.0.1:1/echo"
"""Connections to port 1 are refused: no program may be there but root's."""


def write(folder: Path, text: str) -> str:
    """Write a configuration file, and return the name by which errors call it."""
    (folder / "bridge.toml").write_text(text, encoding="utf-8")
    return "bridge.toml"


def test_version(tmp_path: Path) -> None:
    done = run_command("--version", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"sockjs-bridge {sockjs_bridge.__version__}\n",
        "",
    )


def test_help_has_examples_that_can_be_copied(tmp_path: Path) -> None:
    done = run_command("--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sockjs-bridge --config bridge.toml" in done.stdout
    assert "sockjs-bridge check --config bridge.toml" in done.stdout
    assert "nc localhost 9000" in done.stdout
    # The smallest file that the help shows is one that works.
    shown = done.stdout.partition("the smallest bridge.toml:\n")[2].partition("\n\n")[0]
    assert run_command("check", "--config", write(tmp_path, shown), folder=tmp_path).returncode == 0


def test_the_help_of_every_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out.partition("COMMAND\n")[2].partition("\n\n")[0]
    commands = re.findall(r"^    ([a-z]+) ", listed, re.MULTILINE)
    assert len(commands) == 11
    for command in commands:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        examples = capsys.readouterr().out.partition("\n\n")[2]
        assert re.search(rf"^  .*sockjs-bridge {command}", examples, re.MULTILINE), command


def test_without_any_configuration_it_shows_the_smallest_one(tmp_path: Path) -> None:
    for arguments in ([], ["check"]):
        done = run_command(*arguments, folder=tmp_path)
        assert (done.returncode, done.stdout) == (78, "")
        assert "no configuration file" in done.stderr
        shown = done.stderr[done.stderr.index("  [sessions.") :]
        assert run_command("check", "--config", write(tmp_path, shown), folder=tmp_path).returncode == 0


def test_a_file_without_a_session_is_answered_with_the_smallest_one(tmp_path: Path) -> None:
    done = run_command("--config", write(tmp_path, '[log]\nlevel = "info"\n'), folder=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("bridge.toml: no session")
    assert "[[sessions.chat.tcp]]" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--nonsense",), ("nonsense",), ("check", "--nonsense"), ("--config",), ("--conf", "x")],
    ids=str,
)
def test_wrong_usage_is_exit_code_64(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run_command(*arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("usage: sockjs-bridge")


def test_check_prints_a_line_for_each_session_and_listener(tmp_path: Path) -> None:
    config = f"""
        [sessions.chat]
        url = "{NOBODY}"
        [[sessions.chat.tcp]]
        listen = "9000"
        [[sessions.chat.tcp]]
        listen = "unix:/run/nowhere/chat.sock"
        framing = "json"
        [sessions.prices]
        url = "wss://prices.example/stream/websocket"
    """
    done = run_command("check", "--config", write(tmp_path, config), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    chat, first, second, prices, *_ = done.stdout.splitlines()
    assert "session chat: http://127.0.0.1:1/echo" in chat
    assert "127.0.0.1:9000" in first
    assert "lines" in first
    assert "unix:/run/nowhere/chat.sock" in second
    assert "json" in second
    assert "session prices: https://prices.example/stream" in prices
    assert "websocket-raw" in prices


def test_check_names_all_mistakes_at_once(tmp_path: Path) -> None:
    config = f"""
        [bridge]
        drain_timeout = "soon"
        [log]
        levle = "info"
        [sessions.chat]
        url = "gopher://127.0.0.1/echo"
        [[sessions.chat.tcp]]
        listen = "127.0.0.1:9000"
        framng = "lines"
        [sessions.other]
        url = "{NOBODY}"
        [[sessions.other.tcp]]
        listen = "127.0.0.1:9000"
    """
    environment = {"SOCKJS_BRIDGE_LOG__FORMTA": "json"}
    done = run_command("check", "--config", write(tmp_path, config), folder=tmp_path, environment=environment)
    assert (done.returncode, done.stdout) == (78, "")
    lines = sorted(done.stderr.splitlines())
    assert [line.partition(": ")[0] for line in lines] == ["SOCKJS_BRIDGE_LOG__FORMTA", *["bridge.toml"] * 5]
    for line, wanted in zip(
        lines,
        [
            'SOCKJS_BRIDGE_LOG__FORMTA: unknown variable (did you mean "SOCKJS_BRIDGE_LOG__FORMAT"?)',
            "bridge.toml: bridge.drain_timeout: ",
            'bridge.toml: log.levle: unknown key (did you mean "level"?)',
            'bridge.toml: sessions.chat.tcp[0].framng: unknown key (did you mean "framing"?)',
            "bridge.toml: sessions.chat.url: must begin with http:// or https://",
            "bridge.toml: sessions.other.tcp[0].listen: two listeners on one address, 127.0.0.1:9000",
        ],
        strict=True,
    ):
        assert line.startswith(wanted)


def test_the_daemon_refuses_what_check_refuses_with_the_same_words(tmp_path: Path) -> None:
    file = write(tmp_path, f'{smallest(NOBODY)}framng = "lines"\n')
    checked = run_command("check", "--config", file, folder=tmp_path)
    started = run_command("--config", file, folder=tmp_path)
    assert (started.returncode, started.stderr) == (checked.returncode, checked.stderr)
    assert started.returncode == 78


@pytest.mark.parametrize("kind", ["missing", "folder", "forbidden", "no TOML", "no text"])
def test_a_file_that_cannot_be_read_is_named(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    if kind == "folder":
        file.mkdir()
    elif kind == "forbidden":
        if os.geteuid() == 0:
            pytest.skip("root may read every file")
        file.write_text(smallest(NOBODY))
        file.chmod(0)
    elif kind == "no TOML":
        file.write_text("[sessions.chat]\nurl = http\n")
    elif kind == "no text":
        file.write_bytes(b"\xff\xfe")
    done = run_command("--config", "bridge.toml", folder=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert re.match(r"bridge\.toml: \S.*\n\Z", done.stderr)
    if kind == "no TOML":
        assert "line 2" in done.stderr


def test_a_port_that_is_taken_is_told_in_the_same_form(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = smallest(NOBODY) + f'[[sessions.chat.tcp]]\nlisten = "127.0.0.1:{port}"\n'
        done = run_command("--config", write(tmp_path, config), folder=tmp_path)
        assert (done.returncode, done.stdout) == (78, "")
        assert done.stderr == (
            f"bridge.toml: sessions.chat.tcp[1].listen: cannot bind 127.0.0.1:{port}: address already in use\n"
        )
        from_environment = run_command(
            folder=tmp_path,
            environment={
                "SOCKJS_BRIDGE_SESSIONS__CHAT__URL": NOBODY,
                "SOCKJS_BRIDGE_SESSIONS__CHAT__TCP": json.dumps([{"listen": f"127.0.0.1:{port}"}]),
            },
        )
        assert from_environment.returncode == 78
        assert f"127.0.0.1:{port}: address already in use" in from_environment.stderr


def test_all_ports_that_are_taken_are_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        config = smallest(NOBODY, f"127.0.0.1:{one.getsockname()[1]}")
        config += f'[[sessions.chat.tcp]]\nlisten = "127.0.0.1:{two.getsockname()[1]}"\n'
        done = run_command("--config", write(tmp_path, config), folder=tmp_path)
    assert done.returncode == 78
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "sessions.chat.tcp[0].listen",
        "sessions.chat.tcp[1].listen",
    ]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('[defaults]\nrelogin_on = [{ match = "x" }]', "defaults.relogin_on"),
    ],
)
def test_a_feature_that_is_not_there_is_refused_by_name(line: str, key: str, tmp_path: Path) -> None:
    done = run_command("--config", write(tmp_path, f"{smallest(NOBODY)}{line}\n"), folder=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(f"bridge.toml: {key}: not available in this version")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_each_configuration_that_the_project_ships_is_good(example: Path, tmp_path: Path) -> None:
    done = run_command("check", "--config", example, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_environment_alone_can_configure_it(server: RealServer, start_bridge: BridgeStarter) -> None:
    bridge = start_bridge.start(
        environment={
            "SOCKJS_BRIDGE_SESSIONS__CHAT__URL": server.url("/echo"),
            "SOCKJS_BRIDGE_SESSIONS__CHAT__TCP": '[{"listen": "127.0.0.1:0", "framing": "json"}]',
            # What Kubernetes puts there for a service of that name.
            "SOCKJS_BRIDGE_SERVICE_HOST": "10.0.0.1",
            "SOCKJS_BRIDGE_PORT_9000_TCP_ADDR": "10.0.0.1",
        }
    )
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        client.send('"from the environment"')
        assert client.read(1) == ['"from the environment"']
    assert bridge.stop() == 0


def test_the_environment_overrides_the_file(server: RealServer, start_bridge: BridgeStarter) -> None:
    environment = {
        "SOCKJS_BRIDGE_SESSIONS__CHAT__URL": server.url("/echo"),
        "SOCKJS_BRIDGE_LOG__LEVEL": "debug",
    }
    bridge = start_bridge(smallest(NOBODY), environment=environment)
    bridge.wait_open()
    assert bridge.log_lines("connecting to ", level="info")[0]["message"].endswith(server.url("/echo"))


# --- secrets ---------------------------------------------------------------------------------------------------

SECRETS = {
    "user": "miriam",
    "password": "open%3Dsesame",
    "query": "t0ken-of-the-query",
    "header": "t0ken-of-the-header",
    "cookie": "t0ken-of-the-jar",
}


def secret_session(port: int, name: str = "chat", path: str = "/echo") -> str:
    return f"""
        [sessions.{name}]
        url = "http://{SECRETS["user"]}:{SECRETS["password"]}@127.0.0.1:{port}{path}?token={SECRETS["query"]}"
        headers = {{ X-Api-Key = "{SECRETS["header"]}" }}
        cookies = {{ sid = "{SECRETS["cookie"]}" }}
        [sessions.{name}.reconnect]
        initial = "50ms"
        max_attempts = 2
        [[sessions.{name}.tcp]]
        listen = "127.0.0.1:0"
    """


def assert_nothing_secret(text: str, *more: str) -> None:
    user_and_password = f"{SECRETS['user']}:open=sesame"
    encoded = base64.b64encode(user_and_password.encode()).decode()
    for secret in (*SECRETS.values(), "open=sesame", encoded, *more):
        assert secret not in text


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret_is_logged_while_all_is_well(
    form: str, server: RealServer, start_bridge: BridgeStarter
) -> None:
    with HandshakeServer(pass_on(server.port, "Set-Cookie: lb=t0ken-of-the-balancer; Path=/")) as gateway:
        bridge = start_bridge(f'[log]\nlevel = "debug"\nformat = "{form}"\n' + secret_session(gateway.port))
        bridge.wait_for_text("listening on 127.0.0.1:")
        port = int(re.findall(r"listening on 127\.0\.0\.1:(\d+)", bridge.stderr)[0])
        bridge.wait_for_text("epoch")
        with LineClient(port) as client:
            client.send("hi")
            assert client.read(1) == ["hi"]
        gateway.hang_up()
        bridge.wait_for_text("closed; next try")
        assert bridge.stop() == 0
    # The secrets did go where they belong, so that there was something to be kept from the log.
    head = gateway.requests[0]
    assert f"token={SECRETS['query']}" in head
    assert f"X-Api-Key: {SECRETS['header']}" in head
    assert f"sid={SECRETS['cookie']}" in head
    assert "Authorization: Basic " in head
    session_ids = session_ids_of(gateway.requests, "/echo/")
    assert_nothing_secret(bridge.stderr + bridge.stdout, "t0ken-of-the-balancer", *session_ids)


def session_ids_of(requests: list[str], base: str) -> list[str]:
    """The ids in the paths of requests; `/info` has none."""
    tails = [request.split(" ")[1].partition(base)[2] for request in requests]
    session_ids = [tail.split("/")[1] for tail in tails if not tail.startswith("info")]
    assert session_ids
    assert all(len(session_id) >= 16 for session_id in session_ids)
    return session_ids


ANSWERS = {
    "not-found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "login": b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="t0ken-of-the-answer"\r\n\r\n',
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/?token=t0ken-of-the-answer\r\n\r\n",
    "cookie": b"HTTP/1.1 503 Sorry\r\nSet-Cookie: a=t0ken-of-the-answer\r\nContent-Length: 0\r\n\r\n",
    "no-http": b"220 mail.example ESMTP\r\nSet-Cookie: a=t0ken-of-the-answer\r\n\r\n",
    "old-http": (
        b"HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Set-Cookie: a=t0ken-of-the-answer\r\n\r\n"
    ),
    "broken-header": b"HTTP/1.1 101 Switching Protocols\r\nSet-Cookie a=t0ken-of-the-answer\r\n\r\n",
    "no-upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: a=t0ken-of-the-answer\r\n\r\n",
    "no-websocket": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=t0ken-of-the-answer\r\nContent-Length: 0\r\n\r\n",
    "wrong-accept-key": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: bm9uc2Vuc2U=\r\nSet-Cookie: a=t0ken-of-the-answer\r\n\r\n"
    ),
    "nothing": b"",
}


def test_no_secret_is_logged_when_connecting_fails(start_bridge: BridgeStarter) -> None:
    def answer(head: bytes, sock: socket.socket) -> None:
        sock.sendall(ANSWERS[head.split(b"/")[1].decode()])

    with HandshakeServer(answer) as server:
        ports = dict.fromkeys(ANSWERS, server.port) | {"refused": 1}
        sessions = [secret_session(port, kind, f"/{kind}/echo") for kind, port in ports.items()]
        bridge = start_bridge('[log]\nlevel = "debug"\n' + "".join(sessions))
        assert bridge.wait_exit() == 69
    for kind in ports:
        assert bridge.log_lines("cannot connect: ", session=kind)
    session_ids = session_ids_of(server.requests, "/echo/")
    assert_nothing_secret(bridge.stderr + bridge.stdout, "t0ken-of-the-answer", *session_ids)


def test_no_secret_is_printed_by_check(tmp_path: Path) -> None:
    good = run_command("check", "--config", write(tmp_path, secret_session(8081)), folder=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    assert_nothing_secret(good.stdout)


def test_no_secret_is_printed_when_the_configuration_is_wrong(tmp_path: Path) -> None:
    mistakes = [
        ("http://", "gopher://"),
        ("127.0.0.1:8081", "127.0.0.1:port"),
        ("/echo?", "/e cho?"),
        ("/echo?", "/echo#?"),
        ("sid = ", 'sid = "", "a b" = '),
        ("X-Api-Key = ", '"X Api Key" = '),
        (SECRETS["header"], SECRETS["header"] + "\\n"),
        (SECRETS["cookie"], SECRETS["cookie"] + "; \\u0000"),
        ("max_attempts = 2", "max_attemps = 2"),
    ]
    config = ""
    for number, (right, wrong) in enumerate(mistakes):
        session = secret_session(8081, f"number{number}")
        assert right in session
        config += session.replace(right, wrong)
    done = run_command("check", "--config", write(tmp_path, config), folder=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    for number in range(len(mistakes)):
        assert f"bridge.toml: sessions.number{number}." in done.stderr
    assert_nothing_secret(done.stderr)


def test_no_secret_is_printed_when_the_file_is_no_toml(tmp_path: Path) -> None:
    broken = secret_session(8081).replace(f'{SECRETS["header"]}"', SECRETS["header"])
    done = run_command("check", "--config", write(tmp_path, broken), folder=tmp_path)
    assert done.returncode == 78
    assert_nothing_secret(done.stderr)


def test_no_secret_of_a_variable_is_printed_when_it_is_wrong(tmp_path: Path) -> None:
    done = run_command(
        folder=tmp_path,
        environment={
            "SOCKJS_BRIDGE_SESSIONS__CHAT__URL": f"gopher://{SECRETS['user']}:{SECRETS['password']}@localhost/echo",
            "SOCKJS_BRIDGE_SESSIONS__CHAT__HEADERS": f"X-Api-Key: {SECRETS['header']}",
            "SOCKJS_BRIDGE_SESSIONS__CHAT__COOKIES": f'{{"sid": ["{SECRETS["cookie"]}"]}}',
        },
    )
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 3
    assert_nothing_secret(done.stderr)
