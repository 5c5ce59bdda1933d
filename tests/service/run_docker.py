"""Builds the image with a real Docker engine and shows that it does what it promises; see README.md here.

usage, as root, in the project's folder:  .venv/bin/python -m tests.service.run_docker
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.service.base_rootfs import make_base
from tests.service.container_steps import STEPS, World
from tests.service.engine import Engine, missing_programs

_HERE = Path(__file__).resolve().parent
_PROJECT = _HERE.parents[1]
# The far servers, and programs that talk to the bridge, on the same base. Their loopback is the bridge's too.
_FAR = """ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
COPY requirements-demo.txt .
RUN ["python", "-m", "pip", "install", "--no-deps", "--require-hashes", "-r", "requirements-demo.txt"]
COPY *.py ./
CMD ["python", "echo_server.py"]
"""
_FAR_FILES = (
    _HERE / "echo_server.py",
    _HERE / "container_client.py",
    _PROJECT / "tests/bench/cost.py",
    _PROJECT / ".ci/requirements-demo.txt",
)


def main() -> int:
    """Run all; return 0 where all holds."""
    options = _parser().parse_args()
    if problem := _what_is_missing(options):
        print(f"run_docker: {problem}", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory(prefix="sockjs-bridge-docker-", dir="/var/tmp") as name,
        Engine(f"sockjs-bridge-test-{os.getpid()}") as engine,
    ):
        folder = Path(name)
        folder.chmod(0o755)  # what is mounted from it is read by another user
        print(f"engine {engine.run('version', '--format={{.Server.Version}}')}", flush=True)
        base = _base(engine, options, folder)
        begin = time.monotonic()
        image = engine.build("image", _PROJECT, {"PYTHON_IMAGE": base})
        print(f"built on {base} in {time.monotonic() - begin:.0f} s", flush=True)
        far_image = engine.build("far", _far_folder(folder), {"PYTHON_IMAGE": base})
        with engine.container("servers", far_image, ("--network=none",)) as far:
            world = World(engine, image, base, far, folder)
            failed = [step.__name__ for step in STEPS if not _holds(step, world)]
    print(f"{len(STEPS) - len(failed)} hold, {len(failed)} do not: {', '.join(failed) or '-'}")
    return bool(failed)


def _holds(step: Callable[[World], str], world: World) -> bool:
    title = (step.__doc__ or "").strip()
    try:
        print(f"ok      {step.__name__}: {title} ({step(world)})", flush=True)
    except (AssertionError, subprocess.SubprocessError) as error:
        print(f"FAILED  {step.__name__}: {title}\n{error}", flush=True)
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run_docker", allow_abbrev=False)
    parser.add_argument("--base-rootfs", metavar="DIR", type=Path, help="import the base from this folder")
    parser.add_argument(
        "--python", metavar="PREFIX", type=Path, help="make that folder, with the CPython at PREFIX"
    )
    return parser


def _base(engine: Engine, options: argparse.Namespace, folder: Path) -> str:
    """Return the base to build on: the Dockerfile's own, or a stand-in."""
    if not options.base_rootfs and not options.python:
        found = re.search(
            r"^ARG PYTHON_IMAGE=(\S+)$", (_PROJECT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
        )
        assert found is not None, "the Dockerfile names no base"
        return found[1]
    root: Path = options.base_rootfs or folder / "base"
    if not root.exists():
        make_base(root, options.python)
    return engine.load_base("base", root)


def _far_folder(folder: Path) -> Path:
    far = folder / "far"
    far.mkdir()
    (far / "Dockerfile").write_text(_FAR, encoding="utf-8")
    for file in _FAR_FILES:
        shutil.copy(file, far)
    return far


def _what_is_missing(options: argparse.Namespace) -> str:
    if os.geteuid() != 0:
        return "only root can start an engine, and kill what runs in it: use sudo"
    if missing := missing_programs():
        return f"{', '.join(missing)} not found. On Debian: apt-get install docker.io"
    if options.python and shutil.which("debootstrap") is None:
        return "debootstrap not found. On Debian: apt-get install debootstrap"
    if options.base_rootfs and not options.base_rootfs.exists() and not options.python:
        return f"{options.base_rootfs} is not there; --python PREFIX makes it"
    return ""


if __name__ == "__main__":
    sys.exit(main())
