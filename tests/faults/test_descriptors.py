"""A bridge that has run out of descriptors heals by itself once there are some again, and says what it was."""

import resource
from contextlib import ExitStack

from tests.bridge_process import BridgeStarter, wait_until
from tests.faults.accounts import Accounts
from tests.faults.configuration import HEAD, QUICK, admin_port, port_of, session
from tests.faults.conftest import ServerStarter
from tests.faults.moments import moment, now
from tests.faults.process_facts import descriptors
from tests.faults.programs import NumberedProgram

RECOVERS_WITHIN = 2.0
KEYS = QUICK.replace('reconnect = { initial = "20ms", max = "100ms" }', "")
"""With the default delays between attempts."""


def test_session_and_listener_recover(start_bridge: BridgeStarter, fault_server: ServerStarter) -> None:
    """The limit is lowered to what is in use, the session breaks, programs come; then it is raised again."""
    server = fault_server()
    bridge = start_bridge(HEAD + session(server.url(), "websocket", KEYS))
    port, admin = port_of(bridge), admin_port(bridge)
    with ExitStack() as running:
        first = running.enter_context(NumberedProgram(port, "first"))
        number = server.wait_session(0)
        before = resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE)
        in_use = descriptors(bridge.pid)
        resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE, (in_use - 1, before[1]))
        server.fault("rst")
        line = bridge.wait_for_log("cannot connect")
        assert "too many open files" in line["message"].lower(), line
        late = running.enter_context(NumberedProgram(port, "late"))
        line = bridge.wait_for_log("cannot accept clients")
        assert "too many open files" in line["message"].lower(), line
        resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE, before)
        free = now()
        opened = bridge.wait_for_log("open", epoch=2)
        assert moment(opened) - free <= RECOVERS_WITHIN
        server.wait_session(number)
        wait_until(lambda: bool(late.got.count), "a program that had to wait is served")
        first.check()
        late.check()
        assert Accounts.read(admin).sum("clients") == 2
