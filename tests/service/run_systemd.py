"""Runs the units in systemd/ under a real systemd and shows that they do what they promise; see README.md here.

usage, as root, in the project's folder:  .venv/bin/python -m tests.service.run_systemd
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import sockjs_bridge
from tests.service.machine import Machine, missing_tools, wait_until

_HERE = Path(__file__).resolve().parent
_UNITS = _HERE.parents[1] / "systemd"
_SYSTEM_PYTHON = "/usr/bin/python3"
_PACKAGES = "/opt/sockjs-bridge/packages"
_PROGRAM = "/opt/sockjs-bridge/program"
_UNIT = "sockjs-bridge.service"
_INSTANCE = "sockjs-bridge@second.service"
_DEFAULT_WATCHDOG = 30.0
_READY_SECONDS = 3.0  # after a crash, with RestartSec=1
_LONG_ENOUGH = 20.0

_LAUNCHER = f"""#!{_SYSTEM_PYTHON}
import sys
sys.path[:0] = ["{_PROGRAM}", "{_PACKAGES}"]
from sockjs_bridge.cli import main
sys.exit(main())
"""
_ECHO_UNIT = f"""[Service]
Environment=PYTHONPATH={_PACKAGES}
ExecStart={_SYSTEM_PYTHON} /opt/sockjs-bridge/echo_server.py
"""
# Not 127.0.0.1: so that names have to be looked up inside the sandbox.
_CONFIG = """[sessions.chat]
url = "http://localhost:8081/echo"
[[sessions.chat.tcp]]
listen = "systemd:bridge"
"""
_MORE = '[[sessions.chat.tcp]]\nlisten = "127.0.0.1:9001"\n'
_INSTANCE_MORE = '[[sessions.chat.tcp]]\nlisten = "unix:/run/sockjs-bridge-second/local.sock"\n'

# Connects again and again for some seconds, one line each time, and tells how that went.
_CLIENT = """
import json, socket, sys, time
address, seconds, timeout = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
family = socket.AF_UNIX if address.startswith("/") else socket.AF_INET
where = address if address.startswith("/") else ("127.0.0.1", int(address))
told = {"answered": 0, "refused": 0, "unanswered": 0, "longest": 0.0}
start = time.monotonic()
while True:
    begin = time.monotonic()
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(where)
            sock.sendall(f"{begin}\\n".encode())
            answer = sock.makefile().readline().strip()
            # The session is shared: the echo of another client's line may come first.
            told["answered" if answer else "unanswered"] += 1
        except (ConnectionRefusedError, FileNotFoundError):
            told["refused"] += 1
        except OSError:
            told["unanswered"] += 1
    told["longest"] = max(told["longest"], round(time.monotonic() - begin, 2))
    if time.monotonic() - start >= seconds:
        break
    time.sleep(0.02)
