"""Many messages, in order and counted, and back-pressure where the server does not take them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.in_process import one_session, running, until
from tests.real_servers import RealServer
from tests.scripted import scripted
from tests.zmq_peer import Remote, Report, address, endpoint, other, pub, zmq_programs

MANY = 100_000


def everything(count: int) -> Report:
    """What a program reports that counted the numbers below `count`."""
    return {"count": count, "first": 0, "last": count - 1, "missing": 0, "in_order": True}


@pytest.mark.timeout(120)
async def test_from_the_server_to_a_subscriber(tmp_path: Path) -> None:
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=endpoint("pub", more="hwm = 200000"))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            program = await start("sub", connect=address(bridge), topics=["chat"], options={"RCVHWM": 0})
            await until(lambda: pub(bridge).consumers == 1)
            program.tell("receive_numbers", count=MANY)
            await remote.say_numbers(MANY)
            assert await program.report() == everything(MANY)
            assert pub(bridge).handed_over == MANY
            assert bridge.dropped == {}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["push", "sub"])
async def test_from_a_program_to_the_server(tmp_path: Path, kind: str) -> None:
    remote = Remote()
    bridge_kind, more = {"push": ("pull", ""), "sub": ("sub", 'topic = "t"')}[kind]
    role = {"push": "push", "sub": "pub"}[kind]
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=endpoint(bridge_kind, more=more))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            # A publisher that does not drop: else it would, for any subscriber.
            program = await start(
                role, connect=address(bridge), options={} if role == "push" else {"XPUB_NODROP": 1}
            )
            if role == "pub":
                await program.receive()
            assert await program.ask("send_numbers", count=MANY, topic="t" if role == "pub" else "") == {
                "sent": MANY
            }
            await until(lambda: len(remote.received) >= MANY)
            assert remote.received == [f"{number} " for number in range(MANY)]
            assert bridge.chat.hub.stats.messages_accepted == MANY
            assert bridge.dropped == {}


@pytest.mark.timeout(120)
async def test_to_a_worker(tmp_path: Path) -> None:
    """`overflow = "pause"`: the server waits for the worker."""
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=endpoint("push", more='overflow = "pause"'))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            worker = await start("pull", connect=address(bridge))
            worker.tell("receive_numbers", count=MANY)
            await remote.say_numbers(MANY)
            assert await worker.report() == everything(MANY)
            outgoing = other(bridge).outgoing
            assert outgoing
            assert (outgoing.handed_over, outgoing.waiting) == (MANY, 0)
            assert bridge.dropped == {}


@pytest.mark.timeout(120)
async def test_there_and_back_through_a_real_server(
    tmp_path: Path, shared_server: Callable[[str], RealServer]
) -> None:
    url = shared_server("tornado").url("/echo")
    listener = endpoint("pull") + endpoint("pub", more="hwm = 200000")
    async with zmq_programs() as start, running(one_session(url, listener=listener), tmp_path) as bridge:
        await bridge.opened()
        subscriber = await start("sub", connect=address(bridge, 2), topics=[""], options={"RCVHWM": 0})
        await until(lambda: pub(bridge, 2).consumers == 1)
        subscriber.tell("receive_numbers", count=MANY)
        pusher = await start("push", connect=address(bridge, 1))
        await pusher.ask("send_numbers", count=MANY)
        assert await subscriber.report() == everything(MANY)
        assert bridge.chat.hub.stats.messages_sent == bridge.chat.hub.stats.messages_received == MANY


@pytest.mark.timeout(120)
async def test_a_router_sends_and_receives_at_once(
    tmp_path: Path, shared_server: Callable[[str], RealServer]
) -> None:
    count = 20_000
    url = shared_server("tornado").url("/echo")
    listener = endpoint("dealer", more='overflow = "pause"') + endpoint("pull")
    async with zmq_programs() as start, running(one_session(url, listener=listener), tmp_path) as bridge:
        await bridge.opened()
        router = await start("router", connect=address(bridge, 1), options={"ROUTER_MANDATORY": 1})
        pusher = await start("push", connect=address(bridge, 2))
        await pusher.send(b"so that the router knows us")
        assert await router.receive() == [[b"so that the router knows us"]]
        assert await router.ask("exchange", count=count) == everything(count)
        assert bridge.dropped == {}


async def hold_back(tmp_path: Path, remote: Remote, *, opens: bool) -> None:
    """A pusher writes until it blocks; then the server takes everything, and the rest."""
    total = 50_000
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), "queue = { max_messages = 100 }", endpoint("pull"))
        async with running(config, tmp_path) as bridge:
            if opens:
                await bridge.opened()
            options = {"SNDHWM": 10, "SNDBUF": 1 << 15}
            pusher = await start("push", connect=address(bridge), options=options)
            sent = (await pusher.ask("send_numbers", count=total, padding=1000, patience_ms=500))["sent"]
            assert 100 < sent < total
            assert other(bridge).is_holding_back
            assert bridge.chat.hub.queue.messages == 100
            assert not remote.received
            remote.may_open.set()
            remote.may_read.set()
            rest = {"count": total - sent, "start": sent, "padding": 1000}
            assert await pusher.ask("send_numbers", **rest) == {"sent": total - sent}
            await until(lambda: len(remote.received) >= total)
            assert [int(text.partition(" ")[0]) for text in remote.received] == list(range(total))
            assert bridge.dropped == {}


@pytest.mark.timeout(120)
async def test_a_server_that_is_away_makes_the_pusher_wait(tmp_path: Path) -> None:
    remote = Remote()
    remote.may_open.clear()
    await hold_back(tmp_path, remote, opens=False)


@pytest.mark.timeout(120)
async def test_a_server_that_does_not_read_makes_the_pusher_wait(tmp_path: Path) -> None:
    remote = Remote()
    remote.may_read.clear()
    await hold_back(tmp_path, remote, opens=True)


async def test_what_waits_outlives_the_session(tmp_path: Path) -> None:
    """The server goes and comes back while a pusher writes: what was not yet sent waits for the next session."""
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint("pull")), tmp_path) as bridge,
    ):
        await bridge.opened()
        pusher = await start("push", connect=address(bridge))
        await pusher.ask("send_numbers", count=1000)
        await until(lambda: len(remote.received) == 1000)
        remote.may_open.clear()
        remote.peers[0].close()
        await until(lambda: not bridge.chat.supervisor.is_open)
        await pusher.ask("send_numbers", count=1000, start=1000)
        await until(lambda: bridge.chat.hub.queue.messages == 1000)
        assert len(remote.received) == 1000
        remote.may_open.set()
        await asyncio.wait_for(until(lambda: len(remote.received) == 2000), 30)
        assert [int(text) for text in remote.received] == list(range(2000))
