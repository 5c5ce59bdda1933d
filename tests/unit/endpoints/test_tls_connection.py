"""TLS between a fake socket and a client that only notes what it hears."""

import asyncio
import ssl
from typing import cast

import pytest

from sockjs_bridge.endpoints import tls_handshakes
from sockjs_bridge.endpoints.address import TcpAddress
from sockjs_bridge.endpoints.base import ClientBudget
from sockjs_bridge.endpoints.server_tls import ServerTls, TlsFiles
from sockjs_bridge.endpoints.tcp_acceptor import TcpAcceptor
from sockjs_bridge.endpoints.tcp_client import TcpClient
from sockjs_bridge.endpoints.tcp_options import TcpCounts, TcpOptions
from sockjs_bridge.endpoints.tls_connection import TlsConnection
from sockjs_bridge.endpoints.tls_handshakes import Handshakes
from sockjs_bridge.endpoints.wording import FORMATS
from tests.fake_transport import FakeTransport
from tests.openssl_authority import Authority, client_context
from tests.tls_peer import TlsPeer

ROOM = 1 << 30


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> ServerTls:
    own = authority.server()
    return ServerTls(TlsFiles(str(own.cert), str(own.key)))


class Noted:
    """A client that keeps what it is told."""

    def __init__(self) -> None:
        self.host, self.peer = "192.0.2.1", "192.0.2.1:5000"
        self.heard: list[object] = []
        self.serves_on = False

    def connection_made(self, transport: object) -> None:
        self.heard.append("made")

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self, *, is_cut_off: bool) -> bool:
        self.heard.append("cut off" if is_cut_off else "end")
        return self.serves_on

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.heard.append(error or "lost")


class Door:
    """As much of an acceptor as handshakes need."""

    def __init__(self, max_clients: int = 10) -> None:
        self.options = TcpOptions(TcpAddress("h", 1), FORMATS["lines"], max_clients=max_clients)
        self.counts = TcpCounts()
        self.clients = 0
        self.refused: list[str] = []

    def allows(self, address: str, peer: str) -> bool:
        assert peer.startswith(f"{address}:")
        return address != "192.0.2.66"

    def refuse(self, why: str, peer: str) -> None:
        self.refused.append(why)


class Visit:
    """One connection to a door, both ends."""

    def __init__(self, tls: ServerTls, context: ssl.SSLContext, door: Door, handshakes: Handshakes) -> None:
        self.client, self.socket, self.peer = Noted(), FakeTransport(ROOM), TlsPeer(context)
        self.door = door
        self.connection = TlsConnection(cast("TcpClient", self.client), tls.context, handshakes)
        self.socket.writer = self.connection
        self._read = 0

    def connect(self) -> None:
        self.connection.connection_made(self.socket)  # type: ignore[arg-type]  # as much of one as it needs

    def read(self) -> bytes:
        """What the peer makes of what the kernel has taken since."""
        start, self._read = self._read, len(self.socket.taken)
        return self.peer.receive(self.socket.taken[start:])

    def shake_hands(self) -> None:
        self.connect()
        for _ in range(4):
            self.read()
            self.connection.data_received(self.peer.to_send())
        assert self.peer.is_up
        assert self.client.heard == ["made"]
        self.client.heard.clear()


class House:
    def __init__(
        self, tls: ServerTls, authority: Authority, *, places: int = 100, max_clients: int = 10
    ) -> None:
        self.door = Door(max_clients)
        self.budget = ClientBudget(places)
        self.handshakes = Handshakes(cast("TcpAcceptor", self.door), self.budget)
        self._tls = tls
        self.context = client_context(authority)

    def visit(self) -> Visit:
        return Visit(self._tls, self.context, self.door, self.handshakes)


@pytest.fixture
def house(tls: ServerTls, authority: Authority) -> House:
    return House(tls, authority)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def visit(house: House, request: pytest.FixtureRequest) -> Visit:
    house.context.maximum_version = request.param
    visit = house.visit()
    visit.shake_hands()
    return visit


async def test_messages_both_ways(visit: Visit) -> None:
    visit.connection.data_received(visit.peer.send(b"hello\n"))
    assert visit.client.heard == [b"hello\n"]
    visit.connection.write(b"x" * 100_000)
    visit.connection.write(memoryview(b"--yes--")[2:5])
    assert visit.read() == b"x" * 100_000 + b"yes"
    assert visit.connection.get_write_buffer_size() == 0


