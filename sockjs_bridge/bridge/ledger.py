"""What was written over a WebSocket and is not confirmed yet (delivery.md, "Local programs to the server")."""

from collections import deque

from sockjs_bridge.bridge.batch import Batch

# Of PINGs that were never answered the newest count: an answer confirms all that was written before it.
_MOST_PINGS = 64


class Ledger:
    """Counts what was written over one connection, and what the PONG to a numbered PING proves.

    Bytes that arrive prove nothing about what we sent. The answer to our n-th PING does: the peer has read
    all that was written before it. Batches are kept only where somebody has to know which ones they are.
    """

    __slots__ = ("_confirmed", "_kept", "_number", "_pings", "_written")

    def __init__(self) -> None:
        self._written = 0
        self._confirmed = 0
        self._number = 0
        self._pings: deque[tuple[int, int]] = deque(maxlen=_MOST_PINGS)
        self._kept: deque[tuple[int, Batch]] = deque()

    @property
    def unconfirmed(self) -> int:
        """How many messages were written and are not confirmed."""
        return self._written - self._confirmed

    @property
    def awaits_pong(self) -> bool:
        """Whether a PING was sent that is not answered yet."""
        return bool(self._pings)

    @property
    def only_ping(self) -> int:
        """The number of the PING that waits for an answer, if it is the only one; else 0."""
        return self._pings[0][0] if len(self._pings) == 1 else 0

    @property
    def is_covered(self) -> bool:
        """Whether a PING was sent after all that was written."""
        return self._pings[-1][1] == self._written if self._pings else not self._written

    def note_written(self, batch: Batch, *, keep: bool) -> None:
        """A batch was written."""
        self._written += len(batch.messages)
        if keep:
            self._kept.append((self._written, batch))

    def ping(self) -> int:
        """A PING is about to be sent; returns its number."""
        self._number += 1
        self._pings.append((self._number, self._written))
        return self._number

    def pong(self, number: int) -> tuple[int, list[Batch]]:
        """The PING of this number was answered; returns how many messages that confirms, and the kept batches."""
        if all(number != sent for sent, _ in self._pings):
            return 0, []
        written = 0
        while self._pings and self._pings[0][0] <= number:
            _, written = self._pings.popleft()
        return self._settle(written)

    def take_all(self) -> tuple[int, list[Batch]]:
        """The connection has ended; returns how many messages are not confirmed, and the kept batches."""
        self._pings.clear()
        return self._settle(self._written)

    def _settle(self, written: int) -> tuple[int, list[Batch]]:
        messages = max(written - self._confirmed, 0)
        self._confirmed += messages
        batches: list[Batch] = []
        while self._kept and self._kept[0][0] <= written:
            batches.append(self._kept.popleft()[1])
        return messages, batches
