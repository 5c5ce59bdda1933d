"""A fast server that counts what it gets: messages begin with their number, "17 ...", and have to come in order.

usage: python -m tests.faults.counting_server PORT

It answers "END" with "DONE <how many came> <the first that was out of order, or 0>".
"""

import asyncio
import json
import sys

import picows
import uvloop


class Counting(picows.WSListener):
    """One session."""

    def __init__(self) -> None:
        self.count = 0
        self.wrong = 0

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        transport.send(picows.WSMsgType.TEXT, b"o")

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.CLOSE:
            transport.disconnect()
        if frame.msg_type is not picows.WSMsgType.TEXT:
            return
        for message in json.loads(frame.get_payload_as_bytes()):
            if message == "END":
                answer = json.dumps([f"DONE {self.count} {self.wrong}"])
                transport.send(picows.WSMsgType.TEXT, f"a{answer}".encode())
                continue
            self.count += 1
            number = int(message.partition(" ")[0])
            if number != self.count and not self.wrong:
                self.wrong = number


async def _main() -> None:
    server = await picows.ws_create_server(lambda _request: Counting(), "127.0.0.1", int(sys.argv[1]))
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    closing = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(closing), sys.stdin)
    await closing.read()


if __name__ == "__main__":
    uvloop.run(_main())
