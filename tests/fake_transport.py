"""A transport as the event loop's, with a kernel that takes as much as the test lets it."""

from typing import Protocol


class Writer(Protocol):
    """Whoever is told of the pace."""

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class FakeTransport:
    """Writes at once what the kernel takes, tells of the first byte that it does not, and when that is gone.

    A write on a broken connection is forgotten, as by uvloop: only `is_closing` tells of it.
    """

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.written = b""
        """Everything that it was given."""
        self.taken = b""
        """What the kernel took of it."""
        self.pending = b""
        self.is_broken = False
        self.has_ended = False
        self.was_closed = False
        self.was_aborted = False
        self.is_reading = True
        self.limit: int | None = None
        self.writer: Writer

    def get_extra_info(self, name: str) -> object:
        return None

    def set_write_buffer_limits(self, high: int) -> None:
        self.limit = high

    def get_write_buffer_size(self) -> int:
        return 0 if self.is_broken else len(self.pending)

    def is_closing(self) -> bool:
        return self.is_broken or self.was_closed or self.was_aborted

    def write(self, data: bytes | memoryview) -> None:
        assert self.limit == 0
        assert not self.has_ended
        assert not self.pending, "nothing more is given to a transport that has paused"
        if self.is_broken or self.was_aborted:
            return
        self.pending = bytes(data)
        self.written += self.pending
        self._flush()
        if self.pending:
            self.writer.pause_writing()

    def take(self, size_bytes: int) -> None:
        """The kernel has room for more."""
        self.room += size_bytes
        if self.pending:
            self._flush()
            if not self.pending:
                self.writer.resume_writing()

    def break_down(self) -> None:
        """The other side has gone; the protocol has not been told yet."""
        self.is_broken = True

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def write_eof(self) -> None:
        self.has_ended = True

    def close(self) -> None:
        self.was_closed = True

    def abort(self) -> None:
        self.was_aborted = True

    def _flush(self) -> None:
        self.taken += self.pending[: self.room]
        self.pending, self.room = self.pending[self.room :], max(0, self.room - len(self.pending))
