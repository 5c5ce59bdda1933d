"""How the servers of this folder that take no commands live: from their port on standard output to the end of input."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable


async def serve_until_input_ends(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    """Serve connections on a port of 127.0.0.1, which is printed as JSON; ends the process."""
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(json.dumps({"port": listening.sockets[0].getsockname()[1]}), flush=True)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    await commands.read()
    os._exit(0)  # what pours at this moment need not be told
