"""LivenessWatch: looks at the clock for one connection, asks its server when that is due, and tells when it is dead."""

import asyncio
from collections.abc import Callable
from math import inf

from sockjs_bridge.protocol.liveness import Liveness, Verdict
from sockjs_bridge.transports.base import Transport


class LivenessWatch:
    """Drives a `Liveness` with one timer. Times in seconds; 0 turns a limit off.

    `next_ping` gives the number of a PING that is due, `declare_dead` is told why the connection is dead.
    """

    def __init__(
        self,
        transport: Transport,
        silence_timeout: float,
        ping_interval: float,
        *,
        next_ping: Callable[[], int],
        declare_dead: Callable[[str], None],
    ) -> None:
        self._transport = transport
        self._silence_timeout = silence_timeout
        self._ping_interval = 0.0 if transport.is_http else ping_interval
        self._next_ping = next_ping
        self._declare_dead = declare_dead
        self._loop = asyncio.get_running_loop()
        self._liveness = Liveness(
            now=self._loop.time(),
            silence_timeout=silence_timeout,
            ping_interval=self._ping_interval,
            answers_questions=transport.is_http,
        )
        self.note_bytes = self._liveness.receive_bytes
        """Something arrived, at this loop time; nothing is planned anew for it."""
        self._look: asyncio.TimerHandle | None = None
        self._is_over = False

    def plan(self) -> None:
        """Look at the clock when there is something to see."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        when = self._liveness.next_look()
        if when < inf and not self._is_over:
            self._look = self._loop.call_at(when, self._judge)

    def stop(self) -> None:
        """Look no more."""
        self._is_over = True
        self.plan()

    def note_heartbeat(self) -> None:
        """The server has sent a heartbeat or a PING."""
        self._liveness.receive_heartbeat(self._loop.time())
        self.plan()

    def note_pong(self) -> None:
        """The server has answered a PING."""
        self._liveness.receive_pong(self._loop.time())
        self.plan()

    def note_answer(self) -> None:
        """The server has answered a question."""
        self._liveness.receive_answer(self._loop.time())
        self.plan()

    def send_ping(self, number: int) -> None:
        """Send a PING, for whatever purpose."""
        self._liveness.sent_ping(self._loop.time())
        self._transport.send_ping(number)
        self.plan()

    def suspend(self) -> None:
        """We stop reading on purpose: the server cannot be judged."""
        self._liveness.suspend()

    def resume(self) -> None:
        """We read again."""
        self._liveness.resume(self._loop.time())
        self.plan()

    def _judge(self) -> None:
        now = self._loop.time()
        age = self._transport.seconds_since_last_byte()
        if age is not None:
            self._liveness.receive_bytes(now - age)
        match self._liveness.judge(now):
            case Verdict.SILENT:
                self._declare_dead(f"nothing came for {self._silence_timeout:g} s")
            case Verdict.PONG_OVERDUE:
                self._declare_dead(f"a PING was not answered for {self._ping_interval:g} s")
            case Verdict.PING_DUE:
                self.send_ping(self._next_ping())
            case Verdict.QUESTION_DUE:
                self._liveness.sent_question()
                self._transport.send_ping(0)
            case Verdict.ALIVE:
                pass
        self.plan()
