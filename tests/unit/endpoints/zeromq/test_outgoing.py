"""The counted queue in front of a push or dealer socket: what is sent, kept, dropped, and paused for (delivery.md)."""

import json
from typing import cast

import pytest
import zmq

from sockjs_bridge.endpoints.state_changes import Connected, Disconnected
from sockjs_bridge.endpoints.zeromq.layout import Layout
from sockjs_bridge.endpoints.zeromq.outgoing import Outgoing, OutgoingLimits
from sockjs_bridge.endpoints.zeromq.polled import PolledSocket
from sockjs_bridge.errors import Cause


class FakeRaw:
    """A socket that takes `room` messages, then none."""

    def __init__(self) -> None:
        self.room = 0
        self.sent: list[tuple[bytes, ...]] = []

    def send(self, data: bytes, flags: int) -> None:
        self.send_multipart((data,), flags)

    def send_multipart(self, frames: tuple[bytes, ...], flags: int) -> None:
        assert flags == zmq.NOBLOCK
        if not self.room:
            raise zmq.Again
        self.room -= 1
        self.sent.append(frames)


class FakeSocket:
    """The part of a PolledSocket that Outgoing uses."""

    def __init__(self) -> None:
        self.raw = FakeRaw()
        self.is_waiting_to_send = False
        self.looks = 0

    def look_again(self) -> None:
        self.looks += 1


class Rig:
    """An Outgoing, with all that it tells others. `room` is what its socket takes before the tests say more."""

    def __init__(self, *, hwm: int = 4, pauses: bool = False, meta: bool = False, room: int = 0) -> None:
        self.socket = FakeSocket()
        self.socket.raw.room = room
        self.full: list[bool] = []
        self.dropped: list[int] = []
        self.outgoing = Outgoing(
            cast("PolledSocket", self.socket),
            Layout("chat", "boot-1", meta=meta),
            OutgoingLimits(hwm, pauses),
            self.full.append,
            self.dropped.append,
        )
        self.seq = 0

    def deliver(self, *messages: str) -> None:
        self.outgoing.deliver(list(messages), self.seq + 1)
        self.seq += len(messages)

    def deliver_many(self, count: int) -> None:
        self.deliver(*map(str, range(self.seq + 1, self.seq + count + 1)))

    def begin(self, epoch: int) -> None:
        self.seq = 0
        self.outgoing.receive_change(Connected(epoch, "websocket"))

    def end(self, epoch: int) -> None:
        self.outgoing.receive_change(Disconnected(epoch, self.seq, Cause.SILENCE, 1006, ""))

    def take(self, room: int) -> list[tuple[bytes, ...]]:
        """Let the socket take so many messages; returns those that it got."""
        self.socket.raw.room = room
        self.socket.raw.sent = []
        self.outgoing.flush()
        self.socket.raw.room = 0
        return self.socket.raw.sent

    def take_data(self, room: int = 1_000_000) -> list[str]:
        return [frames[-1].decode() for frames in self.take(room)]

    def take_events(self, room: int = 1_000_000) -> list[tuple[str, int, int, int]]:
        """As (event, epoch, seq, dropped), in the meta layout."""
        told = [json.loads(frames[0]) for frames in self.take(room)]
        return [(each["event"], each["epoch"], each["seq"], each.get("dropped", 0)) for each in told]


# --- in order ---------------------------------------------------------------------------------------------


def test_what_fits_is_sent_at_once_in_order() -> None:
    rig = Rig(room=10)
    rig.deliver("a", "b")
    rig.deliver("c")
    assert rig.socket.raw.sent == [(b"a",), (b"b",), (b"c",)]
    assert (rig.outgoing.handed_over, rig.outgoing.waiting) == (3, 0)
    assert rig.socket.is_waiting_to_send is False
    assert rig.socket.looks == 2


def test_the_meta_layout_sends_two_frames() -> None:
    rig = Rig(room=10, meta=True)
    rig.begin(1)
    rig.deliver("a")
    assert [data for _, data in rig.socket.raw.sent] == [b"", b"a"]
    assert json.loads(rig.socket.raw.sent[1][0]) == {
        "session": "chat",
        "boot": "boot-1",
        "epoch": 1,
        "seq": 1,
        "event": "message",
    }


def test_what_does_not_fit_waits_and_goes_out_first() -> None:
    rig = Rig(room=1)
    rig.deliver("a", "b", "c")
    assert rig.socket.raw.sent == [(b"a",)]
    assert rig.socket.is_waiting_to_send
    assert (rig.outgoing.handed_over, rig.outgoing.waiting) == (1, 2)
    assert rig.take_data(1) == ["b"]
    rig.deliver("d")
    assert rig.take_data() == ["c", "d"]
    assert (rig.outgoing.handed_over, rig.outgoing.waiting) == (4, 0)
    assert rig.dropped == rig.full == []


def test_nothing_waits_to_be_sent_once_all_is_gone() -> None:
    rig = Rig()
    rig.deliver("a")
    before = rig.socket.is_waiting_to_send
    rig.take(1)
    assert (before, rig.socket.is_waiting_to_send) == (True, False)


