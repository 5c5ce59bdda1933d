"""The conformance matrix: every transport against every real server, one test for each check.

What a server cannot do is no reason to skip: matrix.py has a note for it, and the test checks what it does instead.
The program is a process of its own, and only its own: a session that another test broke is no excuse.
"""

import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter, LineClient, wait_until
from tests.conformance.corpus import HOSTILE, LONE_SURROGATES, MEGABYTE, REPLACED_SURROGATES
from tests.conformance.matrix import (
    BROKEN_CLOSE,
    CELLS,
    NO_CODE,
    NO_EMPTY,
    NO_HEARTBEAT,
    NO_LIMIT,
    NO_SURROGATES,
    OTHER_CODE,
    OWN_COOKIE,
    PERCENT,
    PING,
    TRANSPORTS,
    Cell,
    pinned_versions,
)
from tests.conformance.recorder import Recorder
from tests.real_servers import SERVER_NAMES, RealServer, ServerMissingError

# Where a transport receives: the end of the path.
RECEIVE_PATHS = {
    "websocket": "/websocket",
    "websocket-raw": "/websocket",
    "xhr-streaming": "/xhr_streaming",
    "xhr-polling": "/xhr",
    "eventsource": "/eventsource",
    "htmlfile": "/htmlfile",
    "jsonp-polling": "/jsonp",
}
QUICK = '[defaults.reconnect]\ninitial = "100ms"\nmax = "300ms"\n'
ONCE = '[defaults.reconnect]\ninitial = "1m"\nmax = "1m"\n'

SharedServer = Callable[[str], RealServer]


@pytest.fixture(params=CELLS, ids=str)
def cell(request: pytest.FixtureRequest) -> Cell:
    """Each transport to each server in turn."""
    assert isinstance(request.param, Cell)
    return request.param


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[BridgeStarter]:
    """Start bridges: `start_bridge(config)`. They end with the test."""
    with BridgeStarter(tmp_path) as starter:
        yield starter


def session(cell: Cell, port: int, path: str, *, name: str = "chat", info: bool = False) -> str:
    """Return the configuration of a session over this transport alone, with JSON literals as lines."""
    lines = [
        f"[sessions.{name}]",
        f'url = "http://127.0.0.1:{port}{path}"',
        f'transports = ["{cell.transport}"]',
        # Where it is of no interest, so that all recorded requests are the transport's.
        *([] if info else ["info = false"]),
        *([encoding(cell)] if cell.has(PERCENT) else []),
        f"[[sessions.{name}.tcp]]",
        'listen = "127.0.0.1:0"',
        'framing = "json"',
        'max_message_size = "8MiB"',
        'client_buffer = "8MiB"',
    ]
    return "\n".join(lines) + "\n"


def encoding(cell: Cell) -> str:
    """Return the setting that eventsource needs."""
    return f'eventsource_encoding = "{"percent" if cell.server == "node" else "none"}"'


def client_of(bridge: BridgeProcess, name: str = "chat") -> LineClient:
    """Connect a local program to a session, by its name."""
    listening = bridge.wait_for_log("listening on ", session=name)["message"]
    client = LineClient(int(listening.rpartition(":")[2]))
    bridge.wait_for_log("client in", client=client.local_name)
    return client


def literals(messages: list[str]) -> list[str]:
    """Return the lines that carry these messages."""
    return [orjson.dumps(message).decode() for message in messages]


# --- open, echo ------------------------------------------------------------------------------------------------


def test_open(cell: Cell, shared_server: SharedServer, start_bridge: BridgeStarter) -> None:
    server = shared_server(cell.server)
    assert server.version == pinned_versions()[cell.server], "not the version that the README names"
    bridge = start_bridge(session(cell, server.port, "/echo", info=True))
    assert bridge.wait_open()["transport"] == cell.transport
    with client_of(bridge) as client:
        assert client.exchange(['"hello"']) == ['"hello"']
    assert bridge.stop() == 0
    assert [line["cause"] for line in bridge.log_lines("closed")] == ["stopping"]
    last = bridge.log[-1]
    assert (last["sent"], last["received"], last["dropped"]) == (1, 1, 0)


