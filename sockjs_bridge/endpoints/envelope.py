"""The `envelope` framing: JSON objects, one a line, for messages, events, and answers to writers (delivery.md).

Sans-IO. Whatever stands in a message passes exactly: a lone surrogate is an escape in JSON.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import orjson

from sockjs_bridge.endpoints.framing import Dropped
from sockjs_bridge.endpoints.message_ends import DelimitedEnds
from sockjs_bridge.endpoints.receipts import MessageFate, MessageId
from sockjs_bridge.endpoints.state_changes import Connected, StateChange, describe
from sockjs_bridge.endpoints.stream_cutting import DelimitedStream
from sockjs_bridge.errors import DropReason, FramingError


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_STRICT_JSON = json.JSONDecoder(parse_constant=_no_constant)
_EXACT_TYPES = (str, int, type(None))
_DEEPEST_ID = 100  # far from what the encoder refuses


class EnvelopeWording:
    """Writes the lines of one session. `boot` names the run of the process."""

    def __init__(self, session: str, boot: str) -> None:
        self.ends = DelimitedEnds(b"\n")
        self._session = session
        self._boot = boot
        self._epoch = -1
        self._prefix = b""

    def messages(self, messages: list[str], epoch: int, first_seq: int) -> bytes:
        """Messages of an upstream session, of which the first is number `first_seq`."""
        if epoch != self._epoch:
            self._epoch = epoch
            start = {"event": "message", "session": self._session, "boot": self._boot, "epoch": epoch}
            self._prefix = orjson.dumps(start)[:-1] + b',"seq":'
        prefix = self._prefix
        try:
            texts = list(map(orjson.dumps, messages))
        except TypeError:  # a lone surrogate
            texts = list(map(_dumps, messages))
        return b"".join(
            [b'%b%d,"data":%b}\n' % (prefix, seq, text) for seq, text in enumerate(texts, first_seq)]
        )

    def change(self, change: StateChange) -> bytes:
        """The upstream session has opened or ended."""
        fields = describe(change)
        names: dict[str, str | int] = {"event": fields.pop("event"), "session": self._session}
        if isinstance(change, Connected):
            names["boot"] = self._boot
        return _dumps({**names, "epoch": change.epoch, **fields}) + b"\n"

    def gap(self, dropped: int) -> bytes:
        """So many messages were left out here."""
        return _dumps({"event": "gap", "session": self._session, "dropped": dropped}) + b"\n"


def answers(ids: Sequence[MessageId], fate: MessageFate, reason: DropReason | None) -> list[bytes]:
    """Lines to the writer of messages: of those that have an id, or that were rejected."""
    if fate is MessageFate.REJECTED:
        end = b',"reason":%b}\n' % _dumps(reason)
        return [b'{"event":"rejected","id":%b%b' % (_dumps(each), end) for each in ids]
    end = b',"status":%b}\n' % _dumps(fate)
    return [b'{"event":"ack","id":%b%b' % (_dumps(each), end) for each in ids if each is not None]


class EnvelopeDecoder:
    """Reads `{"data":"...","id":...}`, one a line; other keys are ignored, and so are lines of white space."""

    def __init__(self, max_message_bytes: int) -> None:
        self._stream = DelimitedStream(b"\n", max_message_bytes, self._drop_oversize)
        self._ids: list[MessageId] = []
        self.error: FramingError | None = None  # a line always ends
        self.invalid_utf8 = 0
        self.dropped: list[Dropped] = []

    def feed(self, data: bytes) -> list[str]:
        """Messages that end in `data`."""
        block = self._stream.feed(data)
        return [] if block is None else self._parse(block)

    def end(self) -> list[str]:
        """The stream has ended: a last line without its LF."""
        block = self._stream.end()
        return [] if block is None else self._parse(block)

    def take_ids(self) -> list[MessageId]:
        """The ids of the messages that `feed` or `end` has just returned, one each."""
        ids, self._ids = self._ids, []
        return ids

    def _drop_oversize(self, size_bytes: int) -> None:
        self.dropped.append(Dropped(DropReason.OVERSIZE, size_bytes))

    def _parse(self, block: bytes) -> list[str]:
        lines = [line for line in block.split(b"\n") if line.strip()]
        try:
            objects = list(map(orjson.loads, lines))
            messages = [each["data"] for each in objects]
            ids = [each.get("id") for each in objects]
        except (ValueError, TypeError, KeyError):
            return self._parse_each(lines)
        if set(map(type, messages)) <= {str} and all(isinstance(each, _EXACT_TYPES) for each in ids):
            self._ids = ids
            return messages
        return self._parse_each(lines)

    def _parse_each(self, lines: Iterable[bytes]) -> list[str]:
        messages: list[str] = []
        self._ids = []
        for line in lines:
            found, is_replaced = _loads(line)
            known = found if isinstance(found, dict) else {}
            given = known.get("id")
            id_is_sound = _is_shallow(given, _DEEPEST_ID)
            if isinstance(known.get("data"), str) and id_is_sound:
                messages.append(known["data"])
                self._ids.append(given)
                self.invalid_utf8 += is_replaced  # what is left out counts as such, and once
            else:
                self.dropped.append(Dropped(DropReason.INVALID, len(line), given if id_is_sound else None))
        return messages


def _is_shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in inner)


def _loads(line: bytes) -> tuple[Any, bool]:
    """A JSON document with its numbers as they are, or None; and whether bytes that are no UTF-8 were replaced."""
    try:
        text, is_replaced = line.decode(), False
    except UnicodeDecodeError:
        text, is_replaced = line.decode(errors="replace"), True
    try:
        # Not orjson: it makes floats of large numbers, and refuses lone surrogates.
        return _STRICT_JSON.decode(text), is_replaced
    except (ValueError, RecursionError):
        return None, is_replaced


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        return json.dumps(value, separators=(",", ":")).encode()
