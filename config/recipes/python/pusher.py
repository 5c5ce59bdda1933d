#!/usr/bin/env python3
# Sends each line of its input through sockjs-bridge to the SockJS server, and ends when all are handed over.
# Run: pip install pyzmq, then: python3 pusher.py [ENDPOINT] <lines.txt
import signal
import sys

import zmq

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends us without a traceback

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:9002"

with zmq.Context() as context, context.socket(zmq.PUSH) as pusher:
    pusher.set(zmq.IMMEDIATE, 1)  # messages are for a bridge that is there,
    pusher.set(zmq.SNDHWM, 1)  # wait here, and not out of sight, while it takes none,
    pusher.set(zmq.LINGER, 5000)  # and the last ones get 5 seconds to go out.
    try:
        pusher.connect(endpoint)
    except zmq.ZMQError as error:
        sys.exit(f"pusher: cannot connect to {endpoint}: {error}")
    if not pusher.poll(5000, zmq.POLLOUT):
        sys.exit(f"pusher: no bridge answers at {endpoint}")
    for line in sys.stdin.buffer:
        pusher.send(line.removesuffix(b"\n").removesuffix(b"\r"))
