"""A group of clients on fake transports: who gets what, what each policy does, and that all of it adds up."""

import asyncio
from collections import Counter
from typing import cast

import pytest

from sockjs_bridge.endpoints.accept_loop import Peer
from sockjs_bridge.endpoints.address import UnixAddress
from sockjs_bridge.endpoints.base import DeliveryCounts
from sockjs_bridge.endpoints.receipts import Receipts
from sockjs_bridge.endpoints.state_changes import Connected
from sockjs_bridge.endpoints.tcp_acceptor import TcpAcceptor
from sockjs_bridge.endpoints.tcp_client import TcpClient
from sockjs_bridge.endpoints.tcp_group import TcpGroup
from sockjs_bridge.endpoints.tcp_options import SlowClient, TcpCounts, TcpOptions
from sockjs_bridge.endpoints.wording import FORMATS
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog
from tests.fake_transport import FakeTransport
from tests.in_process import events, log_everything


class FakeIntake:
    def __init__(self) -> None:
        self.dropped: Counter[DropReason] = Counter()
        self.is_blocked = False
        self.offered: list[str] = []
        self.room = 1_000_000

    def offer(self, messages: list[str], receipts: Receipts | None = None) -> int:
        taken = min(self.room, len(messages))
        self.offered += messages[:taken]
        self.room -= taken
        return taken

    def block(self, endpoint: object) -> None:
        self.is_blocked = True

    def unblock(self, endpoint: object) -> None:
        self.is_blocked = False

    def count_dropped(self, reason: DropReason, messages: int) -> None:
        self.dropped[reason] += messages


class Door:
    """An acceptor without sockets, which lets everybody in."""

    def __init__(self, options: TcpOptions, log: EventLog) -> None:
        self.options = options
        self.log = log
        self.counts = TcpCounts()
        self.name = "unix:/chat"
        self.group: TcpGroup
        self.left = 0

    def admit(self, client: TcpClient) -> TcpGroup:
        return self.group

    def dismiss(self, client: TcpClient, error: Exception | None, undelivered: int) -> None:
        self.left += 1


class House:
    """A group and its clients. Every look at its counts checks that they add up."""

    def __init__(self, framing: str = "lines", **options: object) -> None:
        self.intake = FakeIntake()
        known = TcpOptions(UnixAddress("/chat"), FORMATS[framing], **options)  # type: ignore[arg-type]
        self.door = Door(known, EventLog())
        acceptor = cast("TcpAcceptor", self.door)
        self.group = self.door.group = TcpGroup(acceptor, self.intake, "chat", "boot", EventLog())
        self.seq = 0

    def client(self, room: int = 0) -> tuple[TcpClient, FakeTransport]:
        transport = FakeTransport(room)
        client = TcpClient(cast("TcpAcceptor", self.door), Peer("127.0.0.1", "127.0.0.1:5000"))
        transport.writer = client
        client.connection_made(transport)  # type: ignore[arg-type]  # as much of one as it needs
        return client, transport

    def is_blocked(self) -> bool:
        return self.intake.is_blocked

    def deliver(self, *messages: str) -> bool:
        self.seq += len(messages)
        return self.group.deliver(list(messages), self.seq - len(messages) + 1)

    @property
    def counts(self) -> tuple[int, int, int, dict[str, int]]:
        found: DeliveryCounts = self.group.count_delivery()
        assert found.offered == found.delivered + found.buffered + sum(found.dropped.values())
        towards_programs = {str(reason): count for reason, count in found.dropped.items()}
        assert towards_programs == {
            str(reason): count
            for reason, count in self.intake.dropped.items()
            if reason is not DropReason.NO_CONSUMER
        }
        return found.offered, found.delivered, found.buffered, towards_programs


async def test_each_client_gets_each_message_and_what_the_kernel_does_not_take_waits() -> None:
    house = House()
    assert not house.deliver("nobody")
    (_, one), (_, other) = house.client(1000), house.client(3)
    assert house.deliver("a", "bcd")
    assert one.taken == b"a\nbcd\n"
    assert house.counts == (4, 3, 1, {})
    house.deliver("e")
    assert (other.taken, other.pending) == (b"a\nb", b"cd\n")
    assert house.counts == (6, 4, 2, {})
    other.take(3)
    assert other.taken == b"a\nbcd\n"
    other.take(2)
    assert other.taken == one.taken == b"a\nbcd\ne\n"
    assert house.counts == (6, 6, 0, {})


async def test_pause_asks_for_one_until_a_quarter_is_left() -> None:
    house = House(client_buffer_bytes=8)
    _, stalled = house.client()
    house.deliver("1234567")
    assert not house.is_blocked()
    house.deliver("8")
    assert house.is_blocked()
    stalled.take(8)
    assert not house.is_blocked()
    house.deliver("0123456789")
    assert house.is_blocked()
    stalled.take(8)
    assert house.is_blocked()


