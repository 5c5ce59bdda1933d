"""Messages whose sending the server has yet to answer: HTTP tells what became of each batch."""

from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.outbox import Batch, utf8_bytes
from sockjs_bridge.errors import DropReason
from sockjs_bridge.log import EventLog
from sockjs_bridge.transports.base import Fate, SendResult


class Posting:
    """The batch of one session that is under way, and what happens to it (protocol section 4)."""

    def __init__(self, hub: Hub, log: EventLog) -> None:
        self._hub = hub
        self._log = log
        self._batch: Batch | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether an answer is yet to come."""
        return self._batch is not None

    def begin(self, batch: Batch) -> None:
        """A batch has been handed to the transport."""
        self._batch = batch
        self._hub.stats.messages_in_flight = len(batch.messages)

    def settle(self, result: SendResult) -> None:
        """The server has answered, or can not be asked any more."""
        batch = self._batch
        if batch is None:
            return
        self._batch = None
        outbox = self._hub.outbox
        self._hub.stats.messages_in_flight = 0
        # From the back, so that each goes before what was put back already.
        outbox.put_back(result.untouched, batch.accepted_at)
        self._note_written(batch, batch.messages[: result.accepted])
        match result.fate:
            case Fate.ACCEPTED:
                pass
            case Fate.REFUSED:
                outbox.put_back(result.concerned, batch.accepted_at)
            case Fate.OFFENDING if len(result.concerned) == 1:
                self._drop(result.concerned)
            case Fate.OFFENDING:
                # One of them is too much for the server: alone it will show which.
                outbox.put_back(result.concerned, batch.accepted_at, alone=True)
            case Fate.IN_DOUBT:
                self._doubt(batch, result.concerned)

    def _doubt(self, batch: Batch, messages: list[str]) -> None:
        if not messages:
            return
        self._note_written(batch, messages)
        self._hub.stats.messages_in_doubt += len(messages)
        self._log.warning(
            "it is in doubt whether messages reached the server: it did not answer; they are not sent again",
            messages=len(messages),
        )

    def _drop(self, messages: list[str]) -> None:
        self._hub.count_dropped(DropReason.REFUSED, len(messages))
        self._log.warning(
            "the server refuses a message, for its size or its content; left it out",
            reason=DropReason.REFUSED,
            size_bytes=utf8_bytes(messages),
        )

    def _note_written(self, batch: Batch, messages: list[str]) -> None:
        stats = self._hub.stats
        stats.messages_sent += len(messages)
        is_all = len(messages) == len(batch.messages)
        stats.bytes_sent += batch.size_bytes if is_all else utf8_bytes(messages)
