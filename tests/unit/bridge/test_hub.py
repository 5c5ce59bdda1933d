"""Who gets what, and who has to wait (delivery.md).

The stall timer runs on a loop stand-in that the tests turn by hand.
"""

import logging
from collections.abc import Callable
from functools import partial

import pytest

from sockjs_bridge.bridge import hub as hub_module
from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.outbox import Outbox, QueueLimits
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.endpoints.base import DeliveryCounts
from sockjs_bridge.endpoints.receipts import Receipts
from sockjs_bridge.endpoints.state_changes import Connected, Disconnected, StateChange
from sockjs_bridge.errors import Cause, DropReason
from sockjs_bridge.log import ROOT, EventLog
from tests.hand_loop import HandLoop


class FakeEndpoint:
    """An endpoint with as many programs as the test says. It keeps what it is handed."""

    def __init__(self, consumers: int = 1, stall_timeout: float = 3.0) -> None:
        self.name = "127.0.0.1:9000"
        self.consumers = consumers
        self.stall_timeout = stall_timeout
        self.delivered: list[str] = []
        self.seqs: list[int] = []
        self.changes: list[StateChange] = []
        self.resumed = 0
        self.cut = 0
        self.holds = False
        self.reached = 0
        self.overfull = 0
        self.on_resume: Callable[[], object] = lambda: None
        self.on_cut: Callable[[], object] = lambda: None

    async def start(self) -> None:
        raise NotImplementedError

    def describe(self) -> dict[str, str | int]:
        raise NotImplementedError

    def count_delivery(self) -> DeliveryCounts | None:
        raise NotImplementedError

    @property
    def is_holding_back(self) -> bool:
        raise NotImplementedError

    def note_reached(self) -> None:
        self.reached += 1

    def deliver(self, messages: list[str], first_seq: int) -> bool:
        if self.consumers:
            self.delivered += messages
            self.seqs.append(first_seq)
        return bool(self.consumers)

    def receive_change(self, change: StateChange) -> None:
        self.changes.append(change)

    def resume_intake(self) -> None:
        self.resumed += 1
        self.on_resume()

    def cut_stalled(self) -> None:
        self.cut += 1
        self.on_cut()

    def cut_overfull(self) -> None:
        self.overfull += 1

    async def stop(self, deadline: float) -> None:
        raise NotImplementedError

    def stop_accepting(self) -> None:
        raise NotImplementedError

    def stop_intake(self) -> None:
        raise NotImplementedError


class FakeLink:
    """An open connection that can take `room` messages before the server stops keeping up."""

    def __init__(self, hub: Hub, room: int = 1_000_000) -> None:
        self._hub = hub
        self.room = room
        self.reads_on = False
        self.sent: list[str] = []
        self.flushes = 0
        self.reading: list[str] = []

    def send(self, messages: list[str], receipts: Receipts | None) -> bool:
        del receipts
        if len(messages) > self.room:
            return False
        self.sent += messages
        self.room -= len(messages)
        return True

    def flush(self) -> None:
        self.flushes += 1
        while self.room > 0:
            batch = self._hub.dispatcher.take(1).messages
            if not batch:
                return
            self.sent += batch
            self.room -= len(batch)

    def pause_reading(self) -> None:
        self.reading.append("pause")

    def resume_reading(self) -> None:
        self.reading.append("resume")


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> HandLoop:
    loop = HandLoop()
    loop.replace_in(monkeypatch, hub_module)
    return loop


@pytest.fixture
def hub(loop: HandLoop) -> Hub:
    """A hub whose outbox holds four messages."""
    return Hub(Outbox(QueueLimits(4, 1000)), SessionStats(), loop.time, EventLog(loop.time))


def blocked(hub: Hub) -> bool:
    """A call, because a type checker takes it that a property never changes."""
    return hub.is_blocked


# --- from the server --------------------------------------------------------------------------------------