def test_echo(cell: Cell, shared_server: SharedServer, start_bridge: BridgeStarter) -> None:
    bridge = start_bridge(session(cell, shared_server(cell.server).port, "/echo"))
    bridge.wait_open()
    with client_of(bridge) as client:
        answers = [orjson.loads(answer) for answer in client.exchange(literals(HOSTILE))]
        # One by one, so that a difference can be read.
        for message, answer in zip(HOSTILE, answers, strict=True):
            assert answer == message
        check_surrogates(cell, client)
        check_empty(cell, client)
        # Not in the assert: pytest would explain a difference of a megabyte for minutes.
        came_back = orjson.loads(client.exchange(literals([MEGABYTE]))[0]) == MEGABYTE
        assert came_back
        small = literals([f"message {number}" for number in range(10_000)])
        assert client.exchange(small) == small
    assert not bridge.log_lines("closed")
    assert not bridge.log_lines("left out")


def check_surrogates(cell: Cell, client: LineClient) -> None:
    client.send(*LONE_SURROGATES)
    answers = client.read(len(LONE_SURROGATES))
    if cell.has(NO_SURROGATES):
        assert [orjson.loads(answer) for answer in answers] == list(REPLACED_SURROGATES)
    else:
        assert [answer.lower() for answer in answers] == list(LONE_SURROGATES)


def check_empty(cell: Cell, client: LineClient) -> None:
    client.send('"before"', '""', '""', '"after"')
    empty = [] if cell.has(NO_EMPTY) else ['""', '""']
    assert client.read(2 + len(empty)) == ['"before"', *empty, '"after"']


# --- heartbeat -------------------------------------------------------------------------------------------------

SILENCE_SECONDS = 2.2
# The first beat comes after one second. If only that counted, the silence would be over before this.
IDLE_SECONDS = 3.5
# What a heartbeat looks like on the wire. The lookbehind is for the prelude of xhr-streaming.
XHR_BEAT = rb"(?<!h)h\n"
BEATS = {
    "websocket": rb"\x81\x01h",
    "xhr-streaming": XHR_BEAT,
    "xhr-polling": XHR_BEAT,
    "eventsource": rb"data: h\r\n\r\n",
    "htmlfile": rb'p\("h"\);',
    "jsonp-polling": rb'\w\("h"\);',
    "websocket-raw": rb"\x81\x01h",
}
PING_FRAME = rb"\x89\x00"


@dataclass
class Idle:
    """What came of an idle session: first while the server was well, then while it hung."""

    beats: int
    """Heartbeats that the server sent."""
    info_requests: int
    """How often the bridge asked whether the server is there, where no heartbeat ever said so."""
    closed: list[object]
    """Causes of closes while the server was well."""
    answers: list[str]
    """What the session echoed after that."""
    closed_by_silence: bool
    """Whether it was given up when the server hung."""


@pytest.fixture(scope="module")
def idle_sessions(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Cell], Idle]:
    """Let the sessions of all cells be idle at the same time, because it takes some seconds."""
    seen: dict[Cell, Idle] = {}
    folders = [tmp_path_factory.mktemp(server) for server in SERVER_NAMES]

    def look(cell: Cell) -> Idle:
        if not seen:
            with ThreadPoolExecutor() as threads:
                for part in threads.map(watch_idle, SERVER_NAMES, folders):
                    seen.update(part)
        return seen[cell]

    return look


