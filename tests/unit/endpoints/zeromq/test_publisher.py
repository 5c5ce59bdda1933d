"""A pub socket that sessions share: who has subscribed to which of them, and what is sent (delivery.md)."""

import json
from collections import deque
from collections.abc import Callable
from typing import cast

import pytest
import zmq

from sockjs_bridge.endpoints.state_changes import Connected, Disconnected
from sockjs_bridge.endpoints.zeromq.layout import Layout
from sockjs_bridge.endpoints.zeromq.publisher import PubEndpoint, Publisher
from sockjs_bridge.endpoints.zeromq.sockets import OpenSocket
from sockjs_bridge.errors import Cause


class FakeRaw:
    """An XPUB socket: what subscribers sent, and what was published."""

    def __init__(self) -> None:
        self.inbox: deque[list[bytes]] = deque()
        self.sent: list[tuple[bytes, ...]] = []
        self._begun: tuple[bytes, ...] = ()

    def recv_multipart(self, flags: int) -> list[bytes]:
        assert flags == zmq.NOBLOCK
        if not self.inbox:
            raise zmq.Again
        return self.inbox.popleft()

    def send(self, data: bytes, flags: int = 0) -> None:
        self._begun += (data,)
        if flags != zmq.SNDMORE:
            self.sent.append(self._begun)
            self._begun = ()

    def send_multipart(self, frames: tuple[bytes, ...]) -> None:
        assert not self._begun
        self.sent.append(frames)


class FakePolled:
    """The part of a PolledSocket that a publisher uses."""

    def __init__(self) -> None:
        self.raw = FakeRaw()
        self.looks = 0

    def look_again(self) -> None:
        self.looks += 1


class FakeOpened:
    """The part of an OpenSocket that a publisher uses."""

    def __init__(self) -> None:
        self.name = "tcp://127.0.0.1:5555"
        self.polled = FakePolled()
        self.peers = 1
        self.receivers: list[Callable[[], None]] = []
        self.closed: list[float] = []

    def start(self, receive: Callable[[], None]) -> None:
        self.receivers.append(receive)

    def close(self, deadline: float) -> None:
        self.closed.append(deadline)

    def subscribers_send(self, *messages: bytes | list[bytes]) -> None:
        """Let messages of subscribers arrive and be read."""
        self.polled.raw.inbox += [[each] if isinstance(each, bytes) else each for each in messages]
        self.receivers[0]()


@pytest.fixture
def opened() -> FakeOpened:
    return FakeOpened()


@pytest.fixture
def publisher(opened: FakeOpened) -> Publisher:
    return Publisher(cast("OpenSocket", opened))


@pytest.fixture
async def chat(publisher: Publisher) -> PubEndpoint:
    """A session that has started to publish, in the plain layout."""
    endpoint = PubEndpoint(publisher, "chat", Layout("chat", "boot-1", meta=False))
    await endpoint.start()
    return endpoint


@pytest.fixture
async def news(publisher: Publisher) -> PubEndpoint:
    """Another session on the same socket, in the meta layout."""
    endpoint = PubEndpoint(publisher, "news", Layout("news", "boot-1", meta=True))
    await endpoint.start()
    return endpoint


# --- who has subscribed -----------------------------------------------------------------------------------


async def test_nobody_has_subscribed_at_first(chat: PubEndpoint) -> None:
    assert chat.consumers == 0


async def test_every_prefix_that_a_topic_matches_is_counted_for_that_topic(
    opened: FakeOpened, chat: PubEndpoint, news: PubEndpoint
) -> None:
    opened.subscribers_send(b"\x01chat", b"\x01cha", b"\x01news")
    assert (chat.consumers, news.consumers) == (2, 1)


@pytest.mark.parametrize(
    ("prefix", "counts"), [(b"", (1, 1)), (b"ch", (1, 0)), (b"n", (0, 1)), (b"chat", (1, 0))], ids=repr
)
async def test_a_subscription_matches_every_topic_that_begins_so(
    opened: FakeOpened, chat: PubEndpoint, news: PubEndpoint, prefix: bytes, counts: tuple[int, int]
) -> None:
    opened.subscribers_send(b"\x01" + prefix)
    assert (chat.consumers, news.consumers) == counts
    opened.subscribers_send(b"\x00" + prefix)
    assert (chat.consumers, news.consumers) == (0, 0)