def test_every_endpoint_with_programs_gets_every_message_in_order(hub: Hub) -> None:
    one, other = FakeEndpoint(), FakeEndpoint(consumers=5)
    hub.add(one)
    hub.add(other)
    hub.deliver(["a", "b"])
    hub.deliver(["c"])
    assert one.delivered == other.delivered == ["a", "b", "c"]
    assert hub.stats.messages_received == 3
    assert not hub.stats.dropped
    assert hub.endpoints == (one, other)


@pytest.mark.parametrize("endpoints", [0, 1, 2])
def test_messages_that_nobody_wants_are_counted_as_no_consumer(hub: Hub, endpoints: int) -> None:
    for _ in range(endpoints):
        hub.add(FakeEndpoint(consumers=0))
    hub.deliver(["a", "b"])
    hub.deliver(["c"])
    assert hub.stats.dropped == {DropReason.NO_CONSUMER: 3}
    assert hub.stats.messages_received == 3
    assert all(endpoint.delivered == [] for endpoint in hub.endpoints if isinstance(endpoint, FakeEndpoint))


def test_messages_that_nobody_wants_are_reported(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ROOT)
    hub.deliver(["a", "b"])
    assert caplog.messages == ["messages came while no program was connected"]


def test_one_program_anywhere_is_enough(hub: Hub) -> None:
    empty, busy = FakeEndpoint(consumers=0), FakeEndpoint()
    hub.add(empty)
    hub.add(busy)
    hub.deliver(["a"])
    assert (empty.delivered, busy.delivered) == ([], ["a"])
    assert not hub.stats.dropped


def test_drops_are_counted_by_reason(hub: Hub) -> None:
    hub.count_dropped(DropReason.OVERSIZE, 1)
    hub.count_dropped(DropReason.INVALID, 2)
    hub.count_dropped(DropReason.OVERSIZE, 3)
    assert hub.stats.dropped == {DropReason.OVERSIZE: 4, DropReason.INVALID: 2}


# --- to the server ----------------------------------------------------------------------------------------


def test_without_a_link_messages_wait_up_to_the_bound(hub: Hub) -> None:
    assert hub.offer(["a", "b"]) == 2
    assert hub.offer(["c", "d", "e"]) == 2
    assert hub.offer(["e"]) == 0
    assert hub.queue.messages == 4
    assert hub.stats.messages_accepted == 4


def test_with_a_link_an_offer_is_sent_at_once(hub: Hub) -> None:
    link = FakeLink(hub)
    hub.attach(link)
    assert hub.offer(["a", "b"]) == 2
    assert link.sent == ["a", "b"]
    assert hub.queue.messages == 0


def test_an_offer_larger_than_the_outbox_passes_while_the_server_keeps_up(hub: Hub) -> None:
    link = FakeLink(hub)
    hub.attach(link)
    messages = [str(number) for number in range(10)]
    assert hub.offer(messages) == 10
    assert link.sent == messages
    assert hub.stats.messages_accepted == 10


def test_when_the_server_does_not_keep_up_an_offer_is_taken_in_part(hub: Hub) -> None:
    link = FakeLink(hub, room=4)
    hub.attach(link)
    messages = [str(number) for number in range(10)]
    assert hub.offer(messages) == 8
    assert link.sent == messages[:4]
    assert hub.stats.messages_accepted == 8
    assert hub.offer(messages[8:]) == 0
    link.room = 100
    hub.make_room()
    assert link.sent == messages[:8]


def test_attaching_sends_what_waits_and_lets_the_programs_go_on(hub: Hub) -> None:
    endpoint, link = FakeEndpoint(), FakeLink(hub)
    hub.add(endpoint)
    hub.offer(["a", "b"])
    hub.attach(link)
    assert link.sent == ["a", "b"]
    assert endpoint.resumed == 1
    assert link.reading == []


def test_messages_that_an_endpoint_held_back_follow_those_that_waited(hub: Hub) -> None:
    endpoint, link = FakeEndpoint(), FakeLink(hub)
    hub.add(endpoint)
    hub.offer(["1", "2", "3", "4"])
    endpoint.on_resume = lambda: hub.offer(["5", "6"])
    hub.attach(link)
    assert link.sent == ["1", "2", "3", "4", "5", "6"]


