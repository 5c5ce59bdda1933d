"""What one client is given: in order, whole, in bounds, and every message is delivered, waits, or was dropped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sockjs_bridge.endpoints import tcp_output
from sockjs_bridge.endpoints.client_queue import unfinished_messages, whole
from sockjs_bridge.endpoints.envelope import EnvelopeWording
from sockjs_bridge.endpoints.framing import FRAMINGS, EncodingCounts
from sockjs_bridge.endpoints.tcp_output import TcpOutput
from sockjs_bridge.endpoints.wording import PlainWording, Wording
from tests.fake_transport import FakeTransport
from tests.property import wire

SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=8)
CHUNK_BYTES = 64


class Noted:
    """What a client does on behalf of its output."""

    def __init__(self, output: TcpOutput) -> None:
        self._output = output
        self.burst = (b"", 0)

    def pause_writing(self) -> None:
        self._output.pause(self.burst)

    def resume_writing(self) -> None:
        self._output.resume()


class OutputMachine(RuleBasedStateMachine):
    """An output under `drop-oldest` beside the list of everything that it was given."""

    @initialize(limit=st.integers(1, 200), room=st.integers(0, 100), envelope=st.booleans())
    def begin(self, limit: int, room: int, envelope: bool) -> None:
        self._chunk_before, tcp_output.CHUNK_BYTES = tcp_output.CHUNK_BYTES, CHUNK_BYTES
        self.limit = limit
        self.transport = FakeTransport(room)
        self.wording: Wording = (
            EnvelopeWording("s", "b") if envelope else PlainWording(FRAMINGS["lines"], EncodingCounts())
        )
        self.output = TcpOutput(self.transport, self.wording)  # type: ignore[arg-type]  # as much of one as it needs
        self.noted = self.transport.writer = Noted(self.output)
        self.sent: list[bytes] = []
        self.dropped = self.dropped_others = self.others = 0
        self.largest = 0
        self.longest = 0
        self.replay_bytes = 0

    def teardown(self) -> None:
        tcp_output.CHUNK_BYTES = self._chunk_before

    def _burst(self, sizes: list[int]) -> tuple[bytes, int]:
        first = len(self.sent) + 1
        texts = [f"{number}:{'x' * size}" for number, size in enumerate(sizes, first)]
        data = self.wording.messages(texts, 1, first)
        lines = data.splitlines(keepends=True)
        self.sent += lines
        self.largest = max(self.largest, len(data))
        self.longest = max(self.longest, *map(len, lines))
        return data, len(sizes)

    def _bound(self) -> None:
        if self.output.live_unsent_bytes > self.limit:
            messages, others = self.output.drop_oldest(self.limit)
            self.dropped += messages
            self.dropped_others += others

    @rule(sizes=SIZES)
    def deliver(self, sizes: list[int]) -> None:
        """As a group does it: straight, where nothing waits."""
        data, messages = self._burst(sizes)
        if self.output.is_behind or len(data) > CHUNK_BYTES:
            self.output.send(data, messages)
        else:
            self.noted.burst = data, messages
            self.output.write(data)
        self._bound()

    @rule(count=st.integers(1, 4))
    def answer(self, count: int) -> None:
        self.output.send(b'{"event":"ack"}\n' * count, 0)
        self.others += count
        self.largest = max(self.largest, 16 * count)
        self._bound()

    @precondition(lambda self: not self.sent)
    @rule(sizes=SIZES)
    def replay(self, sizes: list[int]) -> None:
        data, messages = self._burst(sizes)
        self.replay_bytes = len(data)
        self.output.send(data, messages, is_replay=True)
        assert self.output.live_unsent_bytes <= max(self.output.unsent_bytes - len(self.transport.pending), 0)
        self._bound()
        assert self.dropped == 0, "a replay alone is no reason"

    @rule(size_bytes=st.integers(1, 150))
    def read(self, size_bytes: int) -> None:
        self.transport.take(size_bytes)

    @invariant()
    def everything_adds_up(self) -> None:
        assert len(self._delivered_messages()) + self.output.unsent_messages + self.dropped == len(self.sent)

    @invariant()
    def it_is_in_bounds(self) -> None:
        marks = 100  # a gap mark goes out with what it stands before
        chunk = CHUNK_BYTES + self.longest + marks
        bound = max(self.limit + self.replay_bytes, chunk + self.largest)
        assert self.output.unsent_bytes <= bound

    @invariant()
    def messages_are_whole_and_in_order(self) -> None:
        got = self._delivered_messages()
        known = set(got)
        assert got == [line for line in self.sent if line in known]

    @invariant()
    def gaps_are_marked(self) -> None:
        if not isinstance(self.wording, EnvelopeWording):
            return
        marked = sum(
            int(line.split(b":")[-1][:-2])
            for line in self.transport.written.splitlines(keepends=True)
            if b'"gap"' in line
        )
        assert marked + self.output._gap_messages == self.dropped

    def _lines(self) -> list[bytes]:
        return [line for line in self.transport.taken.splitlines(keepends=True) if line.endswith(b"\n")]

    def _delivered_messages(self) -> list[bytes]:
        return [line for line in self._lines() if b'"event":"ack"' not in line and b'"gap"' not in line]


TestOutput = OutputMachine.TestCase


@pytest.mark.parametrize("framing", sorted(FRAMINGS))
@given(messages=st.lists(wire.ANY_TEXT, min_size=1, max_size=6), data=st.data())
def test_what_is_unfinished_is_what_a_program_cannot_read(
    framing: str, messages: list[str], data: st.DataObject
) -> None:
    """Cut anywhere: what the decoder makes of the first part and what counts as unfinished add up."""
    known = FRAMINGS[framing]
    encoded = known.make_encoder(EncodingCounts())(messages)
    unsent = data.draw(st.integers(0, len(encoded)))
    ends = known.ends
    decoder = known.make_decoder(10_000)
    readable = len(decoder.feed(encoded[: len(encoded) - unsent]))
    if framing == "lines":  # empty lines are no messages to a program that reads like the bridge
        readable = encoded[: len(encoded) - unsent].count(b"\n")
    assert readable + unfinished_messages([whole(encoded, len(messages))], unsent, ends) == len(messages)
    place = data.draw(st.integers(1, len(encoded)))
    end = ends.at_least(encoded, place)
    assert place <= end <= len(encoded)
    assert ends.count(encoded, 0, end) + ends.count(encoded, end, len(encoded)) == len(messages)
    assert ends.at_least(encoded, end) == end
