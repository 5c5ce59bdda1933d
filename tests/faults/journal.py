"""What a fault server did, on disk: it survives the SIGKILL of the server, and names what the bridge did wrong."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.numbered import Sequences


class JournalWriter:
    """Appends to the journal; each entry is with the kernel before the call returns.

    An entry that a SIGKILL has cut off is taken out: nobody was told that it had happened.
    """

    def __init__(self, file: Path) -> None:
        if file.exists():
            whole = file.read_bytes().rfind(b"\n") + 1
            os.truncate(file, whole)
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def opened(self, session: int, transport: str) -> None:
        """A session was opened: the bridge was answered with an open frame, or a raw WebSocket was accepted."""
        self._write("opened", session, transport)

    def shown(self, session: int) -> None:
        """The session has given a sign of life, and has got one where the transport has such: silence counts now."""
        self._write("shown", session)

    def sent(self, session: int, last: int) -> None:
        """All messages of the session up to `last` were written to the bridge, or are about to be."""
        self._write("sent", session, last)

    def received(self, session: int, messages: list[str]) -> None:
        """The bridge sent messages, and they were taken."""
        self._write("received", session, messages)

    def broke(self, session: int, fault: str) -> None:
        """A commanded fault was carried out."""
        self._write("broke", session, fault)

    def violated(self, what: str) -> None:
        """The bridge broke a rule of SockJS."""
        self._write("violated", what)

    def _write(self, *entry: object) -> None:
        os.write(self._descriptor, (json.dumps(entry) + "\n").encode())


@dataclass
class Journal:
    """The journal, read so far. Sessions are numbered from 1 over all processes that wrote it."""

    opened: dict[int, str] = field(default_factory=dict)
    """The transport of each session."""
    shown: set[int] = field(default_factory=set)
    sent: dict[int, int] = field(default_factory=dict)
    """How many messages each session sent; they are numbered from 1 in each."""
    received: Sequences = field(default_factory=Sequences)
    received_in: dict[int, int] = field(default_factory=dict)
    """How many messages each session received."""
    broke: list[tuple[int, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def last_session(self) -> int:
        """The number of the newest session; 0 where there was none."""
        return max(self.opened, default=0)


def last_session(file: Path) -> int:
    """The number of the newest session, whatever came in which order; 0 where there was none."""
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    return max((entry[1] for entry in map(json.loads, lines) if entry[0] == "opened"), default=0)


def read_journal(file: Path) -> Journal:
    """Read the whole journal. Raises AssertionError where messages came out of order, or twice.

    Session by session: a server that had only stopped reads the end of an old one after the beginning of the
    next, which nobody can prevent.
    """
    journal = Journal()
    received: dict[int, list[str]] = {}
    lines = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
    for line in lines[:-1]:  # the last is empty, or still being written
        match json.loads(line):
            case ["opened", session, transport]:
                journal.opened[session] = transport
            case ["shown", session]:
                journal.shown.add(session)
            case ["sent", session, last]:
                journal.sent[session] = last
            case ["received", session, messages]:
                received.setdefault(session, []).extend(messages)
                journal.received_in[session] = journal.received_in.get(session, 0) + len(messages)
            case ["broke", session, fault]:
                journal.broke.append((session, fault))
            case ["violated", what]:
                journal.violations.append(what)
            case other:
                raise AssertionError(f"no entry of a journal: {other}")
    for _, messages in sorted(received.items()):
        for message in messages:
            journal.received.add(message)
    return journal