def watch_idle(server_name: str, folder: Path) -> dict[Cell, Idle]:
    """Keep a session for each transport to one server, and let that hang at the end. Nothing where there is none."""
    cells = [Cell(transport, server_name) for transport in TRANSPORTS]
    with ExitStack() as stack, suppress(ServerMissingError):
        server = stack.enter_context(RealServer(server_name))
        recorders = {cell: stack.enter_context(Recorder(server.port)) for cell in cells}
        sessions = [session(cell, recorders[cell].port, "/hb1", name=cell.transport) for cell in cells]
        limits = f"[defaults]\nsilence_timeout = {SILENCE_SECONDS}\nping_interval = 0\n"
        bridge = stack.enter_context(BridgeStarter(folder))("".join(sessions) + limits + ONCE)
        with suppress(AssertionError):  # one that does not open shall fail its own test only
            wait_until(lambda: len(bridge.log_lines("open")) == len(cells), "all are open")
        time.sleep(IDLE_SECONDS)  # the idle time itself
        idle = {cell: note_idle(cell, bridge, recorders[cell]) for cell in cells}
        server.process.send_signal(signal.SIGSTOP)
        beating = [cell for cell in cells if not cell.has(NO_HEARTBEAT)]
        with suppress(AssertionError):
            wait_until(lambda: all(map(gave_up(bridge), beating)), "all have given up", 3 * SILENCE_SECONDS)
        for cell in cells:
            idle[cell].closed_by_silence = gave_up(bridge)(cell)
        return idle
    return {}


def gave_up(bridge: BridgeProcess) -> Callable[[Cell], bool]:
    return lambda cell: bool(bridge.log_lines("closed", session=cell.transport, cause="silence"))


def note_idle(cell: Cell, bridge: BridgeProcess, recorder: Recorder) -> Idle:
    pattern = PING_FRAME if cell.has(PING) else BEATS[cell.transport]
    beats = len(re.findall(pattern, recorder.from_server))
    closed = [line["cause"] for line in bridge.log_lines("closed", session=cell.transport)]
    answers: list[str] = []
    if not closed and bridge.log_lines("open", session=cell.transport):
        with suppress(OSError), client_of(bridge, cell.transport) as client:
            answers = client.exchange(['"still here"'])
    return Idle(beats, recorder.requests_for("/info"), closed, answers, closed_by_silence=False)


def test_heartbeat(cell: Cell, shared_server: SharedServer, idle_sessions: Callable[[Cell], Idle]) -> None:
    shared_server(cell.server)  # skips where there is none
    idle = idle_sessions(cell)
    assert idle.closed == []
    assert idle.answers == ['"still here"']
    if not cell.has(NO_HEARTBEAT):
        assert idle.beats >= 2
        assert idle.closed_by_silence
        assert idle.info_requests == 0
    else:
        assert idle.beats == 0
        # Over HTTP its answer to GET /info is the sign of life; a raw WebSocket is trusted, but for PINGs of ours.
        assert (idle.info_requests > 0) == (cell.transport != "websocket-raw")


# --- response limit --------------------------------------------------------------------------------------------

WAVES = 120
MESSAGES_PER_WAVE = 40
# Waves that have not come back. So each response is at most as long as two, and traffic never stops.
WAVES_UNDER_WAY = 2


def test_limit(cell: Cell, shared_server: SharedServer, start_bridge: BridgeStarter) -> None:
    # A wave is longer than the 4096 bytes after which the servers end a response.
    waves = [
        literals([f"wave {wave}, message {number}: {'x' * 100}" for number in range(MESSAGES_PER_WAVE)])
        for wave in range(WAVES)
    ]
    answers: list[str] = []
    with Recorder(shared_server(cell.server).port) as recorder:
        bridge = start_bridge(session(cell, recorder.port, "/echo"))
        bridge.wait_open()
        with client_of(bridge) as client:
            for number, wave in enumerate(waves):
                if number >= WAVES_UNDER_WAY:
                    answers += client.read(MESSAGES_PER_WAVE)
                client.send(*wave)
            answers += client.read(WAVES_UNDER_WAY * MESSAGES_PER_WAVE)
        receives = recorder.requests_for(RECEIVE_PATHS[cell.transport])
        assert bridge.stop() == 0
    assert answers == [line for wave in waves for line in wave]
    last = bridge.log[-1]
    assert (last["sent"], last["received"], last["dropped"]) == (len(answers), len(answers), 0)
    assert [line["cause"] for line in bridge.log_lines("closed")] == ["stopping"]
    if cell.has(NO_LIMIT):
        assert receives == 1
    else:
        assert receives > 50


