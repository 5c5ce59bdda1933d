"""`sockjs-bridge connect`: one session on standard input and output."""

import argparse
import asyncio
import contextlib
import json
import secrets
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop

from sockjs_bridge import log
from sockjs_bridge.cli_arguments import add_connect
from sockjs_bridge.config import SessionConfig
from sockjs_bridge.endpoints.framing import FRAMINGS
from sockjs_bridge.endpoints.state_changes import Disconnected
from sockjs_bridge.endpoints.stdio import Leave, StdioEndpoint
from sockjs_bridge.endpoints.stdio_streams import InputStream, OutputStream, Sink, Source
from sockjs_bridge.endpoints.terminal import Terminal
from sockjs_bridge.errors import Cause
from sockjs_bridge.local_sockets import SessionNames
from sockjs_bridge.single_session import UsageError, let_connections_close, load_session
from sockjs_bridge.wiring import build

EXIT_OK = 0
EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69
EXIT_INTERRUPTED = 130

add_arguments = add_connect

_NAME = "connect"
_DEFAULT_TRIES = 4
"""`/info` and the three transports that are tried unless others are named."""
_LINES = ("lines", "json")
_LINGER_SECONDS = 2.0
_LOOK_SECONDS = 0.02
_GOODBYE_SECONDS = 5.0
_LAST_OUTPUT_SECONDS = 1.0
_PATIENT_SECONDS = 24 * 3600.0


def run(options: argparse.Namespace) -> int:
    """Join one session to standard input and output until either ends; returns the exit code."""
    if sys.stdin is None or sys.stdout is None:
        _say("standard input and output must be open")
        return EXIT_USAGE
    tries = len(options.transports) + 1 if options.transports else _DEFAULT_TRIES
    try:
        session = load_session(_NAME, options, options.transports, options.timeout / tries)
    except UsageError as error:
        for problem in error.problems:
            _say(problem)
        return EXIT_USAGE
    mask = session.as_written.secrets.mask
    log.configure("info" if options.verbose else "warning", "text", mask=mask)
    log.mask_uncaught(mask)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(options, session))
    except asyncio.CancelledError:  # a second signal
        return EXIT_INTERRUPTED


async def _serve(options: argparse.Namespace, session: SessionConfig) -> int:
    # With counts instead of lines there is nothing to edit on a terminal.
    if sys.stdin.isatty() and sys.stdout.isatty() and options.framing in _LINES:
        shown = session.shown_url
        with Terminal(f"connected to {shown}; Ctrl-D leaves") as terminal:
            return await _Conversation(options, session, terminal, terminal.screen, interactive=True).run()
    source, sink = InputStream(sys.stdin.fileno()), OutputStream(sys.stdout.fileno())
    return await _Conversation(options, session, source, sink, interactive=False).run()


