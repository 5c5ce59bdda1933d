"""How messages and state changes are laid out in frames (config.md, `layout`). Sans-IO."""

from dataclasses import dataclass

import orjson

from sockjs_bridge.endpoints.state_changes import Disconnected, StateChange, describe

EVENT_TOPIC = b"/!event"
"""What follows the topic of a `pub` endpoint in the first frame of an event."""

Frames = tuple[bytes, ...]
"""The frames of one ZeroMQ message, without the topic."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the stream a message stands: `epoch` counts upstream sessions, `seq` messages in one."""

    epoch: int
    seq: int


class Layout:
    """Frames for one endpoint: `[data]` in the plain layout, `[meta, data]` in the other.

    meta is a JSON object with session, boot, epoch, seq and event; events have empty data.
    """

    def __init__(self, session: str, boot: str, *, meta: bool) -> None:
        self.meta = meta
        self._names = {"session": session, "boot": boot}
        self._prefix = b""
        self._epoch = 0
        self._begin(0)

    @property
    def epoch(self) -> int:
        """The upstream session that messages come from."""
        return self._epoch

    def of_messages(self, messages: list[bytes], first_seq: int) -> list[Frames]:
        """The frames of messages; the first one is number `first_seq`."""
        if not self.meta:
            return list(zip(messages))  # one iterable: it makes the tuples of one frame
        prefix = self._prefix
        metas = [
            b'%b%d,"event":"message"}' % (prefix, seq) for seq in range(first_seq, first_seq + len(messages))
        ]
        return list(zip(metas, messages, strict=True))

    def of_change(self, change: StateChange) -> Frames | None:
        """The frames of a state change; None where the layout has no place for it."""
        if change.epoch != self._epoch:
            self._begin(change.epoch)
        seq = change.seq if isinstance(change, Disconnected) else 0
        return self._event(Place(change.epoch, seq), describe(change))

    def of_gap(self, dropped: int, last: Place) -> Frames | None:
        """The frames that mark `dropped` messages, of which `last` was the last; None as above."""
        return self._event(last, {"event": "gap", "dropped": dropped})

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._prefix = orjson.dumps({**self._names, "epoch": epoch}).removesuffix(b"}") + b',"seq":'

    def _event(self, place: Place, fields: dict[str, str | int]) -> Frames | None:
        if not self.meta:
            return None
        text = {**self._names, "epoch": place.epoch, "seq": place.seq, **fields}
        return orjson.dumps(text), b""