def test_making_room_does_not_start_over_within_itself(hub: Hub) -> None:
    """An endpoint that goes on offers at once, and a link that is flushed may ask for more."""
    endpoint, link = FakeEndpoint(), FakeLink(hub)
    hub.add(endpoint)
    endpoint.on_resume = hub.make_room
    hub.attach(link)
    assert endpoint.resumed == 1
    hub.make_room()
    assert endpoint.resumed == 2


def test_making_room_works_again_after_an_endpoint_has_failed(hub: Hub) -> None:
    endpoint, link = FakeEndpoint(), FakeLink(hub)
    hub.add(endpoint)

    def fail() -> None:
        raise OSError

    endpoint.on_resume = fail
    with pytest.raises(OSError):
        hub.attach(link)
    endpoint.on_resume = lambda: None
    hub.make_room()
    assert endpoint.resumed == 2


def test_room_that_came_about_without_a_link_lets_programs_go_on(hub: Hub) -> None:
    """What waited too long was given up."""
    endpoint = FakeEndpoint()
    hub.add(endpoint)
    hub.make_room()
    assert endpoint.resumed == 1


def test_after_the_session_has_ended_messages_wait_again(hub: Hub) -> None:
    first, second = FakeLink(hub), FakeLink(hub)
    hub.attach(first)
    hub.detach()
    assert hub.offer(["a"]) == 1
    assert first.sent == []
    hub.attach(second)
    assert second.sent == ["a"]


# --- back-pressure towards the server ---------------------------------------------------------------------


def test_a_program_that_cannot_keep_up_stops_the_reading_of_the_server(hub: Hub) -> None:
    endpoint, link = FakeEndpoint(), FakeLink(hub)
    hub.add(endpoint)
    hub.attach(link)
    assert not blocked(hub)
    hub.block(endpoint)
    assert blocked(hub)
    assert link.reading == ["pause"]
    hub.block(endpoint)
    assert link.reading == ["pause"]


def test_reading_goes_on_once_every_endpoint_keeps_up_again(hub: Hub, loop: HandLoop) -> None:
    one, other, link = FakeEndpoint(), FakeEndpoint(), FakeLink(hub)
    hub.attach(link)
    hub.block(one)
    hub.block(other)
    hub.unblock(one)
    assert blocked(hub)
    assert link.reading == ["pause"]
    hub.unblock(other)
    assert not blocked(hub)
    assert link.reading == ["pause", "resume"]
    assert loop.pending == 0


def test_an_endpoint_that_never_blocked_resumes_nothing(hub: Hub) -> None:
    blocked, other, link = FakeEndpoint(), FakeEndpoint(), FakeLink(hub)
    hub.attach(link)
    hub.unblock(other)
    assert link.reading == []
    hub.block(blocked)
    hub.unblock(other)
    assert link.reading == ["pause"]


def test_each_pause_is_ended_by_its_own_resume(hub: Hub) -> None:
    endpoint, link = FakeEndpoint(), FakeLink(hub)
    hub.attach(link)
    for _ in range(2):
        hub.block(endpoint)
        hub.unblock(endpoint)
    assert link.reading == ["pause", "resume", "pause", "resume"]


def test_a_session_that_opens_while_a_program_is_slow_is_not_read(hub: Hub) -> None:
    endpoint, link = FakeEndpoint(), FakeLink(hub)
    hub.block(endpoint)
    hub.attach(link)
    assert link.reading == ["pause"]
    hub.unblock(endpoint)
    assert link.reading == ["pause", "resume"]


def test_after_the_session_has_ended_nothing_is_paused_or_resumed(hub: Hub, loop: HandLoop) -> None:
    endpoint, link = FakeEndpoint(), FakeLink(hub)
    hub.attach(link)
    hub.block(endpoint)
    hub.detach()
    assert loop.pending == 0
    hub.unblock(endpoint)
    hub.block(endpoint)
    assert link.reading == ["pause"]
    loop.pass_time(100.0)
    assert endpoint.cut == 0