async def test_bytes_one_by_one_make_the_same_handshake_and_messages(house: House) -> None:
    visit = house.visit()
    visit.connect()
    for _ in range(4):
        visit.read()
        for byte in visit.peer.to_send():
            visit.connection.data_received(bytes([byte]))
    for byte in visit.peer.send(b"hello\n"):
        visit.connection.data_received(bytes([byte]))
    assert visit.client.heard == ["made", b"hello\n"]
    assert house.budget.used == 0, "the place of a handshake is given back; a client has its own"


async def test_data_right_behind_the_handshake_is_not_forgotten(house: House) -> None:
    visit = house.visit()
    visit.connect()
    visit.read()
    visit.connection.data_received(visit.peer.to_send())
    visit.read()
    visit.connection.data_received(visit.peer.to_send() + visit.peer.send(b"early\n"))
    assert visit.client.heard == ["made", b"early\n"]


async def test_what_the_kernel_does_not_take_is_told_within_the_write_and_counted_unencrypted(
    visit: Visit,
) -> None:
    visit.socket.room = 50_000
    visit.connection.write(b"x" * 64_000)
    assert visit.client.heard == ["pause"]
    unsent = visit.connection.get_write_buffer_size()
    assert unsent == 64_000 - len(visit.read()) == 64_000 - 3 * 16_384
    visit.socket.take(10_000)
    assert visit.connection.get_write_buffer_size() == 64_000 - 3 * 16_384, "no record is whole yet"
    visit.socket.take(ROOM)
    assert visit.client.heard == ["pause", "resume"]
    assert visit.connection.get_write_buffer_size() == 0
    assert len(visit.read()) == 64_000 - 3 * 16_384


async def test_a_broken_connection_forgets_writes_and_says_so(visit: Visit) -> None:
    visit.socket.break_down()
    visit.connection.write(b"x")
    assert visit.connection.is_closing()
    assert visit.connection.get_write_buffer_size() == 0


async def test_the_end_of_tls_is_answered_with_its_end(visit: Visit) -> None:
    visit.connection.data_received(visit.peer.send(b"last") + visit.peer.end())
    assert visit.client.heard == [b"last", "end"]
    assert visit.socket.was_closed
    visit.read()
    assert visit.peer.has_ended
    assert visit.connection.eof_received(), "it closes by itself"
    assert visit.client.heard == [b"last", "end"]


async def test_a_client_that_waits_for_its_last_messages_is_closed_by_itself(visit: Visit) -> None:
    visit.client.serves_on = True
    visit.connection.data_received(visit.peer.end())
    assert not visit.socket.is_closing()
    visit.connection.write(b"for you")
    visit.connection.close()
    assert visit.read() == b"for you"
    assert visit.peer.has_ended
    assert visit.socket.was_closed


async def test_half_an_end_leaves_the_way_in_open(visit: Visit) -> None:
    assert visit.connection.can_write_eof()
    visit.connection.write(b"last")
    visit.connection.write_eof()
    assert (visit.read(), visit.peer.has_ended, visit.socket.has_ended) == (b"last", True, True)
    visit.connection.data_received(visit.peer.send(b"and more"))
    assert not visit.socket.is_closing()
    visit.connection.data_received(visit.peer.end())
    assert visit.client.heard == [b"and more", "end"]
    assert visit.socket.was_closed
    visit.connection.write_eof()


async def test_a_cut_connection_is_no_end_of_tls(visit: Visit) -> None:
    visit.connection.data_received(visit.peer.send(b"half a mess"))
    assert visit.connection.eof_received()
    assert visit.client.heard == [b"half a mess", "cut off"]
    assert visit.socket.was_closed


async def test_what_came_before_a_fault_is_delivered_and_the_fault_is_told(visit: Visit) -> None:
    good, bad = visit.peer.send(b"good\n"), bytearray(visit.peer.send(b"bad\n"))
    bad[-1] ^= 1
    visit.connection.data_received(good + bytes(bad))
    assert visit.client.heard == [b"good\n"]
    assert visit.socket.was_aborted
    visit.connection.connection_lost(None)
    (error,) = visit.client.heard[1:]
    assert "TLS failed: " in str(error)
    visit.connection.write(b"into the void")
    visit.connection.close()
    with pytest.raises(ssl.SSLError):
        visit.read()


async def test_answers_of_tls_that_nobody_reads_are_bounded(visit: Visit) -> None:
    """As those to a client that asks for renegotiations; no client at hand can do that, so they are made up."""
    visit.socket.room = 0
    visit.connection.write(b"x")
    for _ in range(3):
        assert not visit.socket.was_aborted
        visit.connection._outgoing.write(b"x" * 30_000)
        visit.socket.pending = b""  # the fake takes one write at a time
        visit.connection.data_received(b"")
    assert visit.socket.was_aborted


