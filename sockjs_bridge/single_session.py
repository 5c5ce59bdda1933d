"""What `connect` and `probe` share: from their arguments to one session, and its last moments."""

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

from sockjs_bridge.config import SessionConfig, load
from sockjs_bridge.errors import ConfigError
from sockjs_bridge.secret_store import SecretStore
from sockjs_bridge.upstream_route import session_problems

_PREFIX = "SOCKJS_BRIDGE_SESSIONS__"
# What the user wrote, by what the configuration calls it.
_WRITTEN = {
    "URL": "URL",
    "HEADERS": "--header",
    "COOKIES": "--header Cookie",
    "TRANSPORTS": "--transport",
    "ORIGIN": "--origin",
    "TLS__CA": "--ca",
    "PROXY": "--proxy",
}
_OPTIONS = {"tls.ca": "--ca", "proxy": "--proxy"}
_LARGEST_FILE_BYTES = 64 * 1024
_LONGEST_CLOSE_SECONDS = 1.5


class UsageError(Exception):
    """The arguments make no session. `problems` are lines for the user; they hold no secret."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load_session(
    name: str, options: argparse.Namespace, transports: Sequence[str] | None, limit: float
) -> SessionConfig:
    """Make the configuration of a session that tries to open once; raises UsageError.

    `transports` None leaves the choice to the configuration. `limit` is for each try, in seconds.
    """
    headers, cookies = _headers(options.headers)
    keys = {
        "URL": _one_line(options.url, "URL", "URL"),
        "HEADERS": json.dumps(headers),
        "COOKIES": json.dumps(cookies),
        "CONNECT_TIMEOUT": f"{limit:.3f}s",
        "OPEN_TIMEOUT": f"{limit:.3f}s",
        "RECONNECT__MAX_ATTEMPTS": "1",
    }
    if options.origin is not None:
        keys["ORIGIN"] = options.origin
    if options.ca is not None:
        keys["TLS__CA"] = options.ca
    if options.insecure:
        keys["TLS__VERIFY"] = "false"
    if options.proxy is not None:
        keys["PROXY"] = _one_line(options.proxy, "--proxy", "address of the proxy")
    if transports is not None:
        keys["TRANSPORTS"] = json.dumps(list(transports))
    prefix = f"{_PREFIX}{name.upper()}__"
    try:
        # Nothing else is read but what `${...}` names: what the environment says of a daemon's sessions is not meant here.
        variables = {prefix + key: value for key, value in keys.items()}
        config = load(None, variables, SecretStore(os.environ))
    except ConfigError as error:
        raise UsageError([_in_words_of_the_user(line, prefix) for line in error.problems]) from None
    session = config.sessions[name]
    problems = session_problems(session)
    if problems:
        raise UsageError([f"{_OPTIONS[key]}: {what}" for key, what in problems])
    return session


async def let_connections_close() -> None:
    """Wait for closing handshakes that go on in the background: the end of the loop would cut them off.

    Call it last: every other task of the loop is taken for one of them.
    """
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        await asyncio.wait(tasks, timeout=_LONGEST_CLOSE_SECONDS)


def _one_line(written: str, option: str, what: str) -> str:
    if not written.startswith("@"):
        return written
    lines = _lines_of(written, option)
    if len(lines) != 1:
        raise UsageError([f"{option}: {written[1:]} must hold one line, the {what}"])
    return lines[0]


def _headers(written: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The headers, and the cookies of a Cookie header: those belong into the jar."""
    headers: dict[str, str] = {}
    cookies: dict[str, str] = {}
    lines = [
        line for each in written for line in (_lines_of(each, "--header") if each[:1] == "@" else [each])
    ]
    for line in lines:
        header, colon, value = line.partition(":")
        header = header.strip()
        if not colon or not header:
            # Not repeated: whoever forgot the name may have written a secret.
            raise UsageError(['--header: must be "Name: value" or @FILE'])
        if header.lower() == "cookie":
            cookies.update(_cookies(value))
        elif header.lower() in map(str.lower, headers):
            raise UsageError([f"--header: {header} is given twice"])
        else:
            headers[header] = value.strip()
    return headers, cookies


def _cookies(value: str) -> dict[str, str]:
    pairs = [pair.strip().partition("=") for pair in value.split(";") if pair.strip()]
    return {name: content for name, _, content in pairs}


def _lines_of(written: str, option: str) -> list[str]:
    path = Path(written[1:])
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST_FILE_BYTES)
    except (OSError, ValueError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else "is no text"
        raise UsageError([f"{option}: {path}: {reason or 'cannot be read'}"]) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _in_words_of_the_user(line: str, prefix: str) -> str:
    for key, option in _WRITTEN.items():
        if line.startswith(prefix + key):
            return option + line.removeprefix(prefix + key)
    return line
