"""Programs that stall, die or are not there, and what the others and the counters make of it."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.in_process import Running, events, one_session, running, until
from tests.scripted import scripted
from tests.zmq_peer import Remote, address, endpoint, other, pub, zmq_programs

SMALL_BUFFERS = {"RCVHWM": 10, "RCVBUF": 1 << 14}


def balance(bridge: Running, index: int = 1) -> int:
    """What an endpoint can tell about messages that were meant for it: they add up to all that came."""
    outgoing = other(bridge, index).outgoing
    assert outgoing
    return outgoing.handed_over + outgoing.waiting + bridge.dropped.get("slow_client", 0)


@pytest.mark.timeout(120)
async def test_a_stalled_subscriber_harms_nobody_and_sees_its_gap(tmp_path: Path) -> None:
    """The healthy one gets all; the stalled one can tell from `seq` what it missed."""
    rounds, at_once = 60, 50
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=endpoint("pub", more='hwm = 100\nlayout = "meta"'))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            healthy = await start("sub", connect=address(bridge), topics=["chat"])
            stalled = await start("sub", connect=address(bridge), topics=["cha"], options=SMALL_BUFFERS)
            await until(lambda: pub(bridge).consumers == 2)
            for number in range(rounds):
                await remote.say_numbers(at_once, start=number * at_once, padding=4000)
                got = await healthy.ask("receive_numbers", count=at_once)
                assert (got["first"], got["missing"], got["in_order"]) == (number * at_once, 0, True)

            stalled.tell("receive_seqs", last="END")
            reading = asyncio.create_task(stalled.report())
            while not reading.done():  # it is still behind, and misses some of these
                await remote.say("END")
                await asyncio.sleep(0.02)
            report = await reading
            seqs = report["seqs"]
            assert seqs == sorted(set(seqs))
            assert 0 < len(seqs) < rounds * at_once
            assert report["end"] > rounds * at_once
            # The gap is there to see: more numbers than messages.
            assert report["end"] - seqs[0] > len(seqs)
            assert seqs[0] == 1
            assert bridge.dropped == {}


@pytest.mark.timeout(120)
async def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    total = 5000
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(
            server.url(), listener=endpoint("push", more='overflow = "drop-oldest"\nhwm = 10000')
        )
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            first = await start("pull", connect=address(bridge), options=SMALL_BUFFERS)
            first.tell("stream", count=total)
            await remote.say_numbers(total, padding=1000)
            got = [await first.report() for _ in range(100)]
            got += await first.kill()
            outgoing = other(bridge).outgoing
            assert outgoing
            await until(
                lambda: other(bridge)._opened.peers == 0 and bridge.chat.hub.stats.messages_received == total
            )
            taken = outgoing.handed_over
            assert outgoing.waiting  # it was amidst
            assert balance(bridge) == total

            second = await start("pull", connect=address(bridge))
            second.tell("stream", count=total)
            await remote.say("-1 the end")
            numbers = [int(report["message"][0].partition(" ")[0]) for report in got]
            rest: list[int] = []
            while not rest or rest[-1] != -1:
                rest.append(int((await second.report())["message"][0].partition(" ")[0]))
            rest.pop()
            assert numbers == list(range(len(numbers)))
            assert rest == list(range(rest[0], total))
            lost = total - len(numbers) - len(rest)
            assert 0 <= lost <= taken - len(numbers)
            assert (outgoing.waiting, balance(bridge)) == (0, total + 1)
            assert bridge.dropped == {}


@pytest.mark.timeout(120)
async def test_a_worker_that_stalls_gets_what_there_is_room_for(tmp_path: Path) -> None:
    """`drop-oldest`: what does not fit is dropped and counted, the worker sees where, the TCP client gets all."""
    total = 5000
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        listener = endpoint("push", more='hwm = 100\nlayout = "meta"')
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            await bridge.opened()
            line = await bridge.client()
            worker = await start("pull", connect=address(bridge), options=SMALL_BUFFERS)
            await until(lambda: other(bridge)._opened.peers == 1)
            await remote.say_numbers(total, padding=1000)
            assert len(await line.lines(total)) == total
            dropped = bridge.dropped["slow_client"]
            assert dropped > 0
            assert balance(bridge) == total
            await remote.say("END")
            metas: list[list[bytes]] = []
            while not metas or metas[-1][1] != b"END":
                metas += await worker.receive()
            told = [json.loads(meta) for meta, _ in metas]
            gaps = [meta["dropped"] for meta in told if meta["event"] == "gap"]
            seqs = [meta["seq"] for meta in told if meta["event"] == "message"]
            assert sum(gaps) == bridge.dropped["slow_client"]
            assert len(seqs) + sum(gaps) == total + 1
            assert seqs == sorted(seqs)
            assert balance(bridge) == total + 1


async def test_overflow_with_nobody_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The oldest go; who comes is told how many before it gets the rest."""
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        listener = endpoint("push", more='hwm = 10\nlayout = "meta"')
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            await bridge.opened()
            await remote.say_numbers(50, at_once=7)
            await until(lambda: bridge.chat.hub.stats.messages_received == 50)
            assert bridge.dropped == {"slow_client": 40}
            assert balance(bridge) == 50
            assert events(caplog, "dropped the oldest")[0]["peers"] == 0
            worker = await start("pull", connect=address(bridge))
            frames = await worker.receive(11)
            gap = json.loads(frames[0][0])
            assert (gap["event"], gap["dropped"], gap["seq"], frames[0][1]) == ("gap", 40, 40, b"")
            assert [(json.loads(meta)["seq"], data) for meta, data in frames[1:]] == [
                (seq, b"%d " % (seq - 1)) for seq in range(41, 51)
            ]
            await remote.say("next")
            ((meta, data),) = await worker.receive()
            assert (json.loads(meta)["event"], json.loads(meta)["seq"], data) == ("message", 51, b"next")


@pytest.mark.parametrize("kind", ["push", "dealer"])
async def test_pause_with_nobody_there_does_not_cost_the_session(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        listener = endpoint(kind, more='hwm = 10\noverflow = "pause"')
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            await bridge.opened()
            line = await bridge.client()
            await remote.say_numbers(100)
            await until(lambda: bridge.chat.hub.is_blocked)
            await remote.say("meanwhile")
            assert bridge.dropped == {}
            await until(lambda: not bridge.chat.hub.is_blocked)  # after three seconds
            assert bridge.dropped["slow_client"] >= 90
            assert events(caplog, "programs took too little")
            await line.send(b"are you still there?\n")
            await until(lambda: remote.received == ["are you still there?"])
            await remote.say("yes")
            assert (await line.lines(102))[-2:] == ["meanwhile", "yes"]
            assert bridge.dropped == {"slow_client": 92}
            assert balance(bridge) == 102
            assert bridge.chat.supervisor.epoch == 1
            program = await start("pull" if kind == "push" else "router", connect=address(bridge))
            assert [data for (data,) in await program.receive(10)] == [
                *[b"%d " % number for number in range(92, 100)],
                b"meanwhile",
                b"yes",
            ]
