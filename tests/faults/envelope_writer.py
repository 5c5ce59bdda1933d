"""A local program that gives its messages ids, writes as fast as it is acknowledged, and keeps what it was told."""

import json
import socket
import threading
from contextlib import suppress
from typing import Any, Self

from tests.faults.numbered import numbered


class EnvelopeWriter:
    """Writes numbered messages to a listener with `framing = "envelope"`, from two threads of its own.

    It may connect again and again, to one process after the other: numbers go on, and none is written twice.
    `window` is how many may be without an answer.
    """

    def __init__(self, name: str, window: int = 400) -> None:
        self.name = name
        self.written = 0
        self.acknowledged: set[int] = set()
        """Numbers of messages that are `queued`: from then on the bridge answers for them."""
        self.in_doubt: set[int] = set()
        self.rejected: set[int] = set()
        self.answered = 0
        """How many had an answer since the connection began."""
        self._window = window
        self._news = threading.Condition()
        self._first = 1
        self._stopping = False
        self._socket: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    def text(self, number: int) -> str:
        """The message of this number."""
        return numbered(self.name, number)

    def connect(self, port: int) -> Self:
        """Begin to write to 127.0.0.1, and to read what it is told."""
        self._stopping = False
        self.answered = 0
        self._first = self.written + 1
        self._socket = socket.create_connection(("127.0.0.1", port), 15.0)
        self._socket.settimeout(None)
        self._threads = [
            threading.Thread(target=target, args=(self._socket,), daemon=True)
            for target in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop_writing(self) -> None:
        """Write no more; what was told still is read."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        self._threads[0].join(15.0)
        assert not self._threads[0].is_alive(), "the bridge has stopped to read this program"

    def leave(self) -> None:
        """Hang up, if the other side has not; all it had said is read then."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(15.0)
            assert not thread.is_alive()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def unanswered(self) -> int:
        """How many of this connection are neither acknowledged nor rejected."""
        return self.written - self._first + 1 - self.answered

    def _write(self, sock: socket.socket) -> None:
        with suppress(OSError):
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._stopping or self.unanswered < self._window)
                    if self._stopping:
                        return
                    first = self.written + 1
                    self.written += min(self._window - self.unanswered, 50)
                    last = self.written
                sock.sendall(b"".join(self._line(number) for number in range(first, last + 1)))

    def _line(self, number: int) -> bytes:
        return json.dumps({"data": self.text(number), "id": number}).encode() + b"\n"

    def _read(self, sock: socket.socket) -> None:
        with suppress(OSError), sock.makefile("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    self._hear(json.loads(line))

    def _hear(self, told: dict[str, Any]) -> None:
        with self._news:
            match told:
                case {"event": "ack", "id": number, "status": "queued"}:
                    self.acknowledged.add(number)
                    self.answered += 1
                case {"event": "ack", "id": number, "status": "in-doubt"}:
                    self.in_doubt.add(number)
                case {"event": "rejected", "id": number}:
                    self.rejected.add(number)
                    self.answered += 1
            self._news.notify_all()
