"""push, pull, sub and dealer: one socket that belongs to one session."""

import asyncio

from sockjs_bridge.endpoints.base import DeliveryCounts, Intake
from sockjs_bridge.endpoints.state_changes import StateChange
from sockjs_bridge.endpoints.zeromq.incoming import Incoming
from sockjs_bridge.endpoints.zeromq.layout import Layout
from sockjs_bridge.endpoints.zeromq.outgoing import Outgoing, OutgoingLimits
from sockjs_bridge.endpoints.zeromq.sockets import OpenSocket
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog

STALL_SECONDS = 3.0
"""For so long an endpoint with `overflow = "pause"` keeps the server from being read."""
_FLUSH_LOOK_SECONDS = 0.02


class ZmqEndpoint:
    """A socket with a way out (push, dealer), a way in (sub, pull, dealer), or both.

    A queue towards programs that is full asks for a pause where that is configured. The server
    cannot be left unread for long: after STALL_SECONDS the oldest messages are dropped instead, counted
    and reported, until a program has taken half of them.
    """

    stall_timeout = STALL_SECONDS

    def __init__(
        self,
        opened: OpenSocket,
        intake: Intake,
        layout: Layout,
        outgoing: OutgoingLimits | None,
        max_message_bytes: int | None,
        log: EventLog,
    ) -> None:
        kind = opened.spec.kind
        self.name = f"{kind} {opened.name}"
        self._opened = opened
        self._intake = intake
        self._log = log.bind(endpoint=self.name)
        self._unsent = 0
        self.outgoing: Outgoing | None = None
        """The way out, where there is one."""
        self.incoming: Incoming | None = None
        """The way in, where there is one."""
        if outgoing is not None:
            self.outgoing = Outgoing(opened.polled, layout, outgoing, self._set_full, self._report_dropped)
        if max_message_bytes is not None:
            self.incoming = Incoming(
                opened.polled, intake, max_message_bytes, self._log, takes_topic=kind == "sub"
            )

    @property
    def consumers(self) -> int:
        """1 where there is a way out: its queue takes messages also while nobody is there."""
        return int(self.outgoing is not None)

    def describe(self) -> dict[str, str | int]:
        """What an operator wants to know."""
        known: dict[str, str | int] = {
            "type": self._opened.spec.kind,
            "address": self._opened.name,
            "peers": self._opened.peers,
        }
        if self.outgoing:
            known |= {"waiting": self.outgoing.waiting, "handed_over": self.outgoing.handed_over}
        counts = self.count_delivery()
        return known | counts.described() if counts else known

    def count_delivery(self) -> DeliveryCounts | None:
        """What became of the messages for programs; what libzmq has taken counts as delivered."""
        if self.outgoing is None:
            return None
        dropped = {DropReason.SLOW_CLIENT: self.outgoing.dropped, DropReason.STOPPED: self._unsent}
        return DeliveryCounts(
            self.outgoing.offered, self.outgoing.handed_over, self.outgoing.waiting, dropped
        )

    @property
    def holds(self) -> bool:
        """Messages that wait have a consumer: whoever comes first."""
        return False

    def note_reached(self) -> None:
        """Nothing is kept here for whoever comes later."""

    @property
    def is_holding_back(self) -> bool:
        """Whether messages of programs wait for room in the queue."""
        return bool(self.incoming and self.incoming.is_holding_back)

    async def start(self) -> None:
        """Begin to read and to write."""
        self._opened.start(
            receive=self.incoming.receive if self.incoming else None,
            flush=self.outgoing.flush if self.outgoing else None,
        )

    def deliver(self, messages: list[str], first_seq: int) -> bool:
        """Send messages to programs, or queue them; answers whether there is a way out."""
        if self.outgoing is None:
            return False
        self.outgoing.deliver(messages, first_seq)
        return True

    def receive_change(self, change: StateChange) -> None:
        """Tell programs, where the layout has a place for it."""
        if self.outgoing:
            self.outgoing.receive_change(change)

    def resume_intake(self) -> None:
        """The queue to the server has room again."""
        if self.incoming:
            self.incoming.resume()

    def cut_stalled(self) -> None:
        """The server must be read again."""
        if self.outgoing:
            self._log.repeated(
                f"programs took too little for {STALL_SECONDS:g} s; dropping the oldest messages instead",
                waiting=self.outgoing.waiting,
            )
            self.outgoing.give_up_pause()

    def cut_overfull(self) -> None:
        """The queue grows although it asked for a pause."""
        if self.outgoing and self.outgoing.is_overfull:
            self.cut_stalled()

    def stop_accepting(self) -> None:
        """Nothing yet: to unbind would cut off peers with what they have on the way to us."""

    def stop_intake(self) -> None:
        """Part with the peers, after taking what libzmq holds of theirs."""
        if not self.incoming:
            return
        if self.outgoing:
            # The socket of a dealer is its way out too, and goes on until that is done.
            unread = self.incoming.finish()
        else:
            self._opened.part()
            unread = self.incoming.finish()
        if unread:
            self._intake.count_dropped(DropReason.STOPPED, unread)
            self._log.warning(
                "messages came too late to be taken", messages=unread, reason=DropReason.STOPPED
            )

    async def stop(self, deadline: float) -> None:
        """Send what waits, for `linger` at most and until `deadline` (loop time); then close."""
        loop = asyncio.get_running_loop()
        if self.outgoing:
            until = min(deadline, loop.time() + self._opened.spec.linger)
            # Polled, because it is only for a drain.
            while self.outgoing.waiting and loop.time() < until:  # noqa: ASYNC110  # no event tells of it
                await asyncio.sleep(_FLUSH_LOOK_SECONDS)
            self._unsent = self.outgoing.clear()
            if self._unsent:
                self._intake.count_dropped(DropReason.STOPPED, self._unsent)
                self._log.warning(
                    "no program took these messages until the end",
                    messages=self._unsent,
                    reason=DropReason.STOPPED,
                )
        self._opened.close(deadline)

    def _set_full(self, is_full: bool) -> None:
        (self._intake.block if is_full else self._intake.unblock)(self)

    def _report_dropped(self, messages: int) -> None:
        self._intake.count_dropped(DropReason.SLOW_CLIENT, messages)
        self._log.repeated(
            "no program takes messages as fast as they come; dropped the oldest",
            reason=DropReason.SLOW_CLIENT,
            dropped=messages,
            peers=self._opened.peers,
        )
