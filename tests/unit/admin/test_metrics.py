"""The metrics page: the names that operators are promised, and the rules of the format."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sockjs_bridge.admin.metrics import Metrics
from sockjs_bridge.admin.view import DaemonView
from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.outbox import Outbox, QueueLimits
from sockjs_bridge.bridge.private import count_waiting
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.endpoints.base import DeliveryCounts
from sockjs_bridge.errors import Cause, DropReason, Obstacle
from sockjs_bridge.log import EventLog
from tests.metrics_lint import complaints, promtool

NOW = 1000.0
PROMISED = {
    "session_up": ("gauge", set()),
    "connects_total": ("counter", {"transport", "result"}),
    "closes_total": ("counter", {"cause"}),
    "messages_total": ("counter", {"direction"}),
    "bytes_total": ("counter", {"direction"}),
    "queue_messages": ("gauge", set()),
    "queue_bytes": ("gauge", set()),
    "queue_oldest_seconds": ("gauge", set()),
    "dropped_total": ("counter", {"reason"}),
    "in_doubt_total": ("counter", set()),
    "clients": ("gauge", {"listener"}),
    "last_receive_seconds": ("gauge", set()),
    "zmq_subscribers": ("gauge", {"listener"}),
    "accepted_messages_total": ("counter", set()),
    "confirmed_messages_total": ("counter", set()),
    "resent_messages_total": ("counter", set()),
    "queue_resend_messages": ("gauge", set()),
    "queue_dropped_messages_total": ("counter", {"reason"}),
    "listener_offered_messages_total": ("counter", {"listener"}),
    "listener_delivered_messages_total": ("counter", {"listener"}),
    "listener_buffered_messages": ("gauge", {"listener"}),
    "listener_dropped_messages_total": ("counter", {"listener", "reason"}),
}
"""Type and labels beside `session`. Reloads are of the whole process, and have none."""


@dataclass
class FakeEndpoint:
    name: str
    known: dict[str, str | int]

    def describe(self) -> dict[str, str | int]:
        return self.known

    def count_delivery(self) -> DeliveryCounts:
        return DeliveryCounts(offered=5, delivered=2, buffered=1, dropped={DropReason.SLOW_CLIENT: 2})


@dataclass
class FakeDaemon:
    bridges: dict[str, SimpleNamespace] = field(default_factory=dict)
    reloads: dict[str, int] = field(default_factory=lambda: {"ok": 2, "failed": 1})


def tcp(address: str, clients: int) -> FakeEndpoint:
    return FakeEndpoint(address, {"type": "tcp", "address": address, "clients": clients})


def zmq(kind: str, address: str, **counts: int) -> FakeEndpoint:
    return FakeEndpoint(f"{kind} {address}", {"type": kind, "address": address, **counts})


def session(*endpoints: FakeEndpoint, stats: SessionStats, is_open: bool = True) -> SimpleNamespace:
    hub = Hub(Outbox(QueueLimits(100, 1000)), stats, lambda: NOW, EventLog())
    return SimpleNamespace(
        hub=hub,
        supervisor=SimpleNamespace(is_fine=is_open, epoch=3),
        endpoints=endpoints,
        count_waiting=lambda now: count_waiting([hub.queue], stats, now),
    )


def page(daemon: FakeDaemon) -> str:
    return Metrics(cast("DaemonView", daemon), lambda: NOW).render().decode()


def values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name.removeprefix("sockjs_bridge_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def daemon() -> FakeDaemon:
    """A session with something of everything, and one that has only just begun."""
    busy = SessionStats(
        messages_received=7,
        last_receive_at=NOW - 1.5,
        bytes_received=700,
        messages_accepted=6,
        messages_in_flight=1,
        messages_sent=5,
        messages_in_doubt=2,
        bytes_sent=500,
        frames_dropped=4,
    )
    for count, reason in enumerate(DropReason, 1):
        busy.dropped[reason] = busy.queue_dropped[reason] = count
    for count, cause in enumerate(Cause, 1):
        busy.closes[cause] = count
    for count, obstacle in enumerate(Obstacle, 1):
        busy.connects["websocket", str(obstacle)] = count
    busy.connects["xhr-streaming", "opened"] = 9
    chat = session(
        tcp("127.0.0.1:9000", 3),
        tcp("unix:/run/chat.sock", 1),
        zmq("pub", "tcp://127.0.0.1:9001", subscribers=2),
        zmq("pull", "tcp://127.0.0.1:9002", peers=4),
        stats=busy,
    )
    return FakeDaemon({"chat": chat, "idle": session(stats=SessionStats(), is_open=False)})


def test_what_is_promised_is_there(daemon: FakeDaemon) -> None:
    text = page(daemon)
    types = dict(line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE "))
    found = values(text)
    for name, (kind, labels) in PROMISED.items():
        assert types[f"sockjs_bridge_{name}"] == kind
        labelled = [dict(key) for metric, key in found if metric == name]
        assert labelled, name
        assert all(set(each) == {"session", *labels} for each in labelled), name
    assert found["reloads_total", frozenset({("result", "ok")})] == 2
    assert found["reloads_total", frozenset({("result", "failed")})] == 1


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("session_up", {}, 1),
        ("queue_messages", {}, 1),
        ("in_doubt_total", {}, 2),
        ("last_receive_seconds", {}, 1.5),
        ("messages_total", {"direction": "from_server"}, 7),
        ("bytes_total", {"direction": "to_server"}, 500),
        ("dropped_total", {"reason": "no_consumer"}, 1),
        ("closes_total", {"cause": "session_busy"}, 2),
        ("connects_total", {"transport": "websocket", "result": "tls_error"}, 2),
        ("clients", {"listener": "unix:/run/chat.sock"}, 1),
        ("clients", {"listener": "pull tcp://127.0.0.1:9002"}, 4),
        ("zmq_subscribers", {"listener": "pub tcp://127.0.0.1:9001"}, 2),
    ],
)
def test_values(daemon: FakeDaemon, name: str, labels: dict[str, str], value: float) -> None:
    assert values(page(daemon))[name, frozenset({"session": "chat", **labels}.items())] == value


def test_a_session_that_never_heard_from_its_server_does_not_say_when(daemon: FakeDaemon) -> None:
    found = values(page(daemon))
    idle = frozenset({("session", "idle")})
    assert found["session_up", idle] == 0
    assert ("last_receive_seconds", idle) not in found


def test_endpoints_that_differ_in_their_topics_only_are_one_series() -> None:
    address = "tcp://127.0.0.1:9001"
    same = [
        zmq("pub", address, subscribers=2),
        zmq("pub", address, subscribers=3),
        zmq("sub", address, peers=1),
    ]
    text = page(FakeDaemon({"chat": session(*same, *same[2:], stats=SessionStats())}))
    assert complaints(text) == []
    labels = frozenset({("session", "chat"), ("listener", f"pub {address}")})
    assert values(text)["zmq_subscribers", labels] == 5


@pytest.mark.parametrize(
    "strange", ['/run/a"b.sock', "/run/back\\slash", "/run/two\nlines", "/run/ü,{}=.sock"]
)
def test_labels_are_escaped(strange: str) -> None:
    address = f"unix:{strange}"
    text = page(FakeDaemon({"chat": session(tcp(address, 1), stats=SessionStats())}))
    assert complaints(text) == []
    assert values(text)["clients", frozenset({("session", "chat"), ("listener", address)})] == 1


def test_the_page_keeps_the_rules_of_the_format(daemon: FakeDaemon) -> None:
    text = page(daemon)
    assert text.endswith("\n")
    assert complaints(text) == []
    assert complaints(page(FakeDaemon())) == []


def test_promtool_has_nothing_to_say(daemon: FakeDaemon) -> None:
    said = promtool(page(daemon))
    if said is None:
        pytest.skip("promtool is not installed; the rules above are its own")
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


GOOD = '# HELP a_total A.\n# TYPE a_total counter\na_total{session="x"} 1\n'


@pytest.mark.parametrize(
    ("good", "bad", "complaint"),
    [
        ("# HELP a_total A.\n", "", "no HELP"),
        ("# TYPE a_total counter\n", "", "no TYPE"),
        ("a_total", "a", "_total is the ending"),
        ("counter", "gauge", "_total is the ending"),
        ("a_total", "a:b_total", "colon"),
        ("a_total", "aB_total", "snake_case"),
        ("a_total", "a_ms_total", "in place of seconds"),
        ("a_total", "a_kilobytes_total", "in place of bytes"),
        ("a_total", "bytes_of_a_total", "does not come last"),
        ("a_total", "a_counter_total", "its type"),
        ("a_total", "a_total_count", "an ending of histograms"),
        ("session=", "sessionName=", "label sessionName"),
        ("session=", "le=", "label le"),
        ("} 1\n", '} 1\na_total{session="x"} 2\n', "2 times"),
        ("} 1\n", "} 1\na_total 2\n", "same labels"),
        ("} 1\n", "} 1\n# HELP a_total B.\n", "2 HELP lines"),
        ("} 1\n", "} 1\nb 2\n", "without HELP"),
    ],
)
def test_the_linter_finds(good: str, bad: str, complaint: str) -> None:
    assert complaints(GOOD) == []
    assert any(complaint in each for each in complaints(GOOD.replace(good, bad)))
