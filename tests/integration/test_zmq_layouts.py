"""What stands in the frames: the plain layout and the one with meta, events among messages."""

import json
from pathlib import Path

import pytest

from tests.in_process import one_session, running, until
from tests.scripted import Peer, scripted
from tests.zmq_peer import Remote, Report, address, endpoint, other, pub, zmq_programs

META = 'layout = "meta"'


def metas(messages: list[list[bytes]]) -> list[Report]:
    """The meta of messages that end in [meta, data]."""
    return [json.loads(frames[-2]) for frames in messages]


def brief(meta: Report) -> tuple[str, int, int]:
    return meta["event"], meta["epoch"], meta["seq"]


async def reconnect(remote: Remote) -> None:
    """The server ends the session; the next one opens."""
    sessions = len(remote.peers)
    await remote.peers[-1].send_text('c[3000,"Go away!"]')
    remote.peers[-1].close()
    await until(lambda: len(remote.peers) > sessions)


async def test_pub_events_have_a_topic_of_their_own(tmp_path: Path) -> None:
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=endpoint("pub", more=META))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            everything = await start("sub", connect=address(bridge), topics=["chat"])
            events_only = await start("sub", connect=address(bridge), topics=["chat/!event"])
            await until(lambda: len(pub(bridge)._publisher._prefixes) == 2)
            assert pub(bridge).consumers == 1  # who wants only events is no consumer of messages
            await remote.say("a", "b")
            await reconnect(remote)
            await bridge.opened(2)
            await remote.say("c")
            got = await everything.receive(5)
            assert [frames[0] for frames in got] == [
                b"chat",
                b"chat",
                b"chat/!event",
                b"chat/!event",
                b"chat",
            ]
            assert [frames[-1] for frames in got] == [b"a", b"b", b"", b"", b"c"]
            assert all(len(frames) == 3 for frames in got)
            told = metas(got)
            assert list(map(brief, told)) == [
                ("message", 1, 1),
                ("message", 1, 2),
                ("disconnected", 1, 2),
                ("connected", 2, 0),
                ("message", 2, 1),
            ]
            assert {meta["session"] for meta in told} == {"chat"}
            assert len({meta["boot"] for meta in told}) == 1
            assert told[2]["cause"] == "server_closed"
            assert (told[2]["code"], told[2]["reason"]) == (3000, "Go away!")
            assert told[3]["transport"] == "websocket"
            assert await events_only.receive(2) == got[2:4]
            assert bridge.dropped == {}


async def test_a_connected_pub_tells_of_the_first_session_too(tmp_path: Path) -> None:
    """A subscriber that is there before the session opens sees `connected` of epoch 1."""
    remote = Remote()
    remote.may_open.clear()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=endpoint("pub", more=f'{META}\ntopic = "t"'))
        async with running(config, tmp_path) as bridge:
            subscriber = await start("sub", connect=address(bridge), topics=["t"])
            await until(lambda: pub(bridge).consumers == 1)
            remote.may_open.set()
            ((topic, meta, data),) = await subscriber.receive()
            assert (topic, data) == (b"t/!event", b"")
            assert brief(json.loads(meta)) == ("connected", 1, 0)


@pytest.mark.parametrize(("kind", "partner"), [("push", "pull"), ("dealer", "router")])
async def test_push_and_dealer_get_events_in_line(tmp_path: Path, kind: str, partner: str) -> None:
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=endpoint(kind, more=META))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            program = await start(partner, connect=address(bridge))
            await until(lambda: other(bridge)._opened.peers == 1)
            await remote.say("a", "b")
            await reconnect(remote)
            await bridge.opened(2)
            await remote.say("c")
            got = await program.receive(6)
            assert [frames[1:] for frames in got] == [[b""], [b"a"], [b"b"], [b""], [b""], [b"c"]]
            assert list(map(brief, metas(got))) == [
                ("connected", 1, 0),
                ("message", 1, 1),
                ("message", 1, 2),
                ("disconnected", 1, 2),
                ("connected", 2, 0),
                ("message", 2, 1),
            ]
            assert other(bridge).outgoing
            assert other(bridge).outgoing.handed_over == 3  # type: ignore[union-attr]  # events are no messages
            if kind == "dealer":
                await program.send(b"without meta")
                await until(lambda: remote.received == ["without meta"])


@pytest.mark.parametrize(("kind", "partner"), [("push", "pull"), ("dealer", "router")])
async def test_plain_push_and_dealer_get_no_events(tmp_path: Path, kind: str, partner: str) -> None:
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint(kind)), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await start(partner, connect=address(bridge))
        await remote.say("a")
        await until(lambda: bridge.chat.hub.stats.messages_received == 1)
        await reconnect(remote)
        await bridge.opened(2)
        await remote.say("b")
        assert await program.receive(2) == [[b"a"], [b"b"]]


async def test_plain_pub_has_no_events(tmp_path: Path) -> None:
    remote = Remote()
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=endpoint("pub")), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await start("sub", connect=address(bridge), topics=[""])
        await until(lambda: pub(bridge).consumers == 1)
        await reconnect(remote)
        await bridge.opened(2)
        await remote.say("b")
        assert await program.receive() == [[b"chat", b"b"]]


async def test_sub_takes_data_with_and_without_its_topic(tmp_path: Path) -> None:
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        listener = endpoint("sub", more='topic = "in"')
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            await bridge.opened()
            program = await start("pub", connect=address(bridge))
            assert await program.receive() == [[b"\1in"]]
            await program.send(
                [b"in", b"data"], b"in one frame", [b"other", b"not subscribed"], [b"in/2", b"more"]
            )
            await until(lambda: len(remote.received) == 3)
            assert remote.received == ["data", "in one frame", "more"]
            assert bridge.dropped == {}


async def test_what_several_messages_in_one_frame_become(tmp_path: Path) -> None:
    """Lines, empty messages and bytes of every kind arrive as they are, each as one message."""

    async def play(peer: Peer) -> None:
        await peer.open_session()
        await peer.receive_messages()
        await peer.send_text("a" + json.dumps(["", "one\ntwo\r\n", "\0", "\U0001f600", "x" * 100_000]))
        await peer.send_text('m"single"')
        await peer.stay()

    async with zmq_programs() as start, scripted(play) as server:
        listener = endpoint("push") + endpoint("pull")
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            puller = await start("pull", connect=address(bridge, 1))
            pusher = await start("push", connect=address(bridge, 2))
            await pusher.send(b"go")
            assert await puller.receive(6) == [
                [b""],
                [b"one\ntwo\r\n"],
                [b"\0"],
                ["\U0001f600".encode()],
                [b"x" * 100_000],
                [b"single"],
            ]