# --- close, restart, cookie ------------------------------------------------------------------------------------


def test_close(cell: Cell, shared_server: SharedServer, start_bridge: BridgeStarter) -> None:
    port = shared_server(cell.server).port
    at_once = session(cell, port, "/close", name="at-once")
    bridge = start_bridge(session(cell, port, "/bulk") + at_once + ONCE)
    with client_of(bridge) as client:
        bridge.wait_for_log("open", session="chat")
        client.send('"hello"')
        while client.read(1) not in (['"hello"'], []):
            pass  # the five messages that this server begins with, if they were not over before we came
        # Where no receive is waiting, sockjs for aiohttp forgets what the application said and tells 3000.
        time.sleep(0.2)
        client.send('"close"')
        asked = bridge.wait_for_log("closed", session="chat")
    reason = 'bye "quoted" \n reason' if cell.server == "node" else 'bye "quoted"'
    assert close_of(asked) == said(cell, 4001, reason)
    early = bridge.wait_for_log("closed", session="at-once")
    if cell.has(BROKEN_CLOSE):
        # It writes the close frame behind the end of the response that it had announced, and drops the connection.
        assert (early["cause"], early["code"]) == ("transport_lost", 1006)
    else:
        assert close_of(early) == said(cell, 3000, "Go away!")


def close_of(line: dict[str, object]) -> tuple[object, object, object]:
    return line["cause"], line["code"], line.get("reason")


def said(cell: Cell, code: int, reason: str) -> tuple[object, object, object]:
    """Return what reaches us of a close with this code and reason."""
    if cell.has(NO_CODE):
        return "server_closed", 1005, None
    if cell.has(OTHER_CODE):
        return "server_closed", 1000, "Go away!"
    return "server_closed", code, reason


def test_restart(cell: Cell, real_server: Callable[[str], RealServer], start_bridge: BridgeStarter) -> None:
    server = real_server(cell.server)
    bridge = start_bridge(session(cell, server.port, "/echo") + QUICK)
    bridge.wait_open()
    with client_of(bridge) as client:
        assert client.exchange(['"before"']) == ['"before"']
        server.kill()
        bridge.wait_for_log("closed", epoch=1, cause="transport_lost", code=1006)
        client.send('"while it was away"')
        server.restart()
        assert client.read(1) == ['"while it was away"']
        assert client.exchange(['"after"']) == ['"after"']
        assert bridge.wait_open(epoch=2)["transport"] == cell.transport
        assert not bridge.log_lines("client out")


def test_cookie(cell: Cell, shared_server: SharedServer, start_bridge: BridgeStarter) -> None:
    cookie = '[sessions.chat.cookies]\nJSESSIONID = "abc"\n' if cell.has(OWN_COOKIE) else ""
    with Recorder(shared_server(cell.server).port) as recorder:
        bridge = start_bridge(session(cell, recorder.port, "/cookie_needed_echo") + QUICK + cookie)
        for epoch in (1, 2):
            bridge.wait_open(epoch)
            with client_of(bridge) as client:
                for word in ('"one"', '"two"'):
                    assert client.exchange([word]) == [word]
            if epoch == 1:
                recorder.hang_up()
        first, *later = [jsessionid(head) for head in recorder.requests]
        set_by_server = b"\r\nset-cookie: jsessionid=dummy;" in recorder.from_server.lower()
    if cell.has(OWN_COOKIE):
        assert (first, set_by_server) == ("abc", False)
        assert later == ["abc"]
    else:
        assert (first, set_by_server) == (None, True)
        # At least two receives and four sends.
        assert later == ["dummy"] * max(len(later), 5)


def jsessionid(head: str) -> str | None:
    """Return the cookie that a request carries."""
    found = re.search(r"^Cookie: (?:.*; )?JSESSIONID=([^;\r]*)", head, re.IGNORECASE | re.MULTILINE)
    return found[1] if found else None
