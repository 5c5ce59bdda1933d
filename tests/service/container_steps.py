"""What run_docker.py shows of the image, a function for each; its docstring says what holds."""

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.service.engine import Container, Engine
from tests.service.machine import wait_until

_USER = "65532"
_FILE = "/etc/sockjs-bridge/bridge.toml"
_PLACES = ("/opt/sockjs-bridge", "/etc/sockjs-bridge", "/run/sockjs-bridge", "/var/lib/sockjs-bridge")
_NEVER_THERE = ("gcc", "cc", "g++", "make", "pip", "pip3", "hatchling", "git", "curl", "wget")
_READY_SECONDS = 20.0
_HEALTHY_SECONDS = 40.0  # the first check comes after 10 s
_DRAIN_SECONDS = 8.0
_LOAD_SECONDS = 10.0
_MEBIBYTE = 1 << 20
_LIMIT_MEBIBYTES = 128
_BY_ENVIRONMENT = (
    "--env=SOCKJS_BRIDGE_SESSIONS__CHAT__URL=http://localhost:8081/echo",
    '--env=SOCKJS_BRIDGE_SESSIONS__CHAT__TCP=[{"listen": "127.0.0.1:9000"}]',
)
_CONFIG = (
    '[sessions.chat]\nurl = "http://localhost:8081/echo"\n[[sessions.chat.tcp]]\nlisten = "127.0.0.1:9000"\n'
)
_FLOODED = """[sessions.flood]
url = "http://127.0.0.1:{port}/flood"
[[sessions.flood.tcp]]
listen = "127.0.0.1:9000"
[sessions.away]
url = "http://127.0.0.1:1/nobody"
[[sessions.away.tcp]]
listen = "127.0.0.1:9001"
"""
_HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=64")
_CHECKED_OFTEN = ("--health-interval=1s", "--health-timeout=3s", "--health-retries=2")
_LIMITED = (f"--memory={_LIMIT_MEBIBYTES}m", f"--memory-swap={_LIMIT_MEBIBYTES}m")
# Both versions of control groups; what is not there says nothing.
_MEMORY = """cd /sys/fs/cgroup
cat memory.peak memory/memory.max_usage_in_bytes
grep -h oom_kill memory.events memory/memory.oom_control
true"""


@dataclass(frozen=True, slots=True)
class World:
    """What the steps use: the engine, the image and its base, where the far servers run, a folder for files."""

    engine: Engine
    image: str
    base: str
    far: Container
    folder: Path

    @contextlib.contextmanager
    def bridge(self, *options: str) -> Iterator[Container]:
        """Run a bridge beside the far servers, as a sidecar runs."""
        network = f"--network=container:{self.far.name}"
        with self.engine.container("bridge", self.image, (network, *options)) as container:
            yield container

    def shell(self, image: str, script: str) -> list[str]:
        """Run a script in a container of its own, as root; return the lines it prints."""
        alone = ("--rm", "--pull=never", "--network=none", "--user=0", "--entrypoint=sh")
        return self.engine.run("run", *alone, image, "-c", script).splitlines()

    def mounted(self, config: str) -> str:
        """Return the option that mounts this configuration."""
        file = self.folder / "bridge.toml"
        file.write_text(config, encoding="utf-8")
        return f"--volume={file}:{_FILE}:ro"

    def ask(self, *lines: str) -> list[str]:
        """Let a program send lines to port 9000 of the bridge, and read as many."""
        text = "".join(f"{line}\n" for line in lines)
        return self.far.execute("python", "container_client.py", "lines", "9000", text=text).splitlines()

    def wait_chat(self) -> float:
        """Wait until a line comes back; return the seconds that took."""
        return wait_until(lambda: self._comes_back("hello"), "a line comes back", _READY_SECONDS)

    def _comes_back(self, line: str) -> bool:
        with contextlib.suppress(AssertionError):  # nobody listens yet
            return self.ask(line) == [line]
        return False


# --- what is shown, in this order ---


def only_what_runs(world: World) -> str:
    """Over its base the image has the program, its folders and bytecode: no compiler, no pip, no cache, no setting."""
    there = world.shell(world.image, f"for name in {' '.join(_NEVER_THERE)}; do command -v $name; done; true")
    assert not there, there
    before, after = (set(world.shell(image, "find / -xdev")) for image in (world.base, world.image))
    added = [path for path in after - before if "/__pycache__" not in path and not path.startswith(_PLACES)]
    assert not added, added
    packages = {
        path.rpartition("/")[2] for path in after if re.fullmatch(r"/opt/.*/site-packages/[^/]+", path)
    }
    assert packages >= {"sockjs_bridge", "uvloop", "zmq"}, packages
    assert not packages & {"pip", "setuptools", "hatchling", "wheel", "sockjs"}, packages
    before, after = (
        set(
            world.shell(
                image,
                "find /etc -xdev -type f -exec sha256sum {} + | grep -vE ' /etc/(hosts|hostname|resolv)'",
            )
        )
        for image in (world.base, world.image)
    )
    assert [line.split()[1] for line in before ^ after] == [_FILE], before ^ after
    sizes = [
        int(world.engine.run("inspect", "--format={{.Size}}", image)) for image in (world.image, world.base)
    ]
    return f"{(sizes[0] - sizes[1]) / 1e6:.0f} MB over the base"


