"""The commands that ask a running bridge: what they make of an address, of a file, of strange answers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sockjs_bridge.cli import main

COMMANDS = (["status"], ["reload"], ["reconnect", "chat"], ["healthcheck"])


@contextmanager
def answering(status: int, kind: str, body: bytes) -> Iterator[str]:
    """Something that gives one answer to everybody; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  # the name is that of the base class

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"[1]"),
        ("application/json", b'{"a": 1}'),
        ("application/json", b"{"),
        ("text/html", b"<h1>Hello</h1>"),
    ],
)
def test_what_is_no_bridge_is_not_taken_for_one(
    command: list[str], kind: str, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(200, kind, body) as address:
        assert main([*command, "--admin", address]) == 69
    words = f"what answers at {address} is not the admin listener of a bridge"
    assert capsys.readouterr() == ("", f"sockjs-bridge {command[0]}: {words}\n")


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("text/plain", b"refused: why\n", "refused: why"),
        ("text/plain", b"", "403 Forbidden"),
        ("text/html", b"<h1>No</h1>", "403 Forbidden"),
        ("application/json", b'{"error": {"code": 1}}', "{'code': 1}"),
    ],
)
def test_a_refusal_is_told_in_one_line(
    kind: str, body: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(403, kind, body) as address:
        assert main(["status", "--admin", address]) == 69
    assert capsys.readouterr() == ("", f"sockjs-bridge status: {words}\n")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:\u00b2", "127.0.0.1:99999", "unix:", "unix:here", "systemd:x", "x"]
)
def test_what_is_no_address_is_wrong_usage(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--admin", address]) == 64
    assert address.removesuffix("here") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b'\xef\xbb\xbf[admin]\nlisten = "127.0.0.1:1"\n', 69, "no answer at 127.0.0.1:1: "),
        (b"admin = 5", 78, "admin: must be a table"),
        (b"\xff", 78, "bridge.toml: "),
    ],
    ids=["byte order mark", "no table", "no text"],
)
def test_the_file_is_read_as_the_daemon_reads_it(
    content: bytes, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bridge.toml"
    file.write_bytes(content)
    assert main(["status", "--config", str(file)]) == code
    assert words in capsys.readouterr().err