def test_an_empty_message_is_a_message() -> None:
    rig = Rig(room=2)
    rig.deliver("", "")
    assert rig.socket.raw.sent == [(b"",), (b"",)]
    assert rig.outgoing.handed_over == 2


def test_an_empty_burst_is_nothing() -> None:
    rig = Rig(room=2)
    rig.deliver()
    assert rig.socket.raw.sent == []
    assert (rig.outgoing.handed_over, rig.outgoing.waiting) == (0, 0)


@pytest.mark.parametrize("meta", [False, True])
def test_lone_surrogates_become_replacement_characters(meta: bool) -> None:
    rig = Rig(room=10, meta=meta)
    rig.deliver("ok", "a\ud800b\udfff", "\U0001f600")
    assert [frames[-1].decode() for frames in rig.socket.raw.sent] == ["ok", "a\ufffdb\ufffd", "\U0001f600"]
    assert rig.outgoing.counts.surrogates_replaced == 1


# --- drop-oldest ------------------------------------------------------------------------------------------


def test_as_many_as_hwm_wait() -> None:
    rig = Rig(hwm=4)
    rig.deliver_many(4)
    assert rig.outgoing.waiting == 4
    assert rig.dropped == []


def test_beyond_hwm_the_oldest_are_dropped_and_counted() -> None:
    rig = Rig(hwm=4)
    rig.deliver_many(6)
    rig.deliver_many(1)
    assert rig.dropped == [2, 1]
    assert rig.outgoing.waiting == 4
    assert rig.take_data() == ["4", "5", "6", "7"]
    assert rig.outgoing.handed_over == 4
    assert rig.full == []


def test_only_what_does_not_fit_into_socket_and_queue_is_dropped() -> None:
    rig = Rig(hwm=4, room=10)
    rig.deliver_many(14)
    assert rig.dropped == []
    assert (rig.outgoing.handed_over, rig.outgoing.waiting) == (10, 4)


def test_one_gap_mark_comes_before_the_next_message() -> None:
    rig = Rig(hwm=2, meta=True, room=1)
    rig.begin(1)
    rig.deliver_many(5)
    rig.deliver_many(2)
    assert rig.dropped == [3, 2]
    assert rig.take_events() == [("gap", 1, 5, 5), ("message", 1, 6, 0), ("message", 1, 7, 0)]
    assert rig.outgoing.handed_over == 2
    rig.deliver_many(1)
    assert rig.take_events() == [("message", 1, 8, 0)]


def test_the_plain_layout_has_no_gap_mark() -> None:
    rig = Rig(hwm=2)
    rig.deliver_many(5)
    assert rig.take(10) == [(b"4",), (b"5",)]


def test_a_gap_that_found_no_room_is_told_later_with_what_was_dropped_meanwhile() -> None:
    rig = Rig(hwm=2, meta=True, room=1)
    rig.begin(1)
    rig.deliver_many(3)
    assert rig.take_events(0) == []
    rig.deliver_many(1)
    assert rig.take_events(1) == [("gap", 1, 2, 2)]
    assert rig.take_events() == [("message", 1, 3, 0), ("message", 1, 4, 0)]


def test_after_a_mark_without_its_message_a_new_gap_has_a_mark_of_its_own() -> None:
    rig = Rig(hwm=2, meta=True, room=1)
    rig.begin(1)
    rig.deliver_many(3)
    assert rig.take_events(1) == [("gap", 1, 1, 1)]
    rig.deliver_many(2)
    assert rig.take_events() == [("gap", 1, 3, 2), ("message", 1, 4, 0), ("message", 1, 5, 0)]


def test_a_gap_over_an_epoch_change_ends_where_its_last_message_was() -> None:
    rig = Rig(hwm=2, meta=True, room=1)
    rig.begin(1)
    rig.deliver_many(2)
    rig.end(1)
    rig.begin(2)
    rig.deliver_many(3)
    assert rig.dropped == [1, 1, 1]
    assert rig.take_events() == [("gap", 2, 1, 3), ("message", 2, 2, 0), ("message", 2, 3, 0)]


def test_a_gap_before_an_epoch_change_ends_in_the_epoch_of_its_messages() -> None:
    rig = Rig(hwm=3, meta=True, room=1)
    rig.begin(1)
    rig.deliver_many(3)
    rig.end(1)
    rig.begin(2)
    assert rig.dropped == [1, 1]
    assert rig.take_events() == [
        ("gap", 1, 2, 2),
        ("message", 1, 3, 0),
        ("disconnected", 1, 3, 0),
        ("connected", 2, 0, 0),
    ]


# --- events -----------------------------------------------------------------------------------------------


