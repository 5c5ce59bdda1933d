"""What is counted and logged of the connections of a socket."""

import asyncio
import errno
import logging
import struct
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest
import zmq

from sockjs_bridge.endpoints.zeromq.monitor import Monitor
from sockjs_bridge.log import ROOT, EventLog

Context = zmq.Context[zmq.Socket[bytes]]

ACCEPTED, CONNECTED = zmq.EVENT_ACCEPTED, zmq.EVENT_CONNECTED
READY = (zmq.EVENT_HANDSHAKE_SUCCEEDED, 0)
GONE = zmq.EVENT_DISCONNECTED
NO_DETAIL = (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, errno.EPIPE)
PROTOCOL = (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
AUTH = (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400)

HUNG_UP = "no ZeroMQ handshake with a peer: it hung up, or is no ZeroMQ peer"
OTHER_PROTOCOL = (
    "no ZeroMQ handshake with a peer: it does not speak ZMTP as this endpoint does "
    "(CURVE on both sides? the right server_key?)"
)
REFUSED = "no ZeroMQ handshake with a peer: it refuses our key"


@pytest.fixture
def context() -> Iterator[Context]:
    context = zmq.Context[zmq.Socket[bytes]]()
    context.setsockopt(zmq.LINGER, 0)
    yield context
    context.destroy(linger=0)


def make_monitor(context: Context, *, is_guarded: bool = True) -> Monitor:
    monitor = Monitor(context.socket(zmq.PULL), is_guarded=is_guarded)
    monitor._log = EventLog(lambda: 0.0)
    return monitor


@pytest.fixture
def monitor(context: Context, caplog: pytest.LogCaptureFixture) -> Iterator[Monitor]:
    """The monitor of a socket where the doorkeeper has told of those that it refused."""
    caplog.set_level(logging.INFO, ROOT)
    monitor = make_monitor(context)
    yield monitor
    monitor.close()
    monitor._watched.close(0)


def note(monitor: Monitor, *events: tuple[int, int]) -> int:
    """Tell of events; returns how many peers there are then."""
    for event, value in events:
        monitor._note(event, value)
    return monitor.peers


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object]]:
    """Text and number of peers of each line."""
    return [(record.getMessage(), vars(record)["fields"].get("peers")) for record in caplog.records]


# --- peers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrival", [ACCEPTED, CONNECTED], ids=["bound", "connecting"])
def test_a_peer_counts_from_its_handshake_until_it_leaves(
    monitor: Monitor, caplog: pytest.LogCaptureFixture, arrival: int
) -> None:
    assert note(monitor, (arrival, 7)) == 0
    assert note(monitor, READY) == 1
    assert note(monitor, (GONE, 7)) == 0
    assert lines(caplog) == [("peer in", 1), ("peer out", 0)]


def test_several_peers_come_and_leave_in_any_order(
    monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    assert note(monitor, (ACCEPTED, 7), READY, (ACCEPTED, 8), (ACCEPTED, 9), READY, READY) == 3
    assert note(monitor, (GONE, 8)) == 2
    assert note(monitor, (GONE, 7), (GONE, 9)) == 0
    assert [peers for _, peers in lines(caplog)] == [1, 2, 3, 2, 1, 0]


def test_a_descriptor_may_come_again(monitor: Monitor) -> None:
    for _ in range(3):
        assert note(monitor, (ACCEPTED, 7), READY) == 1
        assert note(monitor, (GONE, 7)) == 0


def test_a_reconnect_is_a_peer_again(monitor: Monitor, caplog: pytest.LogCaptureFixture) -> None:
    assert note(monitor, (CONNECTED, 7), READY, (GONE, 7), (CONNECTED, 8), READY) == 1
    assert [text for text, _ in lines(caplog)] == ["peer in", "peer out", "peer in"]


def test_a_handshake_of_nobody_counts_nobody(monitor: Monitor, caplog: pytest.LogCaptureFixture) -> None:
    assert note(monitor, READY) == 0
    assert not caplog.records


# --- strangers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "text"),
    [([NO_DETAIL], HUNG_UP), ([PROTOCOL], OTHER_PROTOCOL), ([], HUNG_UP)],
    ids=["no detail", "protocol", "no failure"],
)
def test_a_stranger_is_reported_when_it_leaves_and_never_counts(
    monitor: Monitor, caplog: pytest.LogCaptureFixture, failure: list[tuple[int, int]], text: str
) -> None:
    assert note(monitor, (ACCEPTED, 7), *failure) == 0
    assert not caplog.records
    assert note(monitor, (GONE, 7)) == 0
    assert lines(caplog) == [(text, None)]
    assert caplog.records[0].levelno == logging.WARNING


