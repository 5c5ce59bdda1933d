"""Upstream sessions of single clients (config.md, `mode = "dedicated"`), and what they have in common."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.outbox import Outbox, Queue, QueueLimits
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.bridge.status import LastClose, LastFailure, UpstreamState, UpstreamStatus
from sockjs_bridge.bridge.supervisor import Supervisor, Upstream
from sockjs_bridge.endpoints.base import Endpoint, Intake
from sockjs_bridge.errors import Cause
from sockjs_bridge.log import EventLog
from sockjs_bridge.protocol.events import AttemptFailed


@dataclass(frozen=True, slots=True)
class Waiting:
    """Messages that wait for the server, those of a request under way included in the first two."""

    messages: int
    resends: int
    """Those of them that were written before."""
    size_bytes: int
    oldest_seconds: float


def count_waiting(queues: Iterable[Queue], stats: SessionStats, now: float) -> Waiting:
    """Sum up queues that share their counts."""
    every = list(queues)
    return Waiting(
        sum(queue.messages for queue in every) + stats.messages_in_flight,
        sum(queue.resends for queue in every) + stats.resends_in_flight,
        sum(queue.size_bytes for queue in every),
        max((queue.oldest_seconds(now) for queue in every), default=0.0),
    )


class PrivateSession:
    """The upstream session of one client, with an epoch and a queue of its own; it is opened once.

    `gone` is called when it has ended and nothing of it is left.
    """

    def __init__(
        self,
        upstream: Upstream,
        limits: QueueLimits,
        stats: SessionStats,
        gone: "Callable[[PrivateSession], None]",
        log: EventLog,
    ) -> None:
        self.hub = Hub(Outbox(limits), stats, asyncio.get_running_loop().time, log)
        self.supervisor = Supervisor(upstream, self.hub, log)
        self._gone = gone

    @property
    def intake(self) -> Intake:
        """Where the client's messages go."""
        return self.hub

    @property
    def is_open(self) -> bool:
        """Whether messages can flow."""
        return self.supervisor.is_open

    def join(self, endpoint: Endpoint) -> None:
        """Deliver what the server sends to this endpoint."""
        self.hub.add(endpoint)

    async def run(self) -> None:
        """Connect, and stay until the end of the session, of all attempts, or until `stop`."""
        await self.supervisor.run()

    async def stop(self, deadline: float) -> None:
        """Send what waits, then close the session, by `deadline` (loop time); what is left is given up."""
        await self.supervisor.stop(deadline)
        self._gone(self)


class PrivateSessions:
    """Those of one configured session that there are now. They count into its `stats`."""

    def __init__(self, stats: SessionStats) -> None:
        self._stats = stats
        self._sessions: dict[PrivateSession, None] = {}
        self._last_close: LastClose | None = None
        self._last_failure: LastFailure | None = None

    @property
    def queues(self) -> list[Queue]:
        """Where messages wait."""
        return [session.hub.queue for session in self._sessions]

    @property
    def last_close(self) -> LastClose | None:
        """How the last one that ended did so."""
        return self._last_close

    @property
    def last_failure(self) -> LastFailure | None:
        """Why the last attempt that failed did so."""
        found = [session.supervisor.status.last_failure for session in self._sessions]
        return max(
            [each for each in (self._last_failure, *found) if each is not None],
            key=lambda failure: failure.at,
            default=None,
        )

    def make(self, upstream: Upstream, limits: QueueLimits, log: EventLog) -> PrivateSession:
        """Make one more; it does not run yet."""
        session = PrivateSession(upstream, limits, self._stats, self._forget, log)
        self._sessions[session] = None
        return session

    async def stop(self, deadline: float) -> None:
        """Stop all of them together, by `deadline` (loop time)."""
        await asyncio.gather(*[session.stop(deadline) for session in list(self._sessions)])

    def _forget(self, session: PrivateSession) -> None:
        self._last_failure = self.last_failure
        self._last_close = session.supervisor.status.last_close or self._last_close
        self._sessions.pop(session, None)


class OnDemand:
    """Stands where a Supervisor stands, for a session that exists only as those of its clients."""

    def __init__(self, name: str, shown_url: str, sessions: PrivateSessions) -> None:
        self.name = name
        self.shown_url = shown_url
        self.has_given_up = False
        self.is_open = False
        self.is_fine = True
        self.epoch = 0
        self.first_round: asyncio.Future[AttemptFailed | None] = asyncio.get_running_loop().create_future()
        self.first_round.set_result(None)
        self._sessions = sessions
        self._status = UpstreamStatus(since=time.time(), state=UpstreamState.ON_DEMAND)

    @property
    def status(self) -> UpstreamStatus:
        """That of the sessions of clients, as far as there can be one for all."""
        self._status.last_close = self._sessions.last_close
        self._status.last_failure = self._sessions.last_failure
        return self._status

    @property
    def reconnects(self) -> bool:
        """Never: the session of a client ends with it."""
        return False

    def reconnect(self) -> None:
        """There is nothing that could connect anew."""

    async def run(self) -> None:
        """Nothing runs here."""

    async def stop(self, deadline: float) -> None:
        """Nothing to stop: the listeners stop the sessions of their clients."""
        del deadline
        self._status.change(UpstreamState.STOPPED, time.time())

    async def hand_over(self, cause: Cause) -> None:
        """Nothing to hand over: the sessions of clients stay as they are."""
        del cause
