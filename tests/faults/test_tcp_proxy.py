"""The fault proxy does what it says: a fault run against a proxy without faults would prove nothing."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.bridge_process import wait_until
from tests.faults.tcp_proxy import DOWN, UP, Accepting, TcpProxy, Way


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            while piece := self.request.recv(65536):
                self.request.sendall(piece)
        except ConnectionError:
            pass


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with TcpProxy(server.server_address[1]) as proxy:
                yield proxy
        finally:
            server.shutdown()
            thread.join()


def connect(proxy: TcpProxy) -> "closing[socket.socket]":
    return closing(socket.create_connection(("127.0.0.1", proxy.port), 10))


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def test_without_faults_all_bytes_pass(proxy: TcpProxy) -> None:
    data = bytes(range(256)) * 4000
    with connect(proxy) as sock:
        threading.Thread(target=sock.sendall, args=(data,)).start()
        assert read(sock, len(data)) == data
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


def test_latency_delays_each_direction(proxy: TcpProxy) -> None:
    proxy.set_both(Way(latency=0.2))
    with connect(proxy) as sock:
        begun = time.monotonic()
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        assert time.monotonic() - begun >= 0.4


def test_rate_is_kept(proxy: TcpProxy) -> None:
    proxy.set(DOWN, Way(bytes_per_second=2000, slice_bytes=100))
    with connect(proxy) as sock:
        begun = time.monotonic()
        sock.sendall(b"x" * 1000)
        assert read(sock, 1000) == b"x" * 1000
        assert time.monotonic() - begun >= 0.4


def test_slices_arrive_one_by_one(proxy: TcpProxy) -> None:
    proxy.set(DOWN, Way(slice_bytes=1, bytes_per_second=200))
    with connect(proxy) as sock:
        sock.sendall(b"hello")
        assert [sock.recv(100) for _ in range(5)] == [b"h", b"e", b"l", b"l", b"o"]


def test_black_hole_keeps_everything_back(proxy: TcpProxy) -> None:
    with connect(proxy) as sock:
        proxy.set(UP, Way(black_hole=True))
        sock.sendall(b"x")
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        proxy.set_both(Way())
        sock.settimeout(10)
        assert sock.recv(1) == b"x"


def test_reset_after_bytes(proxy: TcpProxy) -> None:
    proxy.set(DOWN, Way(reset_after_bytes=5))
    with connect(proxy) as sock, pytest.raises(ConnectionResetError):
        sock.sendall(b"0123456789")
        while sock.recv(100):
            pass


def test_end_after_bytes(proxy: TcpProxy) -> None:
    proxy.set(DOWN, Way(end_after_bytes=5))
    with connect(proxy) as sock:
        sock.sendall(b"0123456789")
        assert read(sock, 100) == b"01234"


def test_slow_close(proxy: TcpProxy) -> None:
    proxy.set(UP, Way(slow_close=0.3))
    with connect(proxy) as sock:
        begun = time.monotonic()
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
        assert time.monotonic() - begun >= 0.3


def test_all_are_reset_or_ended(proxy: TcpProxy) -> None:
    with connect(proxy) as one, connect(proxy) as other:
        wait_until(lambda: proxy.accepted == 2, "two connections")
        proxy.reset_all()
        for sock in (one, other):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
    with connect(proxy) as sock:
        wait_until(lambda: proxy.accepted == 3, "a third connection")
        proxy.end_all()
        assert sock.recv(1) == b""


def test_refusal_reset_and_return(proxy: TcpProxy) -> None:
    proxy.accept(Accepting.REFUSE)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 10)
    proxy.accept(Accepting.RESET)
    with pytest.raises(ConnectionResetError), connect(proxy) as sock:  # it may come while connecting
        sock.recv(1)
    proxy.accept(Accepting.HANG)
    with connect(proxy) as sock:
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    proxy.accept(Accepting.SERVE)
    with connect(proxy) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"


def test_error_of_a_balancer(proxy: TcpProxy) -> None:
    proxy.accept(Accepting.ERROR)
    with connect(proxy) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert read(sock, 1000).startswith(b"HTTP/1.1 503 ")
