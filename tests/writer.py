"""A writer that gives its messages ids, and keeps what it is told of them."""

from collections.abc import Sequence

from sockjs_bridge.endpoints.receipts import MessageFate, MessageId, Receipts
from sockjs_bridge.errors import DropReason


class Writer:
    """`fates` has what each message met, in order; `reasons` why, where there was a reason."""

    def __init__(self) -> None:
        self.fates: dict[MessageId, list[str]] = {}
        self.reasons: dict[MessageId, DropReason] = {}

    def receipts(self, ids: Sequence[MessageId]) -> Receipts:
        """The receipts of messages with these ids."""
        return Receipts(ids, self._tell)

    def _tell(self, ids: Sequence[MessageId], fate: MessageFate, reason: DropReason | None) -> None:
        for each in ids:
            self.fates.setdefault(each, []).append(str(fate))
            if reason is not None:
                self.reasons[each] = reason
