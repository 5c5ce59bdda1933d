"""Standard input and output as the local side of one session."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto

from sockjs_bridge.endpoints.base import DeliveryCounts, Intake
from sockjs_bridge.endpoints.framing import EncodingCounts, Framing
from sockjs_bridge.endpoints.state_changes import Connected, Disconnected, StateChange
from sockjs_bridge.endpoints.stdio_streams import Sink, Source
from sockjs_bridge.errors import DropReason, FramingError
from sockjs_bridge.log import EventLog

_HIGH_WATER_BYTES = 1 << 20
_LOW_WATER_BYTES = _HIGH_WATER_BYTES // 4
# Over HTTP a response comes to its end though nobody reads. A server that never ends one must not fill the memory.
_MOST_BUFFERED_BYTES = 64 << 20
_LONGEST_STALL_SECONDS = 24 * 3600.0


class Leave(Enum):
    """Why there is no reason to stay."""

    SESSION_ENDED = auto()
    ENOUGH = auto()
    """As many messages came as were asked for."""
    OUTPUT_CLOSED = auto()
    OUTPUT_OVERFULL = auto()
    INPUT_BROKEN = auto()
    """The input can not be cut into messages any more."""


class StdioEndpoint:
    """An endpoint with one program: whoever is at the other end of `source` and `sink`.

    The input is read once the session has opened. Whoever does not read the output stops the reading of the
    server, for as long as it takes. `leave` is done at the first reason to leave; `enough` counts messages,
    None is never enough. `on_session_end` is called at once, before anybody else can act on it.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        framing: Framing,
        intake: Intake,
        log: EventLog,
        *,
        max_message_bytes: int,
        on_session_end: Callable[[], None],
        enough: int | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.stall_timeout = _LONGEST_STALL_SECONDS
        self.leave: asyncio.Future[Leave] = loop.create_future()
        self.input_ended = asyncio.Event()
        self.opened: Connected | None = None
        self.ended: Disconnected | None = None
        self.output_error: OSError | None = None
        """Why nothing can be written any more, where that is more than a reader who has gone."""
        self.last_output = loop.time()
        """When a message last came, in seconds of the loop's clock."""
        self._loop = loop
        self._source = source
        self._sink = sink
        self._intake = intake
        self._log = log
        self._encode = framing.make_encoder(EncodingCounts())
        self._decoder = framing.make_decoder(max_message_bytes)
        self._on_session_end = on_session_end
        self._wanted = enough
        self._held: list[str] = []
        self._is_blocking = False
        self._has_stopped_intake = False
        self._flushed = asyncio.Event()

    @property
    def name(self) -> str:
        """What logs call it."""
        return "stdio"

    @property
    def consumers(self) -> int:
        """One, as long as the output is open."""
        return 0 if self.leave.done() and self.leave.result() is Leave.OUTPUT_CLOSED else 1

    @property
    def held_back(self) -> int:
        """How many messages wait for room in the queue."""
        return len(self._held)

    @property
    def is_holding_back(self) -> bool:
        """Whether messages wait for room in the queue."""
        return bool(self._held)

    @property
    def unwritten_bytes(self) -> int:
        """Bytes of messages that came and that the output has not taken yet."""
        return self._sink.buffered_bytes

    def describe(self) -> dict[str, str | int]:
        """What an operator wants to know."""
        return {"type": "stdio", "address": self.name, "clients": 1}

    def count_delivery(self) -> DeliveryCounts | None:
        """Nothing: there is nobody to ask."""
        return None

    @property
    def holds(self) -> bool:
        """There is no other program to come."""
        return False

    def note_reached(self) -> None:
        """Nothing is kept here."""

    async def start(self) -> None:
        """Watch the output; the input has to wait for the session."""
        self._sink.start(self._note_progress, self._note_closed)

    def deliver(self, messages: list[str], first_seq: int) -> bool:
        """Write messages; answers whether somebody may read them."""
        del first_seq  # none of these framings has a place for it
        if self._wanted is not None:
            messages = messages[: self._wanted]
            self._wanted -= len(messages)
        if messages:
            self.last_output = self._loop.time()
            self._sink.write(self._encode(messages))
            self._note_progress()
        if self._wanted == 0:
            self._leave_for(Leave.ENOUGH)
        return bool(self.consumers)

    def receive_change(self, change: StateChange) -> None:
        """The session has opened or ended."""
        match change:
            case Connected():
                self.opened = change
                if not self._has_stopped_intake:
                    self._source.start(self._feed, self._end_input)
            case Disconnected():
                self.ended = change
                self._on_session_end()
                self._leave_for(Leave.SESSION_ENDED)

    def resume_intake(self) -> None:
        """The queue to the server has room again."""
        if not self._held:
            return
        self._held = self._held[self._intake.offer(self._held) :]
        if not self._held:
            self._source.resume()

    def cut_stalled(self) -> None:
        """Whoever reads the output is the only one: there is nobody else to be kept waiting."""

    def cut_overfull(self) -> None:
        """The server sends on though nobody reads: part once it is far too much."""
        if self._sink.buffered_bytes > _MOST_BUFFERED_BYTES:
            self._leave_for(Leave.OUTPUT_OVERFULL)

    def stop_accepting(self) -> None:
        """There is nobody to accept."""

    def stop_intake(self) -> None:
        """Read nothing more; what waits for room is given up."""
        self._has_stopped_intake = True
        self._source.stop()
        if self._held:
            self._intake.count_dropped(DropReason.STOPPED, len(self._held))
            self._held = []

    async def stop(self, deadline: float) -> None:
        """Wait until the output has taken everything, by `deadline` (seconds of the loop's clock)."""
        self._note_progress()
        try:
            async with asyncio.timeout_at(deadline):
                await self._flushed.wait()
        except TimeoutError:
            self._log.warning("the output was not read to its end", undelivered_bytes=self.unwritten_bytes)
        self._sink.stop()

    def _note_closed(self, error: OSError | None) -> None:
        self.output_error = error
        self._leave_for(Leave.OUTPUT_CLOSED)

    def _leave_for(self, reason: Leave) -> None:
        if reason is Leave.OUTPUT_CLOSED:
            self._flushed.set()
        if not self.leave.done():
            self.leave.set_result(reason)

    def _note_progress(self) -> None:
        waiting = self._sink.buffered_bytes
        if waiting:
            self._flushed.clear()
        else:
            self._flushed.set()
        if waiting > _HIGH_WATER_BYTES and not self._is_blocking:
            self._is_blocking = True
            self._intake.block(self)
        elif waiting <= _LOW_WATER_BYTES and self._is_blocking:
            self._is_blocking = False
            self._intake.unblock(self)

    def _feed(self, data: bytes) -> None:
        try:
            messages = self._decoder.feed(data)
        except FramingError:
            messages = []  # the decoder keeps the error, also when messages come before it
        self._take(messages)
        if self._decoder.error is not None:
            self._source.stop()
            self._leave_for(Leave.INPUT_BROKEN)

    def _end_input(self) -> None:
        self._take(self._decoder.end())
        self.input_ended.set()

    def _take(self, messages: list[str]) -> None:
        if messages:
            taken = 0 if self._held else self._intake.offer(messages)
            if taken < len(messages):
                self._held += messages[taken:]
                self._source.pause()
        for dropped in self._decoder.dropped:
            self._intake.count_dropped(dropped.reason, 1)
            self._log.warning(
                "left out a message of the input", reason=dropped.reason, size_bytes=dropped.size_bytes
            )
        self._decoder.dropped.clear()
        if self._decoder.invalid_utf8:
            self._log.repeated("invalid UTF-8 in the input was replaced by U+FFFD")
            self._decoder.invalid_utf8 = 0
