"""The bytes to one client: straight to the kernel while it takes all of them, else through a queue."""

import asyncio

from sockjs_bridge.endpoints.client_queue import ClientQueue, Piece, unfinished_messages, whole
from sockjs_bridge.endpoints.wording import Wording

CHUNK_BYTES = 64 << 10
"""More than this is not given to the transport at once, but for a message that is longer."""


class TcpOutput:
    """Never gives the transport more than it can pass on, so that what waits can still be dropped and counted.

    The transport tells of the first byte that the kernel does not take (`pause`) and when that is gone
    (`resume`): it holds the rest of one burst, or of about 64 KiB; everything else waits in the queue. So
    in the fast case a burst costs one write and nothing is noted.
    """

    def __init__(self, transport: asyncio.Transport, wording: Wording) -> None:
        self.write = transport.write
        """For a burst of CHUNK_BYTES at most to a client that is not behind, if `pause` is told of that burst."""
        self.is_closing = transport.is_closing
        self.is_behind = False
        """Whether the kernel did not take everything."""
        self._transport = transport
        self._wording = wording
        self._queue = ClientQueue(wording.ends)
        self._handed: list[Piece] = []
        self._unsent_bytes = 0
        self._appended_bytes = 0
        self._replay_end = 0
        self._has_gap = False
        self._gap_messages = 0
        transport.set_write_buffer_limits(0)

    def forget(self) -> None:
        """The connection is gone, and what did not reach the program is counted: let go of it.

        A client, its output and its transport hold each other, and Python may look for such circles only
        minutes later: in a hundred clients that came and went there were 400 MB.
        """
        self._queue = ClientQueue(self._wording.ends)
        self._handed = []

    @property
    def has_queue(self) -> bool:
        """Whether something waits that the transport does not know of."""
        return bool(self._queue.size_bytes)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._in_transport() + self._queue.size_bytes

    @property
    def live_unsent_bytes(self) -> int:
        """The same without the replay that a new client begins with: it is no sign of slowness."""
        unsent = self.unsent_bytes
        return unsent - self._unsent_replay(unsent)

    @property
    def unsent_messages(self) -> int:
        """Messages of which the kernel has not taken the last byte.

        Where the connection broke, what the kernel took since the last look at it counts as not taken.
        """
        in_transport = unfinished_messages(self._handed, self._in_transport(), self._wording.ends)
        return in_transport + self._queue.messages

    def send(self, data: bytes, messages: int, *, is_replay: bool = False) -> None:
        """Send a burst of whole messages, or of events and answers (`messages` is 0 then)."""
        if is_replay:
            self._replay_end = self._appended_bytes = self.unsent_bytes + len(data)
        elif self._replay_end:
            self._appended_bytes += len(data)
        self._queue.append(data, messages)
        if not self.is_behind:
            self._pump()

    def pause(self, burst: tuple[bytes, int]) -> None:
        """The kernel has not taken all of what was written last: `burst`, unless `send` wrote it."""
        self.is_behind = True
        if not self._handed:
            self._handed = [whole(*burst)]
        self._unsent_bytes = self._transport.get_write_buffer_size()

    def resume(self) -> None:
        """The kernel has taken everything that it was given: go on with what waits."""
        self.is_behind = False
        self._handed = []
        self._pump()

    def drop_oldest(self, limit_bytes: int) -> tuple[int, int]:
        """Drop what is oldest of what waits, down to `limit_bytes`; returns messages, and events and answers.

        The gap is marked where the wording has a mark, before the next message.
        """
        in_transport = self._in_transport()
        replay = self._unsent_replay(in_transport + self._queue.size_bytes)
        dropped = self._queue.drop_oldest(max(0, limit_bytes + replay - in_transport))
        if any(dropped):
            self._has_gap = True
            self._gap_messages += dropped[0]
        return dropped

    def _in_transport(self) -> int:
        if not self.is_behind:
            return 0
        # A connection that broke says 0 here. What it had last is the best that is known.
        self._unsent_bytes = self._transport.get_write_buffer_size() or self._unsent_bytes
        return self._unsent_bytes

    def _pump(self) -> None:
        while self._queue.size_bytes and not self.is_behind:
            pieces = self._queue.take(CHUNK_BYTES)
            if self._has_gap:
                pieces = self._mark_gap(pieces)
            self._hand(pieces)
        if not self.is_behind:
            self._replay_end = 0

    def _hand(self, pieces: list[Piece]) -> None:
        self._handed = pieces
        self._transport.write(_joined(pieces))
        if self.is_behind:
            return
        if self._transport.is_closing():
            # It broke in this moment: nothing of it was taken, and nobody else will tell.
            self.is_behind = True
            self._unsent_bytes = sum(piece.size_bytes for piece in pieces)
        else:
            self._handed = []

    def _mark_gap(self, pieces: list[Piece]) -> list[Piece]:
        mark = self._wording.gap(self._gap_messages)
        self._has_gap, self._gap_messages = False, 0
        return [whole(mark, 0), *pieces] if mark else pieces

    def _unsent_replay(self, unsent_bytes: int) -> int:
        """How much of the replay is in the `unsent_bytes`. What is older than it went before."""
        sent = self._appended_bytes - unsent_bytes
        return max(0, min(self._replay_end - sent, unsent_bytes)) if self._replay_end else 0


def _joined(pieces: list[Piece]) -> bytes | memoryview:
    if len(pieces) > 1:
        return b"".join([memoryview(piece.data)[piece.start : piece.end] for piece in pieces])
    data, start, end, _ = pieces[0]
    return data if end - start == len(data) else memoryview(data)[start:end]
