"""TLS of listeners as a user meets it: the commands of the README, and the mistakes."""

import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.bridge_process import BridgeStarter, run_command, smallest, wait_until
from tests.openssl_authority import Authority
from tests.real_servers import RealServer

README = Path(__file__).parents[2] / "README.md"
NOBODY = "http://127.0.0.1:1/echo"


def recipe() -> tuple[str, str, str]:
    """The listener, the commands that make certificates, and the one that connects."""
    section = README.read_text(encoding="utf-8").partition("### Other machines: TLS")[2].partition("\n## ")[0]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["toml", "sh", "sh"]
    listener, make, connect = (text for _, text in blocks)
    return listener, make, connect


def test_the_readme_as_it_stands(
    start_bridge: BridgeStarter, tmp_path: Path, shared_server: Callable[[str], RealServer]
) -> None:
    listener, make, connect = recipe()
    subprocess.run(["sh", "-e", "-c", make], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    assert (tmp_path / "bridge.key").stat().st_mode & 0o077 == 0
    url = shared_server("aio").url("/echo")
    bridge = start_bridge(f'[sessions.chat]\nurl = "{url}"\n' + listener.replace(":9443", ":0"))
    bridge.wait_open()
    command = connect.replace("localhost:9443", f"localhost:{bridge.port}")
    program = subprocess.Popen(
        ["sh", "-c", f"exec {command}"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(b"hello\n")
        program.stdin.flush()
        assert program.stdout.readline() == b"hello\n"
        bridge.wait_for_log("client in", certificate="door 1")
        with socket.create_connection(("127.0.0.1", bridge.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        bridge.wait_for_log("refused a client: the TLS handshake failed: it speaks HTTP without TLS")
        assert bridge.stop() == 0
        assert program.stdout.read() == b"", "the drain ended its connection"


def test_mistakes_are_told_all_at_once_by_check_and_at_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, other = authority.server(), authority.client("other")
    (tmp_path / "bridge.toml").write_text(
        smallest(NOBODY)
        + f'tls = {{ cert = "{own.cert}", key = "{other.key}", client_ca = "gone.pem" }}\n'
        + '[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\ntls.cert = "bridge.toml"\n'
    )
    checked = run_command("check", "--config", "bridge.toml", folder=tmp_path)
    started = run_command("--config", "bridge.toml", folder=tmp_path)
    assert sorted(checked.stderr.splitlines()) == [
        "bridge.toml: sessions.chat.tcp[0].tls.client_ca: gone.pem: no such file or directory",
        (
            f"bridge.toml: sessions.chat.tcp[0].tls.key: {other.key}: "
            f"the private key does not belong to the certificate in {own.cert}"
        ),
        "bridge.toml: sessions.chat.tcp[1].tls.cert: bridge.toml: holds no certificate (PEM)",
        "bridge.toml: sessions.chat.tcp[1].tls.cert: bridge.toml: holds no private key (PEM)",
    ]
    assert started.stderr == checked.stderr
    assert (checked.returncode, started.returncode) == (78, 78)


def test_check_says_which_listeners_speak_tls(tmp_path: Path) -> None:
    own = Authority(tmp_path).server()
    (tmp_path / "bridge.toml").write_text(
        smallest(NOBODY, "127.0.0.1:9000") + f'tls = {{ cert = "{own.cert}", key = "{own.key}" }}\n'
    )
    done = run_command("check", "--config", "bridge.toml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "session chat: tcp 127.0.0.1:9000, lines, both, tls" in done.stdout.splitlines()


def test_a_renewed_certificate_by_signal(
    start_bridge: BridgeStarter, tmp_path: Path, shared_server: Callable[[str], RealServer]
) -> None:
    authority = Authority(tmp_path)
    own = authority.server()
    url = shared_server("aio").url("/echo")
    bridge = start_bridge(smallest(url) + f'tls = {{ cert = "{own.cert}", key = "{own.key}" }}\n')
    bridge.wait_open()

    def shown() -> str:
        return ssl.get_server_certificate(("127.0.0.1", bridge.port), timeout=10)

    before = shown()
    authority.server()
    assert shown() == before
    bridge.send_signal(signal.SIGHUP)
    reloaded = bridge.wait_for_log("reloaded")
    assert reloaded["changes"] == "session chat: tcp 127.0.0.1:0: TLS files read again"
    wait_until(lambda: shown() != before, "a new certificate")
    assert bridge.stop() == 0
