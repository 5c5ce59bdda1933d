"""ZeroMQ programs for tests: pyzmq in processes of their own, told over a pipe what to do.

`zmq_programs` starts them from a test. Run as a script, this file is such a program: its one argument is a
JSON object, each line on standard input a command, each line on standard output a report. Frames are text on
the pipe, one character for each byte.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import zmq

if TYPE_CHECKING:  # the program does without
    from sockjs_bridge.endpoints.zeromq.endpoint import ZmqEndpoint
    from sockjs_bridge.endpoints.zeromq.publisher import PubEndpoint
    from tests.in_process import Running
    from tests.scripted import Peer

Report = dict[str, Any]

_TYPES = {
    "sub": zmq.SUB,
    "pub": zmq.XPUB,  # it can wait for its subscribers
    "pull": zmq.PULL,
    "push": zmq.PUSH,
    "dealer": zmq.DEALER,
    "router": zmq.ROUTER,
}

# --- the program -----------------------------------------------------------------------------------------------


class Numbers:
    """Looks at numbered messages: whether each number is larger than the one before, and which are missing."""

    def __init__(self) -> None:
        self.count = 0
        self.first = -1
        self.last = -1
        self.missing = 0
        self.in_order = True

    def add(self, number: int) -> None:
        if not self.count:
            self.first = number
        elif number > self.last:
            self.missing += number - self.last - 1
        else:
            self.in_order = False
        self.last = number
        self.count += 1


class Socket:
    """A socket and what it can be told to do. A router talks to the peer that spoke last."""

    def __init__(
        self,
        role: str,
        bind: str | None = None,
        connect: str | None = None,
        topics: Sequence[str] = (),
        options: dict[str, int] | None = None,
        curve: dict[str, str] | None = None,
    ) -> None:
        self._raw: zmq.Socket[bytes] = zmq.Context.instance().socket(_TYPES[role])
        self._is_router = role == "router"
        self._peer = b""
        for name, value in (options or {}).items():
            self._raw.setsockopt(getattr(zmq, name), value)
        for name, key in (curve or {}).items():
            self._raw.setsockopt(getattr(zmq, f"CURVE_{name}"), key.encode())
        if curve and "SERVERKEY" not in curve:
            self._raw.setsockopt(zmq.CURVE_SERVER, 1)
        for topic in topics:
            self.subscribe(topic)
        if bind:
            self._raw.bind(bind)
        if connect:
            self._raw.connect(connect)
        self.address: str = self._raw.getsockopt_string(zmq.LAST_ENDPOINT)

    def subscribe(self, topic: str) -> Report:
        self._raw.setsockopt(zmq.SUBSCRIBE, topic.encode())
        return {}

    def unsubscribe(self, topic: str) -> Report:
        self._raw.setsockopt(zmq.UNSUBSCRIBE, topic.encode())
        return {}

    def receive(self, count: int) -> Report:
        """So many messages."""
        return {"messages": [_shown(self._receive()) for _ in range(count)]}

    def receive_numbers(self, count: int) -> Report:
        """Count so many numbered messages."""
        numbers = Numbers()
        for _ in range(count):
            numbers.add(_number(self._receive()[-1]))
        return vars(numbers)

    def receive_seqs(self, last: str) -> Report:
        """The sequence numbers in the meta of messages up to the one with this data, and of that one."""
        end = last.encode()
        seqs: list[int] = []
        while True:
            *_, meta, data = self._receive()
            seq = json.loads(meta)["seq"]
            if data == end:
                return {"seqs": seqs, "end": seq}
            seqs.append(seq)

    def stream(self, count: int) -> Report:
        """A report for each of so many messages."""
        for _ in range(count):
            _print({"message": _shown(self._receive())})
        return {"done": count}

    def send(self, messages: list[list[str]]) -> Report:
        """Send messages, each a list of frames."""
        for frames in messages:
            self._send([frame.encode("latin-1") for frame in frames])
        return {"sent": len(messages)}

    def send_size(self, size_bytes: int) -> Report:
        """Send one large message."""
        self._send([b"x" * size_bytes])
        return {"sent": 1}

    def send_numbers(
        self, count: int, start: int = 0, padding: int = 0, patience_ms: int = -1, topic: str = ""
    ) -> Report:
        """Send numbered messages until that would block for longer than `patience_ms`."""
        self._raw.setsockopt(zmq.SNDTIMEO, patience_ms)
        before = [topic.encode()] if topic else []
        for number in range(start, start + count):
            try:
                self._send([*before, b"%d %b" % (number, b"x" * padding)])
            except zmq.Again:
                return {"sent": number - start}
        return {"sent": count}

    def exchange(self, count: int) -> Report:
        """Send numbered messages and at the same time receive as many."""
        numbers, sent = Numbers(), 0
        while numbers.count < count:
            # A router can always send, as it says; with ROUTER_MANDATORY it does not drop what does not fit.
            with contextlib.suppress(zmq.Again):
                while sent < count:
                    self._send([b"%d" % sent], zmq.NOBLOCK)
                    sent += 1
            if self._raw.poll(1):
                numbers.add(_number(self._receive()[-1]))
        return vars(numbers)

    def _receive(self) -> list[bytes]:
        frames: list[bytes] = self._raw.recv_multipart()
        if self._is_router:
            self._peer = frames.pop(0)
        return frames

    def _send(self, frames: list[bytes], flags: int = 0) -> None:
        self._raw.send_multipart([self._peer, *frames] if self._is_router else frames, flags)


def _number(data: bytes) -> int:
    return int(data.partition(b" ")[0])


def _shown(frames: list[bytes]) -> list[str]:
    return [frame.decode("latin-1") for frame in frames]


def _print(report: Report) -> None:
    print(json.dumps(report), flush=True)


def main() -> None:
    peer = Socket(**json.loads(sys.argv[1]))
    _print({"address": peer.address})
    for line in sys.stdin:
        command = json.loads(line)
        _print(getattr(peer, command.pop("do"))(**command))
    zmq.Context.instance().destroy(0)


# --- the test's side -------------------------------------------------------------------------------------------


class ZmqProgram:
    """A program that runs. It does one thing after another; while it does nothing, it does not read."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self.address = ""
        """Where it listens or connects to."""

    def tell(self, do: str, **arguments: object) -> None:
        """Let it do something; `report` then says what came of it."""
        self._stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")

    async def report(self) -> Report:
        """The next report."""
        line = await self._stdout.readline()
        assert line, "the program has ended; its words are on standard error"
        report: Report = json.loads(line)
        return report

    async def ask(self, do: str, **arguments: object) -> Report:
        """Let it do something, and wait until that is done."""
        self.tell(do, **arguments)
        return await self.report()

    async def receive(self, count: int = 1) -> list[list[bytes]]:
        """Messages as lists of frames."""
        messages = (await self.ask("receive", count=count))["messages"]
        return [[frame.encode("latin-1") for frame in frames] for frames in messages]

    async def send(self, *messages: bytes | Sequence[bytes]) -> None:
        """Send messages of one frame or of several."""
        rows = [[message] if isinstance(message, bytes) else message for message in messages]
        await self.ask("send", messages=[_shown(list(frames)) for frames in rows])

    async def kill(self) -> list[Report]:
        """End it at once (SIGKILL); returns the reports that it still made."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        rest = await self._stdout.read()
        await self._process.wait()
        self._stdin.close()
        # The last line may be cut.
        return [json.loads(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]


class ZmqPrograms:
    """Starts programs: `await start("sub", connect=address, topics=["chat"])`, with the names of `Socket`."""

    def __init__(self) -> None:
        self._programs: list[ZmqProgram] = []

    async def __call__(self, role: str, **arguments: object) -> ZmqProgram:
        """Start one; it has bound or connected its socket."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            json.dumps({"role": role, **arguments}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 26,
        )
        program = ZmqProgram(process)
        self._programs.append(program)
        program.address = (await program.report())["address"]
        return program

    async def end(self) -> None:
        """End all of them."""
        for program in self._programs:
            await program.kill()


