"""The way out of a push or dealer socket: a counted queue of our own in front of libzmq's.

What libzmq has taken is out of sight, and lost with the peer that it was meant for. So libzmq gets little
at a time, and everything else waits here, where it is counted (delivery.md).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from sockjs_bridge.endpoints.framing import EncodingCounts, encode_each
from sockjs_bridge.endpoints.state_changes import StateChange
from sockjs_bridge.endpoints.zeromq.layout import Frames, Layout, Place
from sockjs_bridge.endpoints.zeromq.polled import PolledSocket

_AN_EVENT = 0  # as a sequence number: those of messages begin with 1


@dataclass(frozen=True, slots=True)
class OutgoingLimits:
    """`hwm` entries wait at most; `pauses`: then the server is not read, instead of dropping the oldest."""

    hwm: int
    pauses: bool


class Outgoing:
    """Sends in order what fits, keeps the rest.

    `set_full` is told when the queue is full and when it has room again, `report_dropped` how many
    messages were dropped.
    """

    def __init__(
        self,
        socket: PolledSocket,
        layout: Layout,
        limits: OutgoingLimits,
        set_full: Callable[[bool], None],
        report_dropped: Callable[[int], None],
    ) -> None:
        self._socket = socket
        self._layout = layout
        self._limits = limits
        self._set_full = set_full
        self._report_dropped = report_dropped
        self._queue: deque[tuple[Frames, int, int]] = deque()
        self._gap = 0
        self._gap_end = Place(0, 0)
        self._is_full = False
        self._drops = not limits.pauses
        self.counts = EncodingCounts()
        self.offered = 0
        """Messages that came: taken by libzmq, waiting, dropped, or given up by `clear`."""
        self.handed_over = 0
        """Messages that libzmq has taken."""
        self.dropped = 0
        """Messages that were the oldest when too many waited."""

    @property
    def waiting(self) -> int:
        """Messages that wait here."""
        return sum(seq != _AN_EVENT for _, _, seq in self._queue)

    @property
    def is_overfull(self) -> bool:
        """Whether twice as much waits as should."""
        return len(self._queue) > 2 * self._limits.hwm

    def deliver(self, messages: list[str], first_seq: int) -> None:
        """Send messages, or keep them until a peer takes them."""
        self.offered += len(messages)
        epoch = self._layout.epoch
        frames = self._layout.of_messages(encode_each(messages, self.counts), first_seq)
        self._queue.extend([(each, epoch, seq) for seq, each in enumerate(frames, first_seq)])
        self.flush()

    def receive_change(self, change: StateChange) -> None:
        """Queue a state change among the messages, where the layout has a place for it."""
        frames = self._layout.of_change(change)
        if frames is not None:
            self._queue.append((frames, change.epoch, _AN_EVENT))
            self.flush()

    def flush(self) -> None:
        """Send until libzmq takes no more."""
        try:
            if self._queue:
                self._send_gap()
                self._send_queue()
        except zmq.Again:
            pass
        self._socket.is_waiting_to_send = bool(self._queue)
        self._socket.look_again()
        self._judge()

    def give_up_pause(self) -> None:
        """The server must be read again: until the queue is half empty, drop the oldest."""
        self._drops = True
        self._judge()

    def clear(self) -> int:
        """Give up what waits; returns how many messages that were."""
        given_up = self.waiting
        self._queue.clear()
        return given_up

    def _send_gap(self) -> None:
        if self._gap:
            frames = self._layout.of_gap(self._gap, self._gap_end)
            if frames is not None:
                self._socket.raw.send_multipart(frames, zmq.NOBLOCK)
            self._gap = 0

    def _send_queue(self) -> None:
        queue, send, send_multipart = self._queue, self._socket.raw.send, self._socket.raw.send_multipart
        while queue:
            frames, _, seq = queue[0]
            if len(frames) == 1:
                send(frames[0], zmq.NOBLOCK)
            else:
                send_multipart(frames, zmq.NOBLOCK)
            queue.popleft()
            self.handed_over += seq != _AN_EVENT

    def _judge(self) -> None:
        """Keep the queue within its bound, by dropping or by asking for a pause."""
        waiting = len(self._queue)
        if waiting <= self._limits.hwm // 2:
            self._drops = not self._limits.pauses
        if self._drops and waiting > self._limits.hwm:
            self._drop_oldest(waiting - self._limits.hwm)
        is_full = not self._drops and waiting > (self._limits.hwm // 2 if self._is_full else self._limits.hwm)
        if is_full != self._is_full:
            self._is_full = is_full
            self._set_full(is_full)

    def _drop_oldest(self, entries: int) -> None:
        dropped = 0
        for _ in range(entries):
            _, epoch, seq = self._queue.popleft()
            if seq != _AN_EVENT:
                dropped += 1
                self._gap_end = Place(epoch, seq)
        self._gap += dropped
        self.dropped += dropped
        if dropped:
            self._report_dropped(dropped)
