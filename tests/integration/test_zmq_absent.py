"""Programs that come after the bridge, go, and come back."""

from pathlib import Path

import pytest
import zmq

from tests.in_process import one_session, running, until
from tests.scripted import scripted
from tests.zmq_peer import Remote, endpoint, other, pub, zmq_programs

PARTNERS = {"push": "pull", "pull": "push", "sub": "pub", "dealer": "router"}


@pytest.mark.parametrize("kind", PARTNERS)
async def test_a_program_that_comes_later(tmp_path: Path, kind: str) -> None:
    """The bridge connects to where nobody listens yet."""
    where = f"ipc://{tmp_path}/p"
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=endpoint(kind, where, "bind = false"))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            if kind in {"push", "dealer"}:
                await remote.say("before", "it came")
                await until(lambda: bridge.chat.hub.stats.messages_received == 2)
            program = await start(PARTNERS[kind], bind=where)
            await until(lambda: other(bridge)._opened.peers == 1)
            if kind in {"push", "dealer"}:
                await remote.say("after")
                assert await program.receive(3) == [[b"before"], [b"it came"], [b"after"]]
            if kind == "sub":
                await program.receive()
            if kind != "push":
                await program.send(b"hello")
                await until(lambda: remote.received == ["hello"])
            assert bridge.dropped == {}


async def test_a_subscriber_that_comes_later(tmp_path: Path) -> None:
    where = f"ipc://{tmp_path}/p"
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=endpoint("pub", where, "bind = false"))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            await remote.say("too early")
            await until(lambda: bridge.dropped == {"no_consumer": 1})
            program = await start("sub", bind=where, topics=["chat"])
            program.tell("receive", count=1)
            await until(lambda: pub(bridge).consumers == 1)
            await remote.say("in time")
            assert (await program.report())["messages"] == [["chat", "in time"]]


async def test_a_program_that_restarts_at_its_address(tmp_path: Path) -> None:
    """The bridge connects again, and what came meanwhile waits for the new one."""
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        first = await start("pull", bind="tcp://127.0.0.1:*")
        config = one_session(server.url(), listener=endpoint("push", first.address, "bind = false"))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            await remote.say("one")
            assert await first.receive() == [[b"one"]]
            await first.kill()
            await until(lambda: other(bridge)._opened.peers == 0)
            outgoing = other(bridge).outgoing
            assert outgoing
            # The peer is told of as gone a moment before libzmq takes nothing more for it.
            raw = outgoing._socket.raw
            await until(lambda: not int(raw.getsockopt(zmq.EVENTS)) & zmq.POLLOUT)
            await remote.say("two", "three")
            await until(lambda: bridge.chat.hub.stats.messages_received == 3)
            assert outgoing.waiting == 2
            second = await start("pull", bind=first.address)
            assert await second.receive(2) == [[b"two"], [b"three"]]
            assert outgoing.handed_over == 3


async def test_a_pusher_that_restarts(tmp_path: Path) -> None:
    where = f"ipc://{tmp_path}/b"
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint("pull", where)), tmp_path) as bridge,
    ):
        await bridge.opened()
        for number in range(3):
            pusher = await start("push", connect=where)
            await pusher.send(b"run %d" % number)
            await until(lambda: len(remote.received) == number + 1)  # noqa: B023  # waited for at once
            await pusher.kill()
        assert remote.received == ["run 0", "run 1", "run 2"]
        await until(lambda: other(bridge)._opened.peers == 0)
