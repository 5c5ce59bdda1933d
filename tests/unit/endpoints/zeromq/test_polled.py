"""A ZeroMQ socket in the event loop: nothing is missed though its descriptor tells of each change once."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import zmq

from sockjs_bridge.endpoints.zeromq.polled import PolledSocket

Context = zmq.Context[zmq.Socket[bytes]]
Pair = tuple[zmq.Socket[bytes], PolledSocket]
TURNS = 20


@pytest.fixture
def context() -> Iterator[Context]:
    context = zmq.Context[zmq.Socket[bytes]]()
    context.setsockopt(zmq.LINGER, 0)
    yield context
    context.destroy(linger=0)


@pytest.fixture
def reading(context: Context) -> Iterator[Pair]:
    """A program that pushes, and our end that pulls."""
    with context.socket(zmq.PULL) as ours, context.socket(zmq.PUSH) as program:
        ours.bind("inproc://reading")
        program.connect("inproc://reading")
        yield program, PolledSocket(ours)


@pytest.fixture
def writing(context: Context) -> Iterator[Pair]:
    """A program that pulls, and our end that pushes; few messages fit in between."""
    with context.socket(zmq.PUSH) as ours, context.socket(zmq.PULL) as program:
        ours.setsockopt(zmq.SNDHWM, 1)
        program.setsockopt(zmq.RCVHWM, 1)
        ours.bind("inproc://writing")
        program.connect("inproc://writing")
        yield program, PolledSocket(ours)


class Reader:
    """Takes up to `at_once` messages at each call, and tells when there are enough."""

    def __init__(self, polled: PolledSocket, at_once: int = 1_000_000) -> None:
        self.polled = polled
        self.at_once = at_once
        self.calls = 0
        self.received: list[bytes] = []
        self._come = asyncio.Event()

    def receive(self) -> None:
        self.calls += 1
        self._come.set()
        try:
            for _ in range(self.at_once):
                self.received.append(self.polled.raw.recv(zmq.NOBLOCK))
        except zmq.Again:
            pass

    async def until(self, count: int) -> list[bytes]:
        while len(self.received) < count:
            self._come.clear()
            await self._come.wait()
        return self.received


async def turn() -> None:
    """Let the loop do all that it has to do."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


def fill(raw: zmq.Socket[bytes]) -> int:
    """Send until no more fits; returns how many that were."""
    count = 0
    try:
        while True:
            raw.send(b"%d" % count, zmq.NOBLOCK)
            count += 1
    except zmq.Again:
        return count


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


# --- reading ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 7, 1000])
async def test_everything_that_came_before_the_start_is_received(reading: Pair, at_once: int) -> None:
    program, ours = reading
    with closing(ours):
        for message in numbered(100):
            program.send(message)
        reader = Reader(ours, at_once)
        ours.start(receive=reader.receive)
        assert await reader.until(100) == numbered(100)


async def test_what_the_descriptor_has_already_told_of_is_received_too(reading: Pair) -> None:
    program, ours = reading
    with closing(ours):
        program.send(b"a")
        assert ours.raw.getsockopt(zmq.EVENTS) == zmq.POLLIN  # with this the descriptor has told it
        reader = Reader(ours)
        ours.start(receive=reader.receive)
        assert await reader.until(1) == [b"a"]


async def test_a_callback_that_stops_early_is_called_again(reading: Pair) -> None:
    program, ours = reading
    with closing(ours):
        reader = Reader(ours, at_once=1)
        ours.start(receive=reader.receive)
        for message in numbered(5):
            program.send(message)
        assert await reader.until(5) == numbered(5)
        assert reader.calls == 5


async def test_what_comes_one_by_one_while_the_loop_runs_is_received(reading: Pair) -> None:
    program, ours = reading
    with closing(ours):
        reader = Reader(ours)
        ours.start(receive=reader.receive)
        for count, message in enumerate(numbered(50), 1):
            program.send(message)
            assert await reader.until(count) == numbered(count)


async def test_a_quiet_socket_calls_nobody(reading: Pair) -> None:
    _, ours = reading
    with closing(ours):
        reader = Reader(ours)
        ours.start(receive=reader.receive, flush=reader.receive)
        await turn()
        assert reader.calls == 0