def test_the_next_session_is_paused_with_its_own_patience(hub: Hub, loop: HandLoop) -> None:
    endpoint, first, second = FakeEndpoint(stall_timeout=3.0), FakeLink(hub), FakeLink(hub)
    hub.attach(first)
    hub.block(endpoint)
    loop.pass_time(2.9)
    hub.detach()
    loop.pass_time(10.0)
    hub.attach(second)
    assert second.reading == ["pause"]
    loop.pass_time(2.9)
    assert endpoint.cut == 0
    loop.pass_time(0.2)
    assert endpoint.cut == 1


# --- the stall timer --------------------------------------------------------------------------------------


def test_a_pause_ends_after_stall_timeout_by_parting_with_those_that_hold_it_up(
    hub: Hub, loop: HandLoop
) -> None:
    endpoint, link = FakeEndpoint(stall_timeout=3.0), FakeLink(hub)
    endpoint.on_cut = partial(hub.unblock, endpoint)
    hub.attach(link)
    hub.block(endpoint)
    loop.pass_time(2.9)
    assert endpoint.cut == 0
    loop.pass_time(0.2)
    assert endpoint.cut == 1
    assert link.reading == ["pause", "resume"]
    assert not blocked(hub)


def test_a_program_that_catches_up_in_time_is_kept(hub: Hub, loop: HandLoop) -> None:
    endpoint, link = FakeEndpoint(stall_timeout=3.0), FakeLink(hub)
    hub.attach(link)
    for _ in range(5):
        hub.block(endpoint)
        loop.pass_time(2.0)
        hub.unblock(endpoint)
        loop.pass_time(2.0)
    assert endpoint.cut == 0
    assert loop.pending == 0


def test_a_pause_lasts_no_longer_however_the_endpoints_take_turns(hub: Hub, loop: HandLoop) -> None:
    """The first to block rules: whatever progress is made, the session is read again after its stall_timeout."""
    first = FakeEndpoint(stall_timeout=3.0)
    second = FakeEndpoint(stall_timeout=8.0)
    link = FakeLink(hub)
    for endpoint in (first, second):
        endpoint.on_cut = partial(hub.unblock, endpoint)
    hub.attach(link)
    hub.block(first)
    loop.pass_time(2.0)
    hub.block(second)
    hub.unblock(first)
    loop.pass_time(1.1)
    assert (first.cut, second.cut) == (0, 1)
    assert link.reading == ["pause", "resume"]


def test_every_endpoint_that_holds_the_session_up_is_cut(hub: Hub, loop: HandLoop) -> None:
    endpoints, link = [FakeEndpoint(), FakeEndpoint()], FakeLink(hub)
    idle = FakeEndpoint()
    hub.attach(link)
    for endpoint in endpoints:
        endpoint.on_cut = partial(hub.unblock, endpoint)
        hub.block(endpoint)
    loop.pass_time(3.1)
    assert [endpoint.cut for endpoint in endpoints] == [1, 1]
    assert idle.cut == 0
    assert link.reading == ["pause", "resume"]


def test_an_endpoint_that_is_still_slow_after_the_cut_keeps_the_session_paused(
    hub: Hub, loop: HandLoop
) -> None:
    """Its clients are gone only when the event loop says so; then it unblocks."""
    endpoint, link = FakeEndpoint(), FakeLink(hub)
    hub.attach(link)
    hub.block(endpoint)
    loop.pass_time(3.1)
    assert link.reading == ["pause"]
    hub.unblock(endpoint)
    assert link.reading == ["pause", "resume"]
    hub.block(endpoint)
    assert link.reading == ["pause", "resume", "pause"]
    loop.pass_time(3.1)
    assert endpoint.cut == 2


def test_while_the_session_stays_paused_those_that_hold_it_up_are_cut_again(hub: Hub, loop: HandLoop) -> None:
    """Others may have fallen behind since the first cut."""
    endpoint, late = FakeEndpoint(), FakeEndpoint()
    hub.attach(FakeLink(hub))
    hub.block(endpoint)
    loop.pass_time(3.1)
    hub.block(late)
    loop.pass_time(3.1)
    assert (endpoint.cut, late.cut) == (2, 1)
    hub.unblock(endpoint)
    hub.unblock(late)
    assert loop.pending == 0