print(json.dumps(told))
"""

Told = dict[str, float]
"""How it went for the client: answered, refused, unanswered (numbers of connections), longest (seconds)."""


class Service:
    """One unit in the machine, and the clients of its bridge."""

    def __init__(self, machine: Machine, unit: str, address: str) -> None:
        """`address` is a port or the path of a socket."""
        self.machine = machine
        self.unit = unit
        self.address = address

    def systemctl(self, verb: str) -> None:
        """Run systemctl on the unit; fail where it does."""
        self.machine.run("systemctl", verb, self.unit)

    def show(self, key: str) -> str:
        """Return one property of the unit."""
        return self.machine.run("systemctl", "show", "--value", "-p", key, self.unit)

    @property
    def pid(self) -> int:
        """The main process; 0 where there is none."""
        return int(self.show("MainPID"))

    def kill(self, signal_name: str) -> None:
        """Send a signal to the main process, by its number inside."""
        pid = self.pid
        assert pid > 1, f"{self.unit} does not run"
        self.machine.run("kill", "-s", signal_name, str(pid))

    def ask(self, address: str = "", timeout: float = _LONG_ENOUGH) -> Told:
        """Let one client send a line and wait for an answer."""
        told = self.machine.run(*_client(address or self.address, 0, timeout))
        return json.loads(told)  # type: ignore[no-any-return]

    def is_answered(self, address: str = "") -> bool:
        """Whether one line is answered, within a second."""
        return self.ask(address, 1)["answered"] == 1

    def wait_open(self) -> None:
        """Wait until the status says that all sessions are open."""
        wait_until(self._all_are_open, "STATUS says that all sessions are open", _LONG_ENOUGH)

    def _all_are_open(self) -> bool:
        found = re.match(r"(\d+)/(\d+) sessions? open", self.show("StatusText"))
        return found is not None and found[1] == found[2]

    def journal(self, least: str = "debug") -> str:
        """Return what the journal has of the unit; with systemd's log at debug, each notification too."""
        return self.machine.run("journalctl", "-o", "cat", "--no-pager", "-p", least, "-u", self.unit)

    def notifications(self) -> list[str]:
        """Return the messages that systemd got from the unit so far."""
        return re.findall(r"Got notification message from PID \d+ \((.*)\)", self.journal())


def _client(address: str, seconds: float, timeout: float) -> tuple[str, ...]:
    return (_SYSTEM_PYTHON, "-c", _CLIENT, address, str(seconds), str(timeout))


# --- what is shown, in this order ---


def ready(bridge: Service) -> str:
    """Start returns with READY, and STATUS tells of the sessions."""
    bridge.systemctl("start")
    assert bridge.show("ActiveState") == "active"
    assert any("READY=1" in message for message in bridge.notifications()), bridge.notifications()
    bridge.wait_open()
    assert bridge.ask()["answered"] == 1
    return bridge.show("StatusText")


