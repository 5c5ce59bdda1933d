"""How the programs of a listener are written to, and read: each framing as a listener uses it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sockjs_bridge.endpoints.envelope import EnvelopeDecoder, EnvelopeWording
from sockjs_bridge.endpoints.framing import FRAMINGS, Decoder, EncodingCounts, Framing
from sockjs_bridge.endpoints.message_ends import MessageEnds
from sockjs_bridge.endpoints.state_changes import StateChange


class Wording(Protocol):
    """What the programs of one session are written, as bytes. Empty where the framing has no place for it."""

    @property
    def ends(self) -> MessageEnds:
        """Where messages end in it."""

    def messages(self, messages: list[str], epoch: int, first_seq: int) -> bytes:
        """Messages of an upstream session, of which the first is number `first_seq`."""

    def change(self, change: StateChange) -> bytes:
        """The upstream session has opened or ended."""

    def gap(self, dropped: int) -> bytes:
        """So many messages were left out here."""


class PlainWording:
    """Messages and nothing else."""

    def __init__(self, framing: Framing, counts: EncodingCounts) -> None:
        self.ends = framing.ends
        self._encode = framing.make_encoder(counts)

    def messages(self, messages: list[str], epoch: int, first_seq: int) -> bytes:
        """See Wording."""
        del epoch, first_seq  # there is no place for them
        return self._encode(messages)

    def change(self, change: StateChange) -> bytes:
        """See Wording."""
        del change
        return b""

    def gap(self, dropped: int) -> bytes:
        """See Wording."""
        del dropped
        return b""


MakeWording = Callable[[str, str, EncodingCounts], Wording]
"""From the name of the session, the run of the process (`boot`), and where to count what is altered."""


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """A framing of a listener. `make_decoder` takes the bytes that a message may have."""

    name: str
    make_wording: MakeWording
    make_decoder: Callable[[int], Decoder]


def _plain(framing: Framing) -> StreamFormat:
    return StreamFormat(
        framing.name, lambda _session, _boot, counts: PlainWording(framing, counts), framing.make_decoder
    )


FORMATS = {
    **{name: _plain(framing) for name, framing in FRAMINGS.items()},
    "envelope": StreamFormat(
        "envelope", lambda session, boot, _counts: EnvelopeWording(session, boot), EnvelopeDecoder
    ),
}
"""The framings of a listener by the name that the configuration gives them."""
