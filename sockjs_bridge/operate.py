"""Commands that talk to the admin listener of a running bridge: status, reload, reconnect, healthcheck.

Nothing heavy is imported: a health check runs every few seconds.
"""

import argparse
import http.client
import json
import os
import socket
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sockjs_bridge.endpoints.address import TcpAddress, UnixAddress, parse_listen

EXIT_OK, EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_CONFIG = 0, 64, 69, 78
_TIMEOUT_SECONDS = 5.0
_RELOAD_SECONDS = 60.0
_WATCH_SECONDS = 2.0
_CLEAR_SCREEN = "\x1b[H\x1b[2J"
_TOKEN_VARIABLE = "SOCKJS_BRIDGE_ADMIN__TOKEN"  # noqa: S105  # the name of a variable
_LISTEN_VARIABLE = "SOCKJS_BRIDGE_ADMIN__LISTEN"


class AdminError(Exception):
    """The admin listener could not be asked; the text is for the user, with the exit code."""

    def __init__(self, text: str, exit_code: int = EXIT_UNAVAILABLE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._seconds = timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


def run(options: argparse.Namespace) -> int:
    """Run the command that `options` names; returns the exit code. Raises AdminError."""
    return _COMMANDS[options.name](options)


def run_status(options: argparse.Namespace) -> int:
    """Print the sessions as a table, or the whole document as JSON; with `--watch` until Ctrl-C."""
    text = _status_text(options)
    if not options.watch:
        print(text)
        return EXIT_OK
    try:
        while True:
            print(f"{_CLEAR_SCREEN}{_fitted(text)}" if sys.stdout.isatty() else text, flush=True)
            time.sleep(_WATCH_SECONDS)
            try:
                text = _status_text(options)
            except AdminError as error:  # such as while the bridge is restarted
                text = str(error)
    except KeyboardInterrupt:
        return EXIT_OK


def _status_text(options: argparse.Namespace) -> str:
    document = _ask(options, "GET", "/api/v1/status", expected="sessions")
    return json.dumps(document, indent=2) if options.json else status_table(document)


def _fitted(text: str) -> str:
    """What a terminal has room for: lines that are wrapped are no table."""
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    # A terminal without a size says 0.
    lines = [line[: columns or None] for line in text.splitlines()]
    if 0 < rows - 1 < len(lines):
        lines[rows - 2 :] = [
            f"and {len(lines) - rows + 2} more; a larger terminal shows them"[: columns or None]
        ]
    return "\n".join(lines)


def run_reload(options: argparse.Namespace) -> int:
    """Let the bridge load its configuration again, and print what changed."""
    document = _ask(options, "POST", "/api/v1/reload", expected="changed", seconds=_RELOAD_SECONDS)
    print("\n".join(document["changed"]) or "nothing has changed")
    return EXIT_OK


def run_reconnect(options: argparse.Namespace) -> int:
    """Let one session connect anew."""
    path = f"/api/v1/sessions/{quote(options.session, safe='')}/reconnect"
    _ask(options, "POST", path, expected="reconnecting")
    print(f"session {options.session} connects anew")
    return EXIT_OK


def run_healthcheck(options: argparse.Namespace) -> int:
    """Whether the bridge serves local programs; with a session, whether that one is open."""
    path = f"/healthz?session={quote(options.session, safe='')}" if options.session else "/readyz"
    print(_ask(options, "GET", path, expected="text")["text"])
    return EXIT_OK


def status_table(document: dict[str, Any]) -> str:
    """The sessions as aligned lines."""
    rows = [
        ("SESSION", "STATE", "FOR", "TRANSPORT", "EPOCH", "IN", "OUT", "QUEUED", "PROGRAMS", "LAST CLOSE")
    ]
    for session in document["sessions"]:
        close = session["last_close"]
        programs = sum(
            int(listener.get("clients", listener.get("peers", listener.get("subscribers", 0))))
            for listener in session["listeners"]
        )
        state = session["state"]
        if session["next_try_seconds"] is not None:
            state += f" {session['next_try_seconds']:.0f}s"
        rows.append(
            (
                session["name"],
                state,
                f"{session['for_seconds']:.0f}s",
                session["transport"] or "-",
                str(session["epoch"]),
                str(session["messages"]["from_server"]),
                str(session["messages"]["to_server"]),
                str(session["queue"]["messages"]),
                str(programs),
                f"{close['cause']} {close['code']}" if close else "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join(lines)


def _ask(
    options: argparse.Namespace, method: str, path: str, *, expected: str, seconds: float = _TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Ask, and return the document, which has the key `expected`. Raises AdminError for every other answer."""
    address, token = _where(options)
    headers = {"X-Sockjs-Bridge": "1"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = _connection(address, seconds)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        document = _document(answer)
    except (OSError, http.client.HTTPException) as error:
        raise AdminError(
            f"no answer at {address}: {error}. Is the bridge running, with [admin] listen set?"
        ) from error
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        is_config = answer.status == http.HTTPStatus.UNPROCESSABLE_ENTITY
        reason = document.get("error") or f"{answer.status} {answer.reason}"
        raise AdminError(
            "\n".join(map(str, [*document.get("problems", []), reason])),
            EXIT_CONFIG if is_config else EXIT_UNAVAILABLE,
        )
    if expected not in document:
        raise AdminError(f"what answers at {address} is not the admin listener of a bridge")
    return document


def _document(answer: http.client.HTTPResponse) -> dict[str, Any]:
    """The answer as a document; empty where a bridge does not answer so."""
    body = answer.read().decode(errors="replace")
    kind = answer.headers.get_content_type()
    if kind == "text/plain":
        text = body.strip()
        return {"text": text} if answer.status == http.HTTPStatus.OK else {"error": text}
    try:
        document = json.loads(body) if kind == "application/json" else {}
    except ValueError:
        document = {}
    return document if isinstance(document, dict) else {}


def _connection(address: str, seconds: float) -> http.client.HTTPConnection:
    try:
        where = parse_listen(address)
    except ValueError as error:
        raise AdminError(str(error), EXIT_USAGE) from error
    match where:
        case UnixAddress(path):
            return _UnixConnection(path, seconds)
        case TcpAddress(host, port):
            asked = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # asked, not bound
            return http.client.HTTPConnection(asked, port, timeout=seconds)
    raise AdminError(f'"{address}" cannot be asked: use "host:port" or "unix:/path"', EXIT_USAGE)


def _where(options: argparse.Namespace) -> tuple[str, str]:
    """Address and token, from the command line, the environment or the file. Reads no more than it needs."""
    table: dict[str, Any] = {}
    file: Path | None = getattr(options, "config", None)
    if file is not None:
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8-sig")).get("admin", {})
        except (OSError, ValueError) as error:
            raise AdminError(f"{file}: {error}", EXIT_CONFIG) from error
        if not isinstance(table, dict):
            raise AdminError(f"{file}: admin: must be a table", EXIT_CONFIG)
    address = options.admin or os.environ.get(_LISTEN_VARIABLE) or table.get("listen", "")
    token = os.environ.get(_TOKEN_VARIABLE) or table.get("token", "")
    if not address:
        raise AdminError(
            'where is the admin listener? Give --admin ADDR, or --config FILE with [admin] listen = "127.0.0.1:9180"',
            EXIT_USAGE,
        )
    return str(address), str(token)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "status": run_status,
    "reload": run_reload,
    "reconnect": run_reconnect,
    "healthcheck": run_healthcheck,
}