async def test_while_it_does_not_read_nothing_is_received_and_afterwards_everything(reading: Pair) -> None:
    program, ours = reading
    with closing(ours):
        reader = Reader(ours, at_once=1)

        def receive_one() -> None:
            reader.receive()
            ours.is_reading = False

        ours.start(receive=receive_one)
        for message in numbered(3):
            program.send(message)
        await reader.until(1)
        program.send(b"3")
        await turn()
        assert reader.received == numbered(1)
        ours.is_reading = True
        ours.look_again()
        await reader.until(2)
        await turn()
        assert reader.received == numbered(2)
        reader.at_once = 10
        ours.is_reading = True
        ours.look_again()
        assert await reader.until(4) == numbered(4)


async def test_without_a_receiver_it_does_not_read(reading: Pair) -> None:
    program, ours = reading
    with closing(ours):
        program.send(b"a")
        ours.start()
        await turn()
        assert ours.is_reading is False
        assert ours.raw.recv(zmq.NOBLOCK) == b"a"


# --- writing ----------------------------------------------------------------------------------------------


async def test_flush_is_called_once_something_can_be_sent_again(writing: Pair) -> None:
    program, ours = writing
    with closing(ours):
        flushed: list[int] = []
        was_flushed = asyncio.Event()

        def flush() -> None:
            flushed.append(fill(ours.raw))
            was_flushed.set()

        ours.start(flush=flush)
        count = fill(ours.raw)
        ours.is_waiting_to_send = True
        ours.look_again()
        await turn()
        assert flushed == []
        for expected in numbered(count):
            assert program.recv(zmq.NOBLOCK) == expected
        await was_flushed.wait()
        assert sum(flushed) > 0
        assert program.recv(zmq.NOBLOCK) == b"0"


async def test_flush_is_not_called_where_nothing_waits_to_be_sent(writing: Pair) -> None:
    _, ours = writing
    with closing(ours):
        flushed: list[bool] = []
        ours.start(flush=lambda: flushed.append(True))
        ours.look_again()
        await turn()
        assert flushed == []


async def test_flush_is_called_again_until_nothing_waits(writing: Pair) -> None:
    _, ours = writing
    with closing(ours):
        flushed: list[bool] = []

        def flush() -> None:
            flushed.append(True)
            ours.is_waiting_to_send = len(flushed) < 3

        ours.start(flush=flush)
        ours.is_waiting_to_send = True
        ours.look_again()
        await turn()
        assert flushed == [True] * 3


# --- the end ----------------------------------------------------------------------------------------------


async def test_to_close_twice_is_no_harm(reading: Pair) -> None:
    _, ours = reading
    ours.start(receive=lambda: None)
    ours.close()
    ours.close()
    assert ours.raw.closed


def test_a_socket_that_was_never_started_can_be_closed(reading: Pair) -> None:
    _, ours = reading
    ours.look_again()
    ours.close()
    ours.close()
    assert ours.raw.closed


def _as_it_is(_program: zmq.Socket[bytes]) -> None: ...


def _with_another_message(program: zmq.Socket[bytes]) -> None:
    program.send(b"late")


@pytest.mark.parametrize("meanwhile", [_as_it_is, _with_another_message], ids=["planned", "on the way"])
async def test_after_the_close_nobody_is_called(
    reading: Pair, meanwhile: Callable[[zmq.Socket[bytes]], None]
) -> None:
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    program, ours = reading
    program.send(b"a")
    reader = Reader(ours)
    ours.start(receive=reader.receive, flush=reader.receive)
    ours.is_waiting_to_send = True
    ours.look_again()
    meanwhile(program)
    ours.close()
    await turn()
    assert reader.calls == 0
    assert errors == []


async def test_a_callback_may_close_the_socket(reading: Pair) -> None:
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    program, ours = reading
    calls = []

    def receive() -> None:
        calls.append(ours.raw.recv(zmq.NOBLOCK))
        ours.close()

    ours.start(receive=receive)
    program.send(b"a")
    program.send(b"b")
    await turn()
    assert calls == [b"a"]
    assert errors == []
