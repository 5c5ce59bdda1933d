"""A local program under traffic: writes numbered messages all the time, and notes what it gets."""

import json
import socket
import threading
import time
from contextlib import suppress
from typing import Self

from tests.faults.numbered import Sequences, numbered

_LOOK_SECONDS = 0.01


class NumberedProgram:
    """Connects to a listener with `framing = "json"`, because messages hold everything that is awkward.

    It writes `per_second` messages until `stop_writing`, and reads from a thread of its own until the
    bridge closes. A message out of order ends the reading; `check` raises it.
    """

    def __init__(self, port: int, name: str, per_second: float = 100.0) -> None:
        self.name = name
        self.written = 0
        self.got = Sequences()
        self.longest_wait = 0.0
        """The longest time in seconds between two pieces that came."""
        self.is_closed = False
        """Whether the bridge has closed the connection."""
        self._interval = 1 / per_second
        self._failure: Exception | None = None
        self._leaving = False
        self._done_writing = threading.Event()
        self._socket = socket.create_connection(("127.0.0.1", port), 15.0)
        self._socket.settimeout(None)
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def start(self) -> Self:
        """Begin to write and to read."""
        self._writer.start()
        self._reader.start()
        return self

    def stop_writing(self) -> None:
        """Write no more; returns when all that was written is with the kernel."""
        self._done_writing.set()
        self._writer.join(15.0)
        assert not self._writer.is_alive(), "the bridge has stopped to read this program"

    def check(self) -> None:
        """Raise where the bridge closed the connection, or what it brought was not in order."""
        if self._failure is not None:
            raise self._failure
        assert not self.is_closed, f"the bridge has disconnected {self.name}"

    def leave(self) -> None:
        """Hang up."""
        self._leaving = True
        self._done_writing.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(15.0)
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.leave()

    def _write(self) -> None:
        with suppress(OSError):
            while not self._done_writing.wait(self._interval):
                text = numbered(self.name, self.written + 1)
                self._socket.sendall(_json_line(text))
                self.written += 1

    def _read(self) -> None:
        try:
            self._read_on()
        except (ValueError, AssertionError, OSError) as error:
            if not self._leaving:
                self._failure = error
        self.is_closed = not self._leaving

    def _read_on(self) -> None:
        rest, before = b"", time.monotonic()
        while piece := self._socket.recv(1 << 16):
            now = time.monotonic()
            self.longest_wait, before = max(self.longest_wait, now - before), now
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self.got.add(_from_json_line(line))


def _json_line(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode() + b"\n"


def _from_json_line(line: bytes) -> str:
    return str(json.loads(line))
