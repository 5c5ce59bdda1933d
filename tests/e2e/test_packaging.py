"""What is published: the source distribution, the wheel that is built from it, and how that runs once installed.

Nothing is resolved: the wheel's dependencies are the locked ones.
"""

import email
import json
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from fnmatch import fnmatch
from pathlib import Path

import pytest

import sockjs_bridge
from tests.bridge_process import BridgeProcess, clean_environment

PROJECT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
NOT_SOURCE = (
    ".git",
    ".venv",
    ".cache",
    ".hypothesis",
    ".*_cache",
    ".coverage*",
    "__pycache__",
    "build",
    "dist",
)
NAME = f"sockjs_bridge-{sockjs_bridge.__version__}"
INFO = f"{NAME}.dist-info"
AS_INSTALLED = {"PYTHONPATH": ""}
"""The code of this tree is not to be found; empty is as good as not there."""
LONG_ENOUGH = 15.0
INSTALLING_SECONDS = 300

Files = dict[str, bytes]
"""Content by path."""


@dataclass(frozen=True)
class Built:
    """A copy of the tree, and what was built of it."""

    tree: Path
    sdist: Path
    wheel: Path


def run(*command: str | Path, folder: Path) -> str:
    """Run a command to its end, outside of this tree; return its standard output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=clean_environment(AS_INSTALLED | {"PYTHONWARNINGS": ""}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALLING_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def pip(python: str | Path, *arguments: str | Path, folder: Path) -> None:
    """Run pip, which asks no index for what is not in the lock."""
    options = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-deps")
    run(python, "-m", "pip", arguments[0], *options, *arguments[1:], folder=folder)


def build_wheel(source: Path, into: Path) -> Path:
    """Build a wheel, by the locked hatchling."""
    into.mkdir()
    pip(sys.executable, "wheel", "--no-index", "--no-build-isolation", "-w", into, source, folder=into.parent)
    (wheel,) = into.iterdir()
    return wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("packaging")
    tree = folder / "tree"
    shutil.copytree(PROJECT, tree, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    # What a developer has around must not be published.
    for around in (
        ".venv/bin/x",
        ".cache/x",
        "sockjs_bridge/__pycache__/x.pyc",
        "dist/x.whl",
        ".mypy_cache/x",
    ):
        (tree / around).parent.mkdir(parents=True, exist_ok=True)
        (tree / around).touch()
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder / "sdist", folder=tree)
    (sdist,) = (folder / "sdist").iterdir()
    return Built(tree, sdist, build_wheel(sdist, folder / "wheel"))


def tree_files() -> Files:
    """The files of the project that are, or could be, committed."""
    found: Files = {}
    for path in PROJECT.rglob("*"):
        name = path.relative_to(PROJECT)
        ignored = any(fnmatch(part, pattern) for part in name.parts for pattern in NOT_SOURCE)
        if path.is_file() and not ignored:
            found[str(name)] = path.read_bytes()
    return found


def sdist_files(sdist: Path) -> Files:
    with tarfile.open(sdist) as archive:
        members = [(member.name, archive.extractfile(member)) for member in archive.getmembers()]
        files = {name: file.read() for name, file in members if file}
    assert all(name.startswith(f"{NAME}/") for name in files)
    return {name.partition("/")[2]: content for name, content in files.items()}


def wheel_files(wheel: Path) -> Files:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: Path) -> Message:
    return email.message_from_string(wheel_files(wheel)[f"{INFO}/METADATA"].decode())


# --- what is in them ------------------------------------------------------------------------------------------


def test_the_sdist_is_the_tree(built: Built) -> None:
    files = sdist_files(built.sdist)
    assert files.pop("PKG-INFO").startswith(b"Metadata-Version: ")
    assert files == tree_files()
    assert {"CHANGELOG.md", "LICENSE", "SECURITY.md", "Makefile", ".ci/run", "tests/conftest.py"} <= set(
        files
    )


def test_the_wheel_is_the_package_and_nothing_else(built: Built) -> None:
    files = wheel_files(built.wheel)
    package = {name: content for name, content in files.items() if not name.startswith(f"{INFO}/")}
    assert package == {
        name: content for name, content in tree_files().items() if name.startswith("sockjs_bridge/")
    }
    assert {"sockjs_bridge/py.typed", "sockjs_bridge/admin/page.html"} <= set(package)
    assert files[f"{INFO}/licenses/LICENSE"] == (PROJECT / "LICENSE").read_bytes()
    assert files[f"{INFO}/entry_points.txt"].split() == (
        b"[console_scripts] sockjs-bridge = sockjs_bridge.cli:main".split()
    )


def test_it_makes_no_difference_whether_the_wheel_comes_from_the_tree(built: Built, tmp_path: Path) -> None:
    assert wheel_files(build_wheel(built.tree, tmp_path / "wheel")) == wheel_files(built.wheel)


def test_the_metadata(built: Built) -> None:
    about = metadata(built.wheel)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert about["Name"] == "sockjs-bridge"
    assert about["Requires-Python"] == ">=3.11"
    assert (about["License-Expression"], about["License-File"]) == ("MIT", "LICENSE")
    assert about.get_all("Provides-Extra") == list(project["optional-dependencies"]) == ["demo"]
    needed = about.get_all("Requires-Dist", [])
    assert len([each for each in needed if "extra ==" not in each]) == len(project["dependencies"]) > 0
    assert [each for each in needed if "extra == 'demo'" in each] == ["sockjs==0.13.*; extra == 'demo'"]
    named = [each.rpartition(" ")[2] for each in about.get_all("Classifier", []) if ":: 3." in each]
    assert tuple(named) == PYTHONS
    assert about["Description-Content-Type"] == "text/markdown"
    assert str(about.get_payload()).strip() == (PROJECT / "README.md").read_text(encoding="utf-8").strip()


def test_the_version_stands_in_one_place(built: Built) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert metadata(built.wheel)["Version"] == sockjs_bridge.__version__
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = next(line for line in changelog.splitlines() if line.startswith("## "))
    assert newest.split()[1] == sockjs_bridge.__version__


# --- how it runs ----------------------------------------------------------------------------------------------


def find_python(version: str) -> str | None:
    """A Python of this version that can make environments: our own, one on the PATH, or one of pyenv's."""
    candidates = [f"{sys.base_prefix}/bin/python{version}", shutil.which(f"python{version}")]
    if shutil.which("pyenv"):
        asked = subprocess.run(["pyenv", "root"], capture_output=True, text=True, timeout=30, check=True)
        candidates += map(str, Path(asked.stdout.strip(), "versions").glob(f"{version}.*/bin/python"))
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        if Path(candidate).exists():
            asked = subprocess.run(
                [candidate, "-c", code], capture_output=True, text=True, timeout=30, check=False
            )
            if asked.stdout.strip() == version:
                return candidate
    return None


