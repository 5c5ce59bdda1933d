"""What the program loads before it does what it was asked to: no more than that needs.

A health check runs every few seconds, and each library costs time and memory at every start.
"""

import signal
from pathlib import Path

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, run_command, smallest

TELL_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Python then writes a line for each module that it loads."""
HTTP_SERVER = {"aiohttp.web", "prometheus_client"}
LIBRARIES = {
    "aiohttp",
    "asyncio",
    "orjson",
    "picows",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "uvloop",
    "yarl",
    "zmq",
}
NOBODY = "127.0.0.1:1"
"""Connections to port 1 are refused: no program may be there but root's."""


def imported(stderr: str) -> set[str]:
    """The modules that a program has loaded, by what it wrote."""
    lines = [line for line in stderr.splitlines() if line.startswith("import time:")]
    modules = {line.rpartition("|")[2].strip() for line in lines}
    assert "sockjs_bridge.cli" in modules
    return modules


def run(folder: Path, *arguments: str, code: int = 0) -> set[str]:
    """Run a command to its end; return what it has loaded."""
    done = run_command(*arguments, folder=folder, environment=TELL_IMPORTS)
    assert done.returncode == code, done.stderr
    return imported(done.stderr)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A configuration with an admin listener and an endpoint of each kind."""
    zmq = '[[sessions.chat.zmq]]\ntype = "pub"\nendpoint = "tcp://127.0.0.1:0"\n'
    admin = f'[admin]\nlisten = "{NOBODY}"\n'
    (tmp_path / "bridge.toml").write_text(smallest("http://localhost:8081/echo") + zmq + admin)
    return "bridge.toml"


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["status", "--help"], ["connect", "--help"]]
)
def test_a_help_text_needs_nothing(tmp_path: Path, arguments: list[str]) -> None:
    modules = run(tmp_path, *arguments)
    assert not modules & {*LIBRARIES, "http.client", "json", "ssl"}


def test_a_completion_script_needs_nothing(tmp_path: Path) -> None:
    assert not run(tmp_path, "completion", "bash") & LIBRARIES


@pytest.mark.parametrize("command", [["healthcheck"], ["status"], ["reload"], ["reconnect", "chat"]])
@pytest.mark.parametrize("where", [["--admin", NOBODY], ["--config", "bridge.toml"]])
def test_what_asks_a_running_bridge_needs_http_only(
    tmp_path: Path, file: str, command: list[str], where: list[str]
) -> None:
    modules = run(tmp_path, *command, *where, code=69)
    assert "http.client" in modules
    assert not modules & LIBRARIES


def test_check_reads_the_configuration_and_loads_nothing_that_would_run_it(tmp_path: Path, file: str) -> None:
    modules = run(tmp_path, "check", "--config", file)
    assert {"pydantic", "sockjs_bridge.config.load"} <= modules
    assert not modules & {"aiohttp", "orjson", "picows", "prometheus_client", "uvloop", "zmq"}
    # The texts of the options: reading them from the sources took a tenth of the time.
    assert "sockjs_bridge.config.texts" not in modules
    assert "sockjs_bridge.config.texts" in run(tmp_path, "schema")


def test_keygen_needs_libzmq_only(tmp_path: Path) -> None:
    assert run(tmp_path, "keygen", "bridge.key") & LIBRARIES == {"zmq"}


def loaded(bridge: BridgeProcess) -> set[str]:
    """What a daemon has loaded by now, of what not every one needs."""
    return imported(bridge.stderr) & (HTTP_SERVER | {"zmq"})


def test_the_daemon_loads_what_its_configuration_asks_for(start_bridge: BridgeStarter) -> None:
    smallest_one = smallest("http://127.0.0.1:1/echo")
    bridge = start_bridge(smallest_one, environment=TELL_IMPORTS)
    bridge.wait_for_log("cannot connect")
    assert loaded(bridge) == set()
    assert {"aiohttp", "picows", "uvloop"} <= imported(bridge.stderr)


def test_a_reload_loads_what_it_brings(start_bridge: BridgeStarter, tmp_path: Path) -> None:
    config = smallest("http://127.0.0.1:1/echo")
    bridge = start_bridge(config, environment=TELL_IMPORTS)
    bridge.wait_for_log("cannot connect")
    file = tmp_path / "bridge.toml"
    config += '[[sessions.chat.zmq]]\ntype = "pub"\nendpoint = "tcp://127.0.0.1:0"\n'
    file.write_text(config)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_log("listening on tcp://")
    bridge.wait_for_log("reloaded")
    assert loaded(bridge) == {"zmq"}
    file.write_text('[admin]\nlisten = "127.0.0.1:0"\n' + config)
    bridge.send_signal(signal.SIGHUP)
    admin = str(bridge.wait_for_log("admin listening on")["message"]).rpartition(" ")[2]
    assert loaded(bridge) == {"zmq", *HTTP_SERVER}
    asked = run_command("status", "--admin", admin, folder=tmp_path)
    assert (asked.returncode, "chat" in asked.stdout) == (0, True)
    assert bridge.stop() == 0
