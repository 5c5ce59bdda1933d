"""A stop: the numbers in the last log line, and that all of it fits into `drain_timeout`."""

import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from tests.bridge_process import (
    WEBSOCKET_AT_ONCE,
    BridgeStarter,
    HandshakeServer,
    LineClient,
    smallest,
)
from tests.real_servers import RealServer
from tests.scripted import TEXT, accept_key, websocket_frame

DRAIN_SECONDS = 2.0
_MARGIN_SECONDS = 1.0  # for the start of the process's end on a busy machine; its own clock has none


def within(seconds: float = DRAIN_SECONDS) -> str:
    return f'[bridge]\ndrain_timeout = "{seconds}s"\n'


def open_session(head: bytes, client: socket.socket) -> None:
    key = next(line for line in head.decode().split("\r\n") if line.lower().startswith("sec-websocket-key"))
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_key(key.partition(":")[2].strip())
    )
    client.sendall(websocket_frame(TEXT, b"o"))


def reads_and_says_nothing(head: bytes, client: socket.socket) -> None:
    """A server that reads everything, and answers neither PING nor Close."""
    open_session(head, client)
    while client.recv(1 << 16):
        pass


def test_the_last_line_has_the_numbers(server: RealServer, start_bridge: BridgeStarter) -> None:
    bridge = start_bridge(smallest(server.url("/echo")))
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        assert client.exchange(["a", "b", "c"]) == ["a", "b", "c"]
        assert bridge.stop() == 0
    last = bridge.log[-1]
    assert (last["message"], last["sent"], last["received"], last["dropped"]) == ("stopped", 3, 3, 0)
    assert last["confirmed"] == 3, "the server has answered our Close"
    assert not {"in_doubt", "resent", "queued", "reasons"} & set(last)


def test_what_was_in_doubt_and_sent_again_is_among_the_numbers(
    real_server: Callable[[str], RealServer], start_bridge: BridgeStarter
) -> None:
    server = real_server("tornado")
    session = f"{WEBSOCKET_AT_ONCE}queue.resend_in_doubt = true\nreconnect.initial = 0.1\n"
    bridge = start_bridge(smallest(server.url("/echo"), session=session))
    bridge.wait_open()
    with LineClient(bridge.port) as client:
        bridge.wait_for_log("client in")
        server.process.send_signal(signal.SIGSTOP)
        client.send("a", "b")
        # They are in the socket of a server that will never read it.
        server.kill()
        bridge.wait_for_log("it is in doubt", messages=2)
        server.restart()
        assert client.read(2) == ["a", "b"]
        assert bridge.stop() == 0
    last = bridge.log[-1]
    assert (last["sent"], last["in_doubt"], last["resent"], last["confirmed"]) == (2, 2, 2, 2)


def test_a_stop_fits_into_drain_timeout_beside_a_server_that_never_answers(
    start_bridge: BridgeStarter,
) -> None:
    with HandshakeServer(reads_and_says_nothing) as server:
        bridge = start_bridge(
            within() + smallest(f"http://127.0.0.1:{server.port}/x", session=WEBSOCKET_AT_ONCE)
        )
        bridge.wait_open()
        with LineClient(bridge.port) as client:
            bridge.wait_for_log("client in")
            client.send("a", "b")
            began = time.monotonic()
            assert bridge.stop() == 0
            assert time.monotonic() - began < DRAIN_SECONDS + _MARGIN_SECONDS
    last = bridge.log[-1]
    assert last["seconds"] <= DRAIN_SECONDS
    assert (last["sent"], last["in_doubt"], last["dropped"]) == (2, 2, 0)
    assert "confirmed" not in last


def test_a_stop_fits_into_drain_timeout_beside_a_server_that_never_reads(start_bridge: BridgeStarter) -> None:
    """What does not fit into the buffers of the kernel waits; it is counted in the end, to the last message."""

    def never_reads(head: bytes, client: socket.socket) -> None:
        open_session(head, client)
        is_over.wait()

    is_over = threading.Event()
    lines = ["x" * 1000] * 50_000
    with HandshakeServer(never_reads) as server, ExitStack() as at_end:
        at_end.callback(is_over.set)
        config = within() + smallest(f"http://127.0.0.1:{server.port}/x", session=WEBSOCKET_AT_ONCE)
        bridge = start_bridge(config + "[sessions.chat.queue]\nmax_messages = 100\n")
        bridge.wait_open()
        with LineClient(bridge.port) as client:
            bridge.wait_for_log("client in")
            client._socket.settimeout(1)
            with pytest.raises(TimeoutError):
                for start in range(0, len(lines), 100):
                    client.send(*lines[start : start + 100])
            began = time.monotonic()
            assert bridge.stop() == 0
            assert time.monotonic() - began < DRAIN_SECONDS + _MARGIN_SECONDS
    last = bridge.log[-1]
    assert last["seconds"] <= DRAIN_SECONDS + 0.1
    assert last["in_doubt"] == last["sent"] > 0
    assert last["dropped"] >= 100
    assert last["reasons"] == f"stopped {last['dropped']}"
    assert last["sent"] + last["dropped"] <= len(lines)


def test_a_stop_fits_into_drain_timeout_beside_a_client_that_never_reads(start_bridge: BridgeStarter) -> None:
    """And the server never answers, either: both ends take their time, not one after the other."""
    flood = b"a" + b'["' + b"x" * 60_000 + b'"]'

    def floods(head: bytes, client: socket.socket) -> None:
        open_session(head, client)
        client.settimeout(0.5)
        with suppress(TimeoutError):
            while True:
                client.sendall(websocket_frame(TEXT, flood))
        is_over.wait()

    is_over = threading.Event()
    with HandshakeServer(floods) as server, ExitStack() as at_end:
        at_end.callback(is_over.set)
        config = within() + smallest(f"http://127.0.0.1:{server.port}/x", session=WEBSOCKET_AT_ONCE)
        bridge = start_bridge(config)
        stubborn = socket.socket()
        stubborn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with stubborn:
            stubborn.connect(("127.0.0.1", bridge.port))
            bridge.wait_for_log("client in")
            bridge.wait_open()
            stubborn.sendall(b"a\n")
            began = time.monotonic()
            assert bridge.stop() == 0
            assert time.monotonic() - began < DRAIN_SECONDS + _MARGIN_SECONDS
            stubborn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    last = bridge.log[-1]
    assert last["message"] == "stopped"
    assert last["seconds"] <= DRAIN_SECONDS + 0.1
    assert last["received"] > 0
