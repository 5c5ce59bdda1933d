"""Runs one of the servers of this folder that take no commands."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROJECT = Path(__file__).resolve().parent.parent.parent


@contextmanager
def running_server(module: str, *arguments: str) -> Iterator[int]:
    """The port of a server that runs for the length of a `with` block, `tests.faults.<module>`."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.faults.{module}", *arguments],
        cwd=_PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdout:
            yield json.loads(process.stdout.readline())["port"]
    finally:
        process.stdin.close()
        process.wait(15)
