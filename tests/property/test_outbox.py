"""Outbox: never over its bounds, always in order, and nothing is lost."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sockjs_bridge.bridge.batch import Batch, Burst, part_of
from sockjs_bridge.bridge.outbox import Outbox, QueueLimits
from tests.property import wire

MESSAGES = st.lists(wire.ANY_TEXT, max_size=5)


def size_of(messages: list[str]) -> int:
    return sum(len(message.encode(errors="surrogatepass")) for message in messages)


def texts(bursts: list[Burst]) -> list[str]:
    return [message for burst in bursts for message in burst.messages]


class OutboxMachine(RuleBasedStateMachine):
    """An outbox beside a list of what it should hold: (message, accepted at, whether it was written)."""

    @initialize(max_messages=st.integers(0, 12), max_bytes=st.integers(0, 60))
    def begin(self, max_messages: int, max_bytes: int) -> None:
        self.outbox = Outbox(QueueLimits(max_messages, max_bytes))
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.now = 0.0
        self.model: list[tuple[str, float, bool]] = []
        self.last: list[Burst] = []
        self.held: list[Batch] = []
        self.returned = 0

    @property
    def waiting(self) -> list[str]:
        return [message for message, _, _ in self.model]

    @property
    def held_messages(self) -> list[str]:
        return [message for batch in self.held for message in batch.messages]

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
        self.model += [(message, self.now, False) for message in offered[:count]]

    @rule(about_bytes=st.integers(0, 80))
    def take(self, about_bytes: int) -> None:
        """The oldest bursts as far as they fit, and one in any case."""
        bursts = list(self.outbox._bursts)
        batch = self.outbox.take(about_bytes)
        assert batch.messages == texts(batch.bursts) == self.waiting[: len(batch.messages)]
        assert batch.size_bytes == size_of(batch.messages)
        assert batch.bursts == bursts[: len(batch.bursts)]
        if bursts:
            assert len(batch.bursts) == 1 or batch.size_bytes <= about_bytes
            following = bursts[len(batch.bursts) : len(batch.bursts) + 1]
            assert not following or batch.size_bytes + following[0].size_bytes > about_bytes
        del self.model[: len(batch.messages)]
        self.last = batch.bursts

    @precondition(lambda self: self.last)
    @rule(whole=st.booleans())
    def put_back(self, whole: bool) -> None:
        """What was taken last, or the end of it, was not sent."""
        messages = texts(self.last)
        self._come_back(part_of(self.last, 0 if whole else len(messages) // 2, len(messages)))
        self.last = []

    @rule(age=st.integers(0, 15))
    def expire(self, age: int) -> None:
        """What is older than that goes, and nothing else."""
        before = self.now - age
        old = [message for message, accepted_at, _ in self.model if accepted_at < before]
        assert texts(self.outbox.expire(before)) == old == self.waiting[: len(old)]
        del self.model[: len(old)]

    @rule(messages=MESSAGES)
    def make_room_for(self, messages: list[str]) -> None:
        """No more of the oldest goes than has to, and then these fit where they fit at all."""
        removed = texts(self.outbox.make_room_for(messages))
        assert removed == self.waiting[: len(removed)]
        for count in range(len(removed)):
            assert not self._fits(self.waiting[count:] + messages)
        del self.model[: len(removed)]
        assert self._fits(self.waiting + messages) or not self.waiting

    @rule(about_bytes=st.integers(0, 80))
    def take_and_hold(self, about_bytes: int) -> None:
        """The oldest are sent, and may have to be sent again."""
        self.take(about_bytes)
        if not self.last:
            return
        batch = Batch(self.last, texts(self.last), size_of(texts(self.last)))
        self.held.append(batch)
        self.last = []
        half = (
            2 * len(self.held_messages) >= self.max_messages
            or 2 * size_of(self.held_messages) >= self.max_bytes
        )
        assert self.outbox.hold(batch) == half
        assert self.outbox.is_half_held == half

    @precondition(lambda self: self.held)
    @rule()
    def confirm_the_oldest(self) -> None:
        self.outbox.release(self.held.pop(0))

    @precondition(lambda self: self.held)
    @rule()
    def send_again(self) -> None:
        """The connection broke: all that was held comes back, in order."""
        bursts = [burst for batch in self.held for burst in batch.bursts]
        for batch in self.held:
            self.outbox.release(batch)
        self.held = []
        for burst in bursts:
            burst.was_written = True
        self._come_back(bursts)
        self.last = []

    @invariant()
    def holds_what_it_should(self) -> None:
        bursts = list(self.outbox._bursts)
        assert [
            (message, burst.accepted_at, burst.was_written) for burst in bursts for message in burst.messages
        ] == self.model
        assert self.outbox.messages == len(self.model)
        assert self.outbox.size_bytes == size_of(self.waiting)
        assert self.outbox.resends == sum(was_written for _, _, was_written in self.model)
        assert self.outbox.is_empty == (not self.model)

    @invariant()
    def is_never_over_its_bounds(self) -> None:
        if not self.returned:  # what comes back is taken whatever the bounds are
            together = self.waiting + self.held_messages
            # One message that is larger than the whole queue is let through alone.
            assert self._fits(self.waiting) or len(together) == 1

    @invariant()
    def knows_how_old_its_oldest_message_is(self) -> None:
        assert self.outbox.oldest_seconds(self.now) == (self.now - self.model[0][1] if self.model else 0.0)

    def _come_back(self, bursts: list[Burst]) -> None:
        self.outbox.put_back(bursts)
        back = [
            (message, burst.accepted_at, burst.was_written) for burst in bursts for message in burst.messages
        ]
        self.model[:0] = back
        self.returned += len(back)

    def _fits(self, messages: list[str]) -> bool:
        together = messages + self.held_messages
        return len(together) <= self.max_messages and size_of(together) <= self.max_bytes

    def _fitting(self, messages: list[str]) -> int:
        count = 0
        while count < len(messages) and self._fits(self.waiting + messages[: count + 1]):
            count += 1
        is_empty = not self.waiting and not self.held_messages
        return count or int(bool(messages) and is_empty and self.max_messages > 0)


TestOutboxMachine = OutboxMachine.TestCase