def environment_alone(world: World) -> str:
    """Without a file, the environment says it all; the health check finds it well; a line comes back."""
    with world.bridge(*_BY_ENVIRONMENT) as bridge:
        seconds = bridge.wait_health("healthy", _HEALTHY_SECONDS)
        world.wait_chat()
        table = bridge.execute("sockjs-bridge", "status").splitlines()
        assert table[1].split()[:2] == ["chat", "open"], table
        return f"healthy after {seconds:.0f} s"


def mounted_file(world: World) -> str:
    """A file goes over the empty one of the image, and the environment over the file."""
    moved = '--env=SOCKJS_BRIDGE_SESSIONS__CHAT__TCP=[{"listen": "127.0.0.1:9000"}]'
    with world.bridge(world.mounted(_CONFIG.replace("9000", "9009")), moved):
        seconds = world.wait_chat()
    return f"a line comes back after {seconds:.1f} s"


def hardened(world: World) -> str:
    """It runs as a user that is a number, on a read-only root, without capabilities and new privileges."""
    assert world.engine.run("inspect", "--format={{.Config.User}}", world.image) == f"{_USER}:{_USER}"
    with world.bridge(*_HARDENED, *_BY_ENVIRONMENT) as bridge:
        world.wait_chat()
        told = bridge.status("Uid", "CapEff", "CapBnd", "NoNewPrivs")
        assert told == [_USER, "0" * 16, "0" * 16, "1"], told
        for folder in ("/tmp", "/var/lib/sockjs-bridge"):
            refused = bridge.execute("sh", "-c", f"touch {folder}/file 2>&1 || true")
            assert "Read-only file system" in refused, refused
        bridge.wait_health("healthy", _HEALTHY_SECONDS)
        return f"uid {told[0]}"


def killed(world: World) -> str:
    """After kill -9 the engine starts it again, and it serves."""
    with world.bridge("--restart=always", *_HARDENED, *_BY_ENVIRONMENT) as bridge:
        world.wait_chat()
        pid = bridge.pid
        assert "sockjs-bridge" in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8"), (
            "another machine's engine?"
        )
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: bridge.show("RestartCount") == 1, "it was started again", _READY_SECONDS)
        seconds = world.wait_chat()
        assert bridge.pid != pid
        return f"a line comes back {seconds:.1f} s after the restart"


def hung(world: World) -> str:
    """A process that stands still becomes unhealthy, and healthy again when it goes on."""
    with world.bridge(*_CHECKED_OFTEN, *_BY_ENVIRONMENT) as bridge:
        bridge.wait_health("healthy", _HEALTHY_SECONDS)
        pid = bridge.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            seconds = bridge.wait_health("unhealthy", _HEALTHY_SECONDS)
        finally:
            os.kill(pid, signal.SIGCONT)
        bridge.wait_health("healthy", _HEALTHY_SECONDS)
        return f"checked every second, after {seconds:.0f} s"


def far_server_away(world: World) -> str:
    """Without the far server it is healthy all the same: a restart would not help."""
    nobody = "--env=SOCKJS_BRIDGE_SESSIONS__CHAT__URL=http://127.0.0.1:1/nobody"
    with world.bridge(*_CHECKED_OFTEN, *_BY_ENVIRONMENT, nobody) as bridge:
        bridge.wait_health("healthy", _HEALTHY_SECONDS)
        return str(bridge.last_line["message"]).partition(":")[0]


