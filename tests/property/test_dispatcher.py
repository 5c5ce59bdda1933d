"""Everything between a writer and the server: nothing is lost in silence, out of order, or doubled unannounced."""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sockjs_bridge.bridge import dispatcher as dispatcher_module
from sockjs_bridge.bridge import tracking as tracking_module
from sockjs_bridge.bridge.batch import Batch, Burst, utf8_bytes
from sockjs_bridge.bridge.dispatcher import Dispatcher
from sockjs_bridge.bridge.outbox import Outbox, QueueLimits
from sockjs_bridge.bridge.posting import Posting
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.bridge.tracking import Tracking
from sockjs_bridge.endpoints.receipts import MessageFate, Receipts
from sockjs_bridge.log import EventLog
from sockjs_bridge.transports.base import Fate, SendResult
from tests.hand_loop import HandLoop
from tests.writer import Writer

NEXT = {
    "": {"queued", "sent", "rejected"},
    "queued": {"sent", "dropped", "expired"},
    "sent": {"confirmed", "in-doubt", "dropped"},
    "in-doubt": {"sent", "dropped", "expired"},
}
"""What may follow on what. Where nothing stands, nothing follows."""
FINAL = {"confirmed", "in-doubt", "dropped", "expired", "rejected"}
WRITERS = "xy"
OPENS = st.sampled_from(["websocket", "http", "none"])


class FakeServer:
    """What a server has really read, as (session, message)."""

    def __init__(self) -> None:
        self.session = 0
        self.read: list[tuple[int, str]] = []

    def take(self, messages: list[str]) -> None:
        self.read += [(self.session, message) for message in messages]


class FakeSocket:
    """A WebSocket that takes `room` messages; the server reads it when a test says so."""

    def __init__(self, dispatcher: Dispatcher, room: int) -> None:
        self.dispatcher = dispatcher
        self.room = room
        self.wire: list[str | int] = []
        self.pongs: list[int] = []
        self.tracking = Tracking(dispatcher, self.wire.append, asks=True)

    def send(self, messages: list[str], receipts: Receipts | None) -> bool:
        if self.room <= 0:
            return False
        bursts = [] if receipts is None else [Burst(messages, utf8_bytes(messages), 0.0, receipts)]
        self._write(Batch(bursts, messages, utf8_bytes(messages)))
        return True

    def flush(self) -> None:
        while self.room > 0 and self.dispatcher.queue.messages:
            batch = self.dispatcher.take(6)
            if not batch.messages:
                return
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        self.room -= len(batch.messages)
        self.wire += batch.messages
        self.tracking.note_written(batch)


