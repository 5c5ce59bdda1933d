"""Outbox: never over its bounds, always in order, and nothing is lost."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sockjs_bridge.bridge.batch import Burst, part_of
from sockjs_bridge.bridge.outbox import Outbox, QueueLimits
from tests.property import wire

MESSAGES = st.lists(wire.ANY_TEXT, max_size=5)


def size_of(messages: list[str]) -> int:
    return sum(len(message.encode(errors="surrogatepass")) for message in messages)


class OutboxMachine(RuleBasedStateMachine):
    """An outbox beside a list of the bursts that it should hold."""

    @initialize(max_messages=st.integers(0, 12), max_bytes=st.integers(0, 60))
    def begin(self, max_messages: int, max_bytes: int) -> None:
        self.outbox = Outbox(QueueLimits(max_messages, max_bytes))
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.now = 0.0
        self.bursts: list[tuple[list[str], float]] = []
        self.accepted: list[str] = []
        self.taken: list[str] = []
        self.last: list[Burst] = []
        self.returned = 0

    @property
    def waiting(self) -> list[str]:
        return [message for messages, _ in self.bursts for message in messages]

    @rule(seconds=st.integers(0, 10))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(messages=MESSAGES)
    def offer(self, messages: list[str]) -> None:
        """As many as fit are taken from the front: one more would pass a bound."""
        offered = messages.copy()
        count = self.outbox.offer(messages, self.now)
        assert messages == offered
        assert count == self._fitting(messages)
        if count:
            self.bursts.append((offered[:count], self.now))
        self.accepted += offered[:count]

    @rule(about_bytes=st.integers(0, 80))
    def take(self, about_bytes: int) -> None:
        """The oldest bursts as far as they fit, and one in any case."""
        batch = self.outbox.take(about_bytes)
        messages = batch.messages
        assert batch.size_bytes == size_of(messages)
        expected: list[str] = []
        while self.bursts and (not expected or size_of(expected + self.bursts[0][0]) <= about_bytes):
            expected += self.bursts.pop(0)[0]
        assert messages == expected
        self.taken += messages
        self.last = batch.bursts

    @precondition(lambda self: self.last)
    @rule(whole=st.booleans())
    def put_back(self, whole: bool) -> None:
        """What was taken last, or the end of it, was not sent."""
        messages = [message for burst in self.last for message in burst.messages]
        start = 0 if whole else len(messages) // 2
        back = part_of(self.last, start, len(messages))
        self.outbox.put_back(back)
        self.bursts[:0] = [(burst.messages, burst.accepted_at) for burst in back]
        self.returned += len(messages) - start
        del self.taken[len(self.taken) - len(messages) + start :]
        self.last = []

    @invariant()
    def holds_what_it_accepted_and_did_not_hand_out(self) -> None:
        assert self.taken + self.waiting == self.accepted
        assert self.outbox.messages == len(self.waiting)
        assert self.outbox.size_bytes == size_of(self.waiting)

    @invariant()
    def is_never_over_its_bounds(self) -> None:
        if not self.returned:  # what comes back is taken whatever the bounds are
            assert self.outbox.messages <= self.max_messages
            # One message that is larger than the whole queue is let through alone.
            assert self.outbox.size_bytes <= self.max_bytes or self.outbox.messages == 1

    @invariant()
    def knows_how_old_its_oldest_message_is(self) -> None:
        assert self.outbox.oldest_seconds(self.now) == (self.now - self.bursts[0][1] if self.bursts else 0.0)

    def _fitting(self, messages: list[str]) -> int:
        count = 0
        while (
            count < len(messages)
            and len(self.waiting) + count + 1 <= self.max_messages
            and size_of(self.waiting) + size_of(messages[: count + 1]) <= self.max_bytes
        ):
            count += 1
        alone = bool(messages) and not self.waiting and self.max_messages > 0
        return count or int(alone)


TestOutboxMachine = OutboxMachine.TestCase
