"""`sockjs-bridge connect` on a terminal: line editing, history, and the terminal afterwards."""

import asyncio
import os
import termios
from collections.abc import Callable

import pytest

from tests.bridge_process import wait_until
from tests.on_terminal import OnTerminal
from tests.real_servers import RealServer
from tests.scripted import Peer, scripted


def test_on_a_terminal_lines_are_edited_and_remembered(server: RealServer) -> None:
    with OnTerminal("connect", server.url("/echo")) as terminal:
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
        with OnTerminal("connect", url) as terminal:
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
        with OnTerminal("connect", url) as terminal:
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
