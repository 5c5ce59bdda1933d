"""Hub: joins one session to its endpoints. Who gets what, who has to wait."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from sockjs_bridge.bridge.dispatcher import Dispatcher, Sending
from sockjs_bridge.bridge.outbox import Queue
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.endpoints.base import Endpoint
from sockjs_bridge.endpoints.receipts import Receipts
from sockjs_bridge.endpoints.state_changes import Connected, Disconnected, StateChange
from sockjs_bridge.errors import Cause, DropReason
from sockjs_bridge.log import EventLog


class Link(Sending, Protocol):
    """The open upstream connection, as the hub sees it."""

    reads_on: bool
    """Whether messages go on to come for a while after `pause_reading`."""

    def pause_reading(self) -> None:
        """Stop reading the server."""

    def resume_reading(self) -> None:
        """Read the server again."""


class Hub:
    """Routes messages of one session and carries back-pressure both ways.

    Towards the programs a slow one stops the reading of the server, at most for its endpoint's
    `stall_timeout` without a break. Towards the server the bounded queue stops the reading of the
    programs; what is in it is the dispatcher's. `clock` is the event loop's.

    `epoch` counts the upstream sessions, `seq` the messages of the present one, both from 1.
    """

    def __init__(self, queue: Queue, stats: SessionStats, clock: Callable[[], float], log: EventLog) -> None:
        self.stats = stats
        self.dispatcher = Dispatcher(queue, stats, clock, self.make_room, log)
        self.epoch = 0
        self.seq = 0
        self._is_open = False
        self._transport = ""
        self._log = log
        self._endpoints: list[Endpoint] = []
        self._holders: list[Endpoint] = []
        self._link: Link | None = None
        self._sends = False
        self._blocking: dict[Endpoint, None] = {}
        self._stall_timer: asyncio.TimerHandle | None = None
        self._resuming = False

    @property
    def queue(self) -> Queue:
        """Messages that wait for the server."""
        return self.dispatcher.queue

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints, in the order of the configuration."""
        return tuple(self._endpoints)

    @property
    def is_blocked(self) -> bool:
        """Whether some program cannot keep up."""
        return bool(self._blocking)

    def add(self, endpoint: Endpoint) -> None:
        """Join an endpoint to the session."""
        self._endpoints.append(endpoint)
        self._find_holders()

    def begin_epoch(self, transport: str) -> None:
        """An upstream session has opened."""
        self.epoch += 1
        self.seq = 0
        self._is_open, self._transport = True, transport
        self._announce(Connected(self.epoch, transport))

    def end_epoch(self, cause: Cause, code: int, reason: str) -> None:
        """The upstream session has ended; to say so twice is no harm."""
        if self._is_open:
            self._is_open = False
            self._announce(Disconnected(self.epoch, self.seq, cause, code, reason))

    def _announce(self, change: StateChange) -> None:
        for endpoint in self._endpoints:
            endpoint.receive_change(change)

    def exchange(self, endpoints: Sequence[Endpoint]) -> None:
        """Take these endpoints in place of those there are. New ones hear of the session that is open."""
        before, self._endpoints = self._endpoints, list(endpoints)
        self._find_holders()
        for endpoint in before:
            if endpoint not in self._endpoints:
                self.unblock(endpoint)
        for endpoint in self._endpoints:
            if endpoint not in before and self._is_open:
                endpoint.receive_change(Connected(self.epoch, self._transport))

    def _find_holders(self) -> None:
        self._holders = [endpoint for endpoint in self._endpoints if endpoint.holds]

    def deliver(self, messages: list[str]) -> None:
        """Hand messages from the server to every endpoint that has programs."""
        self.stats.messages_received += len(messages)
        first_seq = self.seq + 1
        self.seq += len(messages)
        if self._blocking and self._link is not None and self._link.reads_on:
            for endpoint in list(self._blocking):
                endpoint.cut_overfull()
        reached = False
        for endpoint in self._endpoints:
            if endpoint.deliver(messages, first_seq):
                reached = True
        holders = self._holders
        if holders:
            # Of several holders the first one counts what nobody got.
            for endpoint in holders if reached else holders[1:]:
                endpoint.note_reached()
        elif not reached:
            self.count_dropped(DropReason.NO_CONSUMER, len(messages))
            self._log.repeated(
                "messages came while no program was connected",
                level=logging.INFO,
                reason=DropReason.NO_CONSUMER,
                dropped_so_far=self.stats.dropped[DropReason.NO_CONSUMER],
            )

    def offer(self, messages: list[str], receipts: Receipts | None = None) -> int:
        """Take messages of a program for the server; returns how many are done with, from the front."""
        return self.dispatcher.offer(messages, receipts)

    def attach(self, link: Link, *, is_ready: bool = True) -> None:
        """The session is open; unless it has yet to log in, what waits goes out."""
        self._link = link
        if self._blocking:
            self._pause(link)
        if is_ready:
            self.begin_sending()

    def begin_sending(self) -> None:
        """The session takes messages of programs: what waits goes out."""
        if self._link is not None:
            self._sends = True
            self.dispatcher.attach(self._link)
            self.make_room()

    def pause_sending(self) -> None:
        """The session has to log in again: messages of programs wait."""
        self._sends = False
        self.dispatcher.detach()

    def detach(self) -> None:
        """The session has ended: messages wait again."""
        self._link = None
        self._sends = False
        self.dispatcher.detach()
        self._cancel_stall_timer()

    def make_room(self) -> None:
        """Send what waits, then let the programs go on that wait for room."""
        if self._resuming:
            return
        self._resuming = True
        try:
            if self._link is not None and self._sends:
                self._link.flush()
            for endpoint in self._endpoints:
                endpoint.resume_intake()
        finally:
            self._resuming = False

    def block(self, endpoint: Endpoint) -> None:
        """A program of this endpoint cannot keep up."""
        self._blocking[endpoint] = None
        if self._link is not None and self._stall_timer is None:
            self._pause(self._link)

    def unblock(self, endpoint: Endpoint) -> None:
        """All programs of this endpoint keep up again."""
        self._blocking.pop(endpoint, None)
        if not self._blocking and self._stall_timer is not None:
            self._cancel_stall_timer()
            if self._link is not None:
                self._link.resume_reading()

    def count_dropped(self, reason: DropReason, messages: int) -> None:
        """Count messages that went nowhere."""
        self.stats.dropped[reason] += messages

    def _pause(self, link: Link) -> None:
        link.pause_reading()
        self._arm_stall_timer()

    def _arm_stall_timer(self) -> None:
        if not self._blocking:
            return
        # The first to block rules: one pause never outlasts one stall_timeout.
        patience = next(iter(self._blocking)).stall_timeout
        self._stall_timer = asyncio.get_running_loop().call_later(patience, self._stalled)

    def _stalled(self) -> None:
        for endpoint in list(self._blocking):
            endpoint.cut_stalled()
        # Those that were cut unblock when they are gone; others may have fallen behind meanwhile.
        self._arm_stall_timer()

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
