"""Both WebSocket transports against servers that others wrote: sockjs-node, sockjs-tornado and sockjs for aiohttp.

Everything goes through the running program: what a local program gets, and what the log says. Where the servers
differ, the test says which one does what.
"""

import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from tests.bridge_process import (
    WEBSOCKET_AT_ONCE,
    BridgeProcess,
    BridgeStarter,
    HandshakeServer,
    LineClient,
    pass_on,
    smallest,
    wait_until,
)
from tests.conformance.corpus import HOSTILE
from tests.real_servers import SERVER_NAMES, RealServer

QUICK = '[sessions.chat.reconnect]\ninitial = "100ms"\nmax = "300ms"\n'


@dataclass(frozen=True)
class Kind:
    """One of the two transports: its name, and what a user puts behind the base URL to get it."""

    transport: str
    suffix: str

    @property
    def framed(self) -> bool:
        return self.transport == "websocket"


FRAMED = Kind("websocket", "")
RAW = Kind("websocket-raw", "/websocket")


@pytest.fixture(params=[FRAMED, RAW], ids=lambda kind: kind.transport)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each transport in turn. All three servers offer both."""
    assert isinstance(request.param, Kind)
    return request.param


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[BridgeStarter]:
    """Start bridges: `start_bridge(config)`. They end with the test."""
    with BridgeStarter(tmp_path) as starter:
        yield starter


@pytest.fixture(params=SERVER_NAMES)
def server_name(request: pytest.FixtureRequest) -> str:
    """Each real server in turn, by its name: for tests that kill and stop theirs."""
    return str(request.param)


@pytest.fixture(scope="module")
def echo_bridges(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[RealServer, Kind], BridgeProcess]]:
    """Start a bridge to /echo with JSON literals as lines, or hand out the one that runs; no test may end it."""
    started: dict[tuple[str, Kind], BridgeProcess] = {}
    with BridgeStarter(tmp_path_factory.mktemp("echo")) as start:

        def start_once(server: RealServer, kind: Kind) -> BridgeProcess:
            if (server.name, kind) not in started:
                listener = 'framing = "json"\nmax_message_size = "8MiB"\nclient_buffer = "8MiB"'
                started[server.name, kind] = start(config(server, "/echo", kind, listener=listener))
            return started[server.name, kind]

        yield start_once


@pytest.fixture
def echo(
    server: RealServer, kind: Kind, echo_bridges: Callable[[RealServer, Kind], BridgeProcess]
) -> Iterator[LineClient]:
    """A client whose lines are JSON literals, and come back. The session has to outlive the test."""
    bridge = echo_bridges(server, kind)
    assert bridge.wait_open()["transport"] == kind.transport
    with LineClient(bridge.port) as client:
        bridge.wait_for_log("client in", client=client.local_name)
        yield client
    assert len(bridge.log_lines("open")) == 1
    assert not bridge.log_lines("closed")
    assert not bridge.log_lines("left out")


def config(server: RealServer, path: str, kind: Kind, *, listener: str = "", rest: str = "") -> str:
    """Return a configuration: `listener` are more keys of the listener, `rest` is further tables."""
    session = WEBSOCKET_AT_ONCE if kind.framed else ""
    return f"{smallest(server.url(path + kind.suffix), session=session)}{listener}\n{rest}\n"


# --- opening ---------------------------------------------------------------------------------------------------


def test_the_session_opens_and_is_closed_politely(
    server: RealServer, kind: Kind, start_bridge: BridgeStarter
) -> None:
    # Another spelling of the same address, which people copy from a program that speaks WebSocket only.
    written = server.url(f"/echo{kind.suffix}/").replace("http://", "ws://")
    bridge = start_bridge(smallest(written))
    opened = bridge.wait_open()
    assert (opened["transport"], opened["epoch"]) == (kind.transport, 1)
    assert bridge.stop() == 0
    closed = bridge.log_lines("closed")[0]
    assert (closed["cause"], closed["code"]) == ("stopping", 1000)
    assert bridge.log[-1]["seconds"] < 1


def test_a_server_without_websocket_refuses_and_the_log_says_how(
    server_name: str, real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    # A server of its own: sockjs-node handles no errors of a connection that it has refused, so one that is
    # reset before all of its answer was read ends the whole server now and then.
    server = real_server(server_name)
    bridge = start_bridge(config(server, "/disabled_websocket_echo", FRAMED, rest=QUICK + "max_attempts = 1"))
    assert bridge.wait_exit() == 69
    assert "404 Not Found" in bridge.log_lines("cannot connect: ")[0]["message"]


# --- messages --------------------------------------------------------------------------------------------------


def test_hostile_messages_come_back_exactly(echo: LineClient) -> None:
    answers = echo.exchange([orjson.dumps(message).decode() for message in HOSTILE])
    came_back = [orjson.loads(answer) for answer in answers]
    # One by one, so that a difference can be read.
    for message, answer in zip(HOSTILE, came_back, strict=True):
        assert answer == message


def test_messages_come_back_exactly_when_each_has_a_frame_of_its_own(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    listener = 'framing = "json"'
    bridge = start_bridge(
        config(server, "/echo", FRAMED, listener=listener, rest="[defaults]\nbatch_bytes = 0")
    )
    bridge.wait_open()
    messages = [f'{number}: "\\\u2028\N{GRINNING FACE}' * (number % 7) + "." for number in range(500)]
    with LineClient(bridge.port) as client:
        answers = client.exchange([orjson.dumps(message).decode() for message in messages])
    assert [orjson.loads(answer) for answer in answers] == messages


@pytest.mark.parametrize(
    "text",
    ["0123456789abcdef" * 65536, ('{"n": 1, "text": "\u00e9\u2028\N{GRINNING FACE}\\"}' * 40000)[: 1 << 20]],
    ids=["ASCII", "JSON that needs escapes"],
)
def test_a_megabyte_comes_back_exactly(text: str, echo: LineClient) -> None:
    # The second text has 1.3 MB in UTF-8, and far more in the literals that carry it.
    before, answer, after = echo.exchange(['"before"', orjson.dumps(text).decode(), '"after"'])
    assert (before, after) == ('"before"', '"after"')
    assert orjson.loads(answer) == text


def test_ten_thousand_lines_come_back_in_order(
    server: RealServer, kind: Kind, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(config(server, "/echo", kind))
    bridge.wait_open()
    lines = [f"line {number}" for number in range(10_000)]
    with LineClient(bridge.port) as client:
        assert client.exchange(lines) == lines
    assert bridge.stop() == 0
    last = bridge.log[-1]
    assert (last["sent"], last["received"], last["dropped"]) == (10_000, 10_000, 0)


# --- life and death --------------------------------------------------------------------------------------------


def both_kinds(server: RealServer, path: str, rest: str) -> str:
    """Return a configuration with a session for each transport, that waits long are shared by two."""
    return (
        "".join(
            config(server, path, kind).replace("sessions.chat", f"sessions.{kind.transport}")
            for kind in (FRAMED, RAW)
        )
        + f'[defaults]\n{rest}\n[defaults.reconnect]\ninitial = "100ms"\n'
    )


def test_heartbeats_keep_a_session_and_their_end_ends_it(
    server_name: str, real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server(server_name)
    bridge = start_bridge(both_kinds(server, "/hb1", 'silence_timeout = "2200ms"\nping_interval = 0'))
    for kind in (FRAMED, RAW):
        bridge.wait_for_log("open", transport=kind.transport)
    # No message flows. The first beat comes after one second: the next ones have to count too.
    stays_open(bridge, 3.5, FRAMED, RAW)
    server.process.send_signal(signal.SIGSTOP)
    closed = bridge.wait_for_log("closed", cause="silence", session=FRAMED.transport)
    assert closed["code"] == 1006
    assert closed["lasted"] > 3.5
    # Framed, sockjs-node and sockjs for aiohttp send a WebSocket PING, sockjs-tornado sends `h`. On a raw WebSocket
    # only sockjs for aiohttp does; and where there never was a sign of life, its absence means nothing.
    if server_name == "aio":
        bridge.wait_for_log("closed", cause="silence", session=RAW.transport)
    else:
        stays_open(bridge, 1, RAW)


def test_own_pings_find_a_server_that_hangs(
    server_name: str, real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server(server_name)
    bridge = start_bridge(both_kinds(server, "/echo", 'ping_interval = "1s"\nsilence_timeout = 0'))
    for kind in (FRAMED, RAW):
        bridge.wait_for_log("open", transport=kind.transport)
    # All three answer a PING on both transports, and that is enough to stay.
    stays_open(bridge, 2.5, FRAMED, RAW)
    server.process.send_signal(signal.SIGSTOP)
    for kind in (FRAMED, RAW):
        bridge.wait_for_log("closed", cause="silence", session=kind.transport)
    server.restart()
    for kind in (FRAMED, RAW):
        bridge.wait_for_log("open", epoch=2, session=kind.transport)


def stays_open(bridge: BridgeProcess, seconds: float, *kinds: Kind) -> None:
    """Fail if the session of one of these kinds does not stay open for so long."""
    names = [kind.transport for kind in kinds]
    with pytest.raises(AssertionError, match="still not so"):
        wait_until(
            lambda: any(line["session"] in names for line in bridge.log_lines("closed")),
            "a session has been closed",
            timeout=seconds,
        )


def test_the_close_of_the_server_is_reported_and_tried_again_with_backoff(
    server: RealServer, kind: Kind, start_bridge: BridgeStarter
) -> None:
    bridge = start_bridge(config(server, "/close", kind, rest=QUICK))
    last = bridge.wait_for_log("closed", nth=4)
    said: tuple[int, str | None] = (3000, "Go away!")
    if kind is RAW and server.name == "tornado":
        said = (1005, None)  # it closes a raw WebSocket without a code
    if kind is RAW and server.name == "aio":
        said = (1000, "Go away!")  # it says so whatever code the application gives
    closes = bridge.log_lines("closed")[:4]
    assert last["epoch"] == 4
    for epoch, closed in enumerate(closes, 1):
        assert (closed["code"], closed.get("reason")) == said
        assert (closed["cause"], closed["epoch"]) == ("server_closed", epoch)
        # Between `initial` and 1.75 times that, as long as the outage is young.
        assert re.fullmatch(r"closed; next try in 0\.[12] s", closed["message"])


def test_what_comes_together_with_the_open_frame_is_delivered(
    server_name: str, kind: Kind, real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server(server_name)
    server.kill()
    bridge = start_bridge(config(server, "/bulk", kind, rest=QUICK))
    with LineClient(bridge.port) as client:
        bridge.wait_for_log("client in")
        server.restart()
        assert client.read(5) == ["m0", "m1", "m2", "m3", "m4"]
        client.send("close")
        closed = bridge.wait_for_log("closed")
        # And the next session begins with the same five.
        assert client.read(5) == ["m0", "m1", "m2", "m3", "m4"]
    # sockjs-tornado does not escape the quotes in its close frame; sockjs-node's reason has a line break on purpose.
    said: tuple[int, str | None] = (4001, 'bye "quoted"')
    if server.name == "node":
        said = (4001, 'bye "quoted" \n reason')
    if kind is RAW and server.name == "tornado":
        said = (1005, None)
    if kind is RAW and server.name == "aio":
        said = (1000, "Go away!")
    assert (closed["code"], closed.get("reason")) == said


def test_a_restart_of_the_server_is_survived_with_clients_connected(
    server_name: str, kind: Kind, real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server(server_name)
    bridge = start_bridge(config(server, "/chat", kind, rest=QUICK))
    bridge.wait_open()
    with LineClient(bridge.port) as one, LineClient(bridge.port) as two:
        bridge.wait_for_log("client in", clients=2)
        one.send("before")
        assert one.read(1) == two.read(1) == ["before"]
        server.kill()
        bridge.wait_for_log("closed", epoch=1, cause="transport_lost", code=1006)
        two.send("while it was away")
        server.restart()
        bridge.wait_open(epoch=2)
        assert one.read(1) == two.read(1) == ["while it was away"]
        one.send("after")
        assert one.read(1) == two.read(1) == ["after"]
        assert not bridge.log_lines("client out")


def test_a_message_that_kills_the_server_is_not_sent_again(
    server_name: str, kind: Kind, real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server(server_name)
    bridge = start_bridge(config(server, "/die", kind, rest=QUICK))
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        client.send("die")
        server.wait_dead()
        bridge.wait_for_log("closed", cause="transport_lost")
        server.restart()
        bridge.wait_open(epoch=2)
        client.send("well?")
        assert client.read(1) == ["well?"]
    assert server.process.poll() is None


# --- cookies ---------------------------------------------------------------------------------------------------


def cookies_of(request: str) -> set[str]:
    """Return the cookies of a request: `name=value` each."""
    found = re.search(r"^Cookie: (.*?)\r$", request, re.IGNORECASE | re.MULTILINE)
    return set(found[1].split("; ")) if found else set()


def test_the_cookie_of_a_load_balancer_is_sent_back_at_every_reconnect(
    server: RealServer, kind: Kind, start_bridge: BridgeStarter
) -> None:
    """No server sets JSESSIONID in its answer to a WebSocket handshake; a load balancer in front of it does."""
    with HandshakeServer(pass_on(server.port, "Set-Cookie: JSESSIONID=node1.x; Path=/")) as balancer:
        url = f"http://127.0.0.1:{balancer.port}/cookie_needed_echo{kind.suffix}"
        session = WEBSOCKET_AT_ONCE if kind.framed else ""
        bridge = start_bridge(
            f'{smallest(url, session=session)}{QUICK}[sessions.chat.cookies]\nlogin = "a=b"\n'
        )
        for epoch in (1, 2, 3):
            bridge.wait_open(epoch)
            with LineClient(bridge.port) as client:
                client.send(f"line {epoch}")
                assert client.read(1) == [f"line {epoch}"]
            if epoch < 3:
                balancer.hang_up()
        first, *later = balancer.requests
    assert cookies_of(first) == {"login=a=b"}
    assert len(later) == 2
    for request in later:
        assert cookies_of(request) == {"login=a=b", "JSESSIONID=node1.x"}


def test_no_server_sets_its_cookie_in_a_websocket_handshake(
    server: RealServer, kind: Kind, start_bridge: BridgeStarter
) -> None:
    """So what the next requests carry is what the user configured, JSESSIONID too."""
    with HandshakeServer(pass_on(server.port)) as recorder:
        url = f"http://127.0.0.1:{recorder.port}/cookie_needed_echo{kind.suffix}"
        session = WEBSOCKET_AT_ONCE if kind.framed else ""
        bridge = start_bridge(
            f'{smallest(url, session=session)}{QUICK}[sessions.chat.cookies]\nJSESSIONID = "dummy"\n'
        )
        bridge.wait_open()
        recorder.hang_up()
        bridge.wait_open(2)
        assert [cookies_of(request) for request in recorder.requests] == [{"JSESSIONID=dummy"}] * 2


def test_each_handshake_has_a_session_of_its_own_on_the_same_server_id(
    server: RealServer, start_bridge: BridgeStarter
) -> None:
    with HandshakeServer(pass_on(server.port)) as recorder:
        url = f"http://127.0.0.1:{recorder.port}/echo?key=a%2Fb"
        bridge = start_bridge(smallest(url, session=WEBSOCKET_AT_ONCE) + QUICK)
        for epoch in (1, 2):
            bridge.wait_open(epoch)
            recorder.hang_up()
        wait_until(lambda: len(recorder.requests) >= 3, "a third handshake")
        paths = [request.split(" ")[1] for request in recorder.requests]
    found = [re.fullmatch(r"/echo/(\d{3})/([a-z0-9]{16,})/websocket\?key=a%2Fb", path) for path in paths]
    assert all(found)
    assert len({match[1] for match in found if match}) == 1
    assert len({match[2] for match in found if match}) == len(paths)
