"""The configurations in config/recipes: run as they are written, with the commands of their own comments.

Only the address of the server and the port of the listener are others. The server speaks the published protocols on top of
a real SockJS server; see tests/conformance/servers/aio_protocols.py.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import tomllib
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, LineClient, run_command, wait_until
from tests.e2e.netcat import need_netcat
from tests.real_servers import RealServer

RECIPES = Path(__file__).parents[2] / "config" / "recipes"
PASSWORD = "hunter22"
SECRETS = {"APP_PASSWORD": PASSWORD, "METEOR_DIGEST": hashlib.sha256(PASSWORD.encode()).hexdigest()}

# More than the longest time that a server here waits before it asks or closes, on a machine that is busy.
_PATIENCE = 60.0
_LONG_ENOUGH = 20.0

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A configuration, and what the command in it that says hello makes the command that listens print."""

    name: str
    heard: str

    @property
    def file(self) -> Path:
        return RECIPES / f"{self.name}.toml"

    @property
    def text(self) -> str:
        return self.file.read_text(encoding="utf-8")

    def environment(self, server: RealServer, **more: object) -> dict[str, str]:
        """What stands in for what a user would write into the file: the server, any port; `more` replaces keys."""
        (session,) = tomllib.loads(self.text)["sessions"].values()
        path = "/" + session["url"].rpartition("/")[2]
        tcp = [table | {"listen": "127.0.0.1:0"} for table in session["tcp"]]
        keys = {"URL": server.url(path), "TCP": json.dumps(tcp)}
        keys |= {key: json.dumps(value) for key, value in more.items()}
        return SECRETS | {f"SOCKJS_BRIDGE_SESSIONS__CHAT__{key}": value for key, value in keys.items()}

    def command(self, beginning: str, port: int) -> str:
        """The command in its comments that begins so."""
        (command,) = re.findall(rf"^#   ({beginning} .+)$", self.text, re.MULTILINE)
        assert command.count("localhost 9000") == 1
        # The interpreter of the tests: `python3` may be none, or an old one.
        return str(command).replace("localhost 9000", f"127.0.0.1 {port}").replace("python3", sys.executable)


STOMP = Recipe("stomp", "hello")
VERTX = Recipe("vertx", '{"type":"rec","address":"chat","headers":{},"body":"hello"}')
METEOR = Recipe(
    "meteor", '{"msg":"added","collection":"messages","id":"1","fields":{"text":"hello","user":null}}'
)
WEB_LOGIN = Recipe("web-login", '{"type":"said","user":"bridge","text":"hello"}')
ALL = (STOMP, VERTX, METEOR, WEB_LOGIN)


@pytest.fixture
def server(real_server: Callable[[str], RealServer]) -> RealServer:
    return real_server("protocols")


@pytest.fixture
def start(server: RealServer, start_bridge: BridgeStarter) -> Callable[..., BridgeProcess]:
    """Start a bridge with the file of a recipe; keys of the session may be replaced. Return it when it is logged in."""

    def start_and_wait(recipe: Recipe, **more: object) -> BridgeProcess:
        environment = recipe.environment(server, **more)
        bridge = start_bridge.start("--config", recipe.file, environment=environment)
        bridge.wait_open()
        return bridge

    return start_and_wait


class Listening:
    """A command of a shell that runs until the test ends. What it prints is collected."""

    def __init__(self, command: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_LONG_ENOUGH)
        self._reader.join(_LONG_ENOUGH)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.removesuffix("\n"))


def say(command: str) -> str:
    """Run a command that ends by itself; return what it printed."""
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, encoding="utf-8", timeout=_LONG_ENOUGH, check=True
    )
    return done.stdout


def test_every_configuration_here_is_tested() -> None:
    assert {file.stem for file in RECIPES.glob("*.toml")} == {recipe.name for recipe in ALL}


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.name)
def test_check_finds_no_mistake_in_it(recipe: Recipe, tmp_path: Path) -> None:
    done = run_command("check", "--config", recipe.file, folder=tmp_path, environment=SECRETS)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.name)
def test_what_one_program_says_another_hears(recipe: Recipe, start: Callable[..., BridgeProcess]) -> None:
    need_netcat()
    ours, theirs = start(recipe), start(recipe)
    with Listening(recipe.command("nc", ours.port)) as listening:
        ours.wait_for_log("client in")
        say(recipe.command("printf", theirs.port))
        wait_until(lambda: recipe.heard in listening.lines, f"{recipe.heard} among {listening.lines}")
    for bridge in (ours, theirs):
        assert bridge.stop() == 0
        assert not bridge.log_lines(level="warning")


def without_keepalive_is_closed(bridge: BridgeProcess, _listening: Listening) -> None:
    closed = bridge.wait_for_log("closed", timeout=_PATIENCE)
    assert closed["cause"] == "server_closed"