def test_strangers_that_come_often_are_reported_once(
    monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    for descriptor in range(7, 30):
        note(monitor, (ACCEPTED, descriptor), NO_DETAIL, (GONE, descriptor))
    assert lines(caplog) == [(HUNG_UP, None)]


def test_a_failure_is_the_reason_of_one_stranger_only(
    monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    note(monitor, (ACCEPTED, 7), PROTOCOL, (GONE, 7), (ACCEPTED, 7), (GONE, 7))
    assert [text for text, _ in lines(caplog)] == [OTHER_PROTOCOL, HUNG_UP]


def test_a_stranger_does_not_become_a_peer_once_it_has_left(monitor: Monitor) -> None:
    assert note(monitor, (ACCEPTED, 7), NO_DETAIL, (GONE, 7), (ACCEPTED, 8), READY) == 1
    assert note(monitor, (GONE, 7)) == 1
    assert note(monitor, (GONE, 8)) == 0


def test_when_all_have_left_nobody_is_counted_though_a_stranger_was_taken_for_a_peer(
    monitor: Monitor,
) -> None:
    assert note(monitor, (ACCEPTED, 7), (ACCEPTED, 8), READY) == 1
    assert note(monitor, NO_DETAIL, (GONE, 7), (GONE, 8)) == 0
    assert note(monitor, (ACCEPTED, 9), READY) == 1


# --- refused keys -----------------------------------------------------------------------------------------


def test_whom_the_doorkeeper_has_refused_is_not_reported_again(
    monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    assert note(monitor, (ACCEPTED, 7), AUTH, (GONE, 7)) == 0
    assert not caplog.records
    note(monitor, (ACCEPTED, 7), NO_DETAIL, (GONE, 7))
    assert lines(caplog) == [(HUNG_UP, None)]


def test_a_server_that_refuses_our_key_is_reported(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = make_monitor(context, is_guarded=False)
    with closing(monitor._watched), closing(monitor):
        assert note(monitor, (CONNECTED, 7), AUTH, (GONE, 7)) == 0
        assert lines(caplog) == [(REFUSED, None)]


# --- other events -----------------------------------------------------------------------------------------


def test_a_peer_that_could_not_be_accepted_is_reported_with_the_reason(
    monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert note(monitor, (zmq.EVENT_ACCEPT_FAILED, errno.EMFILE)) == 0
    (record,) = caplog.records
    assert record.getMessage() == "could not accept a peer"
    assert vars(record)["fields"] == {"error": zmq.strerror(errno.EMFILE)}


@pytest.mark.parametrize(
    "event", [zmq.EVENT_LISTENING, zmq.EVENT_CLOSED, zmq.EVENT_MONITOR_STOPPED, zmq.EVENT_CONNECT_RETRIED]
)
def test_other_events_change_nothing(
    monitor: Monitor, caplog: pytest.LogCaptureFixture, event: zmq.Event
) -> None:
    note(monitor, (ACCEPTED, 7), READY)
    caplog.clear()
    assert note(monitor, (event, 7)) == 1
    assert not caplog.records


# --- on the loop ------------------------------------------------------------------------------------------


class FakeWatched:
    """A socket whose events the test makes up."""

    def __init__(self, events: zmq.Socket[bytes]) -> None:
        self._events = events
        self.closed = False
        self.disabled = 0

    def get_monitor_socket(self, events: int) -> zmq.Socket[bytes]:
        return self._events

    def disable_monitor(self) -> None:
        self.disabled += 1


class WaitingLog(EventLog):
    """A log whose lines can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[tuple[str, object]] = asyncio.Queue()

    def info(self, event: str, **fields: object) -> None:
        self.lines.put_nowait((event, fields["peers"]))


async def test_what_happened_before_the_start_is_taken_in_too(context: Context) -> None:
    events, ours = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    ours.bind("inproc://events")
    events.connect("inproc://events")

    def tell(event: int, value: int) -> None:
        events.send_multipart([struct.pack("=hi", event, value), b"inproc://events"])

    watched = FakeWatched(ours)
    monitor = Monitor(cast("zmq.Socket[bytes]", watched), is_guarded=True)
    log = WaitingLog()
    with events, closing(monitor):
        tell(ACCEPTED, 7)
        tell(*READY)
        monitor.start(log)
        assert await log.lines.get() == ("peer in", 1)
        tell(GONE, 7)
        assert await log.lines.get() == ("peer out", 0)
    assert watched.disabled == 1
    assert ours.closed


def test_it_can_be_closed_after_the_socket_that_it_watches(context: Context) -> None:
    monitor = make_monitor(context)
    monitor._watched.close(0)
    monitor.close()
    monitor.close()
