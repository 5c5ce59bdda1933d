"""What one client writes: cut into messages, offered to the queue, held while that is full."""

from typing import TYPE_CHECKING

from sockjs_bridge.endpoints.answering import Answering
from sockjs_bridge.endpoints.envelope import EnvelopeDecoder
from sockjs_bridge.endpoints.framing import Decoder, Dropped
from sockjs_bridge.endpoints.receipts import MessageFate, MessageId, Receipts
from sockjs_bridge.errors import DropReason, FramingError

if TYPE_CHECKING:
    from sockjs_bridge.endpoints.tcp_client import TcpClient
    from sockjs_bridge.endpoints.tcp_group import TcpGroup

_DROP_TEXT = {
    DropReason.OVERSIZE: "a message of a client was larger than max_message_size; skipped it",
    DropReason.INVALID: "a message of a client was not valid in this framing; skipped it",
}


class TcpInput:
    """The way in of one client. `answering` is there where the framing has answers to writers."""

    def __init__(
        self, client: "TcpClient", group: "TcpGroup", decoder: Decoder, answering: Answering | None
    ) -> None:
        self._client = client
        self._group = group
        self._decoder = decoder
        self._answering = answering
        self._held: list[str] = []
        self._held_ids: list[MessageId] = []

    @property
    def is_holding(self) -> bool:
        """Whether messages wait for room in the queue."""
        return bool(self._held)

    @property
    def answers(self) -> bool:
        """Whether the program may be told of what it writes."""
        return self._answering is not None

    def feed(self, data: bytes) -> None:
        """Bytes from the program."""
        replaced = self._decoder.invalid_utf8
        try:
            messages = self._decoder.feed(data)
        except FramingError:
            messages = []  # the decoder keeps the error, also when messages come before it
        if messages:
            self._take(messages)
        if self._decoder.dropped or self._decoder.invalid_utf8 > replaced:
            self._report(replaced)
        if self._decoder.error is not None:
            self._group.intake.count_dropped(DropReason.INVALID, 1)
            self._group.log.warning(
                f"a client broke the framing: {self._decoder.error}; closed it", client=self._client.peer
            )
            self._client.close()

    def end(self, *, is_cut_off: bool = False) -> None:
        """The program sends no more: there may be a last message without its delimiter, or a part of one."""
        replaced = self._decoder.invalid_utf8
        messages = self._decoder.end()
        if messages and is_cut_off:
            self._group.intake.count_dropped(DropReason.INVALID, len(messages))
            self._group.log.repeated(
                "a client's connection ended without the end of TLS, in the midst of a message; dropped that one",
                client=self._client.peer,
                reason=DropReason.INVALID,
            )
        elif messages:
            self._take(messages)
        self._report(replaced)

    def offer_held(self) -> bool:
        """Offer again what the queue had no room for; True when all of it was taken."""
        taken = self._group.intake.offer(self._held, self._receipts(self._held_ids))
        self._held = self._held[taken:]
        self._held_ids = self._held_ids[taken:]
        if self._held:
            return False
        self._client.resume_reading()
        return True

    def stop(self) -> int:
        """Hold nothing any more, and read on; returns how many messages are given up."""
        given_up, self._held = len(self._held), []
        ids, self._held_ids = self._held_ids, []
        self._reject(ids, DropReason.STOPPED)
        self._client.resume_reading()
        return given_up

    def stop_answering(self) -> None:
        """The program has gone; what it wrote stays."""
        if self._answering is not None:
            self._answering.stop()

    def _take(self, messages: list[str]) -> None:
        ids = self._decoder.take_ids() if isinstance(self._decoder, EnvelopeDecoder) else []
        if self._group.discards_input:
            self._group.note_discarded(len(messages))
            if self._group.is_stopping:
                self._reject(ids, DropReason.STOPPED)
            return
        taken = self._group.intake.offer(messages, self._receipts(ids)) if not self._held else 0
        if taken == len(messages):
            return
        if not self._held:
            self._client.pause_reading()
            self._group.wait_for_room(self._client)
        self._held += messages[taken:]
        self._held_ids += ids[taken:]

    def _receipts(self, ids: list[MessageId]) -> Receipts | None:
        # In this framing also those without an id: who wrote them hears if they are rejected.
        return self._answering.receipts(ids) if self._answering is not None else None

    def _reject(self, ids: list[MessageId], reason: DropReason) -> None:
        if self._answering is not None and ids:
            self._answering.tell(ids, MessageFate.REJECTED, reason)

    def _report(self, replaced_before: int) -> None:
        """Tell what was wrong with the bytes that have just been decoded."""
        if self._decoder.dropped:
            for reason, text in _DROP_TEXT.items():
                self._report_dropped(
                    text, reason, [each for each in self._decoder.dropped if each.reason is reason]
                )
            self._decoder.dropped.clear()
        replaced = self._decoder.invalid_utf8 - replaced_before
        if replaced:
            self._group.counts.invalid_utf8 += replaced
            self._group.log.repeated(
                "a client sent invalid UTF-8; replaced by U+FFFD", client=self._client.peer, messages=replaced
            )

    def _report_dropped(self, text: str, reason: DropReason, dropped: list[Dropped]) -> None:
        if not dropped:
            return
        self._group.intake.count_dropped(reason, len(dropped))
        self._group.log.repeated(
            text,
            client=self._client.peer,
            reason=reason,
            size_bytes=dropped[0].size_bytes,
            messages=len(dropped),
        )
        if not self._group.discards_input:
            self._reject([each.id for each in dropped], reason)
