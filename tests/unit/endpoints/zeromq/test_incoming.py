"""Messages of programs on a sub, pull or dealer socket: what is taken, held back, and left out (delivery.md)."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pytest
import zmq

from sockjs_bridge.endpoints.base import Endpoint
from sockjs_bridge.endpoints.receipts import Receipts
from sockjs_bridge.endpoints.zeromq.incoming import Incoming
from sockjs_bridge.endpoints.zeromq.polled import PolledSocket
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog

LARGEST = 100
BURST = 256


@dataclass
class FakeFrame:
    """What `recv` without copying returns."""

    bytes: bytes
    more: bool

    def __len__(self) -> int:
        return len(self.bytes)


class FakeRaw:
    """A socket that holds `messages`, each a tuple of frames."""

    def __init__(self) -> None:
        self.messages: deque[tuple[bytes, ...]] = deque()
        self._rest: list[bytes] = []

    def recv(self, flags: int, copy: bool) -> FakeFrame:
        assert flags == zmq.NOBLOCK
        assert not copy
        assert not self._rest, "the last message was not read to its end"
        if not self.messages:
            raise zmq.Again
        first, *self._rest = self.messages.popleft()
        return FakeFrame(first, bool(self._rest))

    def recv_multipart(self, flags: int) -> list[bytes]:
        assert flags == zmq.NOBLOCK
        assert self._rest, "this would be another message"
        rest, self._rest = self._rest, []
        return rest


class EndlessRaw(FakeRaw):
    """A peer that goes on writing for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def recv(self, flags: int, copy: bool) -> FakeFrame:
        self.reads += 1
        return FakeFrame(b"x" * (1 << 20), more=False)


class FakeSocket:
    """The part of a PolledSocket that Incoming uses."""

    def __init__(self, raw: FakeRaw) -> None:
        self.raw = raw
        self.is_reading = True
        self.looks = 0

    def look_again(self) -> None:
        self.looks += 1


class FakeIntake:
    """A queue to the server with room for so many messages."""

    def __init__(self) -> None:
        self.room = 1_000_000
        self.taken: list[str] = []
        self.dropped: Counter[DropReason] = Counter()

    def offer(self, messages: list[str], receipts: Receipts | None = None) -> int:
        taken = messages[: self.room]
        self.taken += taken
        self.room -= len(taken)
        return len(taken)

    def block(self, endpoint: Endpoint) -> None:
        raise NotImplementedError

    def unblock(self, endpoint: Endpoint) -> None:
        raise NotImplementedError

    def count_dropped(self, reason: DropReason, messages: int) -> None:
        self.dropped[reason] += messages


class Rig:
    """An Incoming between a socket and a queue."""

    def __init__(self, *, takes_topic: bool = False, raw: FakeRaw | None = None) -> None:
        self.raw = raw or FakeRaw()
        self.socket = FakeSocket(self.raw)
        self.intake = FakeIntake()
        self.incoming = Incoming(
            cast("PolledSocket", self.socket),
            self.intake,
            LARGEST,
            EventLog(lambda: 0.0),
            takes_topic=takes_topic,
        )

    def send(self, *messages: tuple[bytes, ...]) -> None:
        self.raw.messages += messages

    def receive(self, *messages: tuple[bytes, ...]) -> list[str]:
        """All that the queue has got once these have come too."""
        self.send(*messages)
        self.incoming.receive()
        return self.intake.taken

    @property
    def state(self) -> tuple[bool, bool]:
        """Whether it reads, and whether it holds something back."""
        return self.socket.is_reading, self.incoming.is_holding_back


READS, HOLDS_BACK = (True, False), (False, True)


# --- bursts -----------------------------------------------------------------------------------------------


def test_all_that_is_there_is_taken_in_order() -> None:
    rig = Rig()
    assert rig.receive((b"a",), (b"b",), ("caf\u00e9".encode(),)) == ["a", "b", "caf\u00e9"]
    assert rig.receive((b"d",)) == ["a", "b", "caf\u00e9", "d"]
    assert rig.state == READS
    assert not rig.intake.dropped


