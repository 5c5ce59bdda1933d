"""The way in of a sub, pull or dealer socket: messages of programs for the server."""

import zmq

from sockjs_bridge.endpoints.base import Intake
from sockjs_bridge.endpoints.zeromq.polled import PolledSocket
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog

# One drain takes at most so much, then the loop gets its turn.
_MESSAGES_AT_ONCE = 256
_BYTES_AT_ONCE = 1 << 20
# Peers of a dealer may go on writing for ever.
_BURSTS_AT_THE_END = 1000


class Incoming:
    """Takes messages in bursts and stops reading while the queue to the server has no room.

    A message has one frame; where `takes_topic`, a topic may come before it. Anything else, and what is
    larger than `max_message_bytes`, is left out, counted and reported.
    """

    def __init__(
        self,
        socket: PolledSocket,
        intake: Intake,
        max_message_bytes: int,
        log: EventLog,
        *,
        takes_topic: bool,
    ) -> None:
        self._socket = socket
        self._intake = intake
        self._max_message_bytes = max_message_bytes
        self._takes_topic = takes_topic
        self._log = log
        self._held: list[str] = []
        self._is_drained = False
        self.invalid_utf8 = 0
        """Messages in which invalid UTF-8 was replaced by U+FFFD."""

    @property
    def is_holding_back(self) -> bool:
        """Whether messages wait for room in the queue."""
        return bool(self._held)

    def receive(self) -> None:
        """Take what is there, up to a burst."""
        pieces = self._read_burst()
        if pieces:
            self._held = self._offer(self._decode(pieces))
            self._socket.is_reading = not self._held

    def resume(self) -> None:
        """The queue has room again."""
        if self._held:
            self._held = self._offer(self._held)
            if not self._held:
                self._socket.is_reading = True
                self._socket.look_again()

    def finish(self) -> int:
        """Take what libzmq still holds, then read no more; returns how many messages found no room."""
        unread, self._held = len(self._offer(self._held)), []
        self._socket.is_reading = False
        self._is_drained = False
        for _ in range(_BURSTS_AT_THE_END):
            messages = self._decode(self._read_burst())
            # In order: once a message found no room, those after it are not offered.
            unread += len(messages) if unread else len(self._offer(messages))
            if self._is_drained:
                break
        return unread

    def _offer(self, messages: list[str]) -> list[str]:
        if not messages:
            return []
        return messages[self._intake.offer(messages) :]

    def _read_burst(self) -> list[bytes]:
        receive = self._socket.raw.recv
        pieces: list[bytes] = []
        size_bytes = 0
        try:
            for _ in range(_MESSAGES_AT_ONCE):
                frame = receive(zmq.NOBLOCK, False)
                # A Frame knows of `more`; asking the socket for RCVMORE costs as much as another receive.
                piece = self._rest_of_message(frame) if frame.more else frame.bytes
                if piece is not None:
                    pieces.append(piece)
                    size_bytes += len(piece)
                    if size_bytes >= _BYTES_AT_ONCE:
                        break
        except zmq.Again:
            self._is_drained = True
        return pieces

    def _rest_of_message(self, first: zmq.Frame) -> bytes | None:
        """Read the other frames of a message; returns its data, None where it is none."""
        # Whole messages arrive at once: none of these can block.
        rest = self._socket.raw.recv_multipart(zmq.NOBLOCK)
        if self._takes_topic and len(rest) == 1:
            return rest[0]
        frames = len(rest) + 1
        self._drop(
            DropReason.INVALID,
            f"a message had {frames} frames, not {'[data] or [topic, data]' if self._takes_topic else '[data]'}; left it out",
            len(first) + sum(map(len, rest)),
        )
        return None

    def _decode(self, pieces: list[bytes]) -> list[str]:
        if pieces and max(map(len, pieces)) > self._max_message_bytes:
            pieces = self._without_oversize(pieces)
        try:
            return list(map(bytes.decode, pieces))
        except UnicodeDecodeError:
            return [self._replacing(piece) for piece in pieces]

    def _without_oversize(self, pieces: list[bytes]) -> list[bytes]:
        fitting = []
        for piece in pieces:
            if len(piece) <= self._max_message_bytes:
                fitting.append(piece)
            else:
                text = f"a message was larger than {self._max_message_bytes} bytes; left it out"
                self._drop(DropReason.OVERSIZE, text, len(piece))
        return fitting

    def _replacing(self, piece: bytes) -> str:
        try:
            return piece.decode()
        except UnicodeDecodeError:
            self.invalid_utf8 += 1
            self._log.repeated("a message was invalid UTF-8; replaced by U+FFFD", size_bytes=len(piece))
            return piece.decode(errors="replace")

    def _drop(self, reason: DropReason, text: str, size_bytes: int) -> None:
        self._intake.count_dropped(reason, 1)
        self._log.repeated(text, reason=reason, size_bytes=size_bytes)
