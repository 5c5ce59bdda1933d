"""Ten kinds of breaks on every transport, under traffic both ways: nothing is lost in silence.

In the long form there are more than 1 000 breaks, in CI a tenth of that.
"""

import random
import time
from collections.abc import Callable, Sequence

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, wait_until
from tests.faults.accounts import Accounts
from tests.faults.configuration import HEAD, admin_port, port_of, session
from tests.faults.conftest import ServerStarter
from tests.faults.journal import Journal
from tests.faults.programs import NumberedProgram
from tests.faults.server_process import FaultServerProcess
from tests.scripted_http import TRANSPORTS

KINDS = ("kill", "rst", "silence", "half", "c", "o", "404", "500", "hang", "stall")
CODES = (1000, 1002, 2010, 3000, 3001, 4001)
BREAKS = 15
LONG_BREAKS = 150
SEED = 6


def breaks(transport: str, count: int) -> list[str]:
    """Each kind as often as any other, in an order that is the same at every run."""
    draw = random.Random(f"{SEED} {transport}")
    kinds = [kind for start in range(0, count, len(KINDS)) for kind in draw.sample(KINDS, len(KINDS))]
    return kinds[:count]


def settle(
    server: FaultServerProcess, programs: Sequence[NumberedProgram], read: Callable[[], Accounts]
) -> Accounts:
    """Stop the traffic, and wait until everything that is under way has come to its end."""
    for program in programs:
        program.stop_writing()
    written = sum(program.written for program in programs)

    def is_gone() -> bool:
        sums = read().upwards("chat")
        return sums.accepted == written and sums.queued == 0

    try:
        wait_until(is_gone, f"all {written} messages of programs are accepted and gone")
    except AssertionError as error:
        raise AssertionError(f"{error}: {read().upwards('chat')}") from None
    server.speak(False)
    last = server.journal().last_session
    wait_until(
        lambda: all(
            program.got.last.get(f"s{last}", 0) == server.journal().sent.get(last, 0) for program in programs
        ),
        "everything that the last session sent has reached all programs",
    )
    return read()


def break_and_wait(server: FaultServerProcess, kind: str, code: int) -> None:
    """Break the newest session, and wait until traffic flows both ways again."""
    before = server.wait_session(0)
    if kind == "kill":
        server.kill()
        server.restart()
    else:
        before = server.fault(kind, code)
    after = before if kind == "stall" else server.wait_session(before)
    seen = server.journal()
    sent, received = seen.sent.get(after, 0), seen.received_in.get(after, 0)

    def flows() -> bool:
        now = server.journal()
        newest = now.last_session
        if newest != after:  # this one broke as well: a stall may last too long for a slow machine
            return now.received_in.get(newest, 0) > 0 and now.sent.get(newest, 0) > 0
        return now.sent.get(after, 0) > sent and now.received_in.get(after, 0) > received

    wait_until(flows, f"traffic both ways after {kind}")


def check_downwards(
    journal: Journal, programs: Sequence[NumberedProgram], deliveries: dict[str, int]
) -> None:
    """What a session sent and no program got is only what fell when it broke: the end of it."""
    for number, sent in journal.sent.items():
        who = f"s{number}"
        for program in programs:
            assert program.got.gaps.get(who, 0) == 0, (
                f"{program.name} missed messages within session {number}"
            )
            assert program.got.last.get(who, 0) <= sent
            # The first session may have spoken before the programs came.
            assert number == 1 or program.got.first.get(who, 1) == 1
        reached = {program.got.last.get(who, 0) for program in programs}
        assert len(reached) == 1, f"the programs got different parts of session {number}: {reached}"
    for program in programs:
        missed = program.got.first.get("s1", 1) - 1
        assert sum(program.got.count.values()) + missed == deliveries["from_server"]


def check_upwards(
    journal: Journal, accounts: Accounts, programs: Sequence[NumberedProgram], *, http: bool
) -> None:
    """What is written arrived, but for what is told to be in doubt; each once, in the order of its writer."""
    sums = accounts.upwards("chat")
    received = sum(journal.received.count.values())
    assert sums.accepted == sum(program.written for program in programs)
    assert sums.queued == 0
    assert received <= sums.written
    if http or "confirmed_messages_total" in accounts:
        assert received >= sums.written - sums.in_doubt, (received, sums)
    missing = sum(program.written for program in programs) - received
    if "queue_dropped_messages_total" in accounts:
        sums.check()
        assert missing <= sums.in_doubt + sum(sums.given_up.values())
    for listener in accounts.downwards("chat").values():
        listener.check()


def check_end(bridge: BridgeProcess) -> None:
    """It drains, and no program was ever disconnected before that."""
    assert not bridge.log_lines("client out"), "a program was disconnected"
    assert bridge.stop() == 0


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_chaos(
    start_bridge: BridgeStarter, fault_server: ServerStarter, transport: str, is_long: bool
) -> None:
    server = fault_server()
    bridge = start_bridge(HEAD + session(server.url(), transport))
    port, admin = port_of(bridge), admin_port(bridge)
    kinds = breaks(transport, LONG_BREAKS if is_long else BREAKS)
    with NumberedProgram(port, "a") as first, NumberedProgram(port, "b", per_second=37) as second:
        programs = (first, second)
        wait_until(lambda: Accounts.read(admin).sum("clients") == len(programs), "both programs are known")
        begun = time.monotonic()
        for number, kind in enumerate(kinds):
            break_and_wait(server, kind, CODES[number % len(CODES)])
            first.check()
            second.check()
        lasted = time.monotonic() - begun
        accounts = settle(server, programs, lambda: Accounts.read(admin))
        journal = server.journal()
        print(f"{transport}: {len(kinds)} breaks in {lasted:.1f} s; {accounts.upwards('chat')}")
        assert journal.violations == []
        check_downwards(journal, programs, accounts.by("messages_total", "direction", session="chat"))
        check_upwards(journal, accounts, programs, http=not transport.startswith("websocket"))
        first.check()
        second.check()
        check_end(bridge)
