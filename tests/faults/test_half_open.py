"""Connections that are dead without a word: noticed in time on every transport. Here time is the subject."""

import signal
from collections.abc import Callable

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, wait_until
from tests.faults.configuration import HEAD, session
from tests.faults.conftest import ServerStarter
from tests.faults.moments import first_after, moment, now
from tests.faults.tcp_proxy import TcpProxy, Way
from tests.real_servers import RealServer
from tests.scripted_http import TRANSPORTS

SILENCE_TIMEOUT = 2.5
CONNECT_TIMEOUT = 1.0
MARGIN = 0.5
"""Seconds for a busy machine."""
BACK_WITHIN = 10.0
KEYS = (
    f"silence_timeout = {SILENCE_TIMEOUT}\nconnect_timeout = {CONNECT_TIMEOUT}\n"
    'ping_interval = "1s"\nopen_timeout = "1s"\n'
)


def one_session_each(url: Callable[[bool], str]) -> str:
    """A session named after each transport, all in one bridge: their times pass together."""
    return HEAD + "".join(
        session(url(transport == "websocket-raw"), transport, KEYS, name=transport)
        for transport in TRANSPORTS
    )


def check_noticed(bridge: BridgeProcess, since: float, within: float) -> None:
    for transport in TRANSPORTS:
        line = first_after(bridge, since, "closed", within + 5.0, session=transport)
        lasted = moment(line) - since
        print(f"{transport}: noticed after {lasted:.2f} s: {line['cause']}, {line.get('reason')}")
        assert lasted <= within + MARGIN, f"{transport} needed {lasted:.2f} s"
        assert line["cause"] == "silence"


def check_back(bridge: BridgeProcess, since: float, within: float) -> None:
    for transport in TRANSPORTS:
        line = first_after(bridge, since, "open", within + 5.0, session=transport)
        lasted = moment(line) - since
        print(f"{transport}: back after {lasted:.2f} s")
        assert lasted <= within, f"{transport} needed {lasted:.2f} s"


def test_black_hole_is_noticed_within_silence_timeout(
    start_bridge: BridgeStarter, fault_server: ServerStarter
) -> None:
    server = fault_server()
    with TcpProxy(server.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/echo"
        bridge = start_bridge(one_session_each(lambda raw: url + "/websocket" * raw))
        wait_until(lambda: len(server.journal().shown) == len(TRANSPORTS), "all sessions have shown life")
        begun = now()
        proxy.set_both(Way(black_hole=True))
        check_noticed(bridge, begun, SILENCE_TIMEOUT)
        proxy.set_both(Way())
        check_back(bridge, now(), BACK_WITHIN)


@pytest.mark.parametrize(
    ("name", "path", "within"),
    [
        ("node", "/hb1", SILENCE_TIMEOUT),
        # No heartbeats over HTTP in that time: such a session is asked for /info when it has been silent.
        ("tornado", "/echo", SILENCE_TIMEOUT + CONNECT_TIMEOUT),
        ("aio", "/echo", SILENCE_TIMEOUT + CONNECT_TIMEOUT),
    ],
)
def test_stopped_server_is_noticed_and_found_again(
    start_bridge: BridgeStarter,
    real_server: Callable[[str], RealServer],
    name: str,
    path: str,
    within: float,
) -> None:
    server = real_server(name)
    bridge = start_bridge(one_session_each(lambda raw: server.url(path) + "/websocket" * raw))
    for transport in TRANSPORTS:
        bridge.wait_for_log("open", session=transport)
    wait_shown(bridge)
    server.process.send_signal(signal.SIGSTOP)
    try:
        begun = now()
        check_noticed(bridge, begun, within)
    finally:
        server.process.send_signal(signal.SIGCONT)
    check_back(bridge, now(), BACK_WITHIN)


def wait_shown(bridge: BridgeProcess) -> None:
    """Wait until heartbeats and PONGs were exchanged, which nothing tells: an interval and a half."""
    opened = max(moment(line) for line in bridge.log_lines("open"))
    wait_until(lambda: now() > opened + 1.5, "heartbeats and PONGs were exchanged")
