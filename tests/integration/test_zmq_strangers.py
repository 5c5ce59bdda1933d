"""What is no ZeroMQ program at a ZeroMQ port, and programs that send what is no message."""

import asyncio
import os
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.in_process import Running, events, one_session, running, until
from tests.scripted import scripted
from tests.zmq_peer import Remote, address, endpoint, other, pub, zmq_programs

GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL" + bytes(16) + bytes(32)


def smuggling_request() -> bytes:
    """An HTTP request whose body is a row of ZMTP 1.0 messages, as a web page could send it.

    ZMTP 1.0 has no greeting: lengths and flags from the first byte on. What the head means as such is walked over,
    and a header that the page chooses makes that walk end where the body begins.
    """
    for padding in range(5000):
        head = b"POST /%b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 800\r\n\r\n" % (b"\x21" * padding)
        place = 0
        while place < len(head):
            place += 1 + head[place]
        if place == len(head):
            return head + b"\x05\0evil" * 100
    raise AssertionError("no padding will do")


async def speak(where: str, data: bytes) -> bytes:
    """Send bytes to a port; returns what comes until the other side hangs up."""
    host, _, port = where.removeprefix("tcp://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    try:
        writer.write(data)
        answer = await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answer


@pytest.mark.parametrize("request_bytes", [b"POST / HTTP/1.1\r\n\r\n" + b"evil\n" * 100, smuggling_request()])
@pytest.mark.parametrize(("kind", "partner"), [("pull", "push"), ("sub", "pub"), ("dealer", "router")])
async def test_http_gets_nothing_in(
    tmp_path: Path, kind: str, partner: str, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint(kind)), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await start(partner, connect=address(bridge))
        await until(lambda: other(bridge)._opened.peers == 1)
        await speak(address(bridge), request_bytes)
        await until(lambda: events(caplog, "refused a peer") or events(caplog, "no ZeroMQ handshake"))
        if kind == "sub":
            await program.receive()
        if kind == "dealer":
            await remote.say("hello")
            assert await program.receive() == [[b"hello"]]
        await program.send(b"fine")
        await until(lambda: remote.received)
        assert remote.received == ["fine"]
        assert bridge.dropped == {}
        assert bridge.chat.hub.stats.messages_accepted == 1
        assert other(bridge)._opened.peers == 1


async def test_http_at_a_port_that_only_sends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing for the request in the answer, and nothing that is handed to it is lost for a worker."""
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        listener = endpoint("push") + endpoint("pub", more='topic = ""')
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            await bridge.opened()
            await remote.say("secret")
            await until(lambda: bridge.chat.hub.stats.messages_received == 1)
            for index in (1, 2):
                answer = await speak(address(bridge, index), smuggling_request() + b"\x02\0\x01" * 10)
                assert b"secret" not in answer
            assert pub(bridge, 2).consumers == 0
            worker = await start("pull", connect=address(bridge, 1))
            assert await worker.receive() == [[b"secret"]]


async def test_garbage_and_a_flood_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    remote = Remote()
    dice = random.Random(17)
    async with zmq_programs() as start, scripted(remote.play) as server:
        listener = endpoint("pull") + endpoint("pub")
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            await bridge.opened()
            pusher = await start("push", connect=address(bridge, 1))
            subscriber = await start("sub", connect=address(bridge, 2), topics=[""])
            await until(lambda: pub(bridge, 2).consumers == 1)
            pieces = [dice.randbytes(5000) for _ in range(40)]
            pieces += [GREETING + dice.randbytes(5000) for _ in range(40)]
            pieces += [
                b"\x01" + dice.randbytes(5000),
                b"\xff" + dice.randbytes(5000),
                b"",
                b"\xff\0\0\0\0\0\0\0\x01\x7f",
            ]
            for index in (1, 2):
                sockets = [await hang(address(bridge, index), piece) for piece in pieces]
                await pusher.send(b"in between")
                await until(lambda: len(remote.received) == index)  # noqa: B023  # waited for at once
                for writer in sockets:
                    writer.close()
            await until(
                lambda: len({line["endpoint"] for line in events(caplog, "no ZeroMQ handshake")}) == 2
            )
            await remote.say("still here")
            assert await subscriber.receive() == [[b"chat", b"still here"]]
            assert remote.received == ["in between"] * 2
            assert bridge.dropped == {}
            await until(lambda: other(bridge)._opened.peers == 1)


async def hang(where: str, data: bytes) -> asyncio.StreamWriter:
    """Send bytes to a port, and stay."""
    host, _, port = where.removeprefix("tcp://").rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    return writer


@pytest.mark.parametrize(
    ("kind", "wrong"), [("pull", "pull"), ("pull", "sub"), ("push", "push"), ("pub", "pull")]
)
async def test_a_program_with_a_wrong_socket_type(
    tmp_path: Path, kind: str, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    right = {"pull": "push", "push": "pull", "pub": "sub"}[kind]
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint(kind)), tmp_path) as bridge,
    ):
        await bridge.opened()
        await start(wrong, connect=address(bridge))
        await until(lambda: events(caplog, "no ZeroMQ handshake"))
        program = await start(right, connect=address(bridge), topics=["chat"] if right == "sub" else [])
        await until(lambda: events(caplog, "peer in"))
        if right == "push":
            await program.send(b"fine")
            await until(lambda: remote.received == ["fine"])
        else:
            await until(lambda: bridge.chat.endpoints[1].consumers == 1)
            await remote.say("fine")
            assert (await program.receive())[0][-1] == b"fine"
        assert bridge.dropped == {}


async def test_messages_of_several_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Left out, counted and reported; what comes between them gets through."""
    remote = Remote()
    listener = endpoint("pull") + endpoint("dealer") + endpoint("sub")
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        pusher = await start("push", connect=address(bridge, 1))
        dealer = await start("dealer", connect=address(bridge, 2))
        publisher = await start("pub", connect=address(bridge, 3))
        await publisher.receive()
        garbage = [[os.urandom(20), b"", os.urandom(20)], [b""] * 50, [b"a"] * 1000]
        await pusher.send([b"two", b"frames"], *garbage, b"push")
        await dealer.send([b"", b"as REQ does"], *garbage, b"dealer")
        await publisher.send(*garbage, [b"topic", b"pub"])
        await until(lambda: len(remote.received) == 3)
        assert sorted(remote.received) == ["dealer", "pub", "push"]
        assert bridge.dropped == {"invalid": 11}
        assert {str(event["reason"]) for event in events(caplog, "frames, not [data]")} == {"invalid"}
        assert len({event["endpoint"] for event in events(caplog, "frames, not [data]")}) == 3


async def test_too_large(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somewhat too large: left out and counted. Far too large: libzmq parts with that program, and with no other."""
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint("pull")), tmp_path) as bridge,
    ):
        await bridge.opened()
        one, other_one = [await start("push", connect=address(bridge)) for _ in range(2)]
        await one.ask("send_size", size_bytes=2 << 20)
        await one.ask("send_size", size_bytes=1 << 20)
        await one.send(b"small")
        await until(lambda: len(remote.received) == 2)
        assert [len(text) for text in remote.received] == [1 << 20, 5]
        assert bridge.dropped == {"oversize": 1}
        assert events(caplog, "larger than")[0]["size_bytes"] == 2 << 20

        await until(lambda: other(bridge)._opened.peers == 2)
        await one.ask("send_size", size_bytes=8 << 20)
        await until(lambda: events(caplog, "peer out"))
        await other_one.send(b"others go on")
        await until(lambda: len(remote.received) == 3)
        assert remote.received[-1] == "others go on"


async def test_invalid_utf8(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint("pull")), tmp_path) as bridge,
    ):
        await bridge.opened()
        pusher = await start("push", connect=address(bridge))
        surrogate = b"\xed\xa0\x80"
        await pusher.send(b"\xff half", surrogate, b"", b"\0", "\uffff".encode())
        await until(lambda: len(remote.received) == 5)
        assert remote.received == ["\ufffd half", "\ufffd" * 3, "", "\0", "\uffff"]
        incoming = other(bridge).incoming
        assert incoming
        assert incoming.invalid_utf8 == 2
        assert events(caplog, "invalid UTF-8")
        assert bridge.dropped == {}


async def test_strange_subscriptions(tmp_path: Path) -> None:
    """A subscriber may write anything to a pub: it does not count as one who listens to what is sent."""
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint("pub")), tmp_path) as bridge,
    ):
        await bridge.opened()
        async with raw_subscriber(bridge) as (reader, writer):
            for body in (b"", b"\x02chat", b"\x01chat/nothing like it", b"\xff" * 200, b"\x01chat"):
                writer.write(zmtp_frame(body))
            await until(lambda: pub(bridge).consumers == 1)
            await remote.say("here")
            assert await reader.readuntil(b"here")
            program = await start("sub", connect=address(bridge), topics=["cha"])
            await until(lambda: pub(bridge).consumers == 2)
        await until(lambda: pub(bridge).consumers == 1)
        await remote.say("still")
        assert await program.receive() == [[b"chat", b"still"]]


async def test_nobody_can_take_back_the_subscription_of_another(tmp_path: Path) -> None:
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint("pub")), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await start("sub", connect=address(bridge), topics=["chat"])
        await until(lambda: pub(bridge).consumers == 1)
        async with raw_subscriber(bridge) as (_, writer):
            writer.write(zmtp_frame(b"\0chat") + zmtp_frame(b"\x01chat/!"))
            await until(lambda: b"chat/!" in pub(bridge)._publisher._prefixes)
            await remote.say("for the one who subscribed")
            await until(lambda: bridge.chat.hub.stats.messages_received == 1)
            assert await program.receive() == [[b"chat", b"for the one who subscribed"]]


async def test_who_subscribes_twice_leaves_once(tmp_path: Path) -> None:
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint("pub")), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await start("sub", connect=address(bridge), topics=["chat"])
        await until(lambda: pub(bridge).consumers)
        await program.ask("subscribe", topic="chat")
        await program.ask("subscribe", topic="chat/!")  # to know when the one before has come
        await until(lambda: b"chat/!" in pub(bridge)._publisher._prefixes)
        await remote.say("once")
        assert await program.receive() == [[b"chat", b"once"]]
        await program.kill()
        await until(lambda: pub(bridge)._publisher.peers == 0 and not pub(bridge).consumers)
        await remote.say("for nobody")
        await until(lambda: bridge.chat.hub.stats.messages_received == 2)
        assert bridge.dropped == {"no_consumer": 1}


def zmtp_frame(body: bytes) -> bytes:
    return bytes([0, len(body)]) + body


@asynccontextmanager
async def raw_subscriber(bridge: Running) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A SUB by hand, after the handshake of ZMTP 3.0."""
    host, _, port = address(bridge).removeprefix("tcp://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 3) + b"SUB"
    writer.write(GREETING + bytes([4, len(ready)]) + ready)
    await reader.readexactly(64)
    _, size = await reader.readexactly(2)
    await reader.readexactly(size)
    try:
        yield reader, writer
    finally:
        writer.close()
