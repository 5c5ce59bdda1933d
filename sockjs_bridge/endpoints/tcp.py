"""A listener for local programs: TCP or a Unix socket, all clients sharing one session."""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sockjs_bridge.endpoints.address import ListenAddress, UnixAddress
from sockjs_bridge.endpoints.base import ClientBudget, Intake
from sockjs_bridge.endpoints.binding import BACKLOG, unlink_own
from sockjs_bridge.endpoints.framing import Dropped, EncodingCounts, Framing
from sockjs_bridge.endpoints.state_changes import StateChange
from sockjs_bridge.endpoints.tcp_client import TcpClient
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog

_SWEEP_SECONDS = 30.0
_SWEEPS_PER_LINGER = 4
_FLUSH_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class TcpOptions:
    """Settings of a listener. Times in seconds, sizes in bytes, `direction` as the configuration says it."""

    address: ListenAddress
    framing: Framing
    direction: str = "both"
    max_clients: int = 1000
    max_message_bytes: int = 1 << 20
    client_buffer_bytes: int = 1 << 20
    stall_timeout: float = 3.0
    half_close: bool = True
    eof_linger: float = 2.0
    reject_http: bool = True


class TcpListener:
    """Accepts programs, gives each of them every message, and takes theirs.

    `sockets` listen already. Clients outlive every failure of the server: only the
    bridge's own end, their own, or their slowness (`stall_timeout`) closes them.
    """

    def __init__(
        self,
        options: TcpOptions,
        sockets: list[socket.socket],
        intake: Intake,
        budget: ClientBudget,
        log: EventLog,
    ) -> None:
        self.options = options
        self.intake = intake
        self.log = log
        self.stall_timeout = options.stall_timeout
        self.counts = EncodingCounts()
        self.discarded = 0
        """Messages from programs that `direction = "from-server"` or a stop let go unread."""
        self.invalid_utf8 = 0
        self._sockets = sockets
        self._name = _bound_name(options.address, sockets[0])
        self._inode = os.lstat(options.address.path).st_ino if isinstance(options.address, UnixAddress) else 0
        self._budget = budget
        self._encode = options.framing.make_encoder(self.counts)
        self._servers: list[asyncio.Server] = []
        self._gave_sockets = False
        self._clients: dict[TcpClient, None] = {}
        self._audience: dict[TcpClient, None] = {}
        self._writers: tuple[Callable[[bytes], None], ...] = ()
        self._slow: set[TcpClient] = set()
        self._waiting: deque[TcpClient] = deque()
        self._half_closed: set[TcpClient] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._last_output = 0.0
        self._stopping = False
        self._stopped_messages = 0
        self._sends = options.direction != "to-server"
        self.discards_input = options.direction == "from-server"
        self.lingers = options.direction == "both"
        self.serves_after_eof = self.discards_input or (self.lingers and options.half_close)

    @property
    def name(self) -> str:
        """The bound address, such as `127.0.0.1:9000` or `unix:/run/chat.sock`."""
        return self._name

    @property
    def clients(self) -> int:
        """How many programs are connected."""
        return len(self._clients)

    @property
    def consumers(self) -> int:
        """How many programs want what the server sends."""
        return len(self._writers)

    def describe(self) -> dict[str, str | int]:
        """What an operator wants to know."""
        return {
            "type": "tcp",
            "address": self.name,
            "framing": self.options.framing.name,
            "clients": self.clients,
        }

    @property
    def is_holding_back(self) -> bool:
        """Whether messages of clients wait for room in the queue."""
        return bool(self._waiting)

    async def start(self) -> None:
        """Begin to accept. Raises OSError."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            # Not create_unix_server: on Python 3.13 it removes the socket's file at its end, which may be another's
            # by then, after a reload or of the service manager.
            self._servers.append(
                await loop.create_server(lambda: TcpClient(self), sock=sock, backlog=BACKLOG)
            )
        self.log.info(f"listening on {self.name}", framing=self.options.framing.name)

    def deliver(self, messages: list[str], first_seq: int) -> bool:
        """Write messages to every client, encoded once; answers whether there is one."""
        del first_seq  # none of these framings has a place for it
        if not self._writers:
            return False
        data = self._encode(messages)
        for write in self._writers:
            write(data)
        if self._half_closed:
            self._last_output = asyncio.get_running_loop().time()
        return True

    def receive_change(self, change: StateChange) -> None:
        """These framings have no place for it."""

    def resume_intake(self) -> None:
        """The queue has room: serve the clients that wait, in the order in which they began to wait."""
        while self._waiting and self._waiting[0].offer_held():
            self._waiting.popleft()

    def cut_stalled(self) -> None:
        """Part with the clients that are still over `client_buffer`."""
        for client in list(self._slow):
            self._cut(client, "a client did not read for stall_timeout; closed it")

    def cut_overfull(self) -> None:
        """Part with the clients that have twice `client_buffer` to read."""
        for client in list(self._slow):
            if client.buffered_bytes > 2 * self.options.client_buffer_bytes:
                self._cut(client, "a client fell behind by twice client_buffer; closed it")

    def _cut(self, client: TcpClient, why: str) -> None:
        self.log.warning(
            why,
            client=client.peer,
            reason=DropReason.SLOW_CLIENT,
            undelivered_bytes=client.buffered_bytes,
        )
        client.abort()

    def give_sockets(self) -> list[socket.socket]:
        """The listening sockets, for another listener in place of this one: who connects meanwhile waits."""
        self._gave_sockets = True
        return [sock.dup() for sock in self._sockets]

    def stop_accepting(self) -> None:
        """Accept no new client; the others are served on."""
        for server in self._servers:
            server.close()
        if not self._gave_sockets and isinstance(self.options.address, UnixAddress):
            unlink_own(self.options.address.path, self._inode)

    def stop_intake(self) -> None:
        """Take no further message of any client."""
        self._stopping = True
        self.discards_input = True
        # Some of those that wait may be gone already; what they wrote was held for them.
        holders = {*self._clients, *self._waiting}
        self._waiting.clear()
        self._note_stopped(sum(client.stop_input() for client in holders))

    async def stop(self, deadline: float) -> None:
        """Give the clients until `deadline` (loop time) to read what was delivered, then close them."""
        loop = asyncio.get_running_loop()
        # Polled, because it is only for a drain: a callback for each buffer would be kept for nothing else.
        while loop.time() < deadline and any(client.buffered_bytes for client in self._clients):  # noqa: ASYNC110  # as above
            await asyncio.sleep(_FLUSH_LOOK_SECONDS)
        for client in list(self._clients):
            if client.buffered_bytes:
                self.log.warning(
                    "a client did not read until the end",
                    client=client.peer,
                    undelivered_bytes=client.buffered_bytes,
                )
                client.abort()
            else:
                client.close()
        if self._sweep:
            self._sweep.cancel()
        if self._stopped_messages:
            self.log.warning(
                "messages of clients came too late to be taken",
                messages=self._stopped_messages,
                reason="stopped",
            )

    def admit(self, client: TcpClient) -> bool:
        """A program has connected; answers whether it may stay."""
        if self._stopping:
            return False
        if len(self._clients) >= self.options.max_clients:
            self.log.repeated(
                "refused a client: max_clients are connected", client=client.peer, clients=self.clients
            )
            return False
        if not self._budget.take():
            self.log.repeated(
                "refused a client: no file descriptors left (raise the limit of open files)",
                client=client.peer,
            )
            return False
        self._clients[client] = None
        if self._sends:
            self._audience[client] = None
            self._compile_writers()
        self.log.info("client in", client=client.peer, clients=self.clients)
        return True

    def dismiss(self, client: TcpClient, error: Exception | None) -> None:
        """A program has left."""
        del self._clients[client]
        self._budget.give_back()
        self.stop_delivery(client)
        self._half_closed.discard(client)
        self.note_caught_up(client)
        self.log.info(
            "client out", client=client.peer, clients=self.clients, error=str(error) if error else None
        )

    def stop_delivery(self, client: TcpClient) -> None:
        """A client is being closed: it gets no further message."""
        if client in self._audience:
            del self._audience[client]
            self._compile_writers()

    def note_slow(self, client: TcpClient) -> None:
        """A client's buffer passed its limit."""
        self._slow.add(client)
        self.intake.block(self)

    def note_caught_up(self, client: TcpClient) -> None:
        """A client's buffer has drained, or the client has left."""
        if client in self._slow:
            self._slow.remove(client)
            if not self._slow:
                self.intake.unblock(self)

    def wait_for_room(self, client: TcpClient) -> None:
        """A client holds messages that the queue had no room for."""
        self._waiting.append(client)

    def watch_half_closed(self, client: TcpClient) -> None:
        """A client sends no more, but is served on: look from time to time whether it is still there."""
        self._half_closed.add(client)
        if self._sweep is None:
            self._plan_sweep()

    def report_dropped(self, client: TcpClient, dropped: Dropped) -> None:
        """Something that a client sent was no message."""
        self.count_dropped(dropped.reason, 1)
        text = {
            DropReason.OVERSIZE: "a message of a client was larger than max_message_size; skipped it",
            DropReason.INVALID: "a message of a client was not valid in this framing; skipped it",
        }[dropped.reason]
        self.log.repeated(text, client=client.peer, reason=dropped.reason, size_bytes=dropped.size_bytes)

    def note_invalid_utf8(self, client: TcpClient, messages: int) -> None:
        """Messages of a client were not UTF-8."""
        self.invalid_utf8 += messages
        self.log.repeated(
            "a client sent invalid UTF-8; replaced by U+FFFD", client=client.peer, messages=messages
        )

    def note_discarded(self, messages: list[str]) -> None:
        """Messages came that nobody takes."""
        self.discarded += len(messages)
        if self._stopping:
            self._note_stopped(len(messages))

    def _note_stopped(self, messages: int) -> None:
        if messages:
            self._stopped_messages += messages
            self.count_dropped(DropReason.STOPPED, messages)

    def count_dropped(self, reason: DropReason, messages: int) -> None:
        """Messages of clients went nowhere."""
        self.intake.count_dropped(reason, messages)

    def _compile_writers(self) -> None:
        self._writers = tuple([client.write for client in self._audience])

    def _plan_sweep(self) -> None:
        interval = self.options.eof_linger / _SWEEPS_PER_LINGER if self.lingers else _SWEEP_SECONDS
        self._sweep = asyncio.get_running_loop().call_later(interval, self._sweep_half_closed)

    def _sweep_half_closed(self) -> None:
        now = asyncio.get_running_loop().time()
        for client in list(self._half_closed):
            if client.half_closed_is_over(now, self._last_output):
                self._half_closed.discard(client)
                client.close()
        self._sweep = None
        if self._half_closed:
            self._plan_sweep()


def _bound_name(address: ListenAddress, sock: socket.socket) -> str:
    if isinstance(address, UnixAddress):
        return str(address)
    bound = sock.getsockname()
    if not isinstance(bound, tuple):
        return f"unix:{bound}"
    host, port = bound[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
