"""A terminal as the local side of a session: a prompt with line editing and history, messages above it."""

import asyncio
import contextlib
import os
import re
import readline
import sys
import termios
import threading
from collections.abc import Callable

from sockjs_bridge.endpoints.stdio_streams import OnClosed

PROMPT = "> "
_TO_LINE_START = "\r"
_UP = "\x1b[{}A"
_CLEAR_BELOW = "\x1b[J"
_USUAL_COLUMNS = 80
# A server must not be able to move the cursor, to rename the window, or worse.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Screen:
    """The `Sink`: shows messages above the prompt."""

    def __init__(self) -> None:
        self.buffered_bytes = 0
        self.is_prompting = False
        """Whether a prompt is shown now. Set by the thread of the terminal, under `lock`."""
        self.lock = threading.Lock()

    def start(self, on_progress: Callable[[], None], on_closed: OnClosed) -> None:
        """Nothing is kept, and the end of a terminal shows when it is read."""

    def write(self, data: bytes) -> None:
        """Show messages, and below them what is being typed."""
        text = _CONTROLS.sub(_visible, data.decode(errors="replace"))
        with self.lock:
            if not self.is_prompting:
                self.show(text)
                return
            typed = PROMPT + readline.get_line_buffer()
            # The cursor is in the last row that the line takes, unless somebody has moved it.
            rows = len(typed) // _columns()
            self.show(_TO_LINE_START + (_UP.format(rows) if rows else "") + _CLEAR_BELOW + text + typed)

    def stop(self) -> None:
        """Nothing is kept."""

    def show(self, text: str) -> None:
        """Write to the terminal as it is."""
        with contextlib.suppress(OSError):  # it has hung up; reading tells so
            sys.stdout.write(text)
            sys.stdout.flush()


class Terminal:
    """The `Source`: asks for lines on the terminal. Use as a context manager.

    readline blocks, so it runs in a thread of its own, which hands whole lines to the loop and asks for the
    next one when it is wanted. A thread that waits for a key cannot be ended: the context manager puts the
    terminal back as it was. `greeting` is shown before the first prompt.
    """

    def __init__(self, greeting: str) -> None:
        self.screen = Screen()
        self._greeting = greeting
        self._loop = asyncio.get_running_loop()
        self._before = termios.tcgetattr(sys.stdin)
        self._wanted = threading.Event()
        self._is_paused = False
        self._has_ended = False

    def __enter__(self) -> "Terminal":
        """Nothing is changed yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was, below what is on it."""
        self.stop()
        if self.screen.is_prompting:
            self.screen.show("\n")
        with contextlib.suppress(termios.error):  # it has hung up
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def start(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Begin to ask for lines."""
        self._on_data, self._on_end = on_data, on_end
        self.screen.show(f"{self._greeting}\n")
        self._ask()
        threading.Thread(target=self._read_lines, name="terminal", daemon=True).start()

    def pause(self) -> None:
        """Ask for nothing more for now."""
        self._is_paused = True

    def resume(self) -> None:
        """Ask again."""
        if self._is_paused:
            self._is_paused = False
            self._ask()

    def stop(self) -> None:
        """Ask for nothing more, for good."""
        self._has_ended = True

    def _ask(self) -> None:
        if not self._has_ended:
            self._wanted.set()

    def _read_lines(self) -> None:
        """Read until the end: this is the thread."""
        # No message may come between the two: the prompt would stand there twice, or not at all.
        readline.set_startup_hook(self.screen.lock.acquire)
        readline.set_pre_input_hook(self._note_prompt)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            while True:
                self._wanted.wait()
                self._wanted.clear()
                try:
                    line = input(PROMPT)
                    self.screen.is_prompting = False
                except (EOFError, OSError):
                    self._loop.call_soon_threadsafe(self._end)
                    return
                self._loop.call_soon_threadsafe(self._take, line)

    def _note_prompt(self) -> None:
        self.screen.is_prompting = True
        self.screen.lock.release()

    def _take(self, line: str) -> None:
        if self._has_ended:
            return
        self._on_data(line.encode(errors="surrogateescape") + b"\n")
        if not self._is_paused:
            self._ask()

    def _end(self) -> None:
        if not self._has_ended:
            self.stop()
            self._on_end()


def _visible(control: re.Match[str]) -> str:
    return f"\\x{ord(control[0]):02x}"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS
