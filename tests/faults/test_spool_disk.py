"""A full or failing disk under the spool of a bridge: it takes no more, says so, and heals; nothing acknowledged is lost."""

import http.client
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, wait_until
from tests.faults.accounts import Accounts
from tests.faults.configuration import HEAD, QUICK, admin_port, port_of, session
from tests.faults.conftest import ServerStarter
from tests.faults.envelope_writer import EnvelopeWriter
from tests.faults.server_process import FaultServerProcess
from tests.faults.spool_file_copy import left_in
from tests.small_disk import small_disk_at

STOPS = "the spool takes no messages"
HEALS = "the spool takes messages again"
HEALS_WITHIN = 5.0
"""Seconds; it is tried again each second."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_at(tmp_path / "small", "4m") as folder:
        yield folder


def fill(folder: Path) -> Path:
    """Take all the room there is, until the file that is returned is removed."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for piece in (1 << 16, 512):
            try:
                while file.write(bytes(piece)) == piece:
                    pass
            except OSError:
                continue
    return ballast


def ready(admin: int) -> tuple[int, str]:
    """The answer of /readyz."""
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=15.0)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Scene:
    """A bridge with a spool, a writer at full speed, and a server that notes what it gets."""

    def __init__(self, bridge: BridgeProcess, server: FaultServerProcess) -> None:
        self.bridge = bridge
        self.server = server
        self.admin = admin_port(bridge)
        self.writer = EnvelopeWriter("a").connect(port_of(bridge))
        self._wait_acknowledged(500)

    def _wait_acknowledged(self, more: int) -> None:
        enough = len(self.writer.acknowledged) + more
        wait_until(lambda: len(self.writer.acknowledged) >= enough, f"{more} more messages are acknowledged")

    def check_stopped(self, why: str) -> None:
        """It takes nothing, and says why: in the log, once, and to who asks whether it is ready."""
        self.bridge.wait_for_log(STOPS, level="error", session="chat")
        status, text = ready(self.admin)
        assert status == 503
        assert "chat: the spool fails: " in text
        assert why in text
        Accounts.read(self.admin).upwards("chat").check()

    def check_healed(self) -> None:
        """It goes on by itself."""
        self.bridge.wait_for_log(HEALS, timeout=HEALS_WITHIN, level="info", session="chat")
        wait_until(lambda: ready(self.admin) == (200, "ok\n"), "it is ready again")
        self._wait_acknowledged(500)
        assert len(self.bridge.log_lines(STOPS)) == 1
        assert len(self.bridge.log_lines(HEALS)) == 1

    def check_end(self, *, rejects: bool = False) -> None:
        """Everything that was acknowledged has arrived, once and in order; nothing else was lost in silence."""
        writer = self.writer
        writer.stop_writing()
        wait_until(lambda: not writer.unanswered, "every message has its answer")
        wait_until(lambda: Accounts.read(self.admin).upwards("chat").queued == 0, "all is sent")
        Accounts.read(self.admin).upwards("chat").check()
        assert not writer.in_doubt
        assert self.bridge.stop() == 0
        writer.leave()
        received = self.server.journal().received  # raises where one is out of order, or doubled
        assert received.count == {"a": len(writer.acknowledged)}
        assert received.last == {"a": max(writer.acknowledged)}
        assert len(writer.acknowledged) + len(writer.rejected) == writer.written
        assert bool(writer.rejected) == rejects


def scene(start: BridgeStarter, server: FaultServerProcess, spool: Path, queue: str = "") -> Scene:
    server.speak(False)
    # Less is on its way to the disk than the writer writes ahead, so that it hears of the rest.
    keys = f'{QUICK}queue = {{ spool = "{spool}", max_messages = 200{queue} }}\n'
    return Scene(
        start(HEAD + session(server.url(), "websocket", keys, listener='framing = "envelope"\n')), server
    )


@pytest.mark.parametrize("overflow", ["pause", "reject", "drop-oldest"])
def test_full_disk_stops_acceptance_and_heals(
    start_bridge: BridgeStarter, fault_server: ServerStarter, small_disk: Path, overflow: str
) -> None:
    play = scene(start_bridge, fault_server(), small_disk / "chat.spool", f', overflow = "{overflow}"')
    ballast = fill(small_disk)
    play.check_stopped("full")
    writer = play.writer
    if overflow == "reject":
        wait_until(lambda: len(writer.rejected) > 100, "messages are rejected")
    else:
        wait_until(lambda: writer.unanswered >= 400, "the writer has no answer to as many as it writes ahead")
        assert not writer.rejected
    before = len(writer.acknowledged)
    assert ready(play.admin)[0] == 503
    assert len(writer.acknowledged) == before
    ballast.unlink()
    play.check_healed()
    play.check_end(rejects=overflow == "reject")


def test_stop_on_a_full_disk_says_what_it_could_not_keep(
    start_bridge: BridgeStarter, fault_server: ServerStarter, small_disk: Path
) -> None:
    play = scene(start_bridge, fault_server(), small_disk / "chat.spool")
    fill(small_disk)
    play.check_stopped("full")
    play.writer.stop_writing()
    assert play.bridge.stop() == 0
    play.writer.leave()
    lost = play.bridge.wait_for_log("messages could not be written to the spool before the stop")
    # Those that were read and not even taken are told of as well.
    assert 0 < lost["messages"] <= len(play.writer.rejected)
    assert play.bridge.wait_for_log("stopped")["dropped"] == len(play.writer.rejected)
    assert len(play.writer.acknowledged) + len(play.writer.rejected) == play.writer.written
    in_doubt, queued = left_in(small_disk / "chat.spool")
    received = [text for entry in play.server.journal_lines() if entry[0] == "received" for text in entry[2]]
    # The disk may not have heard that some were confirmed: those are in doubt for it.
    assert {*received, *in_doubt, *queued} == {play.writer.text(n) for n in play.writer.acknowledged}
    assert len(received) == len(set(received))
    assert not set(queued) & {*received, *in_doubt}


@contextmanager
def failing(bridge: BridgeProcess, calls: str) -> Iterator[None]:
    """Let these system calls of the process fail with EIO, for the length of a `with` block."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    options = ["-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO"]
    tracer = subprocess.Popen(
        [strace, *options, "-p", str(bridge.pid)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert tracer.stderr is not None
    try:
        wait_until(lambda: tracer.poll() is not None or _is_traced(bridge.pid), "strace has attached")
        if tracer.poll() is not None:
            pytest.skip(f"strace can not trace here: {tracer.stderr.read().strip()}")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(15.0)
        tracer.stderr.close()


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return status.partition("TracerPid:")[2].split()[0] != "0"


@pytest.mark.parametrize("calls", ["fdatasync,fsync", "pwrite64"])
def test_failing_disk_stops_acceptance_and_heals(
    start_bridge: BridgeStarter, fault_server: ServerStarter, tmp_path: Path, calls: str
) -> None:
    play = scene(start_bridge, fault_server(), tmp_path / "chat.spool")
    with failing(play.bridge, calls):
        play.check_stopped("I/O error")
        wait_until(lambda: play.writer.unanswered >= 400, "the writer is paused")
    play.check_healed()
    play.check_end()