def test_where_nothing_is_there_nothing_is_offered() -> None:
    rig = Rig()
    assert rig.receive() == []
    assert rig.state == READS


def test_an_empty_message_is_a_message() -> None:
    assert Rig().receive((b"",), (b"a",), (b"",)) == ["", "a", ""]


def test_one_burst_takes_so_many_messages_and_leaves_the_rest_for_the_next() -> None:
    rig = Rig()
    assert len(rig.receive(*[(b"x",)] * (BURST + 10))) == BURST
    assert len(rig.raw.messages) == 10
    assert rig.state == READS
    assert len(rig.receive()) == BURST + 10


def test_one_burst_takes_about_a_mebibyte() -> None:
    rig = Rig()
    rig.receive(*[(b"x" * (1 << 19),)] * 5)
    assert len(rig.raw.messages) == 3


def test_messages_that_are_left_out_are_a_part_of_the_burst_too() -> None:
    rig = Rig()
    rig.receive(*[(b"a", b"b", b"c")] * 1000)
    assert len(rig.raw.messages) == 1000 - 256


# --- frames -----------------------------------------------------------------------------------------------


def test_a_topic_is_left_out_where_topics_are() -> None:
    rig = Rig(takes_topic=True)
    assert rig.receive((b"topic", b"a"), (b"b",), (b"", b""), (b"\xff", b"c")) == ["a", "b", "", "c"]
    assert not rig.intake.dropped
    assert rig.incoming.invalid_utf8 == 0