async def test_the_last_that_leaves_takes_only_its_own_prefix_along(
    opened: FakeOpened, chat: PubEndpoint
) -> None:
    opened.subscribers_send(b"\x01chat", b"\x01")
    assert chat.consumers == 2
    opened.subscribers_send(b"\x00chat")
    assert chat.consumers == 1
    opened.subscribers_send(b"\x00")
    assert chat.consumers == 0


async def test_what_was_never_subscribed_can_be_unsubscribed_without_harm(
    opened: FakeOpened, chat: PubEndpoint
) -> None:
    opened.subscribers_send(b"\x00chat", b"\x00", b"\x01chat")
    assert chat.consumers == 1


@pytest.mark.parametrize("prefix", [b"chatter", b"chat ", b"x", b"\xff", b"chat/!events", b"x" * 1000])
async def test_foreign_prefixes_match_nothing(opened: FakeOpened, chat: PubEndpoint, prefix: bytes) -> None:
    opened.subscribers_send(b"\x01" + prefix, b"\x01" + prefix, b"\x00" + prefix)
    assert chat.consumers == 0


async def test_a_session_that_joins_later_knows_who_has_subscribed_already(
    opened: FakeOpened, publisher: Publisher, chat: PubEndpoint
) -> None:
    opened.subscribers_send(b"\x01", b"\x01news", b"\x01chat")
    news = PubEndpoint(publisher, "news", Layout("news", "boot", meta=False))
    assert (chat.consumers, news.consumers) == (2, 2)


async def test_a_session_that_left_and_joins_again_counts_right(
    opened: FakeOpened, publisher: Publisher, chat: PubEndpoint
) -> None:
    news = PubEndpoint(publisher, "news", Layout("news", "boot", meta=False))
    opened.subscribers_send(b"\x01news", b"\x01new")
    await news.stop(0)
    opened.subscribers_send(b"\x00news")
    again = PubEndpoint(publisher, "news", Layout("news", "boot", meta=False))
    assert again.consumers == 1


async def test_what_subscribers_can_make_us_remember_is_bounded(
    opened: FakeOpened, publisher: Publisher, chat: PubEndpoint
) -> None:
    opened.subscribers_send(b"\x01" + b"x" * 256, *[b"\x01%d" % number for number in range(10_001)])
    assert len(publisher._prefixes) == 10_000
    opened.subscribers_send(b"\x01cha")  # a topic that there is counts all the same
    assert chat.consumers == 1


@pytest.mark.parametrize("prefix", [b"chat/", b"chat/!event"], ids=repr)
async def test_those_who_want_events_alone_are_no_consumers_of_messages(
    opened: FakeOpened, chat: PubEndpoint, prefix: bytes
) -> None:
    opened.subscribers_send(b"\x01" + prefix)
    assert chat.consumers == 0


async def test_prefixes_are_forgotten_with_their_last_subscriber(
    opened: FakeOpened, publisher: Publisher, chat: PubEndpoint
) -> None:
    opened.subscribers_send(b"\x01ch", b"\x00ch", b"\x00ch")
    assert chat.consumers == 0
    assert not publisher._prefixes


@pytest.mark.parametrize(
    "junk",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"chat", id="neither 0 nor 1 in front"),
        pytest.param(b"\x02chat", id="2 in front"),
        pytest.param([b"\x01chat", b"more"], id="two frames"),
        pytest.param([b"", b"\x01chat"], id="two frames, the first one empty"),
        pytest.param([b"\x00chat", b""], id="two frames that look like leaving"),
    ],
)
async def test_other_messages_of_subscribers_are_ignored(
    opened: FakeOpened, publisher: Publisher, chat: PubEndpoint, junk: bytes | list[bytes]
) -> None:
    opened.subscribers_send(b"\x01chat", junk, b"\x01cha")
    assert chat.consumers == 2
    assert publisher._prefixes == {b"chat", b"cha"}


# --- start and end ----------------------------------------------------------------------------------------


async def test_the_socket_is_watched_once_however_many_sessions_start(
    opened: FakeOpened, chat: PubEndpoint, news: PubEndpoint
) -> None:
    assert len(opened.receivers) == 1


