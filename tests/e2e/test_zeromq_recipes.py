"""The ZeroMQ programs in config/recipes: built and run as their own comments say, at a real bridge."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
import zmq

from tests.bridge_process import BridgeProcess, BridgeStarter, wait_until
from tests.real_servers import RealServer

PROJECT = Path(__file__).parents[2]
CONFIG = PROJECT / "config" / "zeromq.toml"
RECIPES = PROJECT / "config" / "recipes"
CACHE = PROJECT / ".cache" / "recipes"

LINES = ["Grüße aus Köln 🚀", '{"type": "greeting", "to": ["you", null]}', "the last line"]
NOBODY = "tcp://127.0.0.1:1"
"""Connections to port 1 are refused: no program may be there but root's."""

# A compiler may have to start, on a machine that is busy with the other tests.
_LONG_ENOUGH = 40.0
_PROBE_SECONDS = 0.2

pytestmark = pytest.mark.timeout(150)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The programs of one language, copied to where a user would have them."""

    name: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def source(self, program: str) -> str:
        """The text of "subscriber" or "pusher"."""
        (file,) = self.folder.glob(f"{program}.*")
        return file.read_text(encoding="utf-8")

    def command(self, program: str, *arguments: str) -> list[str]:
        """What the comment at the top says how to run it; where it is to be compiled, that is done."""
        found = re.search(r"^\W*Run: (.+), then: (.+?) \[ENDPOINT", self.source(program), re.MULTILINE)
        assert found, f"the {self.name} {program} does not say how to run it"
        if found[1].startswith("cc "):
            subprocess.run(shlex.split(found[1]), cwd=self.folder, check=True, timeout=_LONG_ENOUGH)
        command = shlex.split(found[2])
        if command[0] == "python3":
            command[0] = sys.executable  # it has pyzmq
        return [*command, *arguments]


class Program:
    """A running program. What it prints is collected."""

    def __init__(self, recipe: Recipe, program: str, *arguments: str) -> None:
        """Start it."""
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            recipe.command(program, *arguments),
            cwd=recipe.folder,
            env=os.environ | recipe.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def say(self, line: str) -> None:
        """Write a line to its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def end_input(self) -> int:
        """Write no more; return the code with which it ends by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(_LONG_ENOUGH)

    def __enter__(self) -> Self:
        """Do nothing: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and with it what it started: `go run` is not the program itself."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_LONG_ENOUGH)
        self._reader.join(_LONG_ENOUGH)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.removesuffix("\n"))


def need(is_there: bool, why: str) -> None:
    """Skip the test where something is not there."""
    if not is_there:
        # What a developer may do without, CI may not: a skip there would look like a pass.
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)


def need_libzmq() -> None:
    need(
        shutil.which("cc") is not None,
        "there is no C compiler: on Debian and Ubuntu, apt-get install gcc libc6-dev",
    )
    looked = subprocess.run(
        ["cc", "-E", "-include", "zmq.h", "-x", "c", os.devnull], capture_output=True, check=False
    )
    need(looked.returncode == 0, "there is no zmq.h: on Debian and Ubuntu, apt-get install libzmq3-dev")


