"""What an endpoint and the rest of the bridge know of each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sockjs_bridge.endpoints.receipts import Receipts
from sockjs_bridge.endpoints.state_changes import StateChange
from sockjs_bridge.errors import DropReason


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """Messages times programs since the start: offered = delivered + buffered + the sum of `dropped`.

    Delivered is what the kernel, or libzmq, has taken; buffered what waits here.
    """

    offered: int
    delivered: int
    buffered: int
    dropped: Mapping[DropReason, int] = field(default_factory=dict)

    def described(self) -> dict[str, str | int]:
        """The part of `Endpoint.describe` that tells of them."""
        return {
            "offered": self.offered,
            "delivered": self.delivered,
            "buffered": self.buffered,
            "dropped": sum(self.dropped.values()),
        }


class Endpoint(Protocol):
    """A local socket on which programs join a session. Nothing here is called once for each message."""

    stall_timeout: float
    """Seconds for which the endpoint may keep the session from being read."""

    @property
    def name(self) -> str:
        """The bound address, as logs and metrics show it."""

    @property
    def consumers(self) -> int:
        """How many programs, or subscriptions of programs, want what the server sends."""

    def describe(self) -> dict[str, str | int]:
        """What an operator wants to know: `type`, `address`, and counts that depend on the type."""

    def count_delivery(self) -> DeliveryCounts | None:
        """What became of the messages for its programs; None where nothing goes to programs."""

    @property
    def is_holding_back(self) -> bool:
        """Whether messages of programs wait for room in the queue."""

    @property
    def holds(self) -> bool:
        """Whether it keeps messages for programs that are yet to come.

        What no program at all got is its to count then: as NO_CONSUMER, when it forgets them.
        """

    def note_reached(self) -> None:
        """What was delivered last is no business of this holder: programs, or a holder, elsewhere got it."""

    async def start(self) -> None:
        """Begin to accept programs."""

    def deliver(self, messages: list[str], first_seq: int) -> bool:
        """Hand messages from the server to every program, in order; they are number `first_seq` and on.

        Answers whether there is a program that they are for.
        """

    def receive_change(self, change: StateChange) -> None:
        """The upstream session has opened or ended."""

    def resume_intake(self) -> None:
        """The queue to the server has room again: go on reading where reading was stopped."""

    def cut_stalled(self) -> None:
        """The session was kept waiting for too long: part with those that hold it up."""

    def cut_overfull(self) -> None:
        """More comes though a program cannot keep up: part with those that have far too much to read."""

    async def stop(self, deadline: float) -> None:
        """Flush what was delivered and close, by `deadline` (seconds of the loop's clock)."""

    def stop_accepting(self) -> None:
        """Accept no new programs."""

    def stop_intake(self) -> None:
        """Take no further messages."""


class Intake(Protocol):
    """Where endpoints put what programs send, and what they report."""

    def offer(self, messages: list[str], receipts: Receipts | None = None) -> int:
        """Take messages for the server; returns how many are done with, from the front.

        When it is fewer than offered, stop reading until `resume_intake` is called, and offer the rest
        then. `receipts`, one for each message, hear of what becomes of those that are done with.
        """

    def block(self, endpoint: Endpoint) -> None:
        """A program cannot keep up: stop reading the server."""

    def unblock(self, endpoint: Endpoint) -> None:
        """Every program of this endpoint keeps up again."""

    def count_dropped(self, reason: DropReason, messages: int) -> None:
        """Messages went nowhere; the endpoint has logged it."""


@dataclass(slots=True)
class ClientBudget:
    """How many local clients the process can hold, whatever the listeners allow.

    At the descriptor limit the event loop accepts and closes without a word: stay below it.
    """

    limit: int
    used: int = 0

    def take(self, places: int = 1) -> bool:
        """Reserve places, one for each descriptor; False, and none taken, when there are not so many."""
        if self.used + places > self.limit:
            return False
        self.used += places
        return True

    def give_back(self, places: int = 1) -> None:
        """A client, or what it needed beside its own connection, has gone."""
        self.used -= places
