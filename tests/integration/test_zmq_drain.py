"""A stop: what programs had sent still goes out, and nobody makes it wait for longer than it should."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge_process import BridgeProcess, BridgeStarter
from tests.in_process import until
from tests.scripted import ScriptedServer, scripted
from tests.zmq_peer import Remote, endpoint, zmq_programs


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[BridgeStarter]:
    with BridgeStarter(tmp_path) as starter:
        yield starter


def configuration(
    server: ScriptedServer, listeners: str, session: str = "", drain_timeout: str = "8s"
) -> str:
    head = f'[bridge]\ndrain_timeout = "{drain_timeout}"\n'
    head += f'[sessions.chat]\nurl = "{server.url()}"\ntransports = ["websocket"]\ninfo = false\n'
    return head + session + listeners


async def listening(bridge: BridgeProcess, kind: str) -> str:
    line = await asyncio.to_thread(bridge.wait_for_log, "listening on", type=kind)
    return str(line["message"]).removeprefix("listening on ")


async def stop(bridge: BridgeProcess, number: signal.Signals = signal.SIGTERM) -> int:
    return await asyncio.to_thread(bridge.stop, number)


def totals(bridge: BridgeProcess) -> tuple[int, int, int, str | None]:
    """What the last line says: sent, received, dropped, and for which reasons."""
    (line,) = bridge.log_lines("stopped")
    return line["sent"], line["received"], line["dropped"], line.get("reasons")


@pytest.mark.parametrize(("kind", "partner"), [("pull", "push"), ("dealer", "dealer"), ("sub", "pub")])
async def test_what_programs_had_sent_goes_out(
    tmp_path: Path, start_bridge: BridgeStarter, kind: str, partner: str
) -> None:
    """More than the queue holds: it waits in the queue, in libzmq and in the kernel when the stop comes."""
    total = 2000 if kind != "sub" else 900  # a publisher drops what is more than its HWM
    remote = Remote()
    remote.may_read.clear()
    async with zmq_programs() as start, scripted(remote.play) as server:
        queue = "queue = { max_messages = 100 }\n"
        bridge = start_bridge(configuration(server, endpoint(kind), queue))
        program = await start(partner, connect=await listening(bridge, kind))
        await asyncio.to_thread(bridge.wait_open)
        if kind == "sub":
            await program.receive()
        await program.ask("send_numbers", count=total, padding=1000)
        bridge.send_signal(signal.SIGTERM)
        await asyncio.to_thread(bridge.wait_for_log, "SIGTERM: stopping")
        remote.may_read.set()
        assert await asyncio.to_thread(bridge.wait_exit) == 0
        numbers = [int(text.partition(" ")[0]) for text in remote.received]
        sent, _, dropped, _ = totals(bridge)
        assert numbers == list(range(len(numbers)))
        assert (sent, dropped) == (total, 0)
        await until(lambda: len(remote.received) == total)


async def test_a_small_rest_goes_out(tmp_path: Path, start_bridge: BridgeStarter) -> None:
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        bridge = start_bridge(configuration(server, endpoint("pull")))
        pushers = [await start("push", connect=await listening(bridge, "pull")) for _ in range(3)]
        await asyncio.to_thread(bridge.wait_open)
        await asyncio.to_thread(bridge.wait_for_log, "peer in", peers=3)
        for pusher in pushers:
            await pusher.ask("send_numbers", count=500)
        await until(lambda: remote.received)
        assert await stop(bridge) == 0
        assert sorted(remote.received) == sorted([f"{number} " for number in range(500)] * 3)
        assert totals(bridge) == (1500, 0, 0, None)


async def test_a_pusher_that_goes_on_for_ever_does_not_hold_up_the_stop(
    tmp_path: Path, start_bridge: BridgeStarter
) -> None:
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        bridge = start_bridge(
            configuration(server, endpoint("pull") + endpoint("dealer"), drain_timeout="2s")
        )
        for kind, partner in (("pull", "push"), ("dealer", "dealer")):
            program = await start(partner, connect=await listening(bridge, kind))
            program.tell("send_numbers", count=100_000_000, padding=100)
        await until(lambda: len(remote.received) > 10_000)
        assert await stop(bridge) == 0
        sent, _, dropped, reasons = totals(bridge)
        assert len(remote.received) == sent
        assert reasons in (None, f"stopped {dropped}")


async def test_a_dealer_that_goes_on_for_ever_while_the_server_does_not_read(
    tmp_path: Path, start_bridge: BridgeStarter
) -> None:
    """The queue is full and stays so: everything of the stop still fits into drain_timeout, or nearly."""
    remote = Remote()
    remote.may_read.clear()
    async with zmq_programs() as start, scripted(remote.play) as server:
        bridge = start_bridge(configuration(server, endpoint("dealer"), drain_timeout="1s"))
        program = await start("dealer", connect=await listening(bridge, "dealer"))
        await asyncio.to_thread(bridge.wait_open)
        program.tell("send_numbers", count=100_000_000, padding=100)
        await asyncio.to_thread(bridge.wait_for_log, "peer in")
        assert await stop(bridge) == 0
        assert bridge.log_lines("stopped")[0]["seconds"] < 3


async def test_messages_for_a_worker_that_is_not_there(tmp_path: Path, start_bridge: BridgeStarter) -> None:
    """`linger` bounds the wait, and what nobody took is counted."""
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        listeners = endpoint("push", f"ipc://{tmp_path}/p", 'linger = "300ms"')
        listeners += endpoint("dealer", f"ipc://{tmp_path}/d", "bind = false\nlinger = 0")
        listeners += endpoint("push", f"ipc://{tmp_path}/w")
        bridge = start_bridge(configuration(server, listeners, drain_timeout="10s"))
        await asyncio.to_thread(bridge.wait_open)
        witness = await start("pull", connect=f"ipc://{tmp_path}/w")
        await until(lambda: remote.peers)
        await remote.say_numbers(50)
        assert (await witness.ask("receive_numbers", count=50))["last"] == 49
        assert await stop(bridge) == 0
        lines = bridge.log_lines("no program took these messages until the end", reason="stopped")
        assert [line["messages"] for line in lines] == [50, 50]
        assert totals(bridge) == (0, 50, 100, "stopped 100")
        assert bridge.log_lines("stopped")[0]["seconds"] < 5  # of ten


async def test_a_worker_that_comes_during_the_stop(tmp_path: Path, start_bridge: BridgeStarter) -> None:
    """Until `linger` is over it gets what waits for it."""
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        listeners = endpoint("push", f"ipc://{tmp_path}/p", 'linger = "8s"')
        listeners += endpoint("push", f"ipc://{tmp_path}/w")
        bridge = start_bridge(configuration(server, listeners))
        await asyncio.to_thread(bridge.wait_open)
        witness = await start("pull", connect=f"ipc://{tmp_path}/w")
        await until(lambda: remote.peers)
        await remote.say_numbers(500, padding=200)
        assert (await witness.ask("receive_numbers", count=500))["last"] == 499
        bridge.send_signal(signal.SIGTERM)
        await asyncio.to_thread(bridge.wait_for_log, "SIGTERM: stopping")
        worker = await start("pull", connect=f"ipc://{tmp_path}/p")
        report = await worker.ask("receive_numbers", count=500)
        assert (report["first"], report["missing"], report["in_order"]) == (0, 0, True)
        assert await asyncio.to_thread(bridge.wait_exit) == 0
        assert totals(bridge) == (0, 500, 0, None)


async def test_subscribers_get_the_last_messages(tmp_path: Path, start_bridge: BridgeStarter) -> None:
    """What was published before the stop arrives, and in the meta layout the end of the session is told."""
    remote = Remote()
    where = f"ipc://{tmp_path}/w"
    async with zmq_programs() as start, scripted(remote.play) as server:
        listeners = endpoint("pub", more='layout = "meta"') + endpoint("push", where)
        bridge = start_bridge(configuration(server, listeners))
        subscriber = await start("sub", connect=await listening(bridge, "pub"), topics=["chat"])
        witness = await start("pull", connect=where)
        await asyncio.to_thread(bridge.wait_open)
        await until(lambda: remote.peers)
        first = asyncio.create_task(subscriber.receive())
        probes = 0
        while not first.done():  # the subscription is on its way
            await remote.say("probe")
            probes += 1
            await asyncio.sleep(0.02)
        assert (await first)[0][0] in {b"chat", b"chat/!event"}
        await witness.receive(probes)
        await remote.say_numbers(500)
        assert (await witness.ask("receive_numbers", count=500))["last"] == 499
        assert await stop(bridge) == 0
        frames = (await first) + await subscriber.receive()
        while frames[-1][0] != b"chat/!event" or json.loads(frames[-1][1])["event"] != "disconnected":
            frames += await subscriber.receive()
        data = [each[-1] for each in frames if each[0] == b"chat" and each[-1] != b"probe"]
        assert data == [b"%d " % number for number in range(500)]
        end = json.loads(frames[-1][1])
        assert (end["epoch"], end["seq"], end["cause"]) == (1, probes + 500, "stopping")