def test_while_messages_go_on_to_come_those_that_hold_the_session_up_are_looked_at(hub: Hub) -> None:
    """An HTTP response is read to its end in spite of a pause (delivery.md)."""
    slow, other, link = FakeEndpoint(), FakeEndpoint(), FakeLink(hub)
    hub.add(slow)
    hub.add(other)
    link.reads_on = True
    hub.attach(link)
    hub.deliver(["before"])
    hub.block(slow)
    hub.deliver(["after"])
    assert (slow.overfull, other.overfull) == (1, 0)
    assert slow.delivered == other.delivered == ["before", "after"]


def test_where_reading_stops_at_once_nobody_is_cut_for_what_was_under_way(hub: Hub) -> None:
    slow, link = FakeEndpoint(), FakeLink(hub)
    hub.add(slow)
    hub.attach(link)
    hub.block(slow)
    hub.deliver(["message"])
    assert slow.overfull == 0


# --- epochs and sequence numbers ------------------------------------------------------------------------------


def test_messages_are_numbered_from_one_in_each_epoch(hub: Hub) -> None:
    endpoint = FakeEndpoint()
    hub.add(endpoint)
    hub.begin_epoch("websocket")
    hub.deliver(["a", "b"])
    hub.deliver(["c"])
    assert (hub.epoch, hub.seq, endpoint.seqs) == (1, 3, [1, 3])
    hub.begin_epoch("websocket")
    hub.deliver(["d"])
    assert (hub.epoch, hub.seq, endpoint.seqs) == (2, 1, [1, 3, 1])


def test_messages_that_nobody_took_have_their_numbers_too(hub: Hub) -> None:
    endpoint = FakeEndpoint(consumers=0)
    hub.add(endpoint)
    hub.begin_epoch("websocket")
    hub.deliver(["a", "b"])
    endpoint.consumers = 1
    hub.deliver(["c"])
    assert endpoint.seqs == [3]


def test_every_endpoint_hears_of_each_opening_and_each_end_once(hub: Hub) -> None:
    one, nobody_there = FakeEndpoint(), FakeEndpoint(consumers=0)
    hub.add(one)
    hub.add(nobody_there)
    hub.begin_epoch("xhr-streaming")
    hub.deliver(["a", "b"])
    hub.end_epoch(Cause.SERVER_CLOSED, 3000, "Go away!")
    hub.end_epoch(Cause.TRANSPORT_LOST, 1006, "")
    expected = [
        Connected(1, "xhr-streaming"),
        Disconnected(1, 2, Cause.SERVER_CLOSED, 3000, "Go away!"),
    ]
    assert one.changes == expected
    assert nobody_there.changes == expected


def test_an_attempt_that_never_opened_is_no_end(hub: Hub) -> None:
    endpoint = FakeEndpoint()
    hub.add(endpoint)
    hub.end_epoch(Cause.TRANSPORT_LOST, 1006, "")
    assert endpoint.changes == []


# --- endpoints that keep messages for programs that are yet to come -----------------------------------------


def test_what_nobody_got_is_the_holders_to_count(hub: Hub) -> None:
    holder, other_holder, nobody = (
        FakeEndpoint(consumers=0),
        FakeEndpoint(consumers=0),
        FakeEndpoint(consumers=0),
    )
    holder.holds = other_holder.holds = True
    for endpoint in (nobody, holder, other_holder):
        hub.add(endpoint)
    hub.deliver(["a", "b"])
    assert hub.stats.dropped == {}
    assert (holder.reached, other_holder.reached, nobody.reached) == (0, 1, 0), "one of them counts it"


def test_a_holder_hears_that_programs_elsewhere_got_it(hub: Hub) -> None:
    holder, busy = FakeEndpoint(consumers=0), FakeEndpoint()
    holder.holds = True
    hub.add(holder)
    hub.exchange([holder, busy])
    hub.deliver(["a"])
    assert (holder.reached, busy.reached) == (1, 0)
    hub.exchange([busy])
    hub.deliver(["b"])
    assert holder.reached == 1
