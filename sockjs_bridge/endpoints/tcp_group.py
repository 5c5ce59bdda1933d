"""The programs of a TCP listener that share one session."""

import asyncio
from collections import deque
from collections.abc import Callable

from sockjs_bridge.endpoints.base import DeliveryCounts, Intake
from sockjs_bridge.endpoints.replay import ReplayMemory
from sockjs_bridge.endpoints.state_changes import Connected, StateChange
from sockjs_bridge.endpoints.tcp_acceptor import TcpAcceptor
from sockjs_bridge.endpoints.tcp_client import TcpClient
from sockjs_bridge.endpoints.tcp_half_closed import HalfClosedClients
from sockjs_bridge.endpoints.tcp_output import CHUNK_BYTES
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog

_FLUSH_LOOK_SECONDS = 0.02
_GONE_LOOK_SECONDS = 0.001
_NO_BURST = (b"", 0)


class TcpGroup:
    """Gives each of its clients every message, and takes theirs.

    Clients outlive every failure of the server: only the bridge's own end, their own, or their slowness
    closes them. `session` and `boot` (the run of the process) are what programs may be told of it. A
    group that is not the only one of its acceptor is for one client: it hears, by `emptied`, that this one has
    left, and does not open and close the acceptor.
    """

    def __init__(
        self,
        acceptor: TcpAcceptor,
        intake: Intake,
        session: str,
        boot: str,
        log: EventLog,
        *,
        emptied: Callable[[], None] | None = None,
    ) -> None:
        self.acceptor = acceptor
        self.options = options = acceptor.options
        self.counts = acceptor.counts
        self.intake = intake
        self.log = log
        self.stall_timeout = options.stall_timeout
        self.discards_input = not options.takes
        self.burst = _NO_BURST
        """What `deliver` is just writing: encoded, and how many messages."""
        self._emptied = emptied
        self.wording = options.format.make_wording(session, boot, self.counts.encoding)
        self._opened: Connected | None = None
        self._epoch = 0
        keeps = options.replay if options.sends else 0
        self._memory = ReplayMemory(keeps, self._report_unseen) if keeps else None
        self._clients: dict[TcpClient, None] = {}
        self._audience: dict[TcpClient, None] = {}
        self._is_settling = False
        self._is_stale = False
        self._prompt: tuple[tuple[TcpClient, Callable[[bytes], None], Callable[[], bool]], ...] = ()
        self._behind: tuple[TcpClient, ...] = ()
        self._slow: set[TcpClient] = set()
        self._waiting: deque[TcpClient] = deque()
        self._half_closed = HalfClosedClients(options, awaits_opening=emptied is not None)
        self._stopping = False
        self._stopped_messages = 0

    @property
    def name(self) -> str:
        """The bound address, such as `127.0.0.1:9000` or `unix:/run/chat.sock`."""
        return self.acceptor.name

    @property
    def clients(self) -> int:
        """How many programs are connected."""
        return len(self._clients)

    @property
    def consumers(self) -> int:
        """How many programs want what the server sends."""
        return len(self._audience)

    @property
    def buffered_messages(self) -> int:
        """Messages that the kernel has not taken yet, summed over the clients."""
        return sum(client.output.unsent_messages for client in self._clients)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet, summed over the clients."""
        return sum(client.output.unsent_bytes for client in self._clients)

    def count_delivery(self) -> DeliveryCounts:
        """What became of the messages that were for clients."""
        return self.counts.delivery(self.buffered_messages)

    def describe(self) -> dict[str, str | int]:
        """What an operator wants to know."""
        return {
            "type": "tcp",
            "address": self.name,
            "framing": self.options.format.name,
            "clients": self.clients,
            "refused": self.counts.refused,
            **self.count_delivery().described(),
        }

    @property
    def is_holding_back(self) -> bool:
        """Whether messages of clients wait for room in the queue."""
        return bool(self._waiting)

    @property
    def holds(self) -> bool:
        """Whether messages are kept for clients that are yet to come."""
        return self._memory is not None

    async def start(self) -> None:
        """Begin to accept. Raises OSError."""
        if self._emptied is None:
            self.acceptor.start(lambda _: None if self._stopping else self)

    def deliver(self, messages: list[str], first_seq: int) -> bool:
        """Write messages to every client, encoded once; answers whether there is one."""
        if self._is_stale:
            self._compile()
        prompt, behind = self._prompt, self._behind
        if self._memory is not None:
            self._keep(self._memory, messages, first_seq)
        if not (prompt or behind):
            return False
        data = self.wording.messages(messages, self._epoch, first_seq)
        count = len(messages)
        self.counts.offered += count * (len(prompt) + len(behind))
        self.burst = data, count
        if len(data) <= CHUNK_BYTES:
            for client, write, is_closing in prompt:
                write(data)
                if is_closing():
                    # The connection broke, or had broken: nothing of this was taken.
                    self.stop_delivery(client)
                    self.count_lost(DropReason.CLIENT_GONE, count)
        else:
            for client, _, _ in prompt:
                client.send(data, count)
        for client in behind:
            client.send(data, count)
        self.burst = _NO_BURST
        self._half_closed.note_output()
        return True

    def receive_change(self, change: StateChange) -> None:
        """Tell the clients, where the framing has a place for it."""
        self._opened = change if isinstance(change, Connected) else None
        self._epoch = change.epoch
        self._half_closed.note_change()
        line = self.wording.change(change)
        if line:
            for client in list(self._audience):
                client.send(line, 0)

    def note_reached(self) -> None:
        """What was delivered last is not lost when it is forgotten here."""
        if self._memory is not None:
            self._memory.note_seen()

    def resume_intake(self) -> None:
        """The queue has room: serve the clients that wait, in the order in which they began to wait."""
        while self._waiting and self._waiting[0].offer_held():
            self._waiting.popleft()

    def cut_stalled(self) -> None:
        """Part with the clients that are still over `client_buffer`; the others may go on."""
        for client in list(self._slow):
            if client.output.live_unsent_bytes > self.options.client_buffer_bytes:
                self.cut(client, "a client did not read for stall_timeout; closed it")
            else:
                self.note_caught_up(client)

    def cut_overfull(self) -> None:
        """Part with the clients that have twice `client_buffer` to read."""
        for client in list(self._slow):
            # One that is closed is still here until the loop tells of it.
            is_overfull = client.output.live_unsent_bytes > 2 * self.options.client_buffer_bytes
            if is_overfull and not client.output.is_closing():
                self.cut(client, "a client fell behind by twice client_buffer; closed it")

    def cut_all(self, why: str) -> None:
        """Part with all clients."""
        for client in list(self._clients):
            self.cut(client, why)

    def cut(self, client: TcpClient, why: str) -> None:
        """Part with a client that does not read."""
        self.log.warning(
            why,
            client=client.peer,
            reason=DropReason.SLOW_CLIENT,
            undelivered_bytes=client.output.unsent_bytes,
            undelivered_messages=client.output.unsent_messages,
        )
        client.abort(DropReason.SLOW_CLIENT)

    def stop_accepting(self) -> None:
        """Accept no new client; the others are served on."""
        if self._emptied is None:
            self.acceptor.stop()

    def stop_intake(self) -> None:
        """Take no further message of any client."""
        self._stopping = True
        self.discards_input = True
        # Some of those that wait may be gone already; what they wrote was held for them.
        holders = {*self._clients, *self._waiting}
        self._waiting.clear()
        self._note_stopped(sum(client.stop_input() for client in holders))

    def finish(self) -> None:
        """Nothing more will be delivered: close each client when it has been given everything."""
        for client in list(self._clients):
            client.finish()

    async def stop(self, deadline: float) -> None:
        """Give the clients until `deadline` (loop time) to read what was delivered, then close them."""
        loop = asyncio.get_running_loop()
        # Polled, because it is only for a drain: a callback for each buffer would be kept for nothing else.
        while loop.time() < deadline and any(client.output.unsent_bytes for client in self._clients):  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(_FLUSH_LOOK_SECONDS)
        for client in list(self._clients):
            if client.output.unsent_bytes:
                self.log.warning(
                    "a client did not read until the end",
                    client=client.peer,
                    undelivered_bytes=client.output.unsent_bytes,
                    undelivered_messages=client.output.unsent_messages,
                    reason=DropReason.STOPPED,
                )
                client.abort(DropReason.STOPPED)
            else:
                client.close()
        self._half_closed.stop()
        if self._memory is not None:
            self._memory.clear()
        if self._stopped_messages:
            self.log.repeated(
                "messages of clients came too late to be taken",
                key=f"messages came too late at {self.name}",
                messages=self._stopped_messages,
                reason=DropReason.STOPPED,
            )
            self._stopped_messages = 0
        # What they had not been given is counted when they are gone, which is at once: they have been closed.
        while self._clients and loop.time() < deadline + _FLUSH_LOOK_SECONDS:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(_GONE_LOOK_SECONDS)

    def join(self, client: TcpClient) -> None:
        """A program has been admitted: it hears of the session, then of what it missed, then of what comes."""
        self._clients[client] = None
        if not self.options.sends:
            return
        self._audience[client] = None
        self._is_stale = True
        if self._opened is not None:
            line = self.wording.change(self._opened)
            if line:
                client.send(line, 0)
        if self._memory is not None:
            self._replay(client, self._memory)

    def dismiss(self, client: TcpClient, error: Exception | None, reason: DropReason) -> None:
        """A program has left; `reason` is that of what it had not been given yet."""
        undelivered = client.output.unsent_messages
        del self._clients[client]
        self.stop_delivery(client)
        self._half_closed.remove(client)
        self.note_caught_up(client)
        self.count_lost(reason, undelivered)
        self.acceptor.dismiss(client, error, undelivered)
        if self._emptied is not None:
            self._emptied()

    def stop_delivery(self, client: TcpClient) -> None:
        """A client is being closed: it gets no further message."""
        if client in self._audience:
            del self._audience[client]
            self._is_stale = True

    def note_pace(self) -> None:
        """A client has fallen behind, or caught up: it is written to in another way now."""
        self._is_stale = True

    def note_slow(self, client: TcpClient) -> None:
        """A client has more than `client_buffer` to read, and the server has to wait for it."""
        self._slow.add(client)
        self.intake.block(self)

    def note_caught_up(self, client: TcpClient) -> None:
        """A client has read most of what waited for it, or has left."""
        if client in self._slow:
            self._slow.remove(client)
            if not self._slow:
                self.intake.unblock(self)

    def note_dropped(self, client: TcpClient, messages: int, others: int) -> None:
        """The oldest of what waited for a client was dropped."""
        self.count_lost(DropReason.SLOW_CLIENT, messages)
        self.counts.dropped_others += others
        self.log.repeated(
            "a client does not read as fast as messages come; dropped the oldest",
            client=client.peer,
            reason=DropReason.SLOW_CLIENT,
            messages=messages,
            events_and_answers=others or None,
        )

    def count_lost(self, reason: DropReason, messages: int) -> None:
        """Messages that were for a client did not get to it."""
        if messages:
            self.counts.dropped[reason] += messages
            self.intake.count_dropped(reason, messages)

    def note_output(self) -> None:
        """Something was written: clients that send no more are served for a while longer."""
        self._half_closed.note_output()

    def wait_for_room(self, client: TcpClient) -> None:
        """A client holds messages that the queue had no room for."""
        self._waiting.append(client)

    def watch_half_closed(self, client: TcpClient) -> None:
        """A client sends no more, but is served on: look from time to time whether it is still there."""
        self._half_closed.add(client)

    def note_discarded(self, messages: int) -> None:
        """Messages came that nobody takes."""
        self.counts.discarded += messages
        if self._stopping:
            self._note_stopped(messages)

    @property
    def is_stopping(self) -> bool:
        """Whether what still comes from clients comes too late."""
        return self._stopping

    def _note_stopped(self, messages: int) -> None:
        if messages:
            self._stopped_messages += messages
            self.intake.count_dropped(DropReason.STOPPED, messages)

    def _keep(self, memory: ReplayMemory, messages: list[str], first_seq: int) -> None:
        memory.keep(messages, self._epoch, first_seq, unseen=not self._audience)
        if self._audience:
            memory.settle()
        elif not self._is_settling:
            # Whether programs elsewhere got it comes out after all endpoints had it.
            self._is_settling = True
            asyncio.get_running_loop().call_soon(self._settle, memory)

    def _settle(self, memory: ReplayMemory) -> None:
        self._is_settling = False
        memory.settle()

    def _replay(self, client: TcpClient, memory: ReplayMemory) -> None:
        recalled = list(memory.recall())
        messages = sum(len(burst) for burst, _, _ in recalled)
        if messages:
            self.counts.offered += messages
            client.send(
                b"".join([self.wording.messages(*burst) for burst in recalled]), messages, is_replay=True
            )

    def _report_unseen(self, messages: int) -> None:
        self.intake.count_dropped(DropReason.NO_CONSUMER, messages)
        self.log.repeated(
            "messages were forgotten that no program ever got",
            reason=DropReason.NO_CONSUMER,
            messages=messages,
        )

    def _compile(self) -> None:
        self._is_stale = False
        self._prompt = tuple(
            [
                (client, client.output.write, client.output.is_closing)
                for client in self._audience
                if not client.output.is_behind
            ]
        )
        self._behind = tuple([client for client in self._audience if client.output.is_behind])