async def test_the_socket_closes_with_the_last_session(
    opened: FakeOpened, chat: PubEndpoint, news: PubEndpoint
) -> None:
    await chat.stop(10.0)
    assert opened.closed == []
    opened.subscribers_send(b"\x01chat", b"\x01news")
    assert (chat.consumers, news.consumers) == (0, 1)
    await news.stop(20.0)
    assert opened.closed == [20.0]


async def test_it_is_named_as_its_socket(chat: PubEndpoint) -> None:
    assert chat.name == "pub tcp://127.0.0.1:5555"


async def test_it_never_makes_anybody_wait(opened: FakeOpened, chat: PubEndpoint) -> None:
    assert chat.stall_timeout == 0
    assert not chat.is_holding_back
    chat.resume_intake()
    chat.cut_stalled()
    chat.cut_overfull()
    chat.stop_accepting()
    chat.stop_intake()
    assert opened.closed == []
    assert opened.polled.raw.sent == []


# --- what is sent -----------------------------------------------------------------------------------------


async def test_plain_messages_come_after_their_topic(opened: FakeOpened, chat: PubEndpoint) -> None:
    opened.subscribers_send(b"\x01")
    chat.deliver(["a", "", "caf\u00e9"], 1)
    assert opened.polled.raw.sent == [(b"chat", b"a"), (b"chat", b""), (b"chat", "caf\u00e9".encode())]
    assert chat.handed_over == 3
    assert opened.polled.looks == 1


async def test_while_nobody_is_connected_nothing_is_sent(opened: FakeOpened, chat: PubEndpoint) -> None:
    opened.peers = 0
    assert not chat.deliver(["a"], 1)
    assert opened.polled.raw.sent == []
    opened.subscribers_send(b"\x01chat")  # its connection is told of a moment later
    assert chat.deliver(["b"], 2)
    assert opened.polled.raw.sent == [(b"chat", b"b")]


async def test_a_subscription_that_somebody_else_took_back_is_served_on(
    opened: FakeOpened, chat: PubEndpoint
) -> None:
    opened.subscribers_send(b"\x01chat", b"\x00chat")
    assert not chat.deliver(["a"], 1)
    assert opened.polled.raw.sent == [(b"chat", b"a")]


async def test_meta_messages_have_a_frame_more(opened: FakeOpened, news: PubEndpoint) -> None:
    opened.subscribers_send(b"\x01")
    news.receive_change(Connected(3, "websocket"))
    opened.polled.raw.sent.clear()
    news.deliver(["a", "b"], 7)
    begin = b'{"session":"news","boot":"boot-1","epoch":3,"seq":'
    assert opened.polled.raw.sent == [
        (b"news", begin + b'7,"event":"message"}', b"a"),
        (b"news", begin + b'8,"event":"message"}', b"b"),
    ]
    assert news.handed_over == 2


async def test_lone_surrogates_become_replacement_characters(opened: FakeOpened, chat: PubEndpoint) -> None:
    chat.deliver(["a\ud800", "b"], 1)
    assert opened.polled.raw.sent == [(b"chat", b"a\xef\xbf\xbd"), (b"chat", b"b")]
    assert chat.counts.surrogates_replaced == 1


async def test_events_come_under_a_topic_of_their_own(opened: FakeOpened, news: PubEndpoint) -> None:
    opened.subscribers_send(b"\x01")
    news.receive_change(Connected(1, "websocket"))
    news.deliver(["a"], 1)
    news.receive_change(Disconnected(1, 1, Cause.SERVER_CLOSED, 3000, "Go away!"))
    connected, _, gone = opened.polled.raw.sent
    assert connected == (
        b"news/!event",
        b'{"session":"news","boot":"boot-1","epoch":1,"seq":0,"event":"connected","transport":"websocket"}',
        b"",
    )
    assert (gone[0], gone[2]) == (b"news/!event", b"")
    assert json.loads(gone[1])["event"] == "disconnected"
    assert news.handed_over == 1
    assert opened.polled.looks == 3


async def test_the_plain_layout_publishes_no_events(opened: FakeOpened, chat: PubEndpoint) -> None:
    chat.receive_change(Connected(1, "websocket"))
    chat.receive_change(Disconnected(1, 0, Cause.SILENCE, 1006, ""))
    assert opened.polled.raw.sent == []
