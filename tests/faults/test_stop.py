"""A stop right after a break: nothing of what was given up is left behind."""

import pytest

from tests.bridge_process import BridgeStarter
from tests.faults.configuration import HEAD, session
from tests.faults.conftest import ServerStarter


@pytest.mark.parametrize("transport", ["websocket", "websocket-raw"])
def test_connection_to_a_deaf_server_is_closed_at_the_end(
    start_bridge: BridgeStarter, fault_server: ServerStarter, transport: str
) -> None:
    """A server that does not even read answers no Close. Standard error is looked at by `start_bridge`."""
    server = fault_server()
    bridge = start_bridge(HEAD + session(server.url(), transport))
    server.fault("silence", server.wait_session(0))
    bridge.wait_open(epoch=2)
    assert bridge.stop() == 0
