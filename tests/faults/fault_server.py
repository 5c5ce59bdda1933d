"""A SockJS server that breaks on command: a process of its own, so that it can be killed.

usage: python -m tests.faults.fault_server PORT JOURNAL

It speaks all seven transports below /echo, sends numbered messages to the session that was opened last, and notes
in the journal what it sent and received. Commands come as JSON lines on standard input, each answered by a line:
{"fault": NAME, "code": CODE} breaks the newest session, {"speak": true} lets it send messages or not.
"""

import asyncio
import json
import sys
from pathlib import Path

from tests.faults.fault_session import Fault, FaultSession
from tests.faults.journal import JournalWriter, last_session
from tests.scripted import CLOSE, PING, PONG, TEXT, Peer, websocket_frame
from tests.scripted_http import PATHS, PRELUDES, SENDS, framed, messages_of

# A streaming response ends after so many frames, as servers end theirs after 128 KiB: cleanly, in mid-session.
_FRAMES_PER_RESPONSE = 40
_INFO = {"websocket": True, "origins": ["*:*"], "cookie_needed": False, "entropy": 2088}


class FaultServer:
    """All sessions of one process. `is_speaking` is whether they send messages."""

    def __init__(self, journal: JournalWriter, last_session: int) -> None:
        self._journal = journal
        self._sessions: dict[str, FaultSession] = {}
        self._last = last_session
        self._refuse_next = False
        self.is_speaking = True
        self._newest: FaultSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def command(self, order: dict[str, object]) -> dict[str, object]:
        """Carry out a command; what it broke is told."""
        if "speak" in order:
            self.is_speaking = bool(order["speak"])
            return {"ok": True}
        session = self._newest
        assert session is not None, "there is no session to break"
        fault = Fault(str(order["fault"]), int(str(order.get("code", 3000))))
        self._journal.broke(session.number, fault.name)
        if fault.name == "404" and session.transport.startswith("websocket"):
            self._refuse_next = True
        session.break_by(fault)
        return {"ok": True, "session": session.number}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(reader, writer, 0)
        try:
            await self._serve(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the bridge has left, or the fault was to hang up
        finally:
            self._tasks.discard(task)
            peer.close()

    async def _serve(self, peer: Peer) -> None:
        while True:
            await peer.read_request()
            if "upgrade" in peer.headers:
                await self._websocket(peer)
                return
            name = peer.name
            if name == "info":
                await peer.answer("200 OK", body=json.dumps(_INFO).encode())
            elif name in SENDS:
                await self._take(peer)
            elif name in PATHS:
                await self._bring(peer)
            else:
                self._journal.violated(f"asked for {peer.path}")
                await peer.answer("404 Not Found")

    def _open(self, key: str, transport: str) -> FaultSession:
        self._last += 1
        session = FaultSession(self._last, transport, self._journal, lambda: self.is_speaking)
        self._sessions[key] = session
        self._newest = session
        return session

    # --- WebSocket --------------------------------------------------------------------------------------------

    async def _websocket(self, peer: Peer) -> None:
        if self._refuse_next:
            self._refuse_next = False
            await peer.answer("404 Not Found", "Connection: close\r\n")
            return
        await peer.accept_websocket()
        is_raw = peer.path == "/echo/websocket"
        key = f"raw{self._last}" if is_raw else peer.session_id
        session = self._open(key, "websocket-raw" if is_raw else "websocket")
        session.peers.add(peer)
        if not is_raw:
            await peer.send_text("o")
        self._journal.opened(session.number, session.transport)
        reading = asyncio.create_task(self._websocket_in(peer, session, is_raw=is_raw))
        try:
            await self._websocket_out(peer, session, is_raw=is_raw)
        finally:
            session.end()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _websocket_in(self, peer: Peer, session: FaultSession, *, is_raw: bool) -> None:
        try:
            while True:
                opcode, payload = await peer.receive_frame()
                await session.wait_readable()
                if opcode == PING:
                    await peer.send_frame(PONG, payload)
                    session.note_shown()
                elif opcode == CLOSE:
                    await peer.send_frame(CLOSE, payload)
                    session.end()
                    return
                elif opcode == TEXT:
                    messages = [payload.decode()] if is_raw else json.loads(payload)
                    if session.refuses_next_send:
                        await peer.send_frame(CLOSE, b"\x03\xf3no")
                        session.end()
                        return
                    self._note_received(session, messages)
        except (asyncio.IncompleteReadError, ConnectionError):
            session.end()

    async def _websocket_out(self, peer: Peer, session: FaultSession, *, is_raw: bool) -> None:
        while (item := await session.next_item()) is not None:
            match item:
                case Fault("c", code) if not is_raw:
                    await peer.send_text(f'c[{code},"broken on command"]')
                    return
                case Fault("c", code):
                    await peer.send_frame(CLOSE, code.to_bytes(2, "big"))
                    return
                case Fault("o") if not is_raw:
                    await peer.send_text("o")
                case Fault("half"):
                    frame = websocket_frame(TEXT, session.half_frame().encode())
                    await peer.send(frame[: len(frame) // 2])
                    return
                case Fault():
                    return
                case []:
                    await (peer.send_frame(PING, b"") if is_raw else peer.send_text("h"))
                case messages if is_raw:
                    for message in messages:
                        await peer.send_text(message)
                case messages:
                    await peer.send_text("a" + json.dumps(messages))

    # --- HTTP -------------------------------------------------------------------------------------------------

    async def _take(self, peer: Peer) -> None:
        session = self._sessions.get(peer.session_id)
        if session is None or session.has_ended:
            await peer.answer("404 Not Found")
            return
        if session.send_is_under_way:
            self._journal.violated("two requests to send at once")
        session.send_is_under_way = True
        try:
            await session.wait_readable()
            if session.refuses_next_send:
                # Whether it took them is what nobody knows: every second time it did.
                if session.number % 2:
                    self._note_received(session, messages_of(peer))
                await peer.answer("500 Internal Server Error")
                return
            self._note_received(session, messages_of(peer))
            await peer.answer("204 No Content")
        finally:
            session.send_is_under_way = False

    async def _bring(self, peer: Peer) -> None:
        session = self._sessions.get(peer.session_id)
        is_first = session is None
        if session is None:
            session = self._open(peer.session_id, PATHS[peer.name])
        if session.receive_is_under_way:
            self._journal.violated("two requests to receive at once")
        if session.has_ended:
            if session.said_close:
                self._journal.violated("a request to receive after the close frame")
            await peer.answer("404 Not Found")
            return
        session.receive_is_under_way = True
        session.peers.add(peer)
        try:
            await (self._stream if peer.name in PRELUDES else self._answer)(peer, session, is_first)
        finally:
            session.peers.discard(peer)
            session.receive_is_under_way = False

    async def _stream(self, peer: Peer, session: FaultSession, is_first: bool) -> None:
        await peer.start_chunked()
        await peer.send_chunk(PRELUDES[peer.name])
        if is_first:
            await peer.send_chunk(framed(peer.name, "o"))
            self._journal.opened(session.number, session.transport)
        for _ in range(_FRAMES_PER_RESPONSE):
            item = await session.next_item()
            if item is None:
                raise ConnectionAbortedError
            frame = _frame(item, session)
            if isinstance(item, Fault) and item.name == "half":
                body = framed(peer.name, frame)
                # Half of a chunk with half of a frame in it, or a whole chunk with half of a frame.
                cut = body[: len(body) // 2]
                await (peer.send_chunk(cut) if session.number % 2 else peer.send(b"%x\r\n" % len(body) + cut))
                raise ConnectionAbortedError
            if frame:
                await peer.send_chunk(framed(peer.name, frame))
            if isinstance(item, Fault) and item.name != "o":
                break
        await peer.send_chunk(b"")

    async def _answer(self, peer: Peer, session: FaultSession, is_first: bool) -> None:
        if is_first:
            await peer.answer("200 OK", body=framed(peer.name, "o"))
            self._journal.opened(session.number, session.transport)
            return
        item = await session.next_item()
        if item is None:
            raise ConnectionAbortedError
        frame = _frame(item, session)
        body = framed(peer.name, frame)
        if isinstance(item, Fault) and item.name == "half":
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
            await peer.send(head.encode() + body[: len(body) // 2])
            raise ConnectionAbortedError
        if isinstance(item, Fault) and item.name == "404":
            await peer.answer("404 Not Found")
            return
        await peer.answer("200 OK", body=body)

    def _note_received(self, session: FaultSession, messages: list[str]) -> None:
        if not messages:
            self._journal.violated("an empty array of messages")
        self._journal.received(session.number, messages)


def _frame(item: "list[str] | Fault", session: FaultSession) -> str:
    """The frame for what a session has to say; empty where the fault is in what follows."""
    match item:
        case Fault("c", code):
            return f'c[{code},"broken on command"]'
        case Fault("o"):
            return "o"
        case Fault("half"):
            return session.half_frame()
        case Fault():
            return ""
        case []:
            return "h"
        case messages:
            return "a" + json.dumps(messages)


async def _main() -> None:
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    journal = JournalWriter(file)
    server = FaultServer(journal, last_session(file))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", port, limit=1 << 20)
    print(json.dumps({"port": listening.sockets[0].getsockname()[1]}), flush=True)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        print(json.dumps(server.command(json.loads(line))), flush=True)
    listening.close()


if __name__ == "__main__":
    asyncio.run(_main())
