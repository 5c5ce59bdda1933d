"""Whose descriptor it is when a handshake has failed."""

import os
import socket
from contextlib import closing

from sockjs_bridge.transports.handshake import let_go


def test_a_failed_handshake_ends_the_connection() -> None:
    sock, peer = socket.socketpair()
    with closing(peer), sock.dup() as spare:
        let_go(sock, spare)
        assert sock.fileno() == -1
        assert peer.recv(1) == b""


def test_a_descriptor_that_is_another_connections_by_now_is_left_alone() -> None:
    """After a reset uvloop closes the descriptor before it takes the socket over."""
    sock, peer = socket.socketpair()
    with closing(peer), sock.dup() as spare:
        number = sock.fileno()
        other, other_peer = socket.socketpair()
        with other, other_peer:
            os.dup2(other.fileno(), number)
            other.close()
            let_go(sock, spare)
            del sock  # a socket that is forgotten closes its descriptor
            with socket.socket(fileno=number) as reused:
                reused.sendall(b"still here")
                assert other_peer.recv(100) == b"still here"


def test_a_descriptor_that_is_closed_already_is_left_alone() -> None:
    sock, peer = socket.socketpair()
    with closing(peer), sock.dup() as spare:
        os.close(sock.fileno())
        let_go(sock, spare)
        assert sock.fileno() == -1


def test_a_socket_that_was_taken_over_and_closed_is_left_alone() -> None:
    sock, peer = socket.socketpair()
    with closing(peer), sock.dup() as spare:
        os.close(sock.detach())
        let_go(sock, spare)
        assert peer.recv(1) == b""
