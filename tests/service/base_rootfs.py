"""A root file system that stands in for the image's base where no image registry can be reached.

It is Debian's minimal system, made by debootstrap, with a CPython of this machine in /usr/local, where the base has its
own. Like the base it has no bytecode. It trusts what this machine trusts, and has its settings for pip.
"""

import shutil
import subprocess
from pathlib import Path

_SUITE = "bookworm"
_LIBRARIES = (  # what a CPython links to
    "ca-certificates,netbase,tzdata,libssl3,libffi8,libsqlite3-0,libreadline8,libncursesw6,libbz2-1.0,"
    "liblzma5,zlib1g,libuuid1,libexpat1,libgdbm6"
)
_OF_THE_MACHINE = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf"))

_NOT_IN_THE_BASE = shutil.ignore_patterns("__pycache__", "test", "*.pth")


def make_base(root: Path, python: Path) -> None:
    """Make it in the folder `root`, with the CPython installed at `python`. It takes about a minute."""
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={_LIBRARIES}", _SUITE, root],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    place = root / "usr/local"
    shutil.copytree(python, place, symlinks=True, dirs_exist_ok=True, ignore=_NOT_IN_THE_BASE)
    for file in _OF_THE_MACHINE:
        if file.exists():
            shutil.copy(file, root / file.relative_to("/"))
    for script in (place / "bin").iterdir():
        _run_by_its_own_python(script)
    for folder in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / folder)
    subprocess.run(["chroot", root, "ldconfig"], check=True)


def _run_by_its_own_python(script: Path) -> None:
    """Give a script that names the Python of the machine the one of the stand-in."""
    if script.is_symlink() or script.read_bytes()[:2] != b"#!":
        return
    first, _, rest = script.read_bytes().partition(b"\n")
    if b"python" in first:
        script.write_bytes(b"#!/usr/local/bin/python3\n" + rest)
