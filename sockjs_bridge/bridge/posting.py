"""Messages whose sending the server has yet to answer: HTTP tells what became of each batch."""

from dataclasses import replace

from sockjs_bridge.bridge.batch import Batch, Burst, count_messages, part_of
from sockjs_bridge.bridge.dispatcher import Dispatcher
from sockjs_bridge.transports.base import Fate, SendResult


class Posting:
    """The batch of one session that is under way, and what happens to it (protocol section 4)."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._batch: Batch | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether an answer is yet to come."""
        return self._batch is not None

    def begin(self, batch: Batch) -> None:
        """A batch has been handed to the transport."""
        self._batch = batch
        self._count_in_flight(batch, 1)

    def settle(self, result: SendResult) -> None:
        """The server has answered, or can not be asked any more."""
        batch = self._batch
        if batch is None:
            return
        self._batch = None
        self._count_in_flight(batch, -1)
        accepted = part_of(batch.bursts, 0, result.accepted)
        untouched_from = result.accepted + len(result.concerned)
        concerned = part_of(batch.bursts, result.accepted, untouched_from)
        untouched = part_of(batch.bursts, untouched_from, len(batch.messages))
        # From the back, so that each goes before what was put back already.
        self._dispatcher.put_back(untouched)
        if accepted:
            self._note_written(accepted)
            self._dispatcher.confirm(accepted, count_messages(accepted))
        if concerned:
            self._settle_concerned(result.fate, concerned)

    def _settle_concerned(self, fate: Fate, concerned: list[Burst]) -> None:
        match fate:
            case Fate.OFFENDING if count_messages(concerned) == 1:
                self._dispatcher.refuse(concerned[0])
            case Fate.OFFENDING:
                # One of them is too much for the server: alone it will show which.
                self._dispatcher.put_back(_each_alone(concerned))
            case Fate.IN_DOUBT:
                self._note_written(concerned)
                self._dispatcher.doubt(concerned, count_messages(concerned), "it did not answer")
            case Fate.ACCEPTED | Fate.REFUSED:
                self._dispatcher.put_back(concerned)

    def _note_written(self, bursts: list[Burst]) -> None:
        messages = [message for burst in bursts for message in burst.messages]
        self._dispatcher.note_written(Batch(bursts, messages, sum(burst.size_bytes for burst in bursts)))

    def _count_in_flight(self, batch: Batch, sign: int) -> None:
        stats = self._dispatcher.stats
        stats.messages_in_flight += sign * len(batch.messages)
        stats.resends_in_flight += sign * sum(
            len(burst.messages) for burst in batch.bursts if burst.was_written
        )


def _each_alone(bursts: list[Burst]) -> list[Burst]:
    return [
        replace(burst.part(index, index + 1), alone=True)
        for burst in bursts
        for index in range(len(burst.messages))
    ]
