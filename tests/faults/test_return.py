"""A server that was away is found again in time. Here time is the subject."""

import time
from contextlib import ExitStack

import pytest

from tests.bridge_process import BridgeStarter
from tests.faults.configuration import HEAD, session
from tests.faults.conftest import ServerStarter
from tests.faults.moments import moment, now
from tests.faults.tcp_proxy import Accepting, TcpProxy
from tests.scripted_http import TRANSPORTS

FAULTS = (Accepting.REFUSE, Accepting.RESET, Accepting.ERROR)


@pytest.mark.parametrize(
    ("reconnect", "away", "within"),
    [
        pytest.param("", 3.0, 2.0, id="away-for-3-seconds"),
        pytest.param('reconnect = { initial = "1s", max = "3s" }', 11.0, 3.0, id="away-for-11-seconds"),
    ],
)
def test_session_is_open_in_time_once_the_server_is_back(
    start_bridge: BridgeStarter, fault_server: ServerStarter, reconnect: str, away: float, within: float
) -> None:
    """Under 5 s: within 2 s, at the defaults; else within reconnect.max. Each transport, after each fault."""
    server = fault_server()
    with ExitStack() as running:
        proxies = {fault: running.enter_context(TcpProxy(server.port)) for fault in FAULTS}
        names = {
            (fault, transport): f"{transport}-{fault.value}" for fault in FAULTS for transport in TRANSPORTS
        }
        bridge = start_bridge(
            HEAD
            + "".join(
                session(f"http://127.0.0.1:{proxies[fault].port}/echo", transport, reconnect, name=name)
                for (fault, transport), name in names.items()
            )
        )
        for name in names.values():
            bridge.wait_for_log("open", session=name)
        for fault, proxy in proxies.items():
            proxy.accept(fault)
            proxy.reset_all()
        time.sleep(away)  # the outage itself
        back = now()
        for proxy in proxies.values():
            proxy.accept(Accepting.SERVE)
        longest = 0.0
        for name in names.values():
            needed = moment(bridge.wait_for_log("open", session=name, epoch=2)) - back
            assert needed <= within, f"{name} needed {needed:.2f} s"
            assert needed > 0.0, f"{name} was not away"
            longest = max(longest, needed)
        print(f"away for {away:g} s: the last of {len(names)} sessions was back after {longest:.2f} s")