@pytest.fixture(params=["python", "c", "node", "go"])
def recipe(request: pytest.FixtureRequest, tmp_path: Path) -> Recipe:
    """The programs of each language that can be run here."""
    name: str = request.param
    folder = tmp_path / name
    shutil.copytree(RECIPES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {}
    if name == "node":
        need(shutil.which("node") is not None, "node is not installed")
        modules = CACHE / "node" / "node_modules"
        need(
            (modules / "zeromq").is_dir(), "the npm package zeromq is not installed: run `make recipes-node`"
        )
        (folder / "node_modules").symlink_to(modules)
    elif name in {"c", "go"}:
        need_libzmq()
    if name == "go":
        need(
            shutil.which("go") is not None, "there is no go: on Debian and Ubuntu, apt-get install golang-go"
        )
        environment = {"GOCACHE": str(CACHE / "go")}
    return Recipe(name, folder, environment)


@pytest.fixture
def bridge(server: RealServer, start_bridge: BridgeStarter) -> BridgeProcess:
    """A bridge with the configuration that the recipes are written for, at any free ports."""
    text = CONFIG.read_text(encoding="utf-8")
    url, *_ = re.findall(r'url = "(.+)"', text)
    text, replaced = re.subn(r"127\.0\.0\.1:\d+", "127.0.0.1:0", text.replace(url, server.url("/echo")))
    # One more: the server's own address.
    assert replaced == 3 + 1
    return start_bridge(text.replace("http://127.0.0.1:0", f"http://127.0.0.1:{server.port}"))


def endpoint(bridge: BridgeProcess, kind: str) -> str:
    """The address that a ZeroMQ socket of the bridge is bound to."""
    message = str(bridge.wait_for_log("listening on tcp://", type=kind)["message"])
    return message.removeprefix("listening on ")


def test_lines_that_a_program_pushes_come_back_to_the_one_that_subscribed(
    recipe: Recipe, bridge: BridgeProcess
) -> None:
    pub, pull = endpoint(bridge, "pub"), endpoint(bridge, "pull")
    bridge.wait_open()
    with Program(recipe, "subscriber", pub) as subscriber:
        # Somebody types, until the subscription is known to have arrived. What is typed is not held back.
        with Program(recipe, "pusher", pull) as typing:
            deadline = time.monotonic() + _LONG_ENOUGH
            while not subscriber.lines:
                assert time.monotonic() < deadline, "nothing comes back"
                typing.say("probe")
                time.sleep(_PROBE_SECONDS)
            assert typing.end_input() == 0

        # A file is sent, and its last line gets out although the program ends at once.
        done = subprocess.run(
            recipe.command("pusher", pull),
            cwd=recipe.folder,
            env=os.environ | recipe.environment,
            input="".join(f"{line}\n" for line in LINES),
            encoding="utf-8",
            capture_output=True,
            timeout=_LONG_ENOUGH,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

        wait_until(lambda: LINES[-1] in subscriber.lines, "the last line has come back")
        assert [line for line in subscriber.lines if line != "probe"] == LINES
    assert bridge.stop() == 0


def test_defaults_are_those_of_the_configuration(recipe: Recipe) -> None:
    config = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
    pub, pull = config["sessions"]["chat"]["zmq"]
    assert (pub["type"], pull["type"]) == ("pub", "pull")
    assert f'"{pub["endpoint"]}"' in recipe.source("subscriber")
    assert f'"{pub["topic"]}"' in recipe.source("subscriber")
    assert f'"{pull["endpoint"]}"' in recipe.source("pusher")


@pytest.fixture
def publisher() -> Iterator["zmq.Socket[bytes]"]:
    """A socket that tells of subscriptions, as the bridge's does."""
    with ExitStack() as until_closed:
        context = until_closed.enter_context(zmq.Context[zmq.Socket[bytes]]())
        socket = until_closed.enter_context(context.socket(zmq.XPUB))
        socket.linger = 0
        socket.rcvtimeo = int(_LONG_ENOUGH * 1000)
        socket.bind("tcp://127.0.0.1:*")
        yield socket


def test_a_subscriber_prints_its_topic_only_and_understands_both_layouts(
    recipe: Recipe, publisher: "zmq.Socket[bytes]"
) -> None:
    address = publisher.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(address, bytes)
    with Program(recipe, "subscriber", address.rstrip(b"\0").decode(), "news") as subscriber:
        assert publisher.recv() == b"\x01news"
        for frames in (
            [b"news2", b"of another topic"],
            [b"news/!event", b'{"event":"connected"}', b""],
            [b"news", b"plain"],
            [b"news", b'{"event":"message"}', b"with meta"],
            [b"news", b""],
            [b"news", b"end"],
        ):
            publisher.send_multipart(frames)
        wait_until(lambda: subscriber.lines[-1:] == ["end"], "the last message")
        assert subscriber.lines == ["plain", "with meta", "", "end"]


def test_a_pusher_without_a_bridge_says_so_and_ends(recipe: Recipe) -> None:
    done = subprocess.run(
        recipe.command("pusher", NOBODY),
        cwd=recipe.folder,
        env=os.environ | recipe.environment,
        input="lost\n",
        encoding="utf-8",
        capture_output=True,
        timeout=_LONG_ENOUGH,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"pusher: no bridge answers at {NOBODY}" in done.stderr
