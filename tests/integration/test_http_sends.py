"""What becomes of messages when a request to send goes wrong: none is lost in silence, none is sent twice."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sockjs_bridge.bridge.stats import SessionStats
from tests.in_process import Running, events, one_session, running, until
from tests.scripted import Peer, scripted
from tests.scripted_http import Backend, messages_of, over

every_way_to_send = pytest.mark.parametrize("transport", ["xhr-streaming", "xhr-polling", "jsonp-polling"])
NOT_ANSWERED = 'connect_timeout = "400ms"'


def sum_up(bridge: Running) -> None:
    """The law: accepted = written + queued + dropped."""
    stats: SessionStats = bridge.chat.hub.stats
    ours = sum(count for reason, count in bridge.dropped.items() if reason != "no_consumer")
    queued = bridge.chat.hub.queue.messages + stats.messages_in_flight
    assert stats.messages_accepted == stats.messages_sent + queued + ours
    assert stats.messages_in_doubt <= stats.messages_sent


def once(backend: Backend, fault: Callable[[Peer], Awaitable[None]]) -> Callable[[Peer], Awaitable[None]]:
    """Goes wrong at the second request to send, and never again."""

    async def send(peer: Peer) -> None:
        if sum(request.name.endswith("_send") for request in backend.requests) == 2:
            await fault(peer)
        else:
            await backend.send(peer)

    return send


async def _hangs(peer: Peer) -> None:
    await peer.until_closed()


async def _closes(peer: Peer) -> None:
    peer.close()


async def _resets(peer: Peer) -> None:
    peer.reset()


async def _garbage(peer: Peer) -> None:
    await peer.send(b"\x00\x01\x02\r\n\r\n")
    peer.close()


async def _fails(peer: Peer) -> None:
    await peer.answer("500 Internal Server Error", body=b"Payload expected.")


async def _redirects(peer: Peer) -> None:
    await peer.answer("307 Temporary Redirect", f"Location: {peer.path}\r\n")


@every_way_to_send
@pytest.mark.parametrize("fault", [_hangs, _closes, _resets, _garbage, _fails, _redirects])
async def test_what_was_not_answered_well_is_in_doubt_and_not_sent_again(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    transport: str,
    fault: Callable[[Peer], Awaitable[None]],
) -> None:
    backend = Backend()
    backend.use_send(once(backend, fault))
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport, more=NOT_ANSWERED)), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"before\n")
        await until(lambda: backend.sent == [["before"]] and not bridge.chat.hub.stats.messages_in_flight)
        await program.send(b"doubtful\n")
        await bridge.opened(epoch=2)
        await program.send(b"after\n")
        await until(lambda: backend.sent == [["before"], ["after"]])
        await until(lambda: not bridge.chat.hub.stats.messages_in_flight)
        assert bridge.chat.hub.stats.messages_in_doubt == 1
        assert events(caplog, "in doubt")[0]["messages"] == 1
        assert sum(b"doubtful" in request.body for request in backend.requests) == 1
        sum_up(bridge)
        assert bridge.listener().clients == 1


@every_way_to_send
@pytest.mark.parametrize("status_line", ["404 Not Found", "401 Unauthorized", "403 Forbidden"])
async def test_what_was_refused_goes_out_in_the_next_session_in_order_and_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str, status_line: str
) -> None:
    may_answer = asyncio.Event()

    async def refuse(peer: Peer) -> None:
        await may_answer.wait()
        await peer.answer(status_line)

    backend = Backend()
    backend.use_send(once(backend, refuse))
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"0\n")
        await until(lambda: backend.sent == [["0"]] and not bridge.chat.hub.stats.messages_in_flight)
        await program.send(b"1\n")
        await until(lambda: bridge.chat.hub.stats.messages_in_flight == 1)
        for number in range(2, 6):
            await program.send(b"%d\n" % number)
        await until(lambda: bridge.chat.hub.queue.messages == 4)
        may_answer.set()
        await until(lambda: sum(map(len, backend.sent)) == 6)
        assert [message for batch in backend.sent for message in batch] == list("012345")
        await until(lambda: bridge.chat.hub.stats.messages_sent == 6)
        assert bridge.chat.hub.stats.messages_in_doubt == 0
        assert bridge.chat.supervisor.epoch == 2
        cause = "session_lost" if status_line.startswith("404") else "send_rejected"
        assert events(caplog, "closed")[0]["cause"] == cause
        sum_up(bridge)


@every_way_to_send
@pytest.mark.parametrize("status_line", ["413 Payload Too Large", "400 Bad Request"])
async def test_one_message_that_the_server_never_takes_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str, status_line: str
) -> None:
    """The messages around it arrive, in order; after the first refusal one by one."""
    may_answer = asyncio.Event()

    async def send(peer: Peer) -> None:
        await may_answer.wait()
        if any("poison" in message for message in messages_of(peer)):
            await peer.answer(status_line, body=b"no")
        else:
            await backend.send(peer)

    backend = Backend(send=send)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over(transport)), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"0\n")
        await until(lambda: bridge.chat.hub.stats.messages_in_flight == 1)
        await program.send(b"1\n2\npoison\n4\n5\n")
        await until(lambda: bridge.chat.hub.queue.messages == 5)
        may_answer.set()
        await until(lambda: sum(map(len, backend.sent)) == 5)
        assert backend.sent[0] == ["0"]
        assert [message for batch in backend.sent for message in batch] == list("01245")
        assert max(map(len, backend.sent)) == 1, "each by itself, as any could be the one"
        await until(lambda: bridge.chat.hub.stats.messages_sent == 5)
        assert bridge.dropped.get("refused") == 1
        assert events(caplog, "the server refuses a message")[0]["reason"] == "refused"
        tried = [request for request in backend.requests if b"poison" in request.body]
        assert len(tried) == 2, "once in company, once alone"
        assert bridge.chat.hub.stats.messages_in_doubt == 0
        sum_up(bridge)
        await program.send(b"6\n7\n")
        await until(lambda: sum(map(len, backend.sent)) == 7)
        assert bridge.chat.supervisor.epoch == 3


async def test_413_of_aio_at_1_mib(tmp_path: Path) -> None:
    """No request is larger than 512 KiB, unless one message is: so nothing but that message is refused."""
    bodies = []

    async def send(peer: Peer) -> None:
        bodies.append(len(peer.body))
        if len(peer.body) > 1 << 20:
            await peer.answer("413 Request Entity Too Large")
        else:
            await backend.send(peer)

    backend = Backend(send=send)
    settings = over("xhr-streaming", more='queue.max_bytes = "16MiB"')
    listener = 'max_message_size = "4MiB"'
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), settings, listener), tmp_path) as bridge,
    ):
        program = await bridge.client()
        lines = [b"%d" % number + b"x" * 200_000 for number in range(10)] + [b"y" * 1_200_000] + [b"end"]
        await program.send(b"\n".join([*lines, b""]))
        stats = bridge.chat.hub.stats
        await until(lambda: stats.messages_sent + sum(bridge.dropped.values()) == len(lines))
        assert stats.messages_in_doubt == 0
        assert [message.encode() for batch in backend.sent for message in batch] == [*lines[:10], b"end"]
        assert bridge.dropped == {"refused": 1}
        assert all(size <= 512 * 1024 for size in bodies if size < 1 << 20)
        sum_up(bridge)


async def test_sends_are_plain_text_never_a_form(tmp_path: Path) -> None:
    """Node and Spring answer 500 to form types, and node to octet-stream."""
    backend = Backend()
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over("xhr-polling")), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send("näh\n".encode())
        request = await backend.until_requested("xhr_send")
        assert request.method == "POST"
        assert request.headers["content-type"] == "text/plain;charset=UTF-8"
        assert request.body == '["näh"]'.encode()


async def test_a_session_that_ends_while_a_request_is_under_way_leaves_it_in_doubt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(peer: Peer) -> None:
        if len(backend.session_ids) == 1:
            backend.push('c[3000,"Go away!"]')
            await peer.until_closed()
        else:
            await backend.send(peer)

    backend = Backend(send=send)
    async with (
        scripted(backend) as server,
        running(one_session(server.url(), over("xhr-streaming")), tmp_path) as bridge,
    ):
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"doubtful\n")
        await bridge.opened(epoch=2)
        await program.send(b"after\n")
        await until(lambda: backend.sent == [["after"]])
        assert bridge.chat.hub.stats.messages_in_doubt == 1
        assert events(caplog, "in doubt")
        await until(lambda: not bridge.chat.hub.stats.messages_in_flight)
        sum_up(bridge)
