"""Sessions over HTTP behind HAProxy: each request of one has to reach the server that has the session.

Two sockjs-node servers stand behind it. Each answers "who" and "close" by its port, and after "close" it closes the
session; HAProxy's log tells where each request went.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, LineClient
from tests.haproxy import COOKIE, NOT_STICKY, URI, HaProxy
from tests.real_servers import RealServer, ServerMissingError

RECONNECTS = 100
FEW = 10


@dataclass(frozen=True)
class Cluster:
    """HAProxy and the two servers behind it, by their names, which are their ports."""

    proxy: HaProxy
    servers: dict[str, RealServer]

    def other(self, name: str) -> str:
        return next(other for other in self.servers if other != name)

    def sessions(self, balance: str) -> list[set[str]]:
        """Return the servers that the requests of each session went to, the oldest session first."""
        found: dict[str, set[str]] = {}
        for request in self.proxy.passed_on(balance, "/named/"):
            if request.path != "/named/info":
                found.setdefault(request.path.rpartition("/")[0], set()).add(request.server)
        return list(found.values())


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[BridgeStarter]:
    """Start bridges: `start_bridge(config)`. They end with the test."""
    with BridgeStarter(tmp_path) as starter:
        yield starter


@pytest.fixture
def cluster(real_server: Callable[[str], RealServer], tmp_path: Path) -> Iterator[Cluster]:
    """Two servers behind HAProxy, for this test alone: it may kill and restart them."""
    servers = [real_server("node"), real_server("node")]
    with ExitStack() as running:
        try:
            proxy = running.enter_context(HaProxy(tmp_path, [server.port for server in servers]))
        except ServerMissingError as exc:
            # As tests/conftest.py does for servers: what a developer may do without, CI may not.
            if os.environ.get("CI") == "true":
                pytest.fail(str(exc))
            pytest.skip(str(exc))
        yield Cluster(proxy, {str(server.port): server for server in servers})


def config(cluster: Cluster, balance: str, transport: str) -> str:
    return (
        f'[sessions.chat]\nurl = "http://127.0.0.1:{cluster.proxy.ports[balance]}/named"\n'
        f'transports = ["{transport}"]\nreconnect = {{ initial = "10ms", max = "20ms" }}\n'
        '[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\n'
    )


def reconnect(bridge: BridgeProcess, client: LineClient, times: int) -> set[str]:
    """Have the session closed by its server so many times; return the names of the servers that did so."""
    epoch = len(bridge.log_lines("open"))
    names: set[str] = set()
    for next_epoch in range(epoch + 1, epoch + times + 1):
        names.update(client.exchange(["close"]))
        bridge.wait_open(next_epoch)
    return names


def reached_by_strangers(cluster: Cluster, balance: str) -> set[str]:
    """Return the servers that requests of 20 others reach."""
    for number in range(20):
        cluster.proxy.ask(balance, f"/stranger/{number}")
    return {request.server for request in cluster.proxy.passed_on(balance, "/stranger/")}


def causes(bridge: BridgeProcess) -> list[object]:
    return [line["cause"] for line in bridge.log_lines("closed")]


@pytest.mark.parametrize("balance", [COOKIE, URI])
@pytest.mark.parametrize(
    "transport", ["xhr-streaming", "eventsource", "htmlfile", "xhr-polling", "jsonp-polling"]
)
def test_a_session_stays_on_its_server_until_that_dies(
    balance: str, transport: str, cluster: Cluster, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(config(cluster, balance, transport))
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        home = client.exchange(["who"])[0]
        assert reconnect(bridge, client, RECONNECTS // 2) == {home}
        # It is no accident that it stays: others are sent to both.
        assert reached_by_strangers(cluster, balance) == set(cluster.servers)
        assert reconnect(bridge, client, RECONNECTS // 2) == {home}
        assert causes(bridge) == ["server_closed"] * RECONNECTS
        assert cluster.sessions(balance) == [{home}] * (RECONNECTS + 1)

        refuge = cluster.other(home)
        cluster.servers[home].kill()
        bridge.wait_open(RECONNECTS + 2)
        assert reconnect(bridge, client, FEW) == {refuge}
        if balance == COOKIE:
            # The new cookie has taken the place of the old one. (By the path the session would go back.)
            return_from_the_dead(cluster, home)
            assert reconnect(bridge, client, FEW) == {refuge}
        assert client.exchange(["who", "hello"]) == [refuge, "hello"]
        later = causes(bridge)[RECONNECTS:]
        # Where the death fell between two polls, the other server took the second for a new session.
        assert later[0] in {"transport_lost", "session_lost"}
        assert later[1:] == ["server_closed"] * (len(later) - 1)
        assert cluster.sessions(balance)[RECONNECTS + 1 :] == [{refuge}] * len(later)
        assert not bridge.log_lines("client out")


def return_from_the_dead(cluster: Cluster, name: str) -> None:
    """Start a killed server again, and wait until HAProxy uses it."""
    cluster.proxy.wait_noticed(int(name), "DOWN")
    cluster.servers[name].restart()
    cluster.proxy.wait_noticed(int(name), "UP")


def test_without_stickiness_sessions_are_lost(cluster: Cluster, start_bridge: BridgeStarter) -> None:
    # Shows that the other test can fail: what is sent does not reach the server that has the session.
    bridge = start_bridge(config(cluster, NOT_STICKY, "xhr-streaming"))
    with LineClient(bridge.port) as client:
        bridge.wait_open()
        client.send("who")
        bridge.wait_for_log("closed", cause="session_lost")
    assert set(cluster.servers) in cluster.sessions(NOT_STICKY)
