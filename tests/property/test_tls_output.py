"""What one client over TLS is given: a message is delivered where the client can decrypt all of it, and only there."""

import asyncio
import tempfile
from pathlib import Path
from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sockjs_bridge.endpoints.framing import FRAMINGS, EncodingCounts
from sockjs_bridge.endpoints.server_tls import ServerTls, TlsFiles
from sockjs_bridge.endpoints.tcp_client import TcpClient
from sockjs_bridge.endpoints.tcp_output import CHUNK_BYTES, TcpOutput
from sockjs_bridge.endpoints.tls_connection import TlsConnection
from sockjs_bridge.endpoints.tls_handshakes import Handshakes
from sockjs_bridge.endpoints.wording import PlainWording
from tests.fake_transport import FakeTransport
from tests.openssl_authority import Authority, client_context
from tests.tls_peer import TlsPeer

with tempfile.TemporaryDirectory() as folder:
    AUTHORITY = Authority(Path(folder))
    OWN = AUTHORITY.server()
    TLS = ServerTls(TlsFiles(str(OWN.cert), str(OWN.key)))
    CONTEXT = client_context(AUTHORITY)
LIMIT_BYTES = 150_000


class OpenDoor:
    """Handshakes that anybody may begin."""

    def enter(self, connection: TlsConnection, address: str) -> bool:
        return True

    def leave(self, connection: TlsConnection) -> None: ...


class Noted:
    """What a client does on behalf of its output."""

    def __init__(self) -> None:
        self.host, self.peer = "192.0.2.1", "192.0.2.1:5000"
        self.output: TcpOutput
        self.burst = (b"", 0)

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.output = TcpOutput(transport, PlainWording(FRAMINGS["lines"], EncodingCounts()))

    def pause_writing(self) -> None:
        self.output.pause(self.burst)

    def resume_writing(self) -> None:
        self.output.resume()


class TlsOutputMachine(RuleBasedStateMachine):
    """An output under `drop-oldest` over TLS, beside the list of everything that it was given."""

    @initialize(room=st.integers(0, 100_000))
    def begin(self, room: int) -> None:
        self.client, self.socket, self.peer = Noted(), FakeTransport(1 << 30), TlsPeer(CONTEXT)
        self.loop = asyncio.new_event_loop()
        door = cast("Handshakes", OpenDoor())
        connection = TlsConnection(cast("TcpClient", self.client), TLS.context, door)
        self.socket.writer = connection
        self.loop.run_until_complete(self._connect(connection))
        self.socket.room = room
        self.read_bytes = len(self.socket.taken)
        self.got = b""
        self.sent: list[bytes] = []
        self.dropped = 0
        self.longest = 0

    async def _connect(self, connection: TlsConnection) -> None:
        connection.connection_made(self.socket)  # type: ignore[arg-type]  # as much of one as it needs
        taken = 0
        while not self.peer.is_up or not connection._is_up:
            self.peer.receive(self.socket.taken[taken:])
            taken = len(self.socket.taken)
            connection.data_received(self.peer.to_send())

    def teardown(self) -> None:
        self.loop.close()

    @rule(sizes=st.lists(st.sampled_from([0, 10, 1_000, 16_384, 40_000]), min_size=1, max_size=8))
    def deliver(self, sizes: list[int]) -> None:
        first = len(self.sent)
        lines = [b"%d:%b\n" % (number, b"x" * size) for number, size in enumerate(sizes, first)]
        self.sent += lines
        data, output = b"".join(lines), self.client.output
        self.longest = max(self.longest, len(data))
        if output.is_behind or len(data) > CHUNK_BYTES:
            output.send(data, len(lines))
        else:
            self.client.burst = data, len(lines)
            output.write(data)
        if output.unsent_bytes > LIMIT_BYTES:
            self.dropped += output.drop_oldest(LIMIT_BYTES)[0]

    @rule(size_bytes=st.integers(1, 60_000))
    def read(self, size_bytes: int) -> None:
        self.socket.take(size_bytes)

    @invariant()
    def everything_adds_up(self) -> None:
        self.got += self.peer.receive(self.socket.taken[self.read_bytes :])
        self.read_bytes = len(self.socket.taken)
        got = [line for line in self.got.splitlines(keepends=True) if line.endswith(b"\n")]
        assert len(got) + self.client.output.unsent_messages + self.dropped == len(self.sent)
        known = set(got)
        assert got == [line for line in self.sent if line in known]

    @invariant()
    def it_is_in_bounds(self) -> None:
        assert self.client.output.unsent_bytes <= max(LIMIT_BYTES, CHUNK_BYTES + 2 * self.longest)


TestTlsOutput = TlsOutputMachine.TestCase
