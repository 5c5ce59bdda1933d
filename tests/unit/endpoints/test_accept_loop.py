"""Connections to a listening socket, also where the kernel has no descriptor for them."""

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sockjs_bridge.endpoints.accept_loop import AcceptLoop, Peer
from sockjs_bridge.log import EventLog


class FailingSocket(socket.socket):
    """Its first calls of accept fail."""

    failures: list[int]

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            number = self.failures.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


class Reader(asyncio.Protocol):
    """Keeps what comes."""

    def __init__(self, peer: Peer, arrived: "asyncio.Queue[tuple[Peer, bytes]]") -> None:
        self._peer = peer
        self._arrived = arrived

    def data_received(self, data: bytes) -> None:
        self._arrived.put_nowait((self._peer, data))


@contextmanager
def accepting(sock: socket.socket) -> "Iterator[asyncio.Queue[tuple[Peer, bytes]]]":
    arrived: asyncio.Queue[tuple[Peer, bytes]] = asyncio.Queue()
    loop = AcceptLoop(sock, lambda peer: Reader(peer, arrived), "here", EventLog())
    loop.start()
    try:
        yield arrived
    finally:
        loop.stop()
    assert sock.fileno() == -1


def failing_listener(*failures: int) -> FailingSocket:
    sock = FailingSocket(socket.AF_INET, socket.SOCK_STREAM)
    sock.failures = list(failures)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_without_descriptors_who_connects_waits(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sockjs_bridge.endpoints.accept_loop._REST_SECONDS", 0.01)
    sock = failing_listener(number, number)
    with accepting(sock) as arrived, socket.create_connection(sock.getsockname()) as client:
        client.sendall(b"written long before")
        peer, data = await arrived.get()
        assert data == b"written long before"
        host, port = client.getsockname()
        assert peer == Peer(host, f"{host}:{port}")
    assert f"cannot accept clients: {os.strerror(number).lower()}" in caplog.text


async def test_an_error_of_one_connection_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """accept(2): what is known of a new connection already comes as an error of accept."""
    sock = failing_listener(errno.ECONNABORTED, errno.EPROTO)
    with accepting(sock) as arrived, socket.create_connection(sock.getsockname()) as client:
        client.sendall(b"hello")
        assert (await arrived.get())[1] == b"hello"
    assert "cannot accept" not in caplog.text


async def test_more_than_one_turn_takes_are_all_served() -> None:
    sock = failing_listener()
    sock.listen(200)
    with accepting(sock) as arrived:
        clients = [socket.create_connection(sock.getsockname()) for _ in range(150)]
        try:
            for client in clients:
                client.sendall(b"x")
            names = {(await arrived.get())[0].name for _ in clients}
        finally:
            for client in clients:
                client.close()
    assert len(names) == 150


async def test_a_peer_on_a_unix_socket_has_no_address(tmp_path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "chat"))
    sock.listen()
    with accepting(sock) as arrived, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "chat"))
        client.sendall(b"hello")
        assert await arrived.get() == (Peer("", "unix"), b"hello")


async def test_a_stop_while_it_rests_is_a_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sockjs_bridge.endpoints.accept_loop._REST_SECONDS", 0.01)
    sock = failing_listener(*[errno.EMFILE] * 1000)
    with accepting(sock), socket.create_connection(sock.getsockname()):
        while "cannot accept" not in caplog.text:
            await asyncio.sleep(0)
    left = len(sock.failures)
    await asyncio.sleep(0.05)
    assert len(sock.failures) == left
