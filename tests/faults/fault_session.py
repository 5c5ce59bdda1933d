"""One session of a fault server: what it has to say next, and how it breaks."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.journal import JournalWriter
from tests.faults.numbered import numbered
from tests.scripted import Peer

HEARTBEAT_SECONDS = 0.2
_MESSAGE_SECONDS = 0.01
STALL_SECONDS = 0.5
"""A stall ends before silence_timeout: the session lives on."""


@dataclass(frozen=True)
class Fault:
    """A fault by name: rst, silence, half, c, o, 404, 500, hang, stall. `code` is of a close frame."""

    name: str
    code: int = 3000


class FaultSession:
    """What both directions of a session share. It sends messages on its own, while `may_speak()`."""

    def __init__(
        self, number: int, transport: str, journal: JournalWriter, may_speak: Callable[[], bool]
    ) -> None:
        self.number = number
        self.transport = transport
        self.peers: set[Peer] = set()
        """The connections that receive."""
        self.has_ended = False
        self.said_close = False
        self.refuses_next_send = False
        self.send_is_under_way = False
        self.receive_is_under_way = False
        self._journal = journal
        self._may_speak = may_speak
        self._loop = asyncio.get_running_loop()
        self._faults: deque[Fault] = deque()
        self._sent = 0
        self._shown = False
        self._next_heartbeat = self._loop.time() + HEARTBEAT_SECONDS
        self._is_silent = False
        self._is_deaf = False
        self._stalled_until = 0.0

    def break_by(self, fault: Fault) -> None:
        """Begin a fault; those of what is sent come behind what is being sent."""
        match fault.name:
            case "rst":
                self.has_ended = True
                for peer in self.peers:
                    peer.reset()
            case "silence":
                self._is_silent = self._is_deaf = True
            case "500":
                self.refuses_next_send = True
            case "hang":
                self._is_deaf = True
            case "stall":
                self._stalled_until = self._loop.time() + STALL_SECONDS
            case _:
                self._faults.append(fault)

    def end(self) -> None:
        """The session is over."""
        self.has_ended = True

    def note_shown(self) -> None:
        """A PING of the bridge was answered, or it got a heartbeat."""
        if not self._shown:
            self._shown = True
            self._journal.shown(self.number)

    async def wait_readable(self) -> None:
        """Wait while nothing is read: for ever where the fault is that."""
        while self._is_deaf or self._loop.time() < self._stalled_until:
            await asyncio.sleep(_MESSAGE_SECONDS)
            if self.has_ended:
                raise ConnectionAbortedError

    async def next_item(self) -> list[str] | Fault | None:
        """The next messages, none of them for a heartbeat, or a fault; None when the session has ended."""
        while not self.has_ended:
            await asyncio.sleep(_MESSAGE_SECONDS)
            now = self._loop.time()
            if self._is_silent or now < self._stalled_until:
                continue
            if self._faults:
                return self._begin(self._faults.popleft())
            if now >= self._next_heartbeat:
                self._next_heartbeat = now + HEARTBEAT_SECONDS
                if not self.transport.startswith("websocket"):
                    self.note_shown()
                return []
            if self._may_speak():
                return self._say(1 + self._sent % 3)
        return None

    def half_frame(self) -> str:
        """A frame of which only half will arrive: its messages are sent, and lost."""
        return "a" + json.dumps(self._say(3))

    def _begin(self, fault: Fault) -> Fault:
        if fault.name != "o":
            self.has_ended = True
        self.said_close = fault.name == "c"
        return fault

    def _say(self, count: int) -> list[str]:
        first = self._sent + 1
        self._sent += count
        self._journal.sent(self.number, self._sent)
        return [numbered(f"s{self.number}", number) for number in range(first, self._sent + 1)]
