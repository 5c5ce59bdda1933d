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

    __slots__ = ("_confirmed", "_kept", "_number", "_pings", "_written", "kept_messages")

    def __init__(self) -> None:
        self._written = 0
        self._confirmed = 0
        self._number = 0
        self._pings: deque[tuple[int, int]] = deque(maxlen=_MOST_PINGS)
        self._kept: deque[tuple[int, int, Batch]] = deque()
        self.kept_messages = 0
        """How many messages the kept batches had when they were written."""

    @property
    def unconfirmed(self) -> int:
        """How many messages were written and are not confirmed."""
        return self._written - self._confirmed

    @property
    def awaits_pong(self) -> bool:
        """Whether a PING was sent that is not answered yet."""
        return bool(self._pings)

    @property
    def is_covered(self) -> bool:
        """Whether a PING was sent after all that is not confirmed."""
        covered = self._pings[-1][1] if self._pings else self._confirmed
        return covered == self._written

    def note_written(self, messages: int, keep: Batch | None = None) -> None:
        """So many messages were written; they are those of the batch that is to be kept."""
        self._written += messages
        if keep is not None:
            self._kept.append((self._written, messages, keep))
            self.kept_messages += messages

    def forget(self, most: int) -> list[Batch]:
        """Keep no more than the newest batches with so many messages, but all that are held; returns the others."""
        forgotten: list[Batch] = []
        while self.kept_messages > most and not self._kept[0][2].is_held:
            forgotten.append(self._drop_first_kept())
        return forgotten

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
            batches.append(self._drop_first_kept())
        return messages, batches

    def _drop_first_kept(self) -> Batch:
        _, messages, batch = self._kept.popleft()
        self.kept_messages -= messages
        return batch
