"""The Dockerfile, the compose file and the Kubernetes manifest, as far as they can be tried without an engine.

What they do when they run is shown by tests/service/run_docker.py.
"""

import fnmatch
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from sockjs_bridge import __version__
from tests.bridge_process import BridgeStarter, LineClient, run_command
from tests.e2e.dockerfile import Instruction, only, stages
from tests.real_servers import RealServer

PROJECT = Path(__file__).resolve().parents[2]
DOCKERFILE = PROJECT / "Dockerfile"
STAGES = stages(DOCKERFILE)
LAST = STAGES[-1]
COMPOSE = PROJECT / "config" / "docker" / "compose.yaml"
SIDECAR = PROJECT / "config" / "kubernetes" / "sidecar.yaml"
IMAGE = f"sockjs-bridge:{__version__}"
PREFIX = "SOCKJS_BRIDGE_"
DRAIN_SECONDS = 8
HEALTHCHECK = ["sockjs-bridge", "healthcheck"]


def copied(stage: list[Instruction]) -> list[str]:
    """What COPY takes from the project."""
    copies = [each for each in stage if each.keyword == "COPY" and not each.options]
    return [source for each in copies for source in each.text.split()[:-1]]


COPIED = [source for stage in STAGES for source in copied(stage)]


def is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out of the build: the last line that fits it, or a folder above it, rules."""
    parts = path.split("/")
    names = {"/".join(parts[: end + 1]) for end in range(len(parts))}
    ignored = False
    for line in (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        if line.startswith("#") or not line:
            continue
        if pattern.startswith("**/"):
            fits = pattern.removeprefix("**/") in parts
        else:
            fits = any(fnmatch.fnmatch(name, pattern) for name in names)
        if fits:
            ignored = not line.startswith("!")
    return ignored


def test_there_are_stages_and_only_the_last_one_is_kept() -> None:
    assert [stage[0].text for stage in STAGES] == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    assert [each.options for each in LAST if each.keyword == "COPY"] == [("--from=build",), ()]
    assert not any("pip install" in each.text or "apt-get" in each.text for each in LAST)


def test_nothing_is_fetched_to_read_it_and_no_address_is_in_it() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert not re.search(r"^#\s*(syntax|escape)\s*=", text, re.MULTILINE | re.IGNORECASE)
    assert "://" not in text
    assert not re.search(r"trusted-host|index-url|find-links|ca-certificates|PIP_CERT", text, re.IGNORECASE)


def test_every_package_is_locked_by_its_hash() -> None:
    installs = [each for each in STAGES[0] if each.keyword == "RUN" and "requirements" in each.text]
    locks = [install.exec_form[install.exec_form.index("-r") + 1] for install in installs]
    assert locks == ["requirements-build.txt", "requirements-image.txt"]
    for install, lock in zip(installs, locks, strict=True):
        assert {"--require-hashes", "--only-binary"} <= set(install.exec_form)
        assert f".ci/{lock}" in COPIED
        assert re.search(
            r"--hash=sha256:[0-9a-f]{64}$", (PROJECT / ".ci" / lock).read_text(encoding="utf-8"), re.MULTILINE
        )


def test_the_image_has_the_versions_that_are_tested() -> None:
    def versions(name: str) -> dict[str, str]:
        text = (PROJECT / ".ci" / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))

    tested, image = versions("requirements.txt"), versions("requirements-image.txt")
    assert {"aiohttp", "picows", "uvloop", "pyzmq", "pydantic-settings"} <= image.keys()
    assert image.items() <= tested.items()
    assert not image.keys() & {"sockjs", "hatchling", "pytest"}


def test_what_is_copied_is_there_and_not_kept_out() -> None:
    assert {"sockjs_bridge", "pyproject.toml", "config/docker/bridge.toml"} <= set(COPIED)
    assert [source for source in COPIED if not (PROJECT / source).exists() or is_ignored(source)] == []


@pytest.mark.parametrize(
    "path",
    [".git/config", ".venv/bin/python", ".cache/x", "tests/conftest.py", "sockjs_bridge/__pycache__/cli.pyc"],
)
def test_all_else_is_kept_out(path: str) -> None:
    assert is_ignored(path)


def test_who_runs_and_how() -> None:
    assert only(LAST, "USER").text == "65532:65532"
    assert only(LAST, "STOPSIGNAL").text == "SIGTERM"
    assert only(LAST, "ENTRYPOINT").exec_form == ["sockjs-bridge"]
    assert only(LAST, "CMD").exec_form == ["--config", "/etc/sockjs-bridge/bridge.toml"]
    healthcheck = only(LAST, "HEALTHCHECK")
    assert json.loads(healthcheck.text.removeprefix("CMD ")) == HEALTHCHECK
    # The command itself gives up after 5 s.
    assert "--timeout=6s" in healthcheck.options
    assert only(LAST, "ENV").pairs[f"{PREFIX}ADMIN__LISTEN"] == "127.0.0.1:9180"


def test_what_the_image_runs_by_the_environment_alone(
    server: RealServer, start_bridge: BridgeStarter, tmp_path: Path
) -> None:
    config, *nothing_else = [source for source in copied(LAST) if source.endswith(".toml")]
    assert nothing_else == []
    arguments = [*only(LAST, "ENTRYPOINT").exec_form[1:], *only(LAST, "CMD").exec_form]
    arguments[-1] = str(PROJECT / config)  # what the image has at that path
    environment = {name: value for name, value in only(LAST, "ENV").pairs.items() if name != "PATH"}
    # The port may be taken here.
    environment[f"{PREFIX}ADMIN__LISTEN"] = "127.0.0.1:0"
    environment[f"{PREFIX}SESSIONS__CHAT__URL"] = server.url("/echo")
    environment[f"{PREFIX}SESSIONS__CHAT__TCP"] = '[{"listen": "127.0.0.1:0"}]'
    bridge = start_bridge.start(*arguments, environment=environment)
    admin = bridge.wait_for_log("admin listening on")["message"].removeprefix("admin listening on ")
    environment[f"{PREFIX}ADMIN__LISTEN"] = admin
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        assert client.exchange(["hello"]) == ["hello"]
    health = run_command(*HEALTHCHECK[1:], folder=tmp_path, environment=environment)
    assert (health.returncode, health.stdout) == (0, "ok\n")
    assert bridge.stop(signal.SIGTERM) == 0
    assert bridge.log[-1]["message"] == "stopped"
    assert run_command(*HEALTHCHECK[1:], folder=tmp_path, environment=environment).returncode == 69


def test_the_image_without_any_configuration_says_what_is_missing(tmp_path: Path) -> None:
    done = run_command("--config", PROJECT / "config/docker/bridge.toml", folder=tmp_path)
    assert done.returncode == 78
    assert "no session; the smallest working file is" in done.stderr


def check(environment: dict[str, str], folder: Path) -> list[str]:
    """What `sockjs-bridge check` says of an environment, over that of the image."""
    of_image = {name: value for name, value in only(LAST, "ENV").pairs.items() if name.startswith(PREFIX)}
    done = run_command(
        "check",
        "--config",
        PROJECT / "config/docker/bridge.toml",
        folder=folder,
        environment=of_image | environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_compose_file(tmp_path: Path) -> None:
    (service,) = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"].values()
    assert (COMPOSE.parent / service["build"]).resolve() == DOCKERFILE.parent
    assert service["image"] == IMAGE
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert float(service["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS
    environment = {
        name: re.sub(r"\$\{SOCKJS_URL:\?.*\}", "http://h/echo", value)
        for name, value in service["environment"].items()
    }
    session, listener = check(environment, tmp_path)
    assert session.startswith("session chat: http://h/echo ")
    assert listener.startswith("session chat: tcp 0.0.0.0:9000, ")
    # Published on loopback only: whoever can connect can speak.
    assert service["ports"] == ["127.0.0.1:9000:9000"]


@pytest.fixture
def pod() -> dict[str, Any]:
    deployment = yaml.safe_load(SIDECAR.read_text(encoding="utf-8"))
    assert (deployment["kind"], deployment["apiVersion"]) == ("Deployment", "apps/v1")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def test_the_sidecar_is_native_and_configured(pod: dict[str, Any], tmp_path: Path) -> None:
    (bridge,) = pod["initContainers"]
    assert (bridge["image"], bridge["restartPolicy"]) == (IMAGE, "Always")
    assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS
    environment = {variable["name"]: variable["value"] for variable in bridge["env"]}
    listener = check(environment, tmp_path)[1]
    assert listener.startswith("session chat: tcp 127.0.0.1:9000, ")


def test_no_probe_of_the_sidecar_asks_for_the_far_server(pod: dict[str, Any]) -> None:
    (bridge,) = pod["initContainers"]
    probes = {name: probe for name, probe in bridge.items() if name.endswith("Probe")}
    assert probes.keys() == {"startupProbe", "livenessProbe", "readinessProbe"}
    for probe in probes.values():
        assert probe["exec"]["command"] == HEALTHCHECK
        assert probe["timeoutSeconds"] > 5


def test_no_container_of_the_pod_may_do_more_than_it_needs(pod: dict[str, Any]) -> None:
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(only(LAST, "USER").text.partition(":")[0]),
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