class _Conversation:
    """One session with standard input and output, from the first try to the last byte of output."""

    def __init__(
        self,
        options: argparse.Namespace,
        session: SessionConfig,
        source: Source,
        sink: Sink,
        *,
        interactive: bool,
    ) -> None:
        event_log = log.EventLog()
        names = SessionNames(_NAME, secrets.token_hex(8))
        self._bridge = build(names, session, event_log)
        self._endpoint = StdioEndpoint(
            source,
            sink,
            FRAMINGS[options.framing],
            self._bridge.hub,
            event_log.bind(session=_NAME),
            max_message_bytes=session.queue.max_bytes,
            on_session_end=partial(_hush, session.as_written.secrets.mask),
            enough=options.once,
        )
        self._bridge.hub.add(self._endpoint)
        self._shown_url = session.shown_url
        self._timeout: float = options.timeout
        self._linger = _linger(options, interactive=interactive)
        self._wants_more = options.once is not None
        self._loop = asyncio.get_running_loop()
        self._interrupted: asyncio.Future[int] = self._loop.create_future()

    async def run(self) -> int:
        """Serve until there is a reason to leave; returns the exit code."""
        self._catch_signals()
        await self._endpoint.start()
        async with asyncio.TaskGroup() as group:
            supervising = group.create_task(self._bridge.supervisor.run())
            lingering = group.create_task(self._linger_on())
            code = await self._converse(lingering)
            await self._leave()
            lingering.cancel()
            supervising.cancel()
        await let_connections_close()
        return code

    def _catch_signals(self) -> None:
        task = asyncio.current_task()

        def leave(code: int) -> None:
            if not self._interrupted.done():
                self._interrupted.set_result(code)
            elif task is not None:
                task.cancel()

        self._loop.add_signal_handler(signal.SIGINT, leave, EXIT_INTERRUPTED)
        self._loop.add_signal_handler(signal.SIGTERM, leave, EXIT_OK)

    async def _converse(self, lingering: "asyncio.Task[None]") -> int:
        first_round, leave = self._bridge.supervisor.first_round, self._endpoint.leave
        steps: list[asyncio.Future[Any]] = [first_round, leave, self._interrupted]
        await asyncio.wait(steps, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        if not leave.done() and not self._interrupted.done():
            if self._endpoint.opened is None:
                return self._not_opened()
            await asyncio.wait([*steps[1:], lingering], return_when=asyncio.FIRST_COMPLETED)
        if self._interrupted.done():
            return self._interrupted.result()
        if leave.done():
            return self._exit_code(leave.result())
        if self._wants_more:
            _say("the time is up, and there were fewer messages than --once asks for")
            return EXIT_UNAVAILABLE
        return EXIT_OK

    def _not_opened(self) -> int:
        tried = [f"{transport} ({result})" for transport, result in self._bridge.hub.stats.connects]
        what = f"; tried {', '.join(tried)}" if tried else f" within {self._timeout:g} s"
        _say(f"no session could be opened at {self._shown_url}{what}; there is no further try")
        return EXIT_UNAVAILABLE

    def _exit_code(self, reason: Leave) -> int:
        match reason:
            case Leave.OUTPUT_CLOSED if self._endpoint.output_error is not None:
                error = self._endpoint.output_error
                _say(f"the output cannot be written: {(error.strerror or str(error)).lower()}")
                return EXIT_UNAVAILABLE
            case Leave.ENOUGH | Leave.OUTPUT_CLOSED:
                return EXIT_OK
            case Leave.OUTPUT_OVERFULL:
                _say("the output is not read, and the server sends on: left")
                return EXIT_UNAVAILABLE
            case Leave.INPUT_BROKEN:
                _say("the input is not in this framing")
                return EXIT_USAGE
            case Leave.SESSION_ENDED:
                return self._session_ended()

    def _session_ended(self) -> int:
        end = self._endpoint.ended
        if end is not None:
            _say(_described(end))
        # A server that ends the session by itself has rarely answered the last PING: that is no failure.
        is_lost = self._bridge.hub.stats.messages_in_doubt and (
            end is None or end.cause is not Cause.SERVER_CLOSED
        )
        is_done = self._endpoint.input_ended.is_set() and not self._unsent and not is_lost
        return EXIT_OK if is_done and not self._wants_more else EXIT_UNAVAILABLE

    @property
    def _unsent(self) -> int:
        hub = self._bridge.hub
        return hub.queue.messages + hub.stats.messages_in_flight + self._endpoint.held_back

    async def _linger_on(self) -> None:
        """Wait until the input has ended, and all is quiet for `linger` seconds after it."""
        await self._endpoint.input_ended.wait()
        if self._linger is None:
            await self._loop.create_future()  # for ever
            return
        busy_at = self._loop.time()
        while True:
            now = self._loop.time()
            if self._unsent or self._endpoint.unwritten_bytes:
                busy_at = now
            quiet_at = max(busy_at, self._endpoint.last_output) + self._linger
            if now >= quiet_at and not self._unsent:
                return
            await asyncio.sleep(max(quiet_at - now, _LOOK_SECONDS))

    async def _leave(self) -> None:
        """Send what was taken, close the session, and wait for whoever reads the output."""
        self._endpoint.stop_intake()
        there_is_a_server = self._endpoint.opened is not None and self._endpoint.ended is None
        await self._bridge.supervisor.stop(
            self._loop.time() + (_GOODBYE_SECONDS if there_is_a_server else 0.0)
        )
        patience = _LAST_OUTPUT_SECONDS if self._interrupted.done() else _PATIENT_SECONDS
        await self._endpoint.stop(self._loop.time() + patience)


def _linger(options: argparse.Namespace, *, interactive: bool) -> float | None:
    """For how long to stay after the end of the input; None for ever."""
    if options.linger is not None:
        return float(options.linger)
    if options.once is not None:
        return None
    return 0.0 if interactive else _LINGER_SECONDS


def _hush(mask: Callable[[str], str]) -> None:
    # The supervisor is about to announce a next try, which will never come; what there is to say is said here.
    log.configure("warning", "text", mask=mask)


def _described(end: Disconnected) -> str:
    # The server chose these words: on a terminal they must not do anything.
    reason = end.reason if end.reason.isprintable() else json.dumps(end.reason)
    return f"the session has ended: {end.cause} {end.code}" + (f" ({reason})" if reason else "")


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"sockjs-bridge connect: {text}", file=sys.stderr)
