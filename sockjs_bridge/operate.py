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

EXIT_OK, EXIT_USAGE, EXIT_UNAVAILABLE = 0, 64, 69
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
    """Print the sessions as a table, or the whole document as JSON."""
    while True:
        code, document = _ask(options, "GET", "/api/v1/status")
        if code != http.HTTPStatus.OK:
            return _complain("status", document)
        text = json.dumps(document, indent=2) if options.json else status_table(document)
        if not options.watch:
            print(text)
            return EXIT_OK
        print(f"{_CLEAR_SCREEN if sys.stdout.isatty() else ''}{text}", flush=True)
        time.sleep(_WATCH_SECONDS)


def run_reload(options: argparse.Namespace) -> int:
    """Let the bridge load its configuration again, and print what changed."""
    code, document = _ask(options, "POST", "/api/v1/reload", _RELOAD_SECONDS)
    if code != http.HTTPStatus.OK:
        for problem in document.get("problems", []):
            print(problem, file=sys.stderr)
        return _complain(
            "reload", document, 78 if code == http.HTTPStatus.UNPROCESSABLE_ENTITY else EXIT_UNAVAILABLE
        )
    print("\n".join(document["changed"]) or "nothing has changed")
    return EXIT_OK


def run_reconnect(options: argparse.Namespace) -> int:
    """Let one session connect anew."""
    code, document = _ask(options, "POST", f"/api/v1/sessions/{quote(options.session, safe='')}/reconnect")
    if code != http.HTTPStatus.OK:
        return _complain("reconnect", document)
    print(f"session {options.session} connects anew")
    return EXIT_OK


def run_healthcheck(options: argparse.Namespace) -> int:
    """Whether the bridge serves local programs; with a session, whether that one is open."""
    path = f"/healthz?session={quote(options.session, safe='')}" if options.session else "/readyz"
    code, document = _ask(options, "GET", path)
    print(document["text"])
    return EXIT_OK if code == http.HTTPStatus.OK else EXIT_UNAVAILABLE


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
    options: argparse.Namespace, method: str, path: str, seconds: float = _TIMEOUT_SECONDS
) -> tuple[int, dict[str, Any]]:
    address, token = _where(options)
    headers = {"X-Sockjs-Bridge": "1"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = _connection(address, seconds)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise AdminError(
            f"no answer at {address}: {error}. Is the bridge running, with [admin] listen set?"
        ) from error
    finally:
        connection.close()
    if answer.headers.get_content_type() == "application/json":
        return answer.status, json.loads(body)
    return answer.status, {"text": body.strip(), "error": f"{answer.status} {body.strip()}"}


def _connection(address: str, seconds: float) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        return _UnixConnection(address.removeprefix("unix:"), seconds)
    host, _, port = address.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))  # noqa: S104  # asked, not bound
    if not port.isdigit():
        raise AdminError(f'"{address}" is no address: use "host:port" or "unix:/path"', EXIT_USAGE)
    return http.client.HTTPConnection(host, int(port), timeout=seconds)


def _where(options: argparse.Namespace) -> tuple[str, str]:
    """Address and token, from the command line, the environment or the file. Reads no more than it needs."""
    table: dict[str, Any] = {}
    file: Path | None = getattr(options, "config", None)
    if file is not None:
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8")).get("admin", {})
        except (OSError, ValueError) as error:
            raise AdminError(f"{file}: {error}", 78) from error
    address = options.admin or os.environ.get(_LISTEN_VARIABLE) or table.get("listen", "")
    token = os.environ.get(_TOKEN_VARIABLE) or table.get("token", "")
    if not address:
        raise AdminError(
            'where is the admin listener? Give --admin ADDR, or --config FILE with [admin] listen = "127.0.0.1:9180"',
            EXIT_USAGE,
        )
    return str(address), str(token)


def _complain(command: str, document: dict[str, Any], exit_code: int = EXIT_UNAVAILABLE) -> int:
    print(f"sockjs-bridge {command}: {document.get('error', 'refused')}", file=sys.stderr)
    return exit_code


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "status": run_status,
    "reload": run_reload,
    "reconnect": run_reconnect,
    "healthcheck": run_healthcheck,
}