def endpoint(kind: str, address: str = "tcp://127.0.0.1:0", more: str = "", session: str = "chat") -> str:
    """The configuration of one endpoint; `more` adds keys."""
    return f'[[sessions.{session}.zmq]]\ntype = "{kind}"\nendpoint = "{address}"\n{more}\n'


def pub(bridge: "Running", index: int = 1, session: str = "chat") -> "PubEndpoint":
    """A pub endpoint by its place; the TCP listener of `one_session` has the first."""
    return cast("PubEndpoint", bridge.daemon.bridges[session].endpoints[index])


def other(bridge: "Running", index: int = 1, session: str = "chat") -> "ZmqEndpoint":
    """A push, sub, pull or dealer endpoint by its place."""
    return cast("ZmqEndpoint", bridge.daemon.bridges[session].endpoints[index])


def address(bridge: "Running", index: int = 1, session: str = "chat") -> str:
    """Where an endpoint listens."""
    return bridge.daemon.bridges[session].endpoints[index].name.partition(" ")[2]


class Remote:
    """A server that keeps what it is sent and says what a test wants: `scripted(remote.play)`."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.peers: list[Peer] = []
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def play(self, peer: "Peer") -> None:
        await peer.accept_websocket()
        await self.may_open.wait()
        await peer.send_text("o")
        self.peers.append(peer)
        while True:
            await self.may_read.wait()
            self.received += await peer.receive_messages()

    async def say(self, *messages: str) -> None:
        """Send messages in one frame, to the client that came last."""
        await self.peers[-1].send_text("a" + json.dumps(messages))

    async def say_numbers(self, count: int, start: int = 0, padding: int = 0, at_once: int = 100) -> None:
        """Send numbered messages."""
        for first in range(start, start + count, at_once):
            numbers = range(first, min(first + at_once, start + count))
            await self.say(*[f"{number} {'x' * padding}" for number in numbers])


@asynccontextmanager
async def zmq_programs() -> AsyncIterator[ZmqPrograms]:
    """Programs for the length of a `with` block."""
    programs = ZmqPrograms()
    try:
        yield programs
    finally:
        await programs.end()


if __name__ == "__main__":
    main()
