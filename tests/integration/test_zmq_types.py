"""Every type of ZeroMQ endpoint, bound and connected, with programs in processes of their own."""

import asyncio
from pathlib import Path

import pytest

from tests.in_process import one_session, running, until
from tests.scripted import scripted
from tests.zmq_peer import Remote, ZmqProgram, ZmqPrograms, address, endpoint, other, pub, zmq_programs

PARTNERS = {"pub": "sub", "push": "pull", "sub": "pub", "pull": "push", "dealer": "router"}
SENDS = {"pub", "push", "dealer"}
TAKES = {"sub", "pull", "dealer"}


async def start_listening_partner(start: ZmqPrograms, kind: str, scheme: str, tmp_path: Path) -> ZmqProgram:
    where = "tcp://127.0.0.1:*" if scheme == "tcp" else f"ipc://{tmp_path}/p"
    return await start(PARTNERS[kind], bind=where, topics=["chat"] if kind == "pub" else [])


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
@pytest.mark.parametrize("binds", [True, False])
@pytest.mark.parametrize("kind", PARTNERS)
async def test_types(tmp_path: Path, kind: str, binds: bool, scheme: str) -> None:
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        program: ZmqProgram | None = None
        where, more = "tcp://127.0.0.1:0" if scheme == "tcp" else f"ipc://{tmp_path}/b", ""
        if not binds:
            program = await start_listening_partner(start, kind, scheme, tmp_path)
            where, more = program.address, "bind = false"
        config = one_session(server.url(), listener=endpoint(kind, where, more))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            if program is None:
                topics = ["chat"] if kind == "pub" else []
                program = await start(PARTNERS[kind], connect=address(bridge), topics=topics)
            if kind == "sub":
                assert await program.receive() == [[b"\1"]]  # its subscription
            if kind in SENDS:
                # A program that listens notices the bridge, and subscribes, only while it uses its socket.
                reading = asyncio.create_task(program.receive(2))
                await until(lambda: kind != "pub" or pub(bridge).consumers == 1)
                await remote.say("Grüße", "two")
                topic = [b"chat"] if kind == "pub" else []
                assert await reading == [[*topic, "Grüße".encode()], [*topic, b"two"]]
            if kind in TAKES:
                await program.send("Grüße".encode(), b"two")
                await until(lambda: len(remote.received) == 2)
                assert remote.received == ["Grüße", "two"]
            assert bridge.dropped == {}


async def test_many_endpoints_of_one_session(tmp_path: Path) -> None:
    """Everyone gets everything, and everyone is heard."""
    remote = Remote()
    endpoints = [endpoint("pub"), endpoint("push", f"ipc://{tmp_path}/q"), endpoint("dealer")]
    endpoints += [
        endpoint("pull"),
        endpoint("sub", f"ipc://{tmp_path}/s"),
        endpoint("pub", more='topic = "b"'),
    ]
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener="".join(endpoints))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            line = await bridge.client()
            readers = [
                await start("sub", connect=address(bridge, 1), topics=["chat"]),
                await start("sub", connect=address(bridge, 1), topics=[""]),
                await start("pull", connect=address(bridge, 2)),
                await start("router", connect=address(bridge, 3)),
                await start("sub", connect=address(bridge, 6), topics=["b"]),
            ]
            await until(lambda: pub(bridge, 1).consumers == 2 and pub(bridge, 6).consumers == 1)
            words = [f"word {number}" for number in range(100)]
            await remote.say(*words)
            assert await line.lines(100) == words
            for reader in readers:
                assert [frames[-1].decode() for frames in await reader.receive(100)] == words

            pusher = await start("push", connect=address(bridge, 4))
            publisher = await start("pub", connect=address(bridge, 5))
            await publisher.receive()
            await line.send(b"by line\n")
            await pusher.send(b"by push")
            await readers[3].send(b"by router")
            await publisher.send(b"by pub", [b"topic", b"by pub with topic"])
            await until(lambda: len(remote.received) == 5)
            assert sorted(remote.received) == [
                "by line",
                "by pub",
                "by pub with topic",
                "by push",
                "by router",
            ]
            assert bridge.dropped == {}


