"""A TCP listener whose clients have an upstream session each (config.md, `mode = "dedicated"`)."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from sockjs_bridge.endpoints.base import ClientBudget, DeliveryCounts, Endpoint, Intake
from sockjs_bridge.endpoints.state_changes import StateChange
from sockjs_bridge.endpoints.tcp_acceptor import TcpAcceptor
from sockjs_bridge.endpoints.tcp_client import TcpClient
from sockjs_bridge.endpoints.tcp_group import TcpGroup
from sockjs_bridge.log import EventLog

UPSTREAM_DESCRIPTORS = 4
"""What one upstream session may have open: a stream, a request to send, one that was kept, a question."""
_REST_SECONDS = 5.0
_PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.02


class PrivateSession(Protocol):
    """The upstream session of one client. It opens once: when it has ended, it has ended."""

    @property
    def intake(self) -> Intake:
        """Where the client's messages go."""

    @property
    def is_open(self) -> bool:
        """Whether messages can flow."""

    def join(self, endpoint: Endpoint) -> None:
        """Deliver what the server sends to this endpoint."""

    async def run(self) -> None:
        """Connect, and stay until the end of the session, of all attempts, or until `stop`."""

    async def stop(self, deadline: float) -> None:
        """Send what waits, then close the session, by `deadline` (loop time); what is left is given up.

        To be called in any case, also where `run` has ended by itself.
        """


OpenSession = Callable[[str, str], PrivateSession]
"""Makes the session of a client from the names of its listener and of itself. It does not run yet."""

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class DedicatedListener:
    """Opens an upstream session for each client, and keeps the two together to the end of both.

    It belongs to a configured session, which starts, stops and shows it, and gets nothing delivered from
    there. `session` and `boot` (the run of the process) are what programs may be told.
    """

    def __init__(
        self,
        acceptor: TcpAcceptor,
        session: str,
        boot: str,
        open_session: OpenSession,
        budget: ClientBudget,
        spawn: Spawn,
        log: EventLog,
    ) -> None:
        self.acceptor = acceptor
        self.stall_timeout = acceptor.options.stall_timeout
        self._session = session
        self._boot = boot
        self._open_session = open_session
        self._budget = budget
        self._spawn = spawn
        self._log = log
        self._pairs: dict[_Pair, asyncio.Task[None]] = {}
        self._is_stopping = False

    @property
    def name(self) -> str:
        """The bound address, such as `127.0.0.1:9000` or `unix:/run/chat.sock`."""
        return self.acceptor.name

    @property
    def clients(self) -> int:
        """How many programs are connected."""
        return self.acceptor.clients

    @property
    def sessions(self) -> int:
        """How many upstream sessions are open."""
        return sum(pair.session.is_open for pair in self._pairs)

    @property
    def consumers(self) -> int:
        """None for the session that the listener belongs to."""
        return 0

    @property
    def holds(self) -> bool:
        """Never: nothing outlives a client."""
        return False

    @property
    def is_holding_back(self) -> bool:
        """Whether messages of clients wait for room in their queues."""
        return any(pair.group.is_holding_back for pair in self._pairs)

    def count_delivery(self) -> DeliveryCounts:
        """What became of the messages that were for clients, over all that there ever were."""
        return self.acceptor.counts.delivery(sum(pair.group.buffered_messages for pair in self._pairs))

    def describe(self) -> dict[str, str | int]:
        """What an operator wants to know."""
        return {
            "type": "tcp",
            "address": self.name,
            "framing": self.acceptor.options.format.name,
            "mode": "dedicated",
            "clients": self.clients,
            "sessions": self.sessions,
            **self.count_delivery().described(),
        }

    async def start(self) -> None:
        """Begin to accept. Raises OSError."""
        self.acceptor.start(self._welcome)

    def deliver(self, messages: list[str], first_seq: int) -> bool:
        """Nothing is for these clients."""
        del messages, first_seq
        return False

    def note_reached(self) -> None:
        """Nothing is kept here."""

    def receive_change(self, change: StateChange) -> None:
        """It is another session's."""

    def resume_intake(self) -> None:
        """It is another session's queue."""

    def cut_stalled(self) -> None:
        """Nobody here keeps the shared session waiting."""

    def cut_overfull(self) -> None:
        """Nobody here keeps the shared session waiting."""

    def stop_accepting(self) -> None:
        """Accept no new client; the others are served on."""
        self._is_stopping = True
        self.acceptor.stop()

    def stop_intake(self) -> None:
        """Take no further message of any client."""
        self._is_stopping = True
        for pair in self._pairs:
            pair.group.stop_intake()

    async def stop(self, deadline: float) -> None:
        """Let every session end, and its client read what was delivered, by `deadline` (loop time)."""
        pairs = dict(self._pairs)
        await asyncio.gather(*[pair.stop(deadline) for pair in pairs])
        if pairs:
            await asyncio.wait(pairs.values())

    def _welcome(self, client: TcpClient) -> TcpGroup | None:
        if self._is_stopping:
            return None
        if not self._budget.take(UPSTREAM_DESCRIPTORS):
            self._log.repeated(
                "refused a client: no file descriptors left for its session (raise the limit of open files)",
                client=client.peer,
            )
            return None
        pair = _Pair(self._open_session(self.name, client.peer), self._spawn)
        pair.group = TcpGroup(
            self.acceptor, pair.session.intake, self._session, self._boot, self._log, emptied=pair.wake
        )
        pair.session.join(pair.group)
        self._pairs[pair] = self._spawn(self._accompany(pair))
        return pair.group

    async def _accompany(self, pair: "_Pair") -> None:
        try:
            await pair.run()
        finally:
            del self._pairs[pair]
            self._budget.give_back(UPSTREAM_DESCRIPTORS)


class _Pair:
    """A client, as the only one of its group, and its session: what ends first ends the other."""

    def __init__(self, session: PrivateSession, spawn: Spawn) -> None:
        self.session = session
        self.group: TcpGroup
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._deadline = float("inf")
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """The client has left."""
        self._woken.set()

    async def run(self) -> None:
        """Stay from the client's arrival to the end of both."""
        running = self._spawn(self.session.run())
        running.add_done_callback(lambda _: self._woken.set())
        await self._woken.wait()
        if self.group.clients:
            await self._see_off()
        else:
            await self._send_rest(running)
        await self.group.stop(self._loop.time())

    async def stop(self, deadline: float) -> None:
        """End both by `deadline`: what the client wrote goes out, what was delivered is read."""
        self._deadline = min(self._deadline, deadline)
        await self.session.stop(deadline)
        await self.group.stop(deadline)

    async def _send_rest(self, running: asyncio.Task[None]) -> None:
        """The client has left: what it wrote is still sent."""
        self._deadline = min(self._deadline, self._loop.time() + _REST_SECONDS)
        # Polled: nobody else ever waits for this, and only a full queue makes it last.
        while self.group.is_holding_back and not running.done() and self._loop.time() < self._deadline:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(_LOOK_SECONDS)
        self.group.stop_intake()
        await self.session.stop(self._deadline)

    async def _see_off(self) -> None:
        """The session has ended: the client reads what was delivered, as long as it does read."""
        self.group.stop_intake()
        await self.session.stop(self._loop.time())
        # What its writer is told of that goes out in the next round of the loop.
        await asyncio.sleep(0)
        self.group.finish()
        while self.group.clients:
            unsent_bytes = self.group.unsent_bytes
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._woken.wait()
            if self.group.clients and self.group.unsent_bytes >= unsent_bytes:
                self.group.cut_all("a client did not read what its session had left; closed it")
