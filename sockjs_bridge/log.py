"""Log lines: one a transition, with fields, and repeats held back (operations.md, "Logs")."""

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

ROOT = "sockjs_bridge"
_REPEAT_SECONDS = 60.0
_NOISY_LIBRARIES = ("picows", "aiohttp", "asyncio", "aiohttp_sse")
FieldValue = str | int | float | None
_TRACES = logging.Formatter()


class EventLog:
    """Writes events with fields, and holds repeats back.

    `bind` gives a log whose lines carry more fields; all that come from one root share what they
    know of repeats. `clock` is a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, **fields: FieldValue) -> None:
        self._logger = logging.getLogger(ROOT)
        self._clock = clock
        self._fields = fields
        self._identity: tuple[FieldValue, ...] = tuple(fields.values())
        self._is_one_of_many = False
        self._repeats: dict[tuple[object, ...], tuple[float, int]] = {}

    def bind(self, **fields: FieldValue) -> "EventLog":
        """A log that adds these fields to every line."""
        identity = (*self._identity, *fields.values())
        return self._bind(fields, identity, is_one_of_many=self._is_one_of_many)

    def bind_one_of_many(self, **fields: FieldValue) -> "EventLog":
        """The same for one of many that are alike: their warnings and errors are held back over all of them."""
        return self._bind(fields, self._identity, is_one_of_many=True)

    def is_debugging(self) -> bool:
        """Whether debug lines are written. Ask once for many messages: it is not free."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def debug(self, event: str, **fields: FieldValue) -> None:
        """Something that only somebody who looks for a fault wants to see."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: FieldValue) -> None:
        """A transition."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: FieldValue) -> None:
        """Something that an operator may have to act on; the program goes on."""
        self._write_failure(logging.WARNING, event, fields)

    def error(self, event: str, **fields: FieldValue) -> None:
        """Something that stops a part of the program."""
        self._write_failure(logging.ERROR, event, fields)

    def failure(self, event: str, error: BaseException) -> None:
        """A fault of this program, with its traceback."""
        self._logger.error(event, exc_info=error, extra={"fields": self._fields})

    def repeated(
        self, event: str, *, level: int = logging.WARNING, key: str = "", **fields: FieldValue
    ) -> None:
        """An event that may come often: at most one line a minute for each `key` (default: the event)."""
        self._repeat(level, key or event, event, fields)

    def _repeat(self, level: int, key: str, event: str, fields: dict[str, FieldValue]) -> None:
        now = self._clock()
        identity = (key, *self._identity)
        written_at, held_back = self._repeats.get(identity, (-_REPEAT_SECONDS, 0))
        if now - written_at < _REPEAT_SECONDS:
            self._repeats[identity] = (written_at, held_back + 1)
            return
        self._repeats[identity] = (now, 0)
        if held_back:
            fields["held_back"] = held_back
        self._write(level, event, fields)

    def forget_repeats(self, prefix: str) -> int:
        """Let the next events whose key begins so through at once; returns how many lines were held back."""
        matching = [
            key for key in self._repeats if key[1:] == self._identity and str(key[0]).startswith(prefix)
        ]
        return sum(self._repeats.pop(key)[1] for key in matching)

    def _bind(
        self, fields: dict[str, FieldValue], identity: tuple[FieldValue, ...], *, is_one_of_many: bool
    ) -> "EventLog":
        bound = EventLog(self._clock, **{**self._fields, **fields})
        bound._identity = identity
        bound._is_one_of_many = is_one_of_many
        bound._repeats = self._repeats
        return bound

    def _write_failure(self, level: int, event: str, fields: dict[str, FieldValue]) -> None:
        # What a broken server costs a thousand clients at once is worth one line.
        if self._is_one_of_many:
            self._repeat(level, event, event, fields)
        else:
            self._write(level, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, FieldValue]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, extra={"fields": {**self._fields, **fields}})


def _as_it_is(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class _Said:
    """What a record says, without secrets. They are looked for before anything is escaped once more."""

    message: str
    fields: dict[str, FieldValue]
    trace: str | None

    @classmethod
    def by(cls, record: logging.LogRecord, mask: Callable[[str], str]) -> "_Said":
        fields: dict[str, FieldValue] = getattr(record, "fields", {})
        masked = {name: mask(value) if isinstance(value, str) else value for name, value in fields.items()}
        trace = mask(_TRACES.formatException(record.exc_info)) if record.exc_info else None
        return cls(mask(record.getMessage()), masked, trace)


class _TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00 INFO chat: open transport=websocket epoch=1`."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        said = _Said.by(record, self._mask)
        where = said.fields.pop("session", None)
        parts = [self.formatTime(record, "%Y-%m-%d %H:%M:%S"), record.levelname]
        parts.append(f"{where}: {said.message}" if where else said.message)
        parts += [f"{name}={_plain(value)}" for name, value in said.fields.items() if value is not None]
        line = " ".join(parts)
        return f"{line}\n{said.trace}" if said.trace else line


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        said = _Said.by(record, self._mask)
        line: dict[str, FieldValue] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": said.message,
            **said.fields,
            "exception": said.trace,
        }
        return json.dumps({name: value for name, value in line.items() if value is not None})


def _plain(value: FieldValue) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    text = str(value)
    # A peer chose some of these words: it must not be able to write lines or fields of its own.
    return text if text.isprintable() and text and not set(text) & set(" ='\"") else json.dumps(text)


def configure(
    level: str, form: str, stream: TextIO = sys.stderr, mask: Callable[[str], str] = _as_it_is
) -> None:
    """Send log lines to `stream`; `mask` takes out what must not be shown.

    `level` and `form` are the values of the configuration's `[log]`.
    """
    handler = logging.StreamHandler(stream)
    text = form == "text" or (form == "auto" and stream.isatty())
    handler.setFormatter(_TextFormatter(mask) if text else _JsonFormatter(mask))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level.upper())
    for name in _NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)


def mask_uncaught(mask: Callable[[str], str]) -> None:
    """Let the traceback with which Python ends, if this program fails, pass through `mask` too."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = show
