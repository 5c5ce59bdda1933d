"""Standard input and output on the event loop, whatever they are: pipes, files, terminals, sockets.

Nothing here sets O_NONBLOCK: it would hold for every process that shares the pipe or the terminal, and stay
after this one has ended. A descriptor is touched when it is ready, with no more than it surely takes. The loop
does not see it either, since uvloop sets the flag on all that it watches: it watches an epoll between the two.
"""

import asyncio
import errno
import os
import select
from collections import deque
from collections.abc import Callable
from typing import Protocol

_READ_BYTES = 64 * 1024
# What a pipe that is ready takes for certain: PIPE_BUF, a page. A terminal may take less.
_PIPE_BYTES = select.PIPE_BUF
_TERMINAL_BYTES = 256


OnClosed = Callable[[OSError | None], None]
"""Told when nothing can be written any more: None is that the reader has gone, which is no fault."""


class Source(Protocol):
    """Where messages for the server come from."""

    def start(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Begin to read."""

    def pause(self) -> None:
        """Read nothing more for now."""

    def resume(self) -> None:
        """Read again."""

    def stop(self) -> None:
        """Read nothing more, for good."""


class Sink(Protocol):
    """Where messages from the server go."""

    buffered_bytes: int
    """Bytes that were written here and have not gone out yet."""

    def start(self, on_progress: Callable[[], None], on_closed: OnClosed) -> None:
        """Tell who wants to know: bytes have gone out, nobody reads any more."""

    def write(self, data: bytes) -> None:
        """Write, now or as soon as it is possible. What comes after the end is dropped."""

    def stop(self) -> None:
        """Drop what has not gone out."""


class InputStream:
    """A `Source` on a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._readiness = _watch(descriptor)
        self._is_reading = False
        self._has_ended = False
        self._next: asyncio.Handle | None = None

    def start(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Begin to read."""
        self._on_data, self._on_end = on_data, on_end
        self.resume()

    def pause(self) -> None:
        """Read nothing more for now."""
        if not self._is_reading:
            return
        self._is_reading = False
        if self._readiness is not None:
            self._loop.remove_reader(self._readiness.fileno())
        elif self._next is not None:
            self._next.cancel()

    def resume(self) -> None:
        """Read again."""
        if self._is_reading or self._has_ended:
            return
        self._is_reading = True
        if self._readiness is not None:
            self._readiness.modify(self._descriptor, select.EPOLLIN)
            self._loop.add_reader(self._readiness.fileno(), self._read_if_ready)
        else:
            self._next = self._loop.call_soon(self._read_on)

    def stop(self) -> None:
        """Read nothing more, for good."""
        self.pause()
        self._has_ended = True
        if self._readiness is not None:
            self._readiness.close()
            self._readiness = None

    def _read_if_ready(self) -> None:
        if self._readiness is not None and self._readiness.poll(0):
            self._read()

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return  # the flag was set by somebody else, who was quicker to read
        except OSError:  # a terminal that has hung up: there will be no more
            data = b""
        if data:
            self._on_data(data)
        elif not self._has_ended:
            self.stop()
            self._on_end()

    def _read_on(self) -> None:
        """Read a piece of a file, which never makes one wait, then give the loop its turn."""
        self._read()
        if self._is_reading:
            self._next = self._loop.call_soon(self._read_on)


class OutputStream:
    """A `Sink` on a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._readiness = _watch(descriptor)
        self._piece_bytes = _TERMINAL_BYTES if os.isatty(descriptor) else _PIPE_BYTES
        self._buffer: deque[memoryview] = deque()
        self._is_waiting = False
        self._is_closed = False
        self.buffered_bytes = 0

    def start(self, on_progress: Callable[[], None], on_closed: OnClosed) -> None:
        """Tell who wants to know."""
        self._on_progress, self._on_closed = on_progress, on_closed
        if self._readiness is not None:
            # Without being asked, the kernel tells of errors: a pipe's is that its reader has gone.
            self._loop.add_reader(self._readiness.fileno(), self._go_on)

    def write(self, data: bytes) -> None:
        """Write, now or as soon as it is possible."""
        if self._is_closed:
            return
        self._buffer.append(memoryview(data))
        self.buffered_bytes += len(data)
        if not self._is_waiting:
            self._flush()

    def stop(self) -> None:
        """Drop what has not gone out."""
        if self._is_closed:
            return
        self._is_closed = True
        self._buffer.clear()
        self.buffered_bytes = 0
        if self._readiness is not None:
            self._loop.remove_reader(self._readiness.fileno())
            self._readiness.close()
            self._readiness = None

    def _flush(self) -> None:
        try:
            while self._buffer and self._is_ready():
                self._write_piece()
        except BlockingIOError:
            pass  # somebody else set the flag, and it took less than it said
        except OSError as error:
            has_gone = isinstance(error, BrokenPipeError | ConnectionError) or error.errno == errno.EIO
            self._close(None if has_gone else error)
            return
        self._wait(bool(self._buffer))

    def _is_ready(self) -> bool:
        if self._readiness is None:
            return True
        self._wait(True)
        return bool(self._readiness.poll(0))

    def _write_piece(self) -> None:
        piece = self._buffer[0]
        limit = len(piece) if self._readiness is None else self._piece_bytes
        written = os.write(self._descriptor, piece[:limit])
        self.buffered_bytes -= written
        if written == len(piece):
            self._buffer.popleft()
        else:
            self._buffer[0] = piece[written:]

    def _wait(self, waits: bool) -> None:
        if self._readiness is not None and waits is not self._is_waiting:
            self._is_waiting = waits
            self._readiness.modify(self._descriptor, select.EPOLLOUT if waits else 0)

    def _go_on(self) -> None:
        if self._readiness is None:
            return
        if any(event & (select.EPOLLERR | select.EPOLLHUP) for _, event in self._readiness.poll(0)):
            self._close()
            return
        self._flush()
        if not self._is_closed:
            self._on_progress()

    def _close(self, error: OSError | None = None) -> None:
        if not self._is_closed:
            self.stop()
            self._on_closed(error)


def _watch(descriptor: int) -> select.epoll | None:
    """What tells when it is ready; None for files and /dev/null, which always are."""
    readiness = select.epoll()
    try:
        readiness.register(descriptor, 0)
    except PermissionError:
        readiness.close()
        return None
    return readiness