async def test_a_stall_ends_for_those_over_the_limit_alone() -> None:
    house = House(client_buffer_bytes=70_000)
    (_, hopeless), (_, better) = house.client(), house.client()
    for _ in range(8):
        house.deliver("x" * 9_999)
    assert house.is_blocked()
    better.take(20_000)
    house.group.cut_stalled()
    assert (hopeless.was_aborted, better.was_aborted) == (True, False)
    assert house.is_blocked(), "until the one that was cut is gone"
    assert house.group.consumers == 1


@pytest.mark.parametrize("slow_client", SlowClient)
async def test_a_client_beyond_twice_its_buffer_is_cut_while_messages_go_on(slow_client: SlowClient) -> None:
    house = House(client_buffer_bytes=10, slow_client=slow_client)
    client, stalled = house.client()
    for _ in range(3):
        house.deliver("1234567")
        house.group.cut_overfull()
    assert stalled.was_aborted == (slow_client is not SlowClient.DROP_OLDEST)
    if stalled.was_aborted:
        client.connection_lost(None)
        assert house.counts == (3, 0, 0, {"slow_client": 3})
        assert not house.is_blocked()


async def test_drop_oldest_drops_whole_messages_and_neither_the_begun_nor_the_newest() -> None:
    house = House(client_buffer_bytes=10, slow_client=SlowClient.DROP_OLDEST)
    _, slow = house.client(1)
    house.deliver("begun")
    for letter in "abcdefgh":
        house.deliver(letter, letter)
    assert not house.is_blocked()
    assert house.counts[2] == 3, "begun, and the two of the newest burst"
    slow.take(1000)
    assert slow.taken == b"begun\nh\nh\n"
    assert house.counts == (17, 3, 0, {"slow_client": 14})


async def test_disconnect_waits_for_a_second_burst() -> None:
    house = House(client_buffer_bytes=10, slow_client=SlowClient.DISCONNECT)
    client, slow = house.client(3)
    house.deliver("0123456789abc")
    assert not slow.is_closing()
    house.deliver("x")
    assert slow.is_closing()
    house.deliver("y")
    client.connection_lost(None)
    assert house.counts == (2, 0, 0, {"slow_client": 2})
    assert house.door.left == 1


async def test_of_a_client_that_left_only_what_the_kernel_has_whole_was_delivered() -> None:
    house = House(framing="netstring")
    client, gone = house.client(9)
    house.deliver("one", "two", "three")
    house.deliver("four")
    gone.break_down()
    house.deliver("five")
    client.connection_lost(ConnectionResetError())
    assert house.counts == (5, 1, 0, {"client_gone": 4})
    assert not house.deliver("six")


async def test_bursts_on_a_broken_connection_are_not_delivered() -> None:
    """Until the loop tells of it, a write is forgotten in silence."""
    house = House()
    client, gone = house.client(1000)
    house.deliver("one")
    gone.break_down()
    house.deliver("two", "three")
    assert house.counts == (3, 1, 0, {"client_gone": 2})
    house.deliver("four")
    client.connection_lost(BrokenPipeError())
    assert house.counts == (3, 1, 0, {"client_gone": 2})


async def test_a_close_comes_behind_what_waits() -> None:
    house = House()
    client, slow = house.client(1)
    house.deliver("one")
    house.deliver("two")
    client.close()
    assert not slow.is_closing()
    assert not slow.is_reading
    assert not house.deliver("three")
    slow.take(100)
    assert slow.taken == b"one\ntwo\n"
    assert slow.was_closed


async def test_a_stop_counts_what_was_not_read() -> None:
    house = House()
    client, _ = house.client(5)
    house.deliver("one", "two")
    stopping = asyncio.create_task(house.group.stop(asyncio.get_running_loop().time()))
    await asyncio.sleep(0)
    client.connection_lost(None)
    await stopping
    assert house.counts == (2, 1, 0, {"stopped": 1})


async def test_the_door_is_told_and_a_large_burst_goes_in_pieces() -> None:
    house = House(client_buffer_bytes=1 << 20)
    _, slow = house.client(10)
    house.deliver(*["x" * 9_999] * 100)
    assert len(slow.written) < 100_000
    assert house.counts == (100, 0, 100, {})
    slow.take(2_000_000)
    assert house.counts == (100, 100, 0, {})


async def test_events_are_for_the_audience_and_come_first() -> None:
    house = House(framing="envelope", replay=2)
    house.group.receive_change(Connected(3, "websocket"))
    house.deliver("a")
    house.deliver("b")
    house.deliver("c")
    _, new = house.client(10_000)
    lines = new.taken.splitlines()
    assert b'"connected"' in lines[0]
    assert [line.rpartition(b":")[2] for line in lines[1:]] == [b'"b"}', b'"c"}']
    await asyncio.sleep(0)
    assert house.intake.dropped == {"no_consumer": 1}
    assert house.counts == (2, 2, 0, {})


async def test_what_was_dropped_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    log_everything(caplog)
    house = House(client_buffer_bytes=4, slow_client=SlowClient.DROP_OLDEST)
    house.client()
    for _ in range(10):
        house.deliver("abc")
    told = events(caplog, "dropped the oldest")
    assert [(each["reason"], each["client"]) for each in told] == [("slow_client", "127.0.0.1:5000")]