class FakeRequests:
    """An HTTP session: one request at a time, answered when a test says so."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.posting = Posting(dispatcher)
        self.body: list[str] = []

    def send(self, messages: list[str], receipts: Receipts | None) -> bool:
        if self.posting.is_under_way:
            return False
        if receipts is not None:
            receipts.report(MessageFate.QUEUED)
        self._post(Batch.of(Burst(messages, utf8_bytes(messages), 0.0, receipts)))
        return True

    def flush(self) -> None:
        if not self.posting.is_under_way and self.dispatcher.queue.messages:
            batch = self.dispatcher.take(12)
            if batch.messages:
                self._post(batch)

    def _post(self, batch: Batch) -> None:
        self.body = batch.messages
        self.posting.begin(batch)


class DispatcherMachine(RuleBasedStateMachine):
    """Two writers, a server, and sessions between them that come and go."""

    @initialize(
        max_messages=st.integers(1, 6),
        max_bytes=st.integers(1, 40),
        max_age=st.sampled_from([0.0, 4.0]),
        overflow=st.sampled_from(["pause", "reject", "drop-oldest"]),
        resend=st.booleans(),
    )
    def begin(self, max_messages: int, max_bytes: int, max_age: float, overflow: str, resend: bool) -> None:
        self.patch = pytest.MonkeyPatch()
        self.loop = HandLoop()
        self.loop.replace_in(self.patch, dispatcher_module, tracking_module)
        self.limits = QueueLimits(max_messages, max_bytes, max_age, overflow, resend)
        self.queue = Outbox(self.limits)
        self.stats = SessionStats()
        log = EventLog(self.loop.time)
        self.dispatcher = Dispatcher(self.queue, self.stats, self.loop.time, self.make_room, log)
        self.writer = Writer()
        self.written = dict.fromkeys(WRITERS, 0)
        self.held_back: dict[str, list[str]] = {name: [] for name in WRITERS}
        self.server = FakeServer()
        self.link: FakeSocket | FakeRequests | None = None
        self.doubted: set[str] = set()
        self.doubles: list[tuple[str, bool]] = []
        self.seen = 0

    def teardown(self) -> None:
        if not hasattr(self, "patch"):
            return
        try:
            self.end(lambda: None)
            self.dispatcher.give_up_rest()
            self.check_everything()
            told_nothing = {message for messages in self.held_back.values() for message in messages}
            for name in WRITERS:
                for number in range(self.written[name]):
                    fates = self.writer.fates.get(f"{name}{number}", [])
                    assert bool(fates) != (f"{name}{number}" in told_nothing)
                    assert not fates or fates[-1] in FINAL
            assert (self.queue.messages, self.stats.messages_in_flight) == (0, 0)
            assert (self.queue._held.messages, self.queue._held.size_bytes) == (0, 0)
        finally:
            self.patch.undo()

    def make_room(self) -> None:
        """As the hub does: what waits goes out, and writers go on."""
        if self.link is not None:
            self.link.flush()
        for name in WRITERS:
            self.go_on(name)

    def go_on(self, name: str) -> None:
        messages = self.held_back[name]
        if messages:
            self.held_back[name] = []  # as in the listeners: out of the way before anybody is called
            done = self.dispatcher.offer(messages, self.writer.receipts(messages))
            assert 0 <= done <= len(messages)
            self.held_back[name] = messages[done:]
            if self.limits.overflow == "reject":
                assert done == len(messages)

    # --- the writers ---

    @rule(name=st.sampled_from(WRITERS), count=st.integers(1, 9), opens=OPENS)
    def write(self, name: str, count: int, opens: str) -> None:
        self.open(opens)
        first = self.written[name]
        self.written[name] += count
        self.held_back[name] += [f"{name}{number}" for number in range(first, first + count)]
        self.go_on(name)

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]), opens=OPENS)
    def time_passes(self, seconds: float, opens: str) -> None:
        self.loop.pass_time(seconds)
        self.open(opens)

    # --- sessions ---

    def open(self, how: str) -> None:
        """A session opens, where there is none. Not a rule: rules are left out of whole runs."""
        if self.link is not None or how == "none":
            return
        self.server.session += 1
        is_http = how == "http"
        self.link = FakeRequests(self.dispatcher) if is_http else FakeSocket(self.dispatcher, room=9)
        self.dispatcher.attach(self.link)
        self.make_room()

    def end(self, settle: Callable[[], None]) -> None:
        """The session is over; `settle` says how its last batch ended, the default that nobody knows."""
        link, self.link = self.link, None
        if link is None:
            return
        self.dispatcher.detach()
        settle()
        if isinstance(link, FakeSocket):
            link.tracking.finish()
        elif link.posting.is_under_way:
            link.posting.settle(SendResult(Fate.IN_DOUBT, 0, link.body, []))

    @precondition(lambda self: isinstance(self.link, FakeSocket))
    @rule(count=st.integers(1, 12))
    def server_reads(self, count: int) -> None:
        assert isinstance(self.link, FakeSocket)
        self._read(self.link, count)
        self.link.room += count
        self.make_room()

    def _read(self, link: FakeSocket, count: int) -> None:
        for item in link.wire[:count]:
            if isinstance(item, str):
                self.server.take([item])
            else:
                link.pongs.append(item)
        del link.wire[:count]

    @precondition(lambda self: isinstance(self.link, FakeSocket))
    @rule(count=st.integers(1, 4), reads=st.integers(1, 9))
    def ping_and_pong(self, count: int, reads: int) -> None:
        """A PING goes out, more is written after it, and what the server reads of all that, it answers."""
        self.ping_is_due()
        self.write("x", count, "none")
        self.server_reads(reads)
        link = self.link
        assert isinstance(link, FakeSocket)
        while link.pongs:
            link.tracking.receive_pong(b"%d" % link.pongs.pop(0))
        self.make_room()

    @precondition(lambda self: isinstance(self.link, FakeSocket) and bool(self.link.pongs))
    @rule(leaves_out=st.booleans())
    def pong(self, leaves_out: bool) -> None:
        """RFC 6455 section 5.5.3: only the newest PING has to be answered."""
        assert isinstance(self.link, FakeSocket)
        number = self.link.pongs.pop(-1 if leaves_out else 0)
        if leaves_out:
            self.link.pongs.clear()
        if self.link.tracking.receive_pong(b"%d" % number):
            self.make_room()

    @precondition(lambda self: isinstance(self.link, FakeSocket))
    @rule(payload=st.sampled_from([b"", b"0", b"x", b"999999", b"\xb2", b"-1"]))
    def stray_pong(self, payload: bytes) -> None:
        assert isinstance(self.link, FakeSocket)
        assert not self.link.tracking.receive_pong(payload)

    @precondition(lambda self: isinstance(self.link, FakeSocket))
    @rule()
    def ping_is_due(self) -> None:
        assert isinstance(self.link, FakeSocket)
        self.link.wire.append(self.link.tracking.next_ping())

    @precondition(lambda self: isinstance(self.link, FakeSocket))
    @rule(arrives=st.integers(0, 12), too_big=st.booleans())
    def socket_breaks(self, arrives: int, too_big: bool) -> None:
        """Some of what is on the way still arrives, and no answer to it."""
        link = self.link
        assert isinstance(link, FakeSocket)
        self._read(link, arrives)
        self.end(lambda: link.tracking.finish(too_big=too_big))

    @precondition(lambda self: isinstance(self.link, FakeSocket))
    @rule()
    def close_is_answered(self) -> None:
        link = self.link
        assert isinstance(link, FakeSocket)
        link.tracking.ask_last()
        self._read(link, len(link.wire))
        self.end(lambda: link.tracking.finish(answered=True))

    @precondition(lambda self: isinstance(self.link, FakeRequests) and self.link.posting.is_under_way)
    @rule()
    def request_is_answered(self) -> None:
        link = self.link
        assert isinstance(link, FakeRequests)
        self.server.take(link.body)
        link.posting.settle(SendResult(Fate.ACCEPTED, len(link.body), [], []))
        self.make_room()

    @precondition(lambda self: isinstance(self.link, FakeRequests) and self.link.posting.is_under_way)
    @rule(
        fate=st.sampled_from([Fate.REFUSED, Fate.OFFENDING, Fate.IN_DOUBT]),
        accepted=st.integers(0, 4),
        concerned=st.integers(0, 4),
        arrives=st.booleans(),
    )
    def request_fails(self, fate: Fate, accepted: int, concerned: int, arrives: bool) -> None:
        """The first requests of a batch went well, one failed, the rest was not sent."""
        link = self.link
        assert isinstance(link, FakeRequests)
        body = link.body
        accepted = min(accepted, len(body))
        stop = min(accepted + concerned, len(body))
        self.server.take(body[:accepted])
        if fate is Fate.IN_DOUBT and arrives:
            self.server.take(body[accepted:stop])
        result = SendResult(fate, accepted, body[accepted:stop], body[stop:])
        self.end(lambda: link.posting.settle(result))

    @precondition(lambda self: self.link is None)
    @rule(max_messages=st.integers(1, 6), max_age=st.sampled_from([0.0, 4.0]))
    def reload(self, max_messages: int, max_age: float) -> None:
        before = self.limits
        self.limits = QueueLimits(
            max_messages, before.max_bytes, max_age, before.overflow, before.resend_in_doubt
        )
        self.dispatcher.set_limits(self.limits)

    # --- what always holds ---

    @invariant()
    def check_everything(self) -> None:
        self.law_of_no_silent_loss()
        self.fates_make_sense()
        self.confirmed_means_read()
        self.order_and_doubles()

    def law_of_no_silent_loss(self) -> None:
        stats = self.stats
        queue = self.queue.messages + stats.messages_in_flight
        resend = self.queue.resends + stats.resends_in_flight
        assert stats.messages_accepted == (
            stats.messages_sent + (queue - resend) + sum(stats.queue_dropped.values())
        )
        told = list(self.writer.fates.values())
        assert stats.messages_in_doubt == sum("in-doubt" in fates for fates in told)
        assert stats.messages_confirmed == sum("confirmed" in fates for fates in told)
        assert stats.messages_sent == sum("sent" in fates for fates in told)
        assert stats.messages_resent == sum(max(fates.count("sent") - 1, 0) for fates in told)
        rejected = sum(fates == ["rejected"] for fates in told)
        held_back = sum(map(len, self.held_back.values()))
        assert stats.messages_accepted + rejected + held_back == sum(self.written.values())
        if not self.limits.resend_in_doubt:
            assert (stats.messages_resent, resend) == (0, 0)
        assert sum(stats.queue_dropped.values()) == sum(
            fates[-1] in {"dropped", "expired"} and "sent" not in fates for fates in told
        )

    def fates_make_sense(self) -> None:
        for message, fates in self.writer.fates.items():
            for before, after in zip(["", *fates], fates, strict=False):
                assert after in NEXT.get(before, set()), (message, fates)
            if not self.limits.resend_in_doubt:
                assert "in-doubt" not in fates[:-1]

    def confirmed_means_read(self) -> None:
        read = {message for _, message in self.server.read}
        for message, fates in self.writer.fates.items():
            if fates[-1] == "confirmed":
                assert message in read
            if "sent" not in fates and self.link is None:
                assert message not in read

    def order_and_doubles(self) -> None:
        first: list[str] = []
        for index, (_, message) in enumerate(self.server.read):
            if message not in first:
                first.append(message)
            elif index >= self.seen:
                # It came once more since we last looked: then it was told to be in doubt.
                assert self.limits.resend_in_doubt
                assert "in-doubt" in self.writer.fates[message]
        self.seen = len(self.server.read)
        for name in WRITERS:
            for session in range(1, self.server.session + 1):
                in_session = [
                    int(message[1:])
                    for of, message in self.server.read
                    if of == session and message[0] == name
                ]
                assert in_session == sorted(set(in_session))
            numbers = [int(message[1:]) for message in first if message[0] == name]
            assert numbers == sorted(numbers)


TestDispatcherMachine = DispatcherMachine.TestCase
TestDispatcherMachine.settings = settings(
    settings.get_profile(settings.get_current_profile_name()),
    max_examples=3 * settings().max_examples,
    stateful_step_count=40,
)
