"""`keygen`, and what `check` and the daemon say of keys and of ZeroMQ endpoints."""

import stat
from pathlib import Path

import pytest
import zmq

from tests.bridge_process import run_command

ENDPOINT = """
[sessions.chat]
url = "http://127.0.0.1:1/echo"
[[sessions.chat.zmq]]
type = "pull"
endpoint = "tcp://127.0.0.1:0"
"""


def with_key(path: str, public_key: str) -> str:
    return f'{ENDPOINT}curve = {{ secret_key_file = "{path}", allow = ["{public_key}"] }}\n'


def test_the_secret_goes_to_the_file_and_only_the_public_key_to_standard_output(tmp_path: Path) -> None:
    done = run_command("keygen", "bridge.key", folder=tmp_path)
    assert done.returncode == 0
    file = tmp_path / "bridge.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().strip()
    public = done.stdout.removesuffix("\n")
    assert zmq.curve_public(secret.encode()).decode() == public
    assert secret not in done.stdout + done.stderr
    assert "bridge.key" in done.stderr


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    run_command("keygen", "bridge.key", folder=tmp_path)
    before = (tmp_path / "bridge.key").read_text()
    done = run_command("keygen", "bridge.key", folder=tmp_path)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == "sockjs-bridge keygen: bridge.key: file exists\n"
    assert (tmp_path / "bridge.key").read_text() == before


def test_check_takes_a_key_that_keygen_made(tmp_path: Path) -> None:
    public_key = run_command("keygen", "bridge.key", folder=tmp_path).stdout.strip()
    (tmp_path / "bridge.toml").write_text(with_key("bridge.key", public_key))
    done = run_command("check", "--config", "bridge.toml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "session chat: zmq pull at tcp://127.0.0.1:0, plain" in done.stdout


@pytest.mark.parametrize("command", [("check",), ()], ids=["check", "daemon"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "missing.key: no such file or directory"),
        ("not a key: hunter2", "missing.key: holds no CURVE secret key"),
    ],
    ids=["no file", "garbage"],
)
def test_a_key_that_cannot_be_used_is_told_with_its_place(
    command: tuple[str, ...], content: str | None, problem: str, tmp_path: Path
) -> None:
    public_key = run_command("keygen", "other.key", folder=tmp_path).stdout.strip()
    if content is not None:
        (tmp_path / "missing.key").write_text(content)
    (tmp_path / "bridge.toml").write_text(with_key("missing.key", public_key))
    done = run_command(*command, "--config", "bridge.toml", folder=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    expected = f"bridge.toml: sessions.chat.zmq[0].curve.secret_key_file: {problem}"
    assert any(line.startswith(expected) for line in done.stderr.splitlines())
    assert "hunter2" not in done.stderr


def test_a_session_with_zeromq_endpoints_only_has_listeners(tmp_path: Path) -> None:
    (tmp_path / "bridge.toml").write_text(ENDPOINT)
    done = run_command("check", "--config", "bridge.toml", folder=tmp_path)
    assert "no listener" not in done.stdout