def two_sessions(url: str, where: str, left: str = "", right: str = "") -> str:
    """Two sessions that publish at one address."""
    toml = ""
    for name, more in (("left", left), ("right", right)):
        toml += f'[sessions.{name}]\nurl = "{url}/{name}"\ntransports = ["websocket"]\ninfo = false\n'
        toml += endpoint("pub", where, more, session=name)
    return toml


@pytest.mark.parametrize(("left", "right"), [("", ""), ('topic = "a"', 'topic = "b"')])
async def test_two_sessions_at_one_address(tmp_path: Path, left: str, right: str) -> None:
    remote = Remote()
    topics = [b"a", b"b"] if left else [b"left", b"right"]
    where = f"ipc://{tmp_path}/pub"
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(two_sessions(server.url(""), where, left, right), tmp_path) as bridge,
    ):
        await until(lambda: len(remote.peers) == 2)

        def counts() -> tuple[int, int]:
            return pub(bridge, 0, "left").consumers, pub(bridge, 0, "right").consumers

        of_left = await start("sub", connect=where, topics=[topics[0].decode()])
        await until(lambda: counts() == (1, 0))
        of_both = await start("sub", connect=where, topics=[topic.decode() for topic in topics])
        await until(lambda: counts() == (1, 1))
        of_all = await start("sub", connect=where, topics=[""])
        await until(lambda: counts() == (2, 2))
        for peer in remote.peers:
            name = peer.path.split("/")[1]
            await peer.send_text(f'a["from {name}"]')
        assert await of_left.receive() == [[topics[0], b"from left"]]
        both = [[topics[0], b"from left"], [topics[1], b"from right"]]
        assert sorted(await of_both.receive(2)) == both
        assert sorted(await of_all.receive(2)) == both

        await of_both.ask("unsubscribe", topic=topics[0].decode())
        await until(lambda: counts() == (2, 2))
        await of_all.kill()
        await until(lambda: counts() == (1, 1))
        await of_both.kill()
        await until(lambda: counts() == (1, 0))
        right_peer = next(peer for peer in remote.peers if peer.path.startswith("/right"))
        stats = {name: each.hub.stats for name, each in bridge.daemon.bridges.items()}
        await right_peer.send_text('a["for nobody"]')
        await until(lambda: stats["right"].dropped == {"no_consumer": 1})
        assert not stats["left"].dropped


async def test_without_subscribers_messages_have_no_consumer(tmp_path: Path) -> None:
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint("pub")), tmp_path) as bridge,
    ):
        await bridge.opened()
        await start("sub", connect=address(bridge), topics=["something else"])
        subscriber = await start("sub", connect=address(bridge), topics=["chat"])
        await until(lambda: pub(bridge).consumers == 1)
        await remote.say("heard")
        assert await subscriber.receive() == [[b"chat", b"heard"]]
        await subscriber.ask("unsubscribe", topic="chat")
        await until(lambda: pub(bridge).consumers == 0)
        await remote.say("not", "heard")
        await until(lambda: bridge.dropped == {"no_consumer": 2})
        await subscriber.ask("subscribe", topic="ch")  # a prefix will do
        await until(lambda: pub(bridge).consumers == 1)
        await remote.say("heard again")
        assert await subscriber.receive() == [[b"chat", b"heard again"]]
        assert pub(bridge).handed_over + 2 == bridge.chat.hub.stats.messages_received


async def test_workers_share_the_work(tmp_path: Path) -> None:
    """Each message goes to one of them."""
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint("push")), tmp_path) as bridge,
    ):
        await bridge.opened()
        shares: list[list[int]] = [[], []]

        async def work(worker: ZmqProgram, share: list[int]) -> None:
            worker.tell("stream", count=100)
            while True:
                share.append(int((await worker.report())["message"][0]))

        workers = [await start("pull", connect=address(bridge)) for _ in shares]
        tasks = [asyncio.create_task(work(*each)) for each in zip(workers, shares, strict=True)]
        await until(lambda: other(bridge)._opened.peers == 2)
        await remote.say_numbers(100)
        await until(lambda: len(shares[0]) + len(shares[1]) == 100)
        for task in tasks:
            task.cancel()
        assert all(share and share == sorted(share) for share in shares)
        assert sorted(shares[0] + shares[1]) == list(range(100))
