"""kill -9 of a bridge with a spool under load: what was acknowledged arrives, or the next start says it is in doubt.

CI kills more than 20 times, the long form more than 200 times.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, wait_until
from tests.faults.accounts import Accounts
from tests.faults.configuration import HEAD, QUICK, admin_port, port_of, session
from tests.faults.conftest import ServerStarter
from tests.faults.envelope_writer import EnvelopeWriter
from tests.faults.numbered import parse
from tests.faults.server_process import FaultServerProcess
from tests.faults.spool_file_copy import left_in

LONG = 10
"""Times as many kills in the long form."""
LONGEST_LIFE = 0.6
"""Seconds from the first message to the kill."""
FOUND = "found messages of an earlier run"
DOUBTED = "it is in doubt whether messages reached the server"
SEED = 6


class Lives:
    """One spool, one server, and a bridge that is killed again and again."""

    def __init__(
        self, start: BridgeStarter, server: FaultServerProcess, spool: Path, *, resends: bool, transport: str
    ) -> None:
        self.spool = spool
        self.server = server
        self.writers = [EnvelopeWriter("a"), EnvelopeWriter("b", window=30)]
        self.reported: Counter[str] = Counter()
        """How often each message was found in doubt at a start."""
        self.doubted = 0
        """How many were in doubt because a connection broke."""
        self._start = start
        # The queue in memory is so small that some of it is on disk only, and the disk soon stops the writers.
        keys = (
            f'{QUICK}queue = {{ spool = "{spool}", max_messages = 200, spool_max_bytes = "256KiB", '
            f"resend_in_doubt = {str(resends).lower()} }}\n"
        )
        self._config = HEAD + session(server.url(), transport, keys, listener='framing = "envelope"\n')
        self._bridge: BridgeProcess | None = None

    def begin(self) -> BridgeProcess:
        """Start the bridge: what it says of an earlier run is what lies on the disk."""
        in_doubt, queued = left_in(self.spool)
        bridge = self._start(self._config)
        for writer in self.writers:
            writer.connect(port_of(bridge))
        if in_doubt or queued:
            found = bridge.wait_for_log(FOUND)
            assert (found["in_doubt"], found["queued"]) == (len(in_doubt), len(queued))
            assert Accounts.read(admin_port(bridge)).upwards("chat").in_doubt >= len(in_doubt)
        self.reported.update(in_doubt)
        self._bridge = bridge
        return bridge

    def kill(self) -> None:
        """End the bridge as a crash does."""
        bridge = self._bridge
        assert bridge is not None
        bridge.send_signal(signal.SIGKILL)
        assert bridge.wait_exit() == -signal.SIGKILL
        self._leave(bridge)

    def end(self) -> None:
        """Let all of it arrive, and stop."""
        bridge = self.begin()
        admin = admin_port(bridge)
        for writer in self.writers:
            writer.stop_writing()
        wait_until(lambda: not any(writer.unanswered for writer in self.writers), "all is acknowledged")
        wait_until(lambda: Accounts.read(admin).upwards("chat").queued == 0, "all is sent", timeout=60)
        Accounts.read(admin).upwards("chat").check()
        assert bridge.stop() == 0
        self._leave(bridge)
        assert left_in(self.spool) == ([], []), "the stop has confirmed all"

    def _leave(self, bridge: BridgeProcess) -> None:
        for writer in self.writers:
            writer.leave()
        self.doubted += sum(line["messages"] for line in bridge.log_lines(DOUBTED))

    def received(self) -> Iterator[tuple[int, str]]:
        """What the server took: (session, message)."""
        for line in self.server.journal_lines():
            if line[0] == "received":
                for message in line[2]:
                    yield line[1], message


def check_order(received: list[tuple[int, str]]) -> None:
    """Within a session each writer's messages come in order; so do those that come for the first time."""
    last_in: dict[tuple[int, str], int] = {}
    last: dict[str, int] = {}
    seen: set[str] = set()
    for number_of_session, text in received:
        who, number = parse(text)
        assert number > last_in.get((number_of_session, who), 0), "out of order within a session"
        last_in[number_of_session, who] = number
        if text not in seen:
            assert number > last.get(who, 0), "out of order over sessions"
            last[who] = number
            seen.add(text)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("transport", "resends", "kills"),
    [("websocket", False, 12), ("websocket", True, 8), ("xhr-streaming", False, 4)],
    ids=["websocket", "websocket-resending", "xhr-streaming"],
)
def test_kill_9_under_load(
    start_bridge: BridgeStarter,
    fault_server: ServerStarter,
    tmp_path: Path,
    is_long: bool,
    transport: str,
    resends: bool,
    kills: int,
) -> None:
    server = fault_server()
    server.speak(False)
    lives = Lives(start_bridge, server, tmp_path / "chat.spool", resends=resends, transport=transport)
    chance = random.Random(SEED)
    kills *= LONG if is_long else 1
    for number in range(kills):
        lives.begin()
        time.sleep(chance.random() * LONGEST_LIFE)  # at any moment
        if number % 4 == 3:
            server.kill()
            time.sleep(chance.random() * LONGEST_LIFE)
            server.restart()
            server.speak(False)
        lives.kill()
    lives.end()

    received = list(lives.received())
    check_order(received)
    times = Counter(text for _, text in received)
    acknowledged = {writer.text(number) for writer in lives.writers for number in writer.acknowledged}
    told_in_doubt = {writer.text(number) for writer in lives.writers for number in writer.in_doubt}
    doubles = {text: count - 1 for text, count in times.items() if count > 1}
    missing = acknowledged - times.keys()
    print(
        f"{kills} kills: {len(acknowledged)} acknowledged, {len(received)} received,"
        f" {len(lives.reported)} in doubt at a start, {lives.doubted} at a break,"
        f" {len(doubles)} doubled, {len(missing)} missing"
    )
    assert len(acknowledged) > 50 * kills, "there was no load"
    assert lives.reported, "no kill came while messages were being sent"
    assert not any(writer.rejected for writer in lives.writers)
    if resends:
        assert not missing
        unexplained = {text for text in doubles if text not in lives.reported and text not in told_in_doubt}
        assert len(unexplained) <= lives.doubted
        assert all(count <= lives.reported[text] + lives.doubted for text, count in doubles.items())
    else:
        assert not doubles
        # Those of an earlier run have no writer any more that could be told when a connection breaks.
        unexplained = missing - lives.reported.keys() - told_in_doubt
        assert len(unexplained) <= lives.doubted - len(told_in_doubt)
