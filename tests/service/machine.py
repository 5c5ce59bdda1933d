"""A throw-away machine: a real systemd as PID 1, on an overlay of this machine's root, in namespaces of its own."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

_BOOT_SECONDS = 40.0
_COMMAND_SECONDS = 60.0
_LOOK_SECONDS = 0.05
# Less than multi-user.target: nothing of what else is installed on this machine is started.
_TARGET = "test.target"
_TARGET_UNIT = "[Unit]\nRequires=basic.target dbus.socket\nAfter=basic.target\nAllowIsolate=yes\n"


class Machine:
    """A running systemd. Needs root, systemd-nspawn and nsenter."""

    def __init__(self, files: Mapping[str, str | Path], read_only: Mapping[Path, str]) -> None:
        """`files` come into its root: text, or a file or folder to copy. `read_only` is seen there at a path."""
        self._files = files
        self._read_only = read_only
        self._cleanup = ExitStack()
        self._pid = 0
        self.root = Path()

    def __enter__(self) -> Self:
        """Boot, until systemd says that all is started."""
        with self._cleanup:
            folder = Path(tempfile.mkdtemp(prefix="sockjs-bridge-machine-", dir="/var/tmp"))
            self._cleanup.callback(shutil.rmtree, folder)
            self._mount(folder)
            self._fill()
            self._boot(folder / "console")
            self._cleanup = self._cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command inside to its end; return what it writes on standard output, without blanks around."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._pid), "-a", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout.strip()

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command inside, and read its standard output."""
        return subprocess.Popen(
            ["nsenter", "-t", str(self._pid), "-a", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def _mount(self, folder: Path) -> None:
        self.root, upper, work = (folder / name for name in ("root", "upper", "work"))
        for made in (self.root, upper, work):
            made.mkdir()
        options = f"lowerdir=/,upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.root], check=True)
        self._cleanup.callback(lambda: subprocess.run(["umount", self.root], check=True))

    def _fill(self) -> None:
        self.write("/etc/machine-id", "")
        (self.root / "var/log/journal").mkdir(parents=True, exist_ok=True)
        self.write(f"/etc/systemd/system/{_TARGET}", _TARGET_UNIT)
        for path, content in self._files.items():
            place = self.root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                self.write(path, content)
                place.chmod(0o755 if content.startswith("#!") else 0o644)
            elif content.is_dir():
                shutil.copytree(content, place)
            else:
                shutil.copy(content, place)

    def _boot(self, console: Path) -> None:
        binds = [f"--bind-ro={source}:{place}" for source, place in self._read_only.items()]
        options = ["--register=no", "--keep-unit", "--private-network", "--link-journal=no", "--console=pipe"]
        command = ["systemd-nspawn", "-q", "-D", str(self.root), "--boot", *options, *binds]
        with console.open("wb") as output:
            nspawn = subprocess.Popen(
                [*command, f"systemd.unit={_TARGET}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._cleanup.callback(self._power_off, nspawn)
        try:
            wait_until(lambda: self._is_up(nspawn), "the machine is up", _BOOT_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}. It wrote:\n{console.read_text(errors='replace')}") from None

    def _is_up(self, nspawn: "subprocess.Popen[bytes]") -> bool:
        assert nspawn.poll() is None, "systemd-nspawn has ended"
        if not self._pid:
            self._pid = _child_named("systemd", nspawn.pid)
        if not self._pid:
            return False
        return self.run("systemctl", "is-system-running", check=False) in {"running", "degraded"}

    def _power_off(self, nspawn: "subprocess.Popen[bytes]") -> None:
        if self._pid:
            with suppress(subprocess.TimeoutExpired):
                self.run("systemctl", "poweroff", "--force", check=False)
        try:
            nspawn.wait(20)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()


def wait_until(holds: Callable[[], bool], what: str, timeout: float) -> float:
    """Wait until `holds()`; return the seconds that took. Raise AssertionError with `what` after `timeout`."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > timeout:
            raise AssertionError(f"not so after {timeout:g} s: {what}")
        time.sleep(_LOOK_SECONDS)
    return time.monotonic() - start


def missing_tools(names: Sequence[str] = ("systemd-nspawn", "nsenter", "mount")) -> list[str]:
    """Return which programs a machine needs and this one lacks."""
    return [name for name in names if shutil.which(name) is None]


def _child_named(name: str, parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    for pid in children:
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == name:
                return int(pid)
    return 0