def test_events_wait_in_order_and_are_not_counted_as_messages() -> None:
    rig = Rig(hwm=10, meta=True)
    rig.begin(1)
    rig.deliver_many(2)
    rig.end(1)
    assert rig.outgoing.waiting == 2
    assert rig.take_events(2) == [("connected", 1, 0, 0), ("message", 1, 1, 0)]
    assert (rig.outgoing.handed_over, rig.outgoing.waiting) == (1, 1)
    assert rig.take_events() == [("message", 1, 2, 0), ("disconnected", 1, 2, 0)]
    assert rig.outgoing.handed_over == 2


def test_events_that_are_dropped_are_no_gap() -> None:
    rig = Rig(hwm=2, meta=True)
    for epoch in range(1, 4):
        rig.begin(epoch)
        rig.end(epoch)
    assert rig.dropped == []
    assert rig.take_events() == [("connected", 3, 0, 0), ("disconnected", 3, 0, 0)]


def test_the_plain_layout_queues_no_events() -> None:
    rig = Rig(hwm=1)
    rig.deliver("a")
    rig.end(1)
    rig.begin(2)
    assert rig.dropped == []
    assert rig.take(10) == [(b"a",)]


# --- pause ------------------------------------------------------------------------------------------------


def test_pauses_beyond_hwm_and_resumes_at_half() -> None:
    rig = Rig(hwm=4, pauses=True)
    rig.deliver_many(4)
    assert rig.full == []
    rig.deliver_many(1)
    assert rig.full == [True]
    assert rig.take_data(2) == ["1", "2"]
    assert rig.full == [True]
    assert rig.take_data(1) == ["3"]
    assert rig.full == [True, False]
    assert rig.take_data() == ["4", "5"]
    assert rig.full == [True, False]


def test_while_it_pauses_nothing_is_dropped_whatever_comes() -> None:
    rig = Rig(hwm=4, pauses=True)
    rig.deliver_many(3)
    rig.deliver_many(50)
    rig.deliver_many(50)
    assert rig.full == [True]
    assert rig.dropped == []
    assert rig.take_data() == [str(number) for number in range(1, 104)]
    assert rig.full == [True, False]


def test_overfull_is_more_than_twice_of_what_should_wait() -> None:
    rig = Rig(hwm=4, pauses=True)
    rig.deliver_many(8)
    before = rig.outgoing.is_overfull
    rig.deliver_many(1)
    assert (before, rig.outgoing.is_overfull) == (False, True)


def test_giving_up_the_pause_drops_down_to_hwm_and_lets_the_server_be_read() -> None:
    rig = Rig(hwm=4, pauses=True)
    rig.deliver_many(9)
    rig.outgoing.give_up_pause()
    assert rig.dropped == [5]
    assert rig.full == [True, False]
    assert rig.outgoing.waiting == 4


def test_after_giving_up_the_oldest_are_dropped_until_half_is_taken() -> None:
    rig = Rig(hwm=4, pauses=True)
    rig.deliver_many(5)
    rig.outgoing.give_up_pause()
    rig.deliver_many(2)
    assert rig.dropped == [1, 2]
    assert rig.take_data(1) == ["4"]
    rig.deliver_many(2)
    assert rig.dropped == [1, 2, 1]
    assert rig.full == [True, False]
    assert rig.take_data(2) == ["6", "7"]
    rig.deliver_many(3)
    assert rig.full == [True, False, True]
    assert rig.dropped == [1, 2, 1]
    assert rig.take_data() == ["8", "9", "10", "11", "12"]


def test_what_was_dropped_after_giving_up_is_marked() -> None:
    rig = Rig(hwm=2, pauses=True, meta=True, room=1)
    rig.begin(1)
    rig.deliver_many(5)
    rig.outgoing.give_up_pause()
    assert rig.take_events() == [("gap", 1, 3, 3), ("message", 1, 4, 0), ("message", 1, 5, 0)]


# --- the smallest queue -----------------------------------------------------------------------------------


def test_a_queue_for_one_keeps_the_newest() -> None:
    rig = Rig(hwm=1)
    rig.deliver_many(3)
    rig.deliver_many(1)
    assert rig.dropped == [2, 1]
    assert rig.take_data() == ["4"]


def test_a_queue_for_one_pauses_at_the_second_and_resumes_when_empty() -> None:
    rig = Rig(hwm=1, pauses=True)
    rig.deliver_many(2)
    assert rig.full == [True]
    rig.take(1)
    assert rig.full == [True]
    rig.take(1)
    assert rig.full == [True, False]


# --- the end ----------------------------------------------------------------------------------------------


def test_what_is_given_up_at_the_end_is_counted_without_events() -> None:
    rig = Rig(hwm=10, meta=True)
    rig.begin(1)
    rig.deliver_many(3)
    rig.end(1)
    assert rig.outgoing.clear() == 3
    assert rig.outgoing.waiting == 0
    assert rig.outgoing.clear() == 0
    assert rig.take(10) == []
    assert rig.dropped == []


def test_a_gap_without_a_message_after_it_is_not_told() -> None:
    rig = Rig(hwm=1, meta=True)
    rig.deliver_many(3)
    assert rig.outgoing.clear() == 1
    assert rig.take(10) == []
