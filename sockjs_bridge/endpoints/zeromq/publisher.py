"""pub: one socket for the sessions that share its address, each with a topic of its own.

An XPUB underneath, because it tells of subscriptions: without any, messages have no consumer, and the
law wants that counted. It tells of the first subscription to a prefix and of the end of the last one.
With VERBOSER it would tell of each, but the sum cannot be trusted: whoever subscribes twice leaves once.
And since any peer can take back what another has subscribed to, messages are given to libzmq, which
knows better, as long as a peer is connected. What libzmq drops for a slow subscriber it tells nobody; `seq` in the meta
layout shows it.
"""

import contextlib

import zmq

from sockjs_bridge.endpoints.base import DeliveryCounts
from sockjs_bridge.endpoints.framing import EncodingCounts, encode_each
from sockjs_bridge.endpoints.state_changes import StateChange
from sockjs_bridge.endpoints.zeromq.layout import EVENT_TOPIC, Layout
from sockjs_bridge.endpoints.zeromq.sockets import OpenSocket

_SUBSCRIBE, _UNSUBSCRIBE = 1, 0
# Subscribers choose what they subscribe to; beyond these bounds only what matches a topic is remembered.
_MOST_FOREIGN_PREFIXES = 10_000
_LONGEST_FOREIGN_PREFIX_BYTES = 255


class Publisher:
    """An XPUB socket and who has subscribed to what. It closes with the last of its topics."""

    def __init__(self, opened: OpenSocket) -> None:
        self._opened = opened
        self.name = opened.name
        self.socket = opened.polled
        self._prefixes: set[bytes] = set()
        self._endpoints: list[PubEndpoint] = []
        self._started = False

    @property
    def peers(self) -> int:
        """How many peers are connected."""
        return self._opened.peers

    @property
    def is_closed(self) -> bool:
        """Whether the last of its topics has left."""
        return self.socket.raw.closed

    def close_unused(self) -> None:
        """Close, unless a session publishes here."""
        if not self._endpoints:
            self._opened.close()

    def join(self, endpoint: "PubEndpoint") -> None:
        """A session publishes here."""
        self._endpoints.append(endpoint)
        self._count()

    def start(self) -> None:
        """Begin to hear of subscriptions."""
        if not self._started:
            self._started = True
            self._opened.start(receive=self._receive)

    def leave(self, endpoint: "PubEndpoint", deadline: float) -> None:
        """A session publishes here no more."""
        self._endpoints.remove(endpoint)
        if not self._endpoints:
            self._opened.close(deadline)

    def _receive(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                # A subscriber chose this: other messages than (un)subscriptions come up here too.
                message = self.socket.raw.recv_multipart(zmq.NOBLOCK)
                if len(message) == 1 and message[0]:
                    self._note(message[0][0], message[0][1:])
        self._count()

    def _note(self, kind: int, prefix: bytes) -> None:
        if kind == _SUBSCRIBE and self._may_remember(prefix):
            self._prefixes.add(prefix)
        elif kind == _UNSUBSCRIBE:
            self._prefixes.discard(prefix)

    def _may_remember(self, prefix: bytes) -> bool:
        # A session with a topic that it matches may join later.
        is_short = len(prefix) <= _LONGEST_FOREIGN_PREFIX_BYTES
        return any(endpoint.topic.startswith(prefix) for endpoint in self._endpoints) or (
            is_short and len(self._prefixes) < _MOST_FOREIGN_PREFIXES
        )

    def _count(self) -> None:
        for endpoint in self._endpoints:
            endpoint.consumers = sum(endpoint.topic.startswith(prefix) for prefix in self._prefixes)


class PubEndpoint:
    """One session's topic on a Publisher."""

    stall_timeout = 0.0  # nothing here ever makes the server wait
    is_holding_back = False
    holds = False

    def __init__(self, publisher: Publisher, topic: str, layout: Layout) -> None:
        self.name = f"pub {publisher.name}"
        self.topic = topic.encode()
        self.consumers = 0
        """Different prefixes that somebody has subscribed to and that this topic matches."""
        self.counts = EncodingCounts()
        self.handed_over = 0
        """Messages given to libzmq while somebody had subscribed."""
        self._publisher = publisher
        self._layout = layout
        publisher.join(self)

    def describe(self) -> dict[str, str | int]:
        """What an operator wants to know."""
        return {
            "type": "pub",
            "address": self._publisher.name,
            "topic": self.topic.decode(),
            "subscribers": self._publisher.peers if self.consumers else 0,
            "handed_over": self.handed_over,
            **self.count_delivery().described(),
        }

    def count_delivery(self) -> DeliveryCounts:
        """All that was offered was handed over. What libzmq drops for a slow subscriber it tells nobody."""
        return DeliveryCounts(offered=self.handed_over, delivered=self.handed_over, buffered=0)

    def note_reached(self) -> None:
        """Nothing is kept here."""

    async def start(self) -> None:
        """Begin to hear of subscriptions."""
        self._publisher.start()

    def deliver(self, messages: list[str], first_seq: int) -> bool:
        """Publish messages; answers whether somebody has subscribed to this topic.

        Never blocks: libzmq drops what a slow subscriber cannot take.
        """
        if not (self.consumers or self._publisher.peers):
            return False
        encoded = encode_each(messages, self.counts)
        send, topic, more = self._publisher.socket.raw.send, self.topic, zmq.SNDMORE
        if self._layout.meta:
            for meta, data in self._layout.of_messages(encoded, first_seq):
                send(topic, more)
                send(meta, more)
                send(data)
        else:
            for data in encoded:
                send(topic, more)
                send(data)
        self._publisher.socket.look_again()
        if not self.consumers:
            return False
        self.handed_over += len(messages)
        return True

    def receive_change(self, change: StateChange) -> None:
        """Publish a state change below the topic, where the layout has a place for it."""
        frames = self._layout.of_change(change)
        if frames is not None:
            self._publisher.socket.raw.send_multipart((self.topic + EVENT_TOPIC, *frames))
            self._publisher.socket.look_again()

    def resume_intake(self) -> None:
        """Nothing comes in here."""

    def cut_stalled(self) -> None:
        """Nobody stalls here."""

    def cut_overfull(self) -> None:
        """Nobody stalls here."""

    def stop_accepting(self) -> None:
        """Subscribers may come until the end."""

    def stop_intake(self) -> None:
        """Nothing comes in here."""

    async def stop(self, deadline: float) -> None:
        """Leave the socket; what libzmq holds may go out until its linger, or `deadline`, is over."""
        self._publisher.leave(self, deadline)
