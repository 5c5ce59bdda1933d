"""Outgoing: in order, every message is handed over, waits, or was dropped and marked."""

import json
from typing import Any, cast

import zmq
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sockjs_bridge.endpoints.state_changes import Connected, Disconnected
from sockjs_bridge.endpoints.zeromq.layout import Layout
from sockjs_bridge.endpoints.zeromq.outgoing import Outgoing, OutgoingLimits
from sockjs_bridge.endpoints.zeromq.polled import PolledSocket
from sockjs_bridge.errors import Cause


class FakeSocket:
    """A PolledSocket and its raw socket in one: it takes `room` messages, then none."""

    def __init__(self) -> None:
        self.raw = self
        self.room = 0
        self.sent: list[tuple[bytes, ...]] = []
        self.is_waiting_to_send = False

    def look_again(self) -> None:
        pass

    def send(self, data: bytes, flags: int) -> None:
        self.send_multipart((data,), flags)

    def send_multipart(self, frames: tuple[bytes, ...], flags: int) -> None:
        if not self.room:
            raise zmq.Again
        self.room -= 1
        self.sent.append(frames)


class OutgoingMachine(RuleBasedStateMachine):
    """Every message holds its number among all that were ever offered."""

    @initialize(hwm=st.integers(1, 6), pauses=st.booleans(), meta=st.booleans())
    def begin(self, hwm: int, pauses: bool, meta: bool) -> None:
        self.socket = FakeSocket()
        self.hwm, self.pauses, self.meta = hwm, pauses, meta
        self.is_full = False
        self.gave_up = False
        self.dropped = 0
        self.outgoing = Outgoing(
            cast("PolledSocket", self.socket),
            Layout("chat", "boot-1", meta=meta),
            OutgoingLimits(hwm, pauses),
            self.set_full,
            self.report_dropped,
        )
        self.epoch = self.seq = 0
        self.places: list[tuple[int, int]] = []

    def set_full(self, is_full: bool) -> None:
        assert self.pauses
        assert is_full != self.is_full
        self.is_full = is_full

    def report_dropped(self, messages: int) -> None:
        assert messages > 0
        assert self.gave_up or not self.pauses
        self.dropped += messages

    @rule(count=st.integers(0, 9))
    def deliver(self, count: int) -> None:
        first = len(self.places)
        self.places += [(self.epoch, self.seq + each) for each in range(1, count + 1)]
        self.outgoing.deliver(list(map(str, range(first, first + count))), self.seq + 1)
        self.seq += count

    @rule(room=st.integers(0, 6))
    def room_changes(self, room: int) -> None:
        self.socket.room = room

    @rule()
    def flush(self) -> None:
        self.outgoing.flush()
        assert not (self.socket.room and self.socket.is_waiting_to_send)

    @rule()
    def the_server_comes_back(self) -> None:
        self.outgoing.receive_change(Disconnected(self.epoch, self.seq, Cause.SILENCE, 1006, ""))
        self.epoch, self.seq = self.epoch + 1, 0
        self.outgoing.receive_change(Connected(self.epoch, "websocket"))

    @rule()
    def the_pause_is_given_up(self) -> None:
        self.gave_up = True
        self.outgoing.give_up_pause()
        assert not self.is_full
        assert self.outgoing.waiting <= self.hwm

    @invariant()
    def every_message_is_somewhere(self) -> None:
        outgoing = self.outgoing
        assert len(self.places) == outgoing.handed_over + outgoing.waiting + self.dropped

    @invariant()
    def keeps_its_bound_or_asks_for_a_pause(self) -> None:
        assert self.is_full or self.outgoing.waiting <= self.hwm
        if self.outgoing.waiting:
            assert self.socket.is_waiting_to_send

    @invariant()
    def comes_in_order_and_every_jump_is_announced(self) -> None:
        last, announced, handed_over = -1, 0, 0
        for frames in self.socket.sent:
            told: dict[str, Any] = json.loads(frames[0]) if self.meta else {"event": "message"}
            if told["event"] == "gap":
                assert told["dropped"] > 0
                announced += told["dropped"]
                # Its place is that of the last message that is missing.
                assert (told["epoch"], told["seq"]) == self.places[last + announced]
            elif told["event"] == "message":
                number = int(frames[-1])
                assert number > last
                if self.meta:
                    assert number - last - 1 == announced
                    assert (told["epoch"], told["seq"]) == self.places[number]
                last, announced = number, 0
                handed_over += 1
        assert handed_over == self.outgoing.handed_over

    def teardown(self) -> None:
        """With room enough all that waits goes out."""
        if hasattr(self, "outgoing"):
            self.socket.room = 1_000_000
            self.outgoing.flush()
            assert self.outgoing.waiting == 0
            self.every_message_is_somewhere()
            self.comes_in_order_and_every_jump_is_announced()


TestOutgoingMachine = OutgoingMachine.TestCase
