"""Secrets: where `${env:}`, `${file:}` and `${credential:}` are read, and how they are kept out of what is shown."""

import json
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote, quote_plus

from sockjs_bridge.errors import SecretError

MASK = "[secret]"
CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
_LARGEST_SECRET_BYTES = 64 * 1024
# Shorter ones stand in every other word.
_SHORTEST_MASKED = 4
# A cookie or a header is often a word like any other.
_SHORTEST_LIKELY = 8
# Of what was read at start, and what logins brought: sessions of single clients bring new values all day.
_MOST_KEPT = 4000
_NO_SECRETS = {"true", "false", "null"}
# A message in a frame in a log line in JSON is escaped three times.
_LAYERS_OF_ESCAPES = 3


class SecretStore:
    """Reads secrets, and remembers what must never be shown.

    `environ` stands for the environment of the process.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known: dict[str, tuple[str, ...]] = {}
        self._captured: dict[str, tuple[str, ...]] = {}
        self._ordered: list[str] | None = []
        # Secrets are read in other threads, logs are written in this one.
        self._lock = threading.Lock()

    def __eq__(self, other: object) -> bool:
        """Configurations that are equal stay so, whatever has been read for them."""
        return isinstance(other, SecretStore)

    __hash__ = object.__hash__

    def read(self, kind: str, name: str) -> str:
        """Read one secret now, and remember it. Raises SecretError, whose text reads on after the reference.

        It reads files: not for the event loop.
        """
        match kind:
            case "env":
                value = self._from_environment(name)
            case "file":
                value = _from_file(Path(name))
            case "credential":
                value = _from_file(self._credential(name))
            case _:
                raise AssertionError(kind)
        self.remember(value)
        return value

    def remember(self, value: str) -> None:
        """Never show this value."""
        self._add(self._known, value)

    def remember_captured(self, values: Iterable[str]) -> None:
        """Never show these values of a login."""
        for value in values:
            if value not in _NO_SECRETS:
                self._add(self._captured, value)

    def remember_likely(self, values: Iterable[str]) -> None:
        """Never show these values if they are long enough to be secrets: cookies, headers, parts of URLs."""
        self.remember_captured(value for value in values if len(value) >= _SHORTEST_LIKELY)

    def mask(self, text: str) -> str:
        """The text without any value that was remembered, in whatever way it is escaped there."""
        for form in self._in_order():
            if form in text:
                text = text.replace(form, MASK)
        return text

    def _in_order(self) -> list[str]:
        with self._lock:
            if self._ordered is None:
                every = (*self._known.values(), *self._captured.values())
                forms = {form for forms_of_one in every for form in forms_of_one}
                # A value may be a part of another one.
                self._ordered = sorted(forms, key=len, reverse=True)
            return self._ordered

    def _add(self, kept: dict[str, tuple[str, ...]], value: str) -> None:
        with self._lock:
            for piece in _pieces(value):
                forms = kept.pop(piece, None)
                if forms is None:
                    forms = tuple(_forms(piece))
                    self._ordered = None
                kept[piece] = forms
            while len(kept) > _MOST_KEPT:
                kept.pop(next(iter(kept)))
                self._ordered = None

    def _from_environment(self, name: str) -> str:
        value = self._environ.get(name)
        if value is None:
            raise SecretError("is not set in the environment")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SecretError("is not UTF-8") from None
        return value

    def _credential(self, name: str) -> Path:
        folder = self._environ.get(CREDENTIALS_DIRECTORY)
        if not folder:
            raise SecretError(
                f"cannot be found: {CREDENTIALS_DIRECTORY} is not set (systemd sets it for LoadCredential=)"
            )
        if "/" in name or name in {".", ".."}:
            raise SecretError("must be the name of a credential, without a folder")
        return Path(folder) / name


def _from_file(path: Path) -> str:
    try:
        # A FIFO without a writer would hold us for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123  # of a descriptor
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise SecretError("is not a regular file")
            content = file.read(_LARGEST_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path"
        raise SecretError(f"cannot be read: {reason.lower()}") from None
    if len(content) > _LARGEST_SECRET_BYTES:
        raise SecretError(f"is larger than {_LARGEST_SECRET_BYTES // 1024} KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SecretError("is not UTF-8") from None
    # What an editor or `echo` puts at the end is no part of a password.
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")


def _pieces(value: str) -> Iterator[str]:
    """The value, and its lines: a log or a page may show one of them alone."""
    if len(value) >= _SHORTEST_MASKED:
        yield value
    if "\n" in value:
        yield from (line for line in value.splitlines() if len(line.strip()) >= _SHORTEST_MASKED)


def _forms(value: str) -> Iterator[str]:
    """Every way in which the value may stand in what is shown."""
    found = {
        value,
        quote(value, safe="", errors="replace"),
        quote_plus(value, errors="replace"),
        escape(value),
    }
    layer = {value}
    for _ in range(_LAYERS_OF_ESCAPES):
        layer = {form for text in layer for form in _escaped(text)}
        found |= layer
    yield from found


def _escaped(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    yield repr(text.encode(errors="replace"))[2:-1]
    # Beside both kinds of quotes.
    yield repr(f"{text}\"'")[1:-4]
    yield repr(f"{text}\"'".encode(errors="replace"))[2:-4]