async def test_an_address_that_may_not_come_gets_no_handshake(house: House) -> None:
    visit = house.visit()
    visit.client.host, visit.connection.peer = "192.0.2.66", "192.0.2.66:5000"
    visit.connect()
    assert visit.socket.was_aborted
    assert house.budget.used == 0


@pytest.mark.parametrize(
    ("first_bytes", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "it speaks HTTP without TLS"),
        (b"POST /x HTTP/1.1\r\nHost: localhost\r\n\r\n", "it speaks HTTP without TLS"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "it speaks HTTP without TLS"),
        (b"hello, is anybody there?\n", "it does not speak TLS"),
        (b'{"data":"hello"}\n', "it does not speak TLS"),
    ],
)
async def test_plain_text_is_refused_with_a_reason(house: House, first_bytes: bytes, why: str) -> None:
    visit = house.visit()
    visit.connect()
    assert house.budget.used == 1
    visit.connection.data_received(first_bytes)
    assert house.door.refused == [f"the TLS handshake failed: {why}"]
    assert visit.socket.was_aborted
    visit.connection.data_received(first_bytes)
    visit.connection.connection_lost(None)
    assert len(house.door.refused) == 1
    assert house.budget.used == 0
    assert visit.client.heard == []


async def test_old_versions_are_refused(house: House) -> None:
    house.context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        house.context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match=r"TLSv1_1 is deprecated"):
        house.context.maximum_version = ssl.TLSVersion.TLSv1_1
    visit = house.visit()
    visit.connect()
    visit.read()
    visit.connection.data_received(visit.peer.to_send())
    assert house.door.refused == [
        "the TLS handshake failed: it knows no version of TLS that is safe: 1.2 and 1.3 are"
    ]
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        visit.read()


async def test_a_client_that_leaves_in_the_handshake(house: House) -> None:
    leaving, breaking = house.visit(), house.visit()
    leaving.connect()
    leaving.connection.eof_received()
    leaving.connection.connection_lost(None)
    breaking.connect()
    breaking.connection.connection_lost(ConnectionResetError("reset"))
    assert house.door.refused == [
        "the TLS handshake failed: it closed the connection",
        "the TLS handshake failed: reset",
    ]
    assert house.budget.used == 0


async def test_a_client_that_does_not_read_the_handshake(house: House) -> None:
    visit = house.visit()
    visit.connect()
    visit.read()
    visit.connection.data_received(visit.peer.to_send())
    visit.read()
    visit.connection.pause_writing()
    visit.connection.data_received(visit.peer.to_send())
    assert house.door.refused == ["the TLS handshake failed: it does not read"]
    assert visit.client.heard == []


async def test_a_handshake_that_takes_too_long(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockjs_bridge.endpoints.tls_connection.HANDSHAKE_SECONDS", 0.01)
    visit = house.visit()
    visit.connect()
    while not visit.socket.was_aborted:
        await asyncio.sleep(0.001)
    assert house.door.refused == ["the TLS handshake failed: it took longer than 0.01 s"]
    assert tls_handshakes.HANDSHAKE_SECONDS == 10.0


async def test_open_handshakes_keep_nobody_out(tls: ServerTls, authority: Authority) -> None:
    house = House(tls, authority, max_clients=3)
    house.door.clients = 1
    first, second, third = [house.visit() for _ in range(3)]
    for each in (first, second, third):
        each.connect()
    assert (first.socket.was_aborted, second.socket.was_aborted) == (True, False)
    assert house.door.refused == ["the TLS handshake failed: it had not ended when others needed the place"]
    assert house.budget.used == 2


async def test_a_full_listener_refuses(tls: ServerTls, authority: Authority) -> None:
    house = House(tls, authority, max_clients=1)
    pending, visit = house.visit(), house.visit()
    pending.connect()
    house.door.clients = 1
    visit.connect()
    assert (visit.socket.was_aborted, pending.socket.was_aborted) == (True, False)
    assert house.door.refused == ["max_clients are connected"]


async def test_handshakes_have_their_descriptors_counted(tls: ServerTls, authority: Authority) -> None:
    house = House(tls, authority, places=1)
    first, second, third = [house.visit() for _ in range(3)]
    first.connect()
    second.connect()
    assert first.socket.was_aborted, "the oldest handshake makes room"
    assert house.budget.used == 1
    second.connection.connection_lost(None)
    assert house.budget.take()
    third.connect()
    assert third.socket.was_aborted
    assert house.door.refused[-1].startswith("no file descriptors left")


async def test_a_listener_that_stops_lets_go_of_open_handshakes(house: House) -> None:
    visit = house.visit()
    visit.connect()
    house.handshakes.close()
    assert visit.socket.was_aborted
    assert house.budget.used == 0
    visit.connection.connection_lost(None)
    assert house.door.refused == []
