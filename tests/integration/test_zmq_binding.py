"""Addresses and key files that cannot be used, and the files of ipc sockets."""

import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockjs_bridge.endpoints.zeromq.curve import write_key_pair
from tests.bridge_process import BridgeStarter, run_command
from tests.in_process import one_session, running, until
from tests.scripted import scripted
from tests.zmq_peer import Remote, endpoint, zmq_programs

URL = "http://127.0.0.1:1/echo"
PUBLIC_KEY = "x" * 40
"""To the configuration, and to libzmq until somebody connects, as good as any."""


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[BridgeStarter]:
    with BridgeStarter(tmp_path) as starter:
        yield starter


def run(tmp_path: Path, listeners: str, command: str = "") -> "subprocess.CompletedProcess[str]":
    (tmp_path / "bridge.toml").write_text(f'[sessions.chat]\nurl = "{URL}"\n{listeners}')
    return run_command(*filter(None, [command]), "--config", "bridge.toml", folder=tmp_path)


def problem(done: "subprocess.CompletedProcess[str]", key: str = "sessions.chat.zmq[0].endpoint") -> str:
    """What is wrong with a key, as the only line of the program."""
    assert done.returncode == 78
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    beginning = f"bridge.toml: {key}: "
    assert line.startswith(beginning)
    return line.removeprefix(beginning)


@pytest.mark.parametrize("kind", ["pub", "push", "sub", "pull", "dealer"])
def test_an_address_in_use(tmp_path: Path, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = problem(run(tmp_path, endpoint(kind, f"tcp://127.0.0.1:{port}")))
    assert text == f"cannot bind tcp://127.0.0.1:{port}: address already in use"


def test_all_problems_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        folder = f"ipc://{tmp_path}/missing/s"
        done = run(tmp_path, endpoint("pub", where) + endpoint("pull") + endpoint("pull", folder))
    assert done.returncode == 78
    first, second = done.stderr.splitlines()
    assert first == f"bridge.toml: sessions.chat.zmq[0].endpoint: cannot bind {where}: address already in use"
    assert second.startswith(f"bridge.toml: sessions.chat.zmq[2].endpoint: cannot bind {folder}: ")


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]", "192.0.2.1"])
@pytest.mark.parametrize("command", ["", "check"])
def test_other_machines_need_to_be_let_in(tmp_path: Path, host: str, command: str) -> None:
    text = problem(run(tmp_path, endpoint("pub", f"tcp://{host}:0"), command))
    assert "can be reached from other machines: add allow_remote = true or curve" in text


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    text = problem(run(tmp_path, endpoint("pub", "tcp://192.0.2.1:0", "allow_remote = true")))
    assert text.startswith("cannot bind tcp://192.0.2.1:0: ")


@pytest.mark.parametrize("content", [None, "", "not a key", "x" * 39, "\0" * 40])
@pytest.mark.parametrize("command", ["", "check"])
def test_a_key_file_that_holds_no_key(tmp_path: Path, content: str | None, command: str) -> None:
    file = tmp_path / "secret.key"
    if content is not None:
        file.write_text(content)
    curve = f'curve = {{ secret_key_file = "{file}", allow = ["{PUBLIC_KEY}"] }}'
    text = problem(
        run(tmp_path, endpoint("pub", more=curve), command), "sessions.chat.zmq[0].curve.secret_key_file"
    )
    assert text.startswith(f"{file}: ")
    expected = "no such file or directory" if content is None else "holds no CURVE secret key"
    assert expected in text
    assert not content or content not in text


@pytest.mark.parametrize("role", ["allow = [{}]", "server_key = {}"])
def test_any_public_key_can_be_written_down(tmp_path: Path, role: str) -> None:
    """One in 185 keys has these two characters in a row somewhere; keygen does not avoid them."""
    file = tmp_path / "secret.key"
    write_key_pair(str(file))
    key = '"${' + "x" * 38 + '"'
    curve = f'curve = {{ secret_key_file = "{file}", {role.format(key)} }}'
    done = run(tmp_path, endpoint("pub", "tcp://127.0.0.1:9001", curve), "check")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_key_file_that_is_a_folder(tmp_path: Path) -> None:
    curve = f'curve = {{ secret_key_file = "{tmp_path}", allow = ["{PUBLIC_KEY}"] }}'
    text = problem(run(tmp_path, endpoint("pub", more=curve)), "sessions.chat.zmq[0].curve.secret_key_file")
    assert text == f"{tmp_path}: is a directory"


def test_the_ipc_socket_of_another_program_survives(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        before = path.stat().st_ino
        text = problem(run(tmp_path, endpoint("pub", f"ipc://{path}")))
        assert text == f"cannot bind ipc://{path}: another process listens there"
        assert path.stat().st_ino == before
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


async def test_the_ipc_socket_of_another_zeromq_program_survives(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with zmq_programs() as start:
        pusher = await start("push", bind=f"ipc://{path}")
        problem(run(tmp_path, endpoint("push", f"ipc://{path}")))
        puller = await start("pull", connect=f"ipc://{path}")
        await pusher.send(b"unharmed")
        assert await puller.receive() == [[b"unharmed"]]


def test_a_file_that_is_no_socket_survives(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("a letter")
    assert problem(run(tmp_path, endpoint("pull", f"ipc://{path}")))
    assert path.read_text() == "a letter"


@pytest.mark.parametrize("kind", ["pub", "pull"])
async def test_a_stale_socket_is_taken_over(tmp_path: Path, kind: str) -> None:
    """Also its mode: what another left behind may have let in anybody."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    path.chmod(0o777)
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        listener = endpoint(kind, f"ipc://{path}")
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            await bridge.opened()
            assert stat.S_ISSOCK(path.stat().st_mode)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            if kind == "pull":
                pusher = await start("push", connect=f"ipc://{path}")
                await pusher.send(b"hello")
                await until(lambda: remote.received)
                assert remote.received == ["hello"]


def test_a_killed_bridge_can_start_again(tmp_path: Path, start_bridge: BridgeStarter) -> None:
    config = f'[sessions.chat]\nurl = "{URL}"\n{endpoint("pull", f"ipc://{tmp_path}/s")}'
    killed = start_bridge(config)
    killed.wait_for_log("listening on")
    killed.stop(signal.SIGKILL)
    assert (tmp_path / "s").exists()
    again = start_bridge(config)
    again.wait_for_log("listening on")
    assert again.stop() == 0


def test_two_bridges_at_one_ipc_path(tmp_path: Path, start_bridge: BridgeStarter) -> None:
    listener = endpoint("pub", f"ipc://{tmp_path}/s")
    first = start_bridge(f'[sessions.chat]\nurl = "{URL}"\n{listener}')
    first.wait_for_log("listening on")
    assert problem(run(tmp_path, listener)).endswith("another process listens there")
    assert (tmp_path / "s").exists()
    assert first.stop() == 0
