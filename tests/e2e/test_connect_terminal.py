"""`sockjs-bridge connect` on a terminal: line editing, history, and the terminal afterwards."""

import asyncio
import os
import pty
import re
import select
import signal
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.bridge_process import clean_environment, wait_until
from tests.real_servers import RealServer
from tests.scripted import Peer, scripted

LONG_ENOUGH = 20.0
COMMAND = [sys.executable, "-m", "sockjs_bridge", "connect"]


class OnTerminal:
    """The program on a terminal of its own, and what stands on its screen."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [*COMMAND, *arguments], clean_environment({"TERM": "xterm"}))
        self.name = Path(f"/proc/{self.pid}/fd/0").readlink()
        self.screen = ""
        self.code: int | None = None

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def flags(self) -> int:
        """The local modes of the terminal."""
        modes = termios.tcgetattr(self._descriptor)[3]
        assert isinstance(modes, int)
        return modes

    def read_until(self, pattern: str) -> None:
        deadline = time.monotonic() + LONG_ENOUGH
        while not re.search(pattern, self.screen, re.DOTALL):
            assert time.monotonic() < deadline, f"{pattern!r} is not on the screen: {self.screen!r}"
            if select.select([self._descriptor], [], [], 0.1)[0]:
                self.screen += os.read(self._descriptor, 65536).decode()

    def forget(self) -> None:
        self.screen = ""

    def wait(self) -> int:
        """Read to the end; returns the exit code."""
        with suppress(OSError):  # EIO: nobody has the terminal open any more
            while data := os.read(self._descriptor, 65536):
                self.screen += data.decode()
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def __enter__(self) -> "OnTerminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._descriptor)


def test_on_a_terminal_lines_are_edited_and_remembered(server: RealServer) -> None:
    with OnTerminal(server.url("/echo")) as terminal:
        before = terminal.flags()
        terminal.read_until("Ctrl-D leaves\r\n> ")
        terminal.type("hellp\x7fo\r")
        terminal.read_until("hello\r\n> ")
        terminal.forget()
        # The prompt is back: the last line is one key away, and can be added to.
        wait_until(lambda: not terminal.flags() & termios.ICANON, "readline has the terminal")
        terminal.type("\x1b[A!\r")
        terminal.read_until("hello!\r\n.*hello!\r\n> ")
        wait_until(lambda: not terminal.flags() & termios.ICANON, "readline has the terminal")
        terminal.type("\x04")
        assert terminal.wait() == 0
        assert before & termios.ICANON
        assert before & termios.ECHO


def test_a_message_comes_above_what_is_being_typed() -> None:
    speak = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await speak.wait()
        await peer.send_text('a["news \\u001b[31m"]')
        assert await peer.receive_messages() == ["half a line"]
        await peer.stay()

    def play(url: str, let_speak: Callable[[], object]) -> None:
        with OnTerminal(url) as terminal:
            terminal.read_until("> ")
            wait_until(lambda: not terminal.flags() & termios.ICANON, "readline has the terminal")
            terminal.type("half a")
            terminal.read_until("> half a")
            let_speak()
            # The server's control characters are shown, not obeyed.
            terminal.read_until(r"\r\x1b\[Jnews \\x1b\[31m\r\n> half a")
            terminal.type(" line\r")
            terminal.read_until("half a line\r\n> ")
            wait_until(lambda: not terminal.flags() & termios.ICANON, "readline has the terminal")
            terminal.type("\x04")
            assert terminal.wait() == 0

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with scripted(script) as server:
            await asyncio.to_thread(play, server.url(), lambda: loop.call_soon_threadsafe(speak.set))

    asyncio.run(run())


@pytest.mark.parametrize("how", ["Ctrl-C", "server"])
def test_the_terminal_is_as_it_was_however_it_ends(how: str) -> None:
    leave = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await leave.wait()
        if how == "server":
            await peer.send_text('c[3000,"Go away!"]')
        await peer.stay()

    def play(url: str, let_leave: Callable[[], object]) -> None:
        with OnTerminal(url) as terminal:
            before = terminal.flags()
            # Held open, or the modes would go with the program.
            keep = os.open(terminal.name, os.O_RDWR | os.O_NOCTTY)
            try:
                terminal.read_until("> ")
                wait_until(lambda: not terminal.flags() & termios.ICANON, "readline has the terminal")
                let_leave()
                if how == "Ctrl-C":
                    terminal.type("half a line\x03")
                _, status = os.waitpid(terminal.pid, 0)
                terminal.code = os.waitstatus_to_exitcode(status)
                assert terminal.code == (130 if how == "Ctrl-C" else 69)
                assert terminal.flags() == before
                if how == "server":
                    terminal.read_until(r"server_closed 3000 \(Go away!\)")
            finally:
                os.close(keep)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with scripted(script) as server:
            await asyncio.to_thread(play, server.url(), lambda: loop.call_soon_threadsafe(leave.set))

    asyncio.run(run())
