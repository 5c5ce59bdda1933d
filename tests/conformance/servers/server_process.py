"""What the two Python servers share: their command line, their one line of output, and two ways to end."""

import argparse
import asyncio
import json
import os
import signal
import sys
from typing import NoReturn


def parse_arguments(description: str | None) -> argparse.Namespace:
    """Return `port` (0: the system picks one) and `until_stdin_closes`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("port", type=int, nargs="?", default=0, help="default: a free one")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end together with the parent process"
    )
    return parser.parse_args()


def announce(port: int, server: str, version: str) -> None:
    """Say that the server is listening: the only line that it ever prints."""
    print(json.dumps({"port": port, "server": server, "version": version}), flush=True)


def die() -> NoReturn:
    """End as a crash does: no close frames, no FIN sent on purpose, no cleanup."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


async def serve(*, until_stdin_closes: bool) -> None:
    """Go on until a signal comes, or until the parent closes standard input, which its own death does too."""
    if not until_stdin_closes:
        await asyncio.Event().wait()
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    await stdin.read()
