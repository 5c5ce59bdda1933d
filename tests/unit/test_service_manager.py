"""ServiceManager against real sockets: the test is the service manager."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from sockjs_bridge.service_manager import ServiceManager

US = str(os.getpid())
SOMEBODY_ELSE = str(os.getppid())


class Manager:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address.replace("\0", "@")}
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.setblocking(False)

    def read(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.sock.recv(65536).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    with closing(made.sock):
        yield made


Passing = Callable[..., dict[str, str]]


@pytest.fixture
def pass_sockets() -> Iterator[Passing]:
    """Put sockets on neighbouring descriptors, as a manager does; return the variables that tell of them."""
    with ExitStack() as cleanup:

        def give(sockets: Mapping[str, socket.socket], first: int = 700) -> dict[str, str]:
            for index, sock in enumerate(sockets.values()):
                os.dup2(sock.fileno(), first + index, inheritable=True)
                cleanup.callback(_close_if_open, first + index)
            names = ":".join(name.partition("#")[0] for name in sockets)
            return {"LISTEN_FDS": str(len(sockets)), "LISTEN_PID": US, "LISTEN_FDNAMES": names}

        yield give


def _close_if_open(descriptor: int) -> None:
    with suppress(OSError):
        os.close(descriptor)


@pytest.fixture
def listening() -> Iterator[Callable[[], socket.socket]]:
    with ExitStack() as cleanup:
        yield lambda: cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))


def activated(environ: dict[str, str]) -> ServiceManager:
    return ServiceManager.from_environment(environ, first_descriptor=700)


def test_without_a_manager_nothing_happens():
    with ServiceManager.from_environment({}) as service:
        service.notify(READY=1)
        service.reloading()
        assert service.watchdog_seconds is None
        assert service.names == ()


def test_all_variables_leave_the_environment_and_no_others(manager: Manager):
    environ = manager.environment | {
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": US,
        "LISTEN_FDS": "1",
        "LISTEN_PID": SOMEBODY_ELSE,
        "LISTEN_FDNAMES": "chat",
        "PATH": "/bin",
    }
    with ServiceManager.from_environment(environ):
        assert environ == {"PATH": "/bin"}


def test_they_leave_also_where_one_is_malformed():
    environ = {"LISTEN_FDS": "many", "LISTEN_PID": US, "NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1"}
    with pytest.raises(OSError, match="LISTEN_FDS"):
        ServiceManager.from_environment(environ)
    assert environ == {}


# --- notify ---


def test_the_fields_of_one_call_are_one_message(manager: Manager):
    with ServiceManager.from_environment(manager.environment) as service:
        service.notify(READY=1, STATUS="3/4 sessions open")
        service.notify(WATCHDOG=1)
    assert manager.read() == ["READY=1\nSTATUS=3/4 sessions open", "WATCHDOG=1"]


def test_an_abstract_socket():
    made = Manager(f"\0sockjs-bridge-test-{US}")
    with closing(made.sock), ServiceManager.from_environment(made.environment) as service:
        service.notify(STOPPING=1)
        assert made.read() == ["STOPPING=1"]


def test_a_value_cannot_add_a_field_and_need_not_be_encodable(manager: Manager):
    with ServiceManager.from_environment(manager.environment) as service:
        service.notify(STATUS="two\nMAINPID=1\r\u2028lines ü \udcff")
    assert manager.read() == ["STATUS=two MAINPID=1  lines ü \\udcff"]


def test_reloading_tells_the_monotonic_time_in_the_same_message(manager: Manager):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    with ServiceManager.from_environment(manager.environment) as service:
        service.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    (message,) = manager.read()
    first, second = message.split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= after


def test_a_manager_that_went_is_ignored_and_one_that_came_back_is_told(tmp_path: Path, manager: Manager):
    with ServiceManager.from_environment(manager.environment) as service:
        manager.sock.close()
        service.notify(STATUS="refused")
        (tmp_path / "notify").unlink()
        service.notify(STATUS="not there")
        again = Manager(str(tmp_path / "notify"))
        with closing(again.sock):
            service.notify(STATUS="there again")
            assert again.read() == ["STATUS=there again"]


def test_a_manager_that_does_not_read_holds_nobody_up(manager: Manager):
    with ServiceManager.from_environment(manager.environment) as service:
        start = time.monotonic()
        for number in range(5000):
            service.notify(STATUS=f"{number} " + "x" * 1000)
        assert time.monotonic() - start < 5
        manager.read()
        service.notify(WATCHDOG=1)
    assert manager.read() == ["WATCHDOG=1"]


def test_a_message_that_is_too_long_is_not_sent(manager: Manager):
    with ServiceManager.from_environment(manager.environment) as service:
        service.notify(STATUS="x" * 10_000_000)
        service.notify(READY=1)
    assert manager.read() == ["READY=1"]


def test_the_manager_is_told_also_when_no_descriptor_is_left(manager: Manager):
    with ServiceManager.from_environment(manager.environment) as service:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            service.notify(WATCHDOG=1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert manager.read() == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "address", ["", "vsock:2:1234", "relative", "/" + "x" * 200, "@" + "x" * 200, "/a\0b"]
)
def test_an_address_that_cannot_be_reached_is_no_manager(address: str):
    with ServiceManager.from_environment({"NOTIFY_SOCKET": address}) as service:
        service.notify(READY=1)


def test_after_close_nothing_is_told(manager: Manager):
    service = ServiceManager.from_environment(manager.environment)
    service.close()
    service.notify(READY=1)
    service.close()
    assert manager.read() == []


# --- watchdog ---


@pytest.mark.parametrize("pid", [{"WATCHDOG_PID": US}, {}], ids=["ours", "of anybody"])
def test_the_watchdog_is_petted_twice_in_its_time(pid: dict[str, str]):
    with ServiceManager.from_environment({"WATCHDOG_USEC": "3000000"} | pid) as service:
        assert service.watchdog_seconds == pytest.approx(1.5)


def test_the_watchdog_of_another_process_is_not_ours():
    with ServiceManager.from_environment({"WATCHDOG_USEC": "3", "WATCHDOG_PID": SOMEBODY_ELSE}) as service:
        assert service.watchdog_seconds is None


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "soon", "²", "9" * 19])
def test_a_malformed_watchdog_is_an_error_that_names_it(value: str):
    with pytest.raises(OSError, match=r"WATCHDOG_USEC"):
        ServiceManager.from_environment({"WATCHDOG_USEC": value})


def test_a_malformed_pid_is_an_error_that_names_it():
    with pytest.raises(OSError, match=r'WATCHDOG_PID="me", which is not a number'):
        ServiceManager.from_environment({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "me"})
    with pytest.raises(OSError, match=r'LISTEN_PID="me", which is not a number'):
        ServiceManager.from_environment({"LISTEN_FDS": "1", "LISTEN_PID": "me"})


# --- sockets ---


def test_sockets_are_found_by_name_in_their_order(
    pass_sockets: Passing, listening: Callable[[], socket.socket]
):
    first, other, second = listening(), listening(), listening()
    with activated(pass_sockets({"chat#1": first, "other": other, "chat#2": second})) as service:
        assert service.names == ("chat", "other")
        found = service.sockets("chat")
        try:
            assert [sock.getsockname() for sock in found] == [first.getsockname(), second.getsockname()]
            for sock in found:
                assert not sock.getblocking()
                assert not sock.get_inheritable()
                assert sock.family == socket.AF_INET
        finally:
            for sock in found:
                sock.close()


def test_the_duplicates_may_be_closed_and_taken_again_while_a_client_waits(
    pass_sockets: Passing, listening: Callable[[], socket.socket]
):
    original = listening()
    with activated(pass_sockets({"chat": original})) as service:
        address = original.getsockname()
        original.close()
        (taken,) = service.sockets("chat")
        taken.close()
        with socket.create_connection(address, 5) as client:
            (again,) = service.sockets("chat")
            with again:
                accepted, peer = again.accept()
                with accepted:
                    assert peer == client.getsockname()


def test_close_gives_the_passed_sockets_back(pass_sockets: Passing, listening: Callable[[], socket.socket]):
    service = activated(pass_sockets({"chat": listening()}))
    service.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(700)
    with pytest.raises(OSError, match="none at all"):
        service.sockets("chat")


def test_a_unix_socket(tmp_path: Path, pass_sockets: Passing):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / "chat"))
        sock.listen()
        with activated(pass_sockets({"chat": sock})) as service:
            (found,) = service.sockets("chat")
            with found:
                assert (found.family, found.getsockname()) == (socket.AF_UNIX, str(tmp_path / "chat"))


def test_sockets_without_names_are_called_unknown(
    pass_sockets: Passing, listening: Callable[[], socket.socket]
):
    environ = pass_sockets({"": listening()})
    del environ["LISTEN_FDNAMES"]
    with activated(environ) as service:
        assert service.names == ("unknown",)
        for sock in service.sockets("unknown"):
            sock.close()


def test_passed_sockets_are_not_inherited_by_children(
    pass_sockets: Passing, listening: Callable[[], socket.socket]
):
    with activated(pass_sockets({"chat": listening()})):
        assert not os.get_inheritable(700)


def test_another_name_is_an_error_that_names_what_there_is(
    pass_sockets: Passing, listening: Callable[[], socket.socket]
):
    environ = pass_sockets({"chat": listening(), "news": listening()})
    with activated(environ) as service, pytest.raises(OSError) as caught:
        service.sockets("caht")
    assert str(caught.value) == 'the service manager has passed no socket named "caht"; there are: chat, news'


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": SOMEBODY_ELSE},
        {"LISTEN_FDS": "0", "LISTEN_PID": US, "LISTEN_FDNAMES": ""},
        {"LISTEN_FDS": "many", "LISTEN_PID": SOMEBODY_ELSE},
    ],
    ids=["nothing", "for nobody", "for another", "zero", "malformed for another"],
)
def test_no_socket_for_us_is_an_error_only_when_one_is_wanted(environ: dict[str, str]):
    with activated(environ) as service:
        assert service.names == ()
        with pytest.raises(OSError, match=r'no socket named "chat"; it has passed none at all'):
            service.sockets("chat")


@pytest.mark.parametrize("value", ["", "-1", "1e3", "9" * 19])
def test_a_malformed_count_is_an_error_that_names_it(value: str):
    with pytest.raises(OSError, match=r'LISTEN_FDS=".*", which is not a number'):
        activated({"LISTEN_FDS": value, "LISTEN_PID": US})


def test_a_count_that_does_not_fit_the_names_is_an_error():
    with pytest.raises(OSError, match=r"LISTEN_FDS=1 but 2 names in LISTEN_FDNAMES: a:b"):
        activated({"LISTEN_FDS": "1", "LISTEN_PID": US, "LISTEN_FDNAMES": "a:b"})


def test_a_descriptor_that_is_not_open_is_an_error(
    pass_sockets: Passing, listening: Callable[[], socket.socket]
):
    environ = pass_sockets({"chat": listening()}) | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "chat:news"}
    with pytest.raises(
        OSError, match=r'descriptor 701, passed by the service manager as "news", is not open'
    ):
        activated(environ)


def test_what_is_no_listening_stream_socket_is_an_error(
    tmp_path: Path, pass_sockets: Passing, listening: Callable[[], socket.socket]
):
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    packets = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    packets.bind(str(tmp_path / "packets"))
    packets.listen()
    idle = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    kinds = {"datagram": datagram, "packets": packets, "idle": idle}
    with closing(datagram), closing(packets), closing(idle):
        # The good one under the same name comes first: it must not stay open when the second is refused.
        for name, sock in kinds.items():
            with activated(pass_sockets({f"{name}#1": listening(), f"{name}#2": sock})) as service:
                with pytest.raises(OSError, match=f'"{name}", is not a listening stream socket') as caught:
                    service.sockets(name)
                assert "ListenStream=" in str(caught.value)


def test_what_is_no_socket_is_an_error(pass_sockets: Passing, listening: Callable[[], socket.socket]):
    environ = pass_sockets({"chat": listening()})
    with open(os.devnull, "rb") as file:  # noqa: PTH123 - a descriptor is wanted, not a path
        os.dup2(file.fileno(), 700)
    with activated(environ) as service, pytest.raises(OSError, match="is not a socket"):
        service.sockets("chat")


def test_a_descriptor_that_was_closed_meanwhile_is_an_error(
    pass_sockets: Passing, listening: Callable[[], socket.socket]
):
    with activated(pass_sockets({"chat": listening()})) as service:
        os.close(700)
        with pytest.raises(OSError, match="cannot be used: bad file descriptor"):
            service.sockets("chat")


def test_the_first_descriptor_is_the_third_after_exec(listening: Callable[[], socket.socket]):
    sock = listening()
    program = (
        "import os\n"
        "from sockjs_bridge.service_manager import ServiceManager\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "(found,) = ServiceManager.from_environment(os.environ).sockets('chat')\n"
        "print(found.getsockname()[1], sorted(name for name in os.environ if name.startswith('LISTEN')))\n"
    )
    # Popen keeps the numbers of what it passes.
    launcher = "import os, sys\nos.dup2(int(sys.argv[1]), 3)\nos.execv(sys.executable, [sys.executable, '-c', sys.argv[2]])"
    done = subprocess.run(
        [sys.executable, "-c", launcher, str(sock.fileno()), program],
        pass_fds=[sock.fileno()],
        env=os.environ
        | {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "chat", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == f"{sock.getsockname()[1]} []\n"
