"""The main job: programs that know nothing but lines take part in a SockJS session."""

import json
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bridge_process import BridgeStarter, LineClient, run_command, smallest, wait_until
from tests.e2e.netcat import Netcat, ask_netcat, need_netcat
from tests.real_servers import SERVER_NAMES, RealServer


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A path for a Unix socket: of those, at most 107 bytes are allowed, which tmp_path may pass."""
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        yield Path(folder) / "chat.sock"


def numbered(name: str, count: int) -> list[str]:
    return [f"{name} says {number}" for number in range(count)]


def of(name: str, lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(f"{name} ")]


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_netcats_chat_with_a_configuration_of_four_lines(
    name: str, shared_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    need_netcat()
    config = smallest(shared_server(name).url("/chat"))
    assert len(config.splitlines()) == 4
    bridge = start_bridge(config)
    bridge.wait_open()
    address = ("127.0.0.1", str(bridge.port))
    with Netcat(*address) as anna, Netcat(*address) as ben, Netcat(*address) as cleo:
        bridge.wait_for_log("client in", clients=3)
        for number in range(20):
            anna.say(f"anna says {number}")
            ben.say(f"ben says {number}")
            cleo.say(f"cleo says {number}")
        heard = anna.hear(60)
        # Everyone hears everyone, themselves too, in one order, in which no one's words change places.
        assert ben.hear(60) == heard
        assert cleo.hear(60) == heard
        for who in ("anna", "ben", "cleo"):
            assert of(who, heard) == numbered(who, 20)


def test_echo_piped_into_netcat_prints_the_answer_and_ends(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    need_netcat()
    bridge = start_bridge(smallest(server.url("/echo")))
    bridge.wait_open()
    asked = ask_netcat("hi", "-N", "127.0.0.1", str(bridge.port))
    assert (asked.stdout, asked.stderr, asked.returncode) == ("hi\n", "", 0)


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_netcats_with_a_session_each_do_not_hear_each_other(
    name: str, shared_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    need_netcat()
    bridge = start_bridge(smallest(shared_server(name).url("/echo")) + 'mode = "dedicated"\n')
    address = ("127.0.0.1", str(bridge.port))
    with Netcat(*address) as anna, Netcat(*address) as ben:
        bridge.wait_for_log("open", epoch=1)
        for number in range(20):
            anna.say(f"anna says {number}")
            ben.say(f"ben says {number}")
        assert anna.hear(20) == numbered("anna", 20)
        assert ben.hear(20) == numbered("ben", 20)
        asked = ask_netcat("hi", "-N", *address)
        assert (asked.stdout, asked.stderr, asked.returncode) == ("hi\n", "", 0)
        bridge.wait_for_log("closed", cause="stopping")
        anna.say("anna says 20")
        assert anna.hear(21) == numbered("anna", 21)


def test_a_netcat_ends_when_its_session_does(
    real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    need_netcat()
    server = real_server("node")
    bridge = start_bridge(smallest(server.url("/echo")) + 'mode = "dedicated"\n')
    with Netcat("-d", "127.0.0.1", str(bridge.port)) as listener:
        bridge.wait_for_log("open", epoch=1)
        server.kill()
        bridge.wait_for_log("client out")
        wait_until(lambda: not listener.is_running, "the end of nc")


def test_an_answer_comes_also_when_the_session_opens_only_after_the_question(
    real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    need_netcat()
    server = real_server("tornado")
    server.kill()
    # Until the server is back, the program that sends no more has to be served: hence the longer linger.
    bridge = start_bridge(
        smallest(server.url("/echo")) + 'eof_linger = "6s"\n[sessions.chat.reconnect]\ninitial = "200ms"\n'
    )
    with Netcat("-N", "127.0.0.1", str(bridge.port)) as early:
        early.say("anybody there?")
        bridge.wait_for_log("client in")
        bridge.wait_for_log("cannot connect")
        server.restart()
        assert early.hear(1) == ["anybody there?"]


def test_clients_outlive_the_death_of_the_server_and_lose_nothing(
    real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    need_netcat()
    server = real_server("tornado")
    bridge = start_bridge(smallest(server.url("/chat")))
    bridge.wait_open()
    address = ("127.0.0.1", str(bridge.port))
    with Netcat(*address) as anna, Netcat(*address) as ben:
        bridge.wait_for_log("client in", clients=2)
        anna.say("anna says hello")
        assert ben.hear(1) == anna.hear(1) == ["anna says hello"]

        server.kill()
        bridge.wait_for_log("closed", epoch=1)
        for number in range(100):
            anna.say(f"anna says {number}")
            ben.say(f"ben says {number}")
        server.restart()
        assert bridge.wait_open(epoch=2)["queued"] == 200

        heard = anna.hear(201)[1:]
        assert ben.hear(201)[1:] == heard
        assert of("anna", heard) == numbered("anna", 100)
        assert of("ben", heard) == numbered("ben", 100)
        # The next line is the very next: nothing came twice behind it.
        ben.say("ben says goodbye")
        assert anna.hear(202)[201:] == ["ben says goodbye"]
        assert anna.is_running
        assert ben.is_running
        assert not bridge.log_lines("client out")
    assert bridge.stop() == 0
    assert bridge.log[-1]["sent"] == bridge.log[-1]["received"] == 202


def test_two_sessions_in_one_process_do_not_mix(server: RealServer, start_bridge: BridgeStarter) -> None:
    bridge = start_bridge(
        smallest(server.url("/echo"))
        + smallest(server.url("/echo")).replace("sessions.chat", "sessions.other")
    )
    bridge.wait_for_log("open", session="chat")
    bridge.wait_for_log("open", session="other")
    ports = [int(line["message"].rpartition(":")[2]) for line in bridge.log_lines("listening on")]
    with LineClient(ports[0]) as one, LineClient(ports[1]) as two:
        one.send(*numbered("one", 50))
        two.send(*numbered("two", 50))
        assert one.read(50) == numbered("one", 50)
        assert two.read(50) == numbered("two", 50)


def test_one_session_serves_several_listeners(
    server: RealServer, start_bridge: BridgeStarter, socket_path: Path
) -> None:
    need_netcat()
    bridge = start_bridge(
        smallest(server.url("/chat"))
        + f'[[sessions.chat.tcp]]\nlisten = "unix:{socket_path}"\nframing = "json"\n'
    )
    bridge.wait_open()
    with LineClient(bridge.port) as plain, Netcat("-U", str(socket_path)) as quoted:
        bridge.wait_for_log("client in", nth=2)
        quoted.say('"two\\nlines"')
        assert plain.read(1) == ["two\\nlines"]
        assert quoted.hear(1) == ['"two\\nlines"']


def test_netcat_reaches_a_unix_socket_that_only_its_owner_may_use(
    server: RealServer, start_bridge: BridgeStarter, socket_path: Path
) -> None:
    need_netcat()
    bridge = start_bridge(smallest(server.url("/echo"), f"unix:{socket_path}"))
    bridge.wait_for_log(f"listening on unix:{socket_path}")
    bridge.wait_open()
    status = socket_path.stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600

    asked = ask_netcat("hi", "-N", "-U", str(socket_path))
    assert (asked.stdout, asked.returncode) == ("hi\n", 0)

    assert bridge.stop() == 0
    assert not socket_path.exists()


def test_a_wider_mode_of_a_unix_socket_is_given_on_request(
    server: RealServer, start_bridge: BridgeStarter, socket_path: Path
) -> None:
    config = smallest(server.url("/echo"), f"unix:{socket_path}") + 'socket_mode = "0660"\n'
    start_bridge(config).wait_for_log("listening on")
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o660


def test_the_socket_file_of_a_killed_bridge_is_replaced(
    server: RealServer, start_bridge: BridgeStarter, socket_path: Path
) -> None:
    need_netcat()
    config = smallest(server.url("/echo"), f"unix:{socket_path}")
    killed = start_bridge(config)
    killed.wait_for_log("listening on")
    killed.stop(signal.SIGKILL)
    left_behind = socket_path.stat()

    bridge = start_bridge(config)
    bridge.wait_open()
    assert socket_path.stat().st_ctime_ns > left_behind.st_ctime_ns
    assert ask_netcat("hi", "-N", "-U", str(socket_path)).stdout == "hi\n"


def test_the_socket_file_of_a_living_bridge_is_respected(
    server: RealServer, start_bridge: BridgeStarter, socket_path: Path, tmp_path: Path
) -> None:
    need_netcat()
    config = smallest(server.url("/echo"), f"unix:{socket_path}")
    first = start_bridge(config)
    first.wait_open()
    (tmp_path / "second.toml").write_text(config)
    second = run_command("--config", "second.toml", folder=tmp_path)
    assert second.returncode == 78
    assert second.stderr.startswith("second.toml: sessions.chat.tcp[0].listen: ")
    assert f"unix:{socket_path}" in second.stderr
    assert "another process listens there" in second.stderr

    assert ask_netcat("hi", "-N", "-U", str(socket_path)).stdout == "hi\n"
    assert first.stop() == 0
    assert not socket_path.exists()


def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path, socket_path: Path) -> None:
    socket_path.write_text("a letter")
    (tmp_path / "bridge.toml").write_text(smallest("http://127.0.0.1:1/echo", f"unix:{socket_path}"))
    done = run_command("--config", "bridge.toml", folder=tmp_path)
    assert done.returncode == 78
    assert done.stderr.startswith("bridge.toml: sessions.chat.tcp[0].listen: ")
    assert socket_path.read_text() == "a letter"


def test_netcat_reads_envelopes_and_hears_what_became_of_its_message(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    need_netcat()
    bridge = start_bridge(smallest(server.url("/echo")) + 'framing = "envelope"\n')
    bridge.wait_open()
    done = ask_netcat('{"data":"hi \\"there\\"","id":[1]}', "-N", "127.0.0.1", str(bridge.port))
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each for each in told if each["event"] == "ack"] == [
        {"event": "ack", "id": [1], "status": "sent"},
        {"event": "ack", "id": [1], "status": "confirmed"},
    ]
    connected, message = (each for each in told if each["event"] != "ack")
    known = {"session": "chat", "boot": connected["boot"], "epoch": 1}
    assert connected == {"event": "connected", **known, "transport": "websocket"}
    assert message == {"event": "message", **known, "seq": 1, "data": 'hi "there"'}


def test_a_web_browser_is_closed_out_and_the_log_says_so(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(smallest(server.url("/chat")))
    bridge.wait_open()
    with LineClient(bridge.port) as watcher, LineClient(bridge.port) as browser:
        bridge.wait_for_log("client in", clients=2)
        browser.send("POST / HTTP/1.1\r", "Host: localhost\r", "\r", "smuggled")
        assert browser.read_rest() == []
        bridge.wait_for_log("a client speaks HTTP", client=browser.local_name)
        watcher.send("only this")
        assert watcher.read(1) == ["only this"]


def test_what_is_no_message_is_left_out_and_disturbs_nobody(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(smallest(server.url("/chat")) + 'max_message_size = "1KiB"\n')
    bridge.wait_open()
    with LineClient(bridge.port) as watcher, LineClient(bridge.port) as rude:
        bridge.wait_for_log("client in", clients=2)
        rude.send_bytes(b"x" * 5000 + b"\n\n\r\nshort\n\xff\xfe half\nCR LF\r\n")
        assert watcher.read(3) == ["short", "\ufffd\ufffd half", "CR LF"]
        bridge.wait_for_log("a message of a client was larger than max_message_size", size_bytes=5000)
        bridge.wait_for_log("a client sent invalid UTF-8", messages=1)


def test_a_last_line_without_its_end_is_a_message(server: RealServer, start_bridge: BridgeStarter) -> None:
    bridge = start_bridge(smallest(server.url("/echo")))
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        client.send_bytes(b"a line\nand a half")
        client.end_input()
        assert client.read_rest() == ["a line", "and a half"]


def test_invalid_utf8_in_a_last_line_without_its_end_is_reported_too(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(smallest(server.url("/echo")))
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        client.send_bytes(b"\xff half")
        client.end_input()
        assert client.read_rest() == ["\ufffd half"]
    assert bridge.stop() == 0
    assert bridge.log_lines("a client sent invalid UTF-8")