def install(python: str, wheel: Path, folder: Path) -> Path:
    """Install the wheel into an environment of its own, with what the lock names; return where the programs are."""
    run(python, "-m", "venv", folder / "venv", folder=folder)
    programs = folder / "venv" / "bin"
    lock = PROJECT / ".ci" / "requirements-demo.txt"
    pip(programs / "python", "install", "--require-hashes", "-r", lock, folder=folder)
    pip(programs / "python", "install", "--no-index", wheel, folder=folder)
    run(programs / "python", "-m", "pip", "check", "--disable-pip-version-check", folder=folder)
    return programs


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where an environment can be made. It is not kept: it is a hundred times as large as other tests' files."""
    yield tmp_path
    shutil.rmtree(tmp_path / "venv", ignore_errors=True)


SERVE = """
import asyncio, sys
from sockjs_bridge.demo import _chat_server

async def serve():
    async with _chat_server() as port:
        print(port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(serve())
"""


@contextmanager
def demo_server(programs: Path, folder: Path) -> Iterator[int]:
    """The server of the demo, which is what the extra installs; its port."""
    with subprocess.Popen(
        [programs / "python", "-c", SERVE],
        cwd=folder,
        env=clean_environment(AS_INSTALLED | {"PYTHONWARNINGS": ""}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def exchange(path: Path, line: str) -> str:
    """Write a line to a Unix socket, read one."""
    with socket.socket(socket.AF_UNIX) as program, program.makefile("rw") as file:
        program.settimeout(LONG_ENOUGH)
        program.connect(str(path))
        file.write(f"{line}\n")
        file.flush()
        return file.readline().removesuffix("\n")


def look_at_it(program: Path, bridge: BridgeProcess, folder: Path) -> None:
    """Ask the running bridge how it is, and load the page, which is a file beside the code."""
    admin = str(bridge.wait_for_log("admin listening on")["message"]).rpartition(" ")[2]
    run(program, "healthcheck", "--admin", admin, folder=folder)
    with urllib.request.urlopen(f"http://{admin}/", timeout=LONG_ENOUGH) as page:
        assert b"chat" in page.read()


@pytest.mark.timeout(INSTALLING_SECONDS)
@pytest.mark.parametrize("version", PYTHONS)
def test_it_runs_where_it_is_installed(built: Built, folder: Path, version: str) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"there is no Python {version} with venv and ensurepip on this machine")
    programs = install(python, built.wheel, folder)
    program = programs / "sockjs-bridge"
    assert run(program, "--version", folder=folder) == f"sockjs-bridge {sockjs_bridge.__version__}\n"
    where = run(
        programs / "python", "-c", "import sockjs_bridge; print(sockjs_bridge.__file__)", folder=folder
    )
    assert f"python{version}/site-packages/sockjs_bridge" in where
    with demo_server(programs, folder) as port:
        file, path = folder / "bridge.toml", folder / "s"
        config = (
            f'[log]\nformat = "json"\n[admin]\nlisten = "127.0.0.1:0"\n'
            f'[sessions.chat]\nurl = "http://127.0.0.1:{port}/echo"\n'
            f'[[sessions.chat.zmq]]\ntype = "pub"\nendpoint = "tcp://127.0.0.1:0"\n'
            f'[[sessions.chat.tcp]]\nlisten = "unix:{path}"\n'
        )
        file.write_text(config)
        checked = run(program, "check", "--config", file, folder=folder).splitlines()
        assert checked[1] == f"session chat: tcp unix:{path}, lines, both"
        assert "properties" in json.loads(run(program, "schema", folder=folder))
        with BridgeProcess(
            "--config", file, folder=folder, environment=AS_INSTALLED, program=[str(program)]
        ) as bridge:
            bridge.wait_open()
            assert exchange(path, "hello") == "hello"
            look_at_it(program, bridge, folder)
            # Python 3.13 removes the file of a Unix socket with its server, which a reload exchanges.
            file.write_text(config + 'framing = "json"\n')
            bridge.send_signal(signal.SIGHUP)
            bridge.wait_for_log("reloaded")
            assert exchange(path, '"a\\nb"') == '"a\\nb"'
            assert bridge.stop() == 0
            assert "Traceback" not in bridge.stderr
            assert "Warning:" not in bridge.stderr