def sandbox(bridge: Service) -> str:
    """The bridge runs as nobody that exists, without privileges, and may still raise its limit of open files."""
    status = bridge.machine.run("cat", f"/proc/{bridge.pid}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["Uid"].split()[0]) > 60000, fields["Uid"]
    assert (fields["NoNewPrivs"], fields["Seccomp"], int(fields["CapBnd"], 16)) == ("1", "2", 0)
    limits = bridge.machine.run("cat", f"/proc/{bridge.pid}/limits")
    found = re.search(r"Max open files +(\d+) +(\d+)", limits)
    assert found is not None, limits
    assert found[1] == found[2], limits
    for folder in ("/var/lib/sockjs-bridge", "/run/sockjs-bridge"):
        bridge.machine.run("test", "-d", folder)
    return f"uid {fields['Uid'].split()[0]}, {found[1]} files"


def watchdog_is_petted(bridge: Service) -> str:
    """With the WatchdogSec that the unit has, WATCHDOG=1 comes in time."""

    def petted() -> bool:
        return any("WATCHDOG=1" in message for message in bridge.notifications())

    seconds = wait_until(petted, "WATCHDOG=1 is sent", _DEFAULT_WATCHDOG)
    return f"within {seconds:.1f} s more"


def reload(bridge: Service) -> str:
    """Reload brings a new listener into the same process; RELOADING and its time come in one message."""
    pid = bridge.pid
    bridge.machine.write("/etc/sockjs-bridge/bridge.toml", _CONFIG + _MORE)
    bridge.systemctl("reload")
    seconds = wait_until(lambda: bridge.is_answered("9001"), "the new listener answers", _LONG_ENOUGH)
    wait_until(lambda: bridge.show("ActiveState") == "active", "READY after the reload", _LONG_ENOUGH)
    told = bridge.notifications()
    begin = next(index for index, message in enumerate(told) if "RELOADING=1" in message)
    assert "MONOTONIC_USEC=" in told[begin], told[begin]
    assert any("READY=1" in message for message in told[begin + 1 :]), told
    assert bridge.pid == pid
    return f"{seconds:.1f} s"


def clean_stop(bridge: Service) -> str:
    """Stop drains and is a success; the process says so, and asks for time."""
    start = time.monotonic()
    bridge.systemctl("stop")
    seconds = time.monotonic() - start
    told = bridge.notifications()
    assert any("STOPPING=1" in message for message in told), told
    assert any("EXTEND_TIMEOUT_USEC=" in message for message in told), told
    assert (bridge.show("Result"), bridge.show("ExecMainStatus")) == ("success", "0")
    assert bridge.show("ActiveState") == "inactive"
    return f"{seconds:.1f} s"


def started_by_a_client(bridge: Service) -> str:
    """The socket is still open; the first client starts the bridge."""
    told = bridge.ask()
    assert told["answered"] == 1, told
    assert bridge.show("ActiveState") == "active"
    return f"answered after {told['longest']:.1f} s"


def killed(bridge: Service) -> str:
    """After kill -9 it is ready again, and a client that comes meanwhile is served."""
    before = int(bridge.show("NRestarts"))
    start = time.clock_gettime(time.CLOCK_MONOTONIC)
    bridge.kill("KILL")
    told = bridge.ask()
    assert told["answered"] == 1, told
    wait_until(lambda: bridge.show("ActiveState") == "active", "active again", _LONG_ENOUGH)
    assert int(bridge.show("NRestarts")) == before + 1
    # By systemd's own clock: to start the client and to ask for the state takes time, too.
    seconds = int(bridge.show("ActiveEnterTimestampMonotonic")) / 1_000_000 - start
    assert 0 < seconds < _READY_SECONDS, f"ready again only after {seconds:.1f} s"
    return f"ready after {seconds:.1f} s, the client was answered after {told['longest']:.1f} s"


def restarted_under_clients(bridge: Service) -> str:
    """While it restarts, no client is refused, and those that come in between are served."""
    bridge.wait_open()
    with bridge.machine.start(*_client(bridge.address, 4, _LONG_ENOUGH)) as clients:
        time.sleep(0.5)
        bridge.systemctl("restart")
        output, _ = clients.communicate(timeout=60)
    told: Told = json.loads(output)
    assert told["refused"] == 0, told
    # One client at a time: the one that the old process has accepted last may end without its echo.
    assert told["unanswered"] <= 1, told
    return f"{told['answered']} served, none refused, the longest after {told['longest']:.1f} s"


def hung(bridge: Service) -> str:
    """A loop that stands still is ended by the watchdog and started again; the journal says where it stood."""
    drop_in = f"/etc/systemd/system/{bridge.unit}.d/watchdog.conf"
    bridge.machine.write(drop_in, "[Service]\nWatchdogSec=2\n")
    bridge.machine.run("systemctl", "daemon-reload")
    bridge.systemctl("restart")
    bridge.wait_open()
    time.sleep(5)
    assert bridge.show("NRestarts") == "0", "it was restarted although it was well"
    pid = bridge.pid
    bridge.kill("STOP")
    seconds = wait_until(lambda: bridge.pid not in {0, pid}, "another process", _LONG_ENOUGH)
    wait_until(lambda: bridge.show("ActiveState") == "active", "active again", _LONG_ENOUGH)
    assert bridge.ask()["answered"] == 1
    journal = bridge.journal()
    assert "Watchdog timeout" in journal, journal[-2000:]
    assert "Fatal Python error: Aborted" in journal, journal[-2000:]
    return f"with WatchdogSec=2, after {seconds:.1f} s"


def wrong_configuration(bridge: Service) -> str:
    """Exit code 78 is not tried again."""
    bridge.machine.write("/etc/sockjs-bridge/bridge.toml", _CONFIG.replace("url", "urk"))
    bridge.machine.run("systemctl", "restart", bridge.unit, check=False)
    time.sleep(2.5)
    state = [bridge.show(key) for key in ("ActiveState", "ExecMainStatus", "NRestarts")]
    assert state == ["failed", "78", "0"], state
    bridge.machine.write("/etc/sockjs-bridge/bridge.toml", _CONFIG)
    bridge.systemctl("start")
    return "failed once"


def instance(bridge: Service) -> str:
    """An instance beside the other has its own socket, configuration and directories."""
    bridge.machine.run("systemctl", "start", bridge.unit.replace(".service", ".socket"))
    for attempt in ("started by a client", "restarted"):
        assert bridge.ask()["answered"] == 1, attempt
        assert bridge.ask("/run/sockjs-bridge-second/local.sock")["answered"] == 1, attempt
        bridge.machine.run("test", "-d", "/var/lib/sockjs-bridge-second")
        bridge.systemctl("restart")
    bridge.systemctl("stop")
    bridge.machine.run("test", "!", "-e", "/run/sockjs-bridge-second")
    return bridge.address


_STEPS: tuple[Callable[[Service], str], ...] = (
    ready,
    sandbox,
    reload,
    watchdog_is_petted,
    clean_stop,
    started_by_a_client,
    killed,
    restarted_under_clients,
    hung,
    wrong_configuration,
)


def main() -> int:
    """Run all; return 0 where all holds."""
    if problem := _what_is_missing():
        print(f"run_systemd: {problem}", file=sys.stderr)
        return 1
    begin = time.monotonic()
    with Machine(_files(), {Path(sysconfig.get_path("platlib")): _PACKAGES}) as machine:
        print(f"booted in {time.monotonic() - begin:.0f} s: {_version(machine)}", flush=True)
        # Then the journal has every notification.
        machine.run("systemd-analyze", "log-level", "debug")
        machine.run("systemctl", "start", "echo-server.service", "sockjs-bridge.socket")
        bridge = Service(machine, _UNIT, "9000")
        second = Service(machine, _INSTANCE, "/run/sockjs-bridge-second.socket")
        failed = [step.__name__ for step in _STEPS if not _holds(step, bridge)]
        failed += [] if _holds(instance, second) else [instance.__name__]
    print(f"{len(_STEPS) + 1 - len(failed)} hold, {len(failed)} do not: {', '.join(failed) or '-'}")
    return bool(failed)


def _holds(step: Callable[[Service], str], service: Service) -> bool:
    title = (step.__doc__ or "").strip()
    try:
        print(f"ok      {step.__name__}: {title} ({step(service)})", flush=True)
    except (AssertionError, subprocess.SubprocessError, StopIteration) as error:
        print(f"FAILED  {step.__name__}: {title}\n{error}\n--- the last of its journal:", flush=True)
        print("\n".join(service.journal("info").splitlines()[-30:]), flush=True)
        return False
    return True


def _what_is_missing() -> str:
    if os.geteuid() != 0:
        return "only root can boot a machine: use sudo"
    if missing := missing_tools():
        return f"{', '.join(missing)} not found. On Debian: apt-get install systemd-container"
    version = subprocess.run(
        [_SYSTEM_PYTHON, "-V"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not version.startswith(f"{ours}."):
        return f"{_SYSTEM_PYTHON} is {version}, and these packages are for {ours}: make setup PYTHON=python3"
    return ""


def _files() -> dict[str, str | Path]:
    files: dict[str, str | Path] = {
        f"/etc/systemd/system/{file.name}": file for file in _UNITS.iterdir() if file.is_file()
    }
    return files | {
        "/usr/bin/sockjs-bridge": _LAUNCHER,
        f"{_PROGRAM}/sockjs_bridge": Path(sockjs_bridge.__file__).parent,
        "/opt/sockjs-bridge/echo_server.py": _HERE / "echo_server.py",
        "/etc/systemd/system/echo-server.service": _ECHO_UNIT,
        "/etc/sockjs-bridge/bridge.toml": _CONFIG,
        "/etc/sockjs-bridge/second.toml": _CONFIG + _INSTANCE_MORE,
    }


def _version(machine: Machine) -> str:
    return machine.run("systemctl", "--version").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
