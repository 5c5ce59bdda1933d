"""A Docker engine: the one that DOCKER_HOST names, or a throw-away one without networks in a temporary folder."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from tests.service.machine import wait_until

_COMMAND_SECONDS = 120.0
_BUILD_SECONDS = 900.0
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0
# Nothing of this machine's network is touched: no bridge, no rule of a firewall.
_DAEMON_OPTIONS = (
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
)
# Debian's package; another client of the same name may come first, and build without BuildKit.
_DEBIAN_CLIENT = "/usr/bin/docker"


class Engine:
    """A running engine. What is built and started through it is removed at the end."""

    def __init__(self, prefix: str) -> None:
        """All images and containers are called `prefix` and something."""
        self._prefix = prefix
        self._client = _DEBIAN_CLIENT if Path(_DEBIAN_CLIENT).exists() else "docker"
        self._environment = os.environ | {"DOCKER_BUILDKIT": "1"}
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        """Start an engine, unless there is one."""
        with self._cleanup:
            if "DOCKER_HOST" not in self._environment:
                folder = Path(tempfile.mkdtemp(prefix="sockjs-bridge-engine-", dir="/var/tmp"))
                self._cleanup.callback(shutil.rmtree, folder)
                self._start_daemon(folder)
            self._cleanup.callback(self._remove_all)
            self._cleanup = self._cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def run(
        self, *command: str, check: bool = True, timeout: float = _COMMAND_SECONDS, text: str = ""
    ) -> str:
        """Run a command of the client; return both outputs, without blanks around. `text` is its input."""
        done = subprocess.run(
            [self._client, *command],
            env=self._environment,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"docker {' '.join(command)} ended with {done.returncode}: {done.stdout}")
        return done.stdout.strip()

    def load_base(self, name: str, root: Path) -> str:
        """Make an image of a root file system; return its name."""
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as archive:
            subprocess.run(
                [self._client, "import", "-", self.named(name)],
                env=self._environment,
                stdin=archive.stdout,
                stdout=subprocess.DEVNULL,
                check=True,
            )
        return self.named(name)

    def build(self, name: str, folder: Path, arguments: Mapping[str, str]) -> str:
        """Build the Dockerfile in a folder; return the name of the image. The host's network is for the packages."""
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        build = ("build", "--network=host", f"--tag={self.named(name)}", *options, str(folder))
        self.run(*build, timeout=_BUILD_SECONDS)
        return self.named(name)

    def named(self, name: str) -> str:
        """Return how an image or container is called here."""
        return f"{self._prefix}-{name}"

    @contextmanager
    def container(
        self, name: str, image: str, options: Sequence[str], *arguments: str
    ) -> Iterator["Container"]:
        """Run a container in the background, and remove it at the end. Nothing is pulled."""
        self.run("run", "--detach", "--pull=never", f"--name={self.named(name)}", *options, image, *arguments)
        container = Container(self, self.named(name))
        try:
            yield container
        except (AssertionError, subprocess.SubprocessError) as error:
            raise AssertionError(f"{error}\n--- the last of its log:\n{container.log[-3000:]}") from error
        finally:
            self.run("rm", "--force", "--volumes", container.name)

    def _start_daemon(self, folder: Path) -> None:
        address = f"unix://{folder}/socket"
        places = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
        log = folder / "log"
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                ["dockerd", *_DAEMON_OPTIONS, *places, f"--host={address}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._cleanup.callback(_end, daemon)
        self._environment["DOCKER_HOST"] = address

        def answers() -> bool:
            assert daemon.poll() is None, f"dockerd has ended:\n{log.read_text(errors='replace')[-3000:]}"
            return "Server Version" in self.run("info", check=False)

        wait_until(answers, "the engine answers", _START_SECONDS)

    def _remove_all(self) -> None:
        of_ours = f"name=^/?{self._prefix}-"
        for container in self.run("ps", "--all", "--quiet", f"--filter={of_ours}").split():
            self.run("rm", "--force", "--volumes", container)
        for image in self.run("images", "--quiet", f"--filter=reference={self._prefix}-*").split():
            self.run("rmi", "--force", image, check=False)


class Container:
    """One container of the engine."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def show(self, path: str) -> Any:
        """Return what `docker inspect` has at a path, such as "State.Pid"."""
        return json.loads(self._engine.run("inspect", f"--format={{{{json .{path}}}}}", self.name))

    @property
    def pid(self) -> int:
        """The number of its first process, as this machine counts. 0 and 1 are never it: 0 is a group, our own."""
        pid = int(self.show("State.Pid"))
        assert pid > 1, f"{self.name} does not run"
        return pid

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._engine.run("logs", self.name)

    @property
    def last_line(self) -> dict[str, Any]:
        """The last line of its log."""
        return json.loads(self.log.splitlines()[-1])  # type: ignore[no-any-return]  # an object, or the step fails

    def execute(self, *command: str, text: str = "") -> str:
        """Run a command in it; fail where it does."""
        return self._engine.run("exec", "--interactive", self.name, *command, text=text)

    def status(self, *names: str) -> list[str]:
        """Return fields of /proc/1/status, each its first word."""
        lines = self.execute("cat", "/proc/1/status").splitlines()
        fields = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        return [fields[name][0] for name in names]

    def wait_health(self, health: str, timeout: float) -> float:
        """Wait for what its health check says; return the seconds that took."""
        return wait_until(lambda: self.show("State.Health.Status") == health, f"it is {health}", timeout)

    def stop(self) -> int:
        """Stop it as an operator does; return its exit code."""
        self._engine.run("stop", self.name)
        return int(self.show("State.ExitCode"))


def missing_programs() -> list[str]:
    """Return which programs are needed and not here."""
    needed = ["docker"] if "DOCKER_HOST" in os.environ else ["docker", "dockerd"]
    return [name for name in needed if shutil.which(name) is None]


def _end(daemon: "subprocess.Popen[bytes]") -> None:
    daemon.terminate()
    try:
        daemon.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