def memory_limit(world: World) -> str:
    """In 128 MiB, flooded both ways, with a full queue and readers that do not read: nothing lost, no OOM kill."""
    network = f"--network=container:{world.far.name}"
    serve = ("python", "cost.py", "serve")
    with world.engine.container("flood", str(world.far.show("Config.Image")), (network,), *serve) as server:
        wait_until(lambda: server.log.strip().isdigit(), "the server tells its port", _READY_SECONDS)
        config = _FLOODED.format(port=server.log)
        with world.bridge(*_HARDENED, *_LIMITED, *_CHECKED_OFTEN, world.mounted(config)) as bridge:
            bridge.wait_health("healthy", _HEALTHY_SECONDS)
            load = ("python", "container_client.py", "load", "9000", "9001", str(_LOAD_SECONDS))
            told = json.loads(world.far.execute(*load))
            assert told["arrived"] == told["written"] > 0, told
            assert told["came"] == told["asked_for"] > 0, told
            assert bridge.show("State.Health.Status") == "healthy"
            peak, kills, resident = _memory(bridge)
            assert 0 < peak <= _LIMIT_MEBIBYTES, peak
            assert kills == 0, kills
            assert (bridge.show("State.OOMKilled"), bridge.show("RestartCount")) == (False, 0)
    up, down = (told[key] / _LOAD_SECONDS for key in ("written", "came"))
    memory = f"peak {resident:.0f} MiB resident, {peak:.0f} MiB in the control group"
    return f"{up:.0f} messages a second up, {down:.0f} down; {memory}"


def _memory(bridge: Container) -> tuple[float, int, float]:
    """Return the peak of the container's memory in MiB, how many were killed for it, and the peak of the process."""
    lines = bridge.execute("sh", "-c", f"{{ {_MEMORY}; }} 2>/dev/null").splitlines()
    kills = [int(line.split()[1]) for line in lines if line.split()[0] == "oom_kill"]
    return int(lines[0]) / _MEBIBYTE, kills[0], int(bridge.status("VmHWM")[0]) / 1024


def clean_stop(world: World) -> str:
    """A stop drains: what a program has written goes out, exit code 0 in time, and the last line tells."""
    lines = [f"line {number}" for number in range(1000)]
    with world.bridge(*_HARDENED, *_BY_ENVIRONMENT) as bridge:
        world.wait_chat()
        before = json.loads(bridge.execute("sockjs-bridge", "status", "--json"))["sessions"][0]
        assert world.ask(*lines) == lines
        start = time.monotonic()
        assert bridge.stop() == 0
        seconds = time.monotonic() - start
        last = bridge.last_line
        assert seconds < _DRAIN_SECONDS, seconds
        assert (last["message"], last["dropped"]) == ("stopped", 0), last
        assert last["sent"] - before["messages"]["to_server"] == len(lines), last
        return f"{seconds:.1f} s; {json.dumps(last)}"


def stopped_without_a_server(world: World) -> str:
    """With messages for a server that is away, a stop ends in time all the same, and counts them."""
    nobody = "--env=SOCKJS_BRIDGE_SESSIONS__CHAT__URL=http://127.0.0.1:1/nobody"
    with world.bridge(*_HARDENED, *_BY_ENVIRONMENT, nobody) as bridge:
        wait_until(lambda: "listening on" in bridge.log, "it listens", _READY_SECONDS)
        send = "import socket; socket.create_connection(('127.0.0.1', 9000)).sendall(b'lost\\n')"
        world.far.execute("python", "-c", send)
        start = time.monotonic()
        assert bridge.stop() == 0
        seconds = time.monotonic() - start
        last = bridge.last_line
        assert (last["message"], last["dropped"], last["reasons"]) == ("stopped", 1, "stopped 1"), last
        return f"{seconds:.1f} s"


def stopped_as_it_starts(world: World) -> str:
    """A stop that comes before anything is set up is heard, too."""
    with world.bridge(*_BY_ENVIRONMENT) as bridge:
        status = Path(f"/proc/{bridge.pid}/status")
        wait_until(lambda: _keeps_sigterm(status), "SIGTERM is blocked or handled", _READY_SECONDS)
        start = time.monotonic()
        assert bridge.stop() == 0
        seconds = time.monotonic() - start
        assert bridge.last_line["message"] == "stopped"
        return f"{seconds:.1f} s"


def _keeps_sigterm(status: Path) -> bool:
    masks = re.findall(r"^Sig(?:Blk|Cgt):\t(\w+)$", status.read_text(encoding="ascii"), re.MULTILINE)
    return any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in masks)


def no_configuration(world: World) -> str:
    """With neither a file nor variables it says so, and ends with 78."""
    with world.bridge() as bridge:
        wait_until(lambda: bridge.show("State.Status") == "exited", "it has ended", _READY_SECONDS)
        assert bridge.show("State.ExitCode") == 78
        assert "no session; the smallest working file is" in bridge.log
        return bridge.log.splitlines()[0]


STEPS: tuple[Callable[[World], str], ...] = (
    only_what_runs,
    environment_alone,
    mounted_file,
    hardened,
    killed,
    hung,
    far_server_away,
    memory_limit,
    clean_stop,
    stopped_without_a_server,
    stopped_as_it_starts,
    no_configuration,
)
