"""What the sessions of single clients have in common: counts, queues, what there is to tell of them."""

import asyncio

from sockjs_bridge.bridge.connection import ConnectionLimits
from sockjs_bridge.bridge.outbox import QueueLimits
from sockjs_bridge.bridge.private import OnDemand, PrivateSessions, count_waiting
from sockjs_bridge.bridge.stats import SessionStats
from sockjs_bridge.bridge.supervisor import Upstream
from sockjs_bridge.errors import Cause, ConnectError, Obstacle
from sockjs_bridge.log import EventLog
from sockjs_bridge.protocol.events import AskInfo, AttemptFailed, Connect, InfoReceived
from sockjs_bridge.protocol.lifecycle import Lifecycle, ReconnectPolicy
from sockjs_bridge.transports.base import Transport


def refuse(_attempt: Connect) -> Transport:
    raise AssertionError("it should not get so far")


async def cannot_be_reached(_question: AskInfo) -> InfoReceived | AttemptFailed:
    error = ConnectError(Obstacle.UNREACHABLE, "nobody there")
    return AttemptFailed(error.obstacle, error.detail)


def upstream(max_attempts: int = 0) -> Upstream:
    lifecycle = Lifecycle(
        ["websocket"],
        ReconnectPolicy(initial=60.0, max_attempts=max_attempts),
        asks_info=True,
        reopens=False,
        origin=None,
        same_origin="http://h",
        random=lambda: 0.5,
        new_session_id=lambda: "id",
    )
    return Upstream("chat", "http://h", lifecycle, ConnectionLimits(), refuse, cannot_be_reached)


async def test_queues_of_all_clients_are_summed_up_and_what_is_given_up_is_counted() -> None:
    stats = SessionStats()
    privates = PrivateSessions(stats)
    one, other = (privates.make(upstream(), QueueLimits(max_messages=3), EventLog()) for _ in range(2))
    assert one.intake.offer(["a", "bc"]) == 2
    assert other.intake.offer(["d", "e", "f", "g"]) == 3
    waiting = count_waiting(privates.queues, stats, asyncio.get_running_loop().time() + 5.0)
    assert (waiting.messages, waiting.resends, waiting.size_bytes) == (5, 0, 6)
    assert waiting.oldest_seconds >= 5
    await one.stop(0.0)
    assert (stats.messages_accepted, stats.queue_dropped) == (5, {"stopped": 2})
    assert [queue.messages for queue in privates.queues] == [3]
    await privates.stop(0.0)
    assert (privates.queues, stats.queue_dropped) == ([], {"stopped": 5})


async def test_a_session_that_gives_up_says_why_also_when_it_is_gone() -> None:
    privates = PrivateSessions(SessionStats())
    stand_in = OnDemand("chat", "http://h", privates)
    assert (stand_in.status.state, stand_in.status.last_failure) == ("on_demand", None)
    session = privates.make(upstream(max_attempts=1), QueueLimits(), EventLog())
    await asyncio.create_task(session.run())
    assert session.supervisor.has_given_up
    for _ in range(2):
        failure = stand_in.status.last_failure
        assert failure is not None
        assert failure.detail == "nobody there"
        await session.stop(0.0)
    assert not privates.queues


async def test_the_stand_in_of_a_shared_session_is_always_fine() -> None:
    stand_in = OnDemand("chat", "http://h", PrivateSessions(SessionStats()))
    assert stand_in.is_fine
    assert not stand_in.is_open
    assert not stand_in.reconnects
    assert await stand_in.first_round is None, "startup = fail has nothing to wait for"
    stand_in.reconnect()
    await stand_in.run()
    await stand_in.hand_over(Cause.RELOAD)
    assert (stand_in.has_given_up, stand_in.status.state) == (False, "on_demand")
    await stand_in.stop(0.0)
    assert stand_in.status.state == "stopped"