def without_keepalive_is_asked(_bridge: BridgeProcess, listening: Listening) -> None:
    wait_until(lambda: '{"msg":"ping"}' in listening.lines, "the ping of the server", _PATIENCE)


@pytest.mark.parametrize(
    ("recipe", "suffers"),
    [
        (STOMP, without_keepalive_is_closed),
        (VERTX, without_keepalive_is_closed),
        (METEOR, without_keepalive_is_asked),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_its_keepalive_is_what_the_server_wants(
    recipe: Recipe,
    suffers: Callable[[BridgeProcess, Listening], None],
    start: Callable[..., BridgeProcess],
) -> None:
    need_netcat()
    # The one that keeps alive is older: what the other suffers would have come to it first.
    ours = start(recipe)
    with LineClient(ours.port) as client:
        ours.wait_for_log("client in")
        theirs = start(recipe, KEEPALIVE=[])
        with Listening(f"nc 127.0.0.1 {theirs.port}") as listening:
            suffers(theirs, listening)
        say(recipe.command("printf", ours.port))
        # Nothing of the keepalive reaches programs: the first that comes is what was said.
        (first,) = client.read(1)
        assert "hello" in first
    assert not ours.log_lines("closed")


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming", "eventsource", "jsonp-polling"])
def test_a_stomp_frame_reaches_a_program_with_its_lines_and_its_nul(
    transport: str, start: Callable[..., BridgeProcess]
) -> None:
    bridge = start(STOMP, TRANSPORTS=[transport])
    frame = "SEND\ndestination:/topic/chat\ncontent-type:text/plain\n\ntwo lines:\nGrüße\0"
    with LineClient(bridge.port) as client:
        client.send(json.dumps(frame))
        (line,) = client.read(1)
    head, _, body = json.loads(line).partition("\n\n")
    assert head.split("\n")[:2] == ["MESSAGE", "subscription:0"]
    assert body == "two lines:\nGrüße\0"


def test_programs_hear_what_a_stomp_broker_refuses(server: RealServer, start_bridge: BridgeStarter) -> None:
    text = STOMP.text.replace("accept-version:1.2,1.1", "accept-version:1.0")
    bridge = start_bridge(text, environment=STOMP.environment(server))
    with LineClient(bridge.port) as client:
        (line,) = client.read(1)
        assert json.loads(line) == "ERROR\nmessage:only 1.2 is spoken here\n\n\0"
    assert not bridge.log_lines("logged in")


def test_an_address_that_vertx_does_not_permit_is_told(start: Callable[..., BridgeProcess]) -> None:
    bridge = start(VERTX)
    with LineClient(bridge.port) as client:
        client.send('{"type":"publish","address":"other","body":1}')
        assert client.read(1) == ['{"type":"err","body":"access_denied"}']


def test_meteor_knows_who_has_logged_in(server: RealServer, start_bridge: BridgeStarter) -> None:
    text, uncommented = re.subn(r"^#(?=\[\[|send|expect)", "", METEOR.text, flags=re.MULTILINE)
    assert uncommented == 4
    bridge = start_bridge(text, environment=METEOR.environment(server))
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        client.send('{"msg":"method","id":"1","method":"say","params":["hello"]}')
        (document,) = client.read(1)
        assert json.loads(document)["fields"] == {"text": "hello", "user": "bridge"}
    assert SECRETS["METEOR_DIGEST"] not in bridge.stderr


def test_programs_notice_nothing_of_a_login_that_has_expired(
    server: RealServer, start: Callable[..., BridgeProcess]
) -> None:
    bridge = start(WEB_LOGIN)
    with LineClient(bridge.port) as client:
        bridge.wait_for_log("client in")
        request = urllib.request.Request(server.url("/expire"), method="POST")
        with urllib.request.urlopen(request, timeout=_LONG_ENOUGH) as answer:
            assert answer.status == 204
        bridge.wait_for_log("logged in", nth=2)
        client.send('{"type":"say","text":"hello"}')
        assert client.read(3) == [
            '{"type":"session-expired"}',
            '{"type":"welcome","user":"bridge"}',
            WEB_LOGIN.heard,
        ]
    assert not bridge.log_lines("closed")
    assert PASSWORD not in bridge.stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [({"APP_PASSWORD": "wrong pass"}, "401"), ({}, "302")],
    ids=["wrong password", "as a browser"],
)
def test_a_login_that_fails_says_what_the_application_answered(
    environment: dict[str, str], said: str, server: RealServer, start_bridge: BridgeStarter
) -> None:
    text = WEB_LOGIN.text
    if not environment:
        text = text.replace('headers = { Accept = "application/json" }\n', "")
    bridge = start_bridge(text, environment=WEB_LOGIN.environment(server) | environment)
    failure = bridge.wait_for_log("", level="warning")
    assert said in json.dumps(failure)
    assert not bridge.log_lines("logged in")