def test_two_frames_are_no_message_where_no_topics_are(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    assert rig.receive((b"a",), (b"topic", b"x"), (b"b",)) == ["a", "b"]
    assert rig.intake.dropped == {DropReason.INVALID: 1}
    assert caplog.messages == ["a message had 2 frames, not [data]; left it out"]


@pytest.mark.parametrize("takes_topic", [False, True])
@pytest.mark.parametrize("frames", [(b"a", b"b", b"c"), (b"", b"", b""), (b"a",) * 9], ids=str)
def test_three_frames_and_more_are_left_out_as_invalid(frames: tuple[bytes, ...], takes_topic: bool) -> None:
    rig = Rig(takes_topic=takes_topic)
    assert rig.receive((b"before",), frames, (b"after",), frames) == ["before", "after"]
    assert rig.intake.dropped == {DropReason.INVALID: 2}
    assert rig.state == READS


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = zmq.Context[zmq.Socket[bytes]]()
    context.setsockopt(zmq.LINGER, 0)
    yield context
    context.destroy(linger=0)


def test_a_real_socket_hands_its_frames_over_like_that(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    intake = FakeIntake()
    with context.socket(zmq.PULL) as ours, context.socket(zmq.PUSH) as program:
        ours.bind("inproc://messages")
        program.connect("inproc://messages")
        incoming = Incoming(PolledSocket(ours), intake, LARGEST, EventLog(), takes_topic=True)
        for message in ([b"a"], [b"topic", b"b"], [b"1", b"2", b"3"], [b""], [b"x" * (LARGEST + 1)], [b"c"]):
            program.send_multipart(message)
        incoming.receive()
    assert intake.taken == ["a", "b", "", "c"]
    assert intake.dropped == {DropReason.INVALID: 1, DropReason.OVERSIZE: 1}


# --- sizes and bytes --------------------------------------------------------------------------------------


def test_what_is_too_large_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    fits, too_large = b"x" * LARGEST, b"x" * (LARGEST + 1)
    assert rig.receive((b"a",), (too_large,), (fits,), (too_large,), (b"b",)) == ["a", fits.decode(), "b"]
    assert rig.intake.dropped == {DropReason.OVERSIZE: 2}
    assert caplog.messages == [f"a message was larger than {LARGEST} bytes; left it out"]


def test_only_the_message_counts_not_its_topic() -> None:
    rig = Rig(takes_topic=True)
    assert rig.receive((b"t" * 2 * LARGEST, b"a")) == ["a"]
    assert not rig.intake.dropped


def test_a_burst_of_nothing_but_too_large_ones_goes_on_reading() -> None:
    rig = Rig()
    assert rig.receive(*[(b"x" * (LARGEST + 1),)] * 3) == []
    assert rig.intake.dropped == {DropReason.OVERSIZE: 3}
    assert rig.state == READS


def test_invalid_utf8_is_replaced_and_counted_by_messages(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    assert rig.receive((b"ok",), (b"a\xffb\xfe",), (b"\xed\xa0\x80",), ("\u00e9".encode(),)) == [
        "ok",
        "a\ufffdb\ufffd",
        "\ufffd" * 3,
        "\u00e9",
    ]
    assert rig.incoming.invalid_utf8 == 2
    assert not rig.intake.dropped
    assert caplog.messages == ["a message was invalid UTF-8; replaced by U+FFFD"]


# --- a queue without room ---------------------------------------------------------------------------------


def test_what_the_queue_does_not_take_is_held_back_and_reading_stops() -> None:
    rig = Rig()
    rig.intake.room = 2
    assert rig.receive((b"a",), (b"b",), (b"c",), (b"d",)) == ["a", "b"]
    assert rig.state == HOLDS_BACK


def test_it_reads_on_where_all_just_fitted() -> None:
    rig = Rig()
    rig.intake.room = 2
    rig.receive((b"a",), (b"b",))
    assert rig.state == READS
    assert rig.receive((b"c",)) == ["a", "b"]
    assert rig.state == HOLDS_BACK


def test_with_room_again_the_held_ones_come_first_and_reading_goes_on_after_the_last() -> None:
    rig = Rig()
    rig.intake.room = 1
    rig.receive((b"a",), (b"b",), (b"c",))
    rig.send((b"d",))
    rig.intake.room = 1
    rig.incoming.resume()
    assert rig.intake.taken == ["a", "b"]
    assert rig.state == HOLDS_BACK
    assert rig.socket.looks == 0
    rig.intake.room = 10
    rig.incoming.resume()
    assert rig.intake.taken == ["a", "b", "c"]
    assert rig.state == READS
    assert rig.socket.looks == 1
    assert rig.receive() == ["a", "b", "c", "d"]


def test_to_resume_where_nothing_is_held_back_is_no_harm() -> None:
    rig = Rig()
    rig.incoming.resume()
    assert rig.socket.looks == 0
    assert rig.state == READS


# --- the end ----------------------------------------------------------------------------------------------


def test_at_the_end_everything_is_read_whatever_burst_it_is_in() -> None:
    rig = Rig()
    rig.send(*[(b"x",)] * (3 * BURST + 1))
    assert rig.incoming.finish() == 0
    assert len(rig.intake.taken) == 3 * BURST + 1
    assert rig.state == (False, False)


def test_at_the_end_the_held_ones_come_first_and_the_rest_is_counted() -> None:
    rig = Rig()
    rig.intake.room = 1
    rig.receive((b"a",), (b"b",), (b"c",))
    rig.send((b"d",), (b"e",), (b"f",))
    rig.intake.room = 3
    assert rig.incoming.finish() == 2
    assert rig.intake.taken == ["a", "b", "c", "d"]
    assert rig.state == (False, False)


def test_what_found_no_room_at_the_end_is_not_offered_again() -> None:
    rig = Rig()
    rig.intake.room = 0
    rig.receive((b"a",))
    assert rig.incoming.finish() == 1
    rig.intake.room = 10
    rig.incoming.resume()
    assert rig.incoming.finish() == 0
    assert rig.intake.taken == []
    assert not rig.socket.is_reading


def test_what_is_left_out_at_the_end_is_counted_by_its_own_reason() -> None:
    rig = Rig()
    rig.intake.room = 0
    rig.send((b"a",), (b"1", b"2"), (b"x" * (LARGEST + 1),), (b"b",))
    assert rig.incoming.finish() == 2
    assert rig.intake.dropped == {DropReason.INVALID: 1, DropReason.OVERSIZE: 1}


def test_a_peer_that_never_stops_writing_does_not_keep_it_from_ending() -> None:
    raw = EndlessRaw()
    rig = Rig(raw=raw)
    assert rig.incoming.finish() == 0
    assert raw.reads == 1000
    assert rig.intake.dropped == {DropReason.OVERSIZE: 1000}
