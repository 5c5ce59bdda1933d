#!/usr/bin/env python3
# Prints each message that sockjs-bridge publishes under a topic, a line each.
# Run: pip install pyzmq, then: python3 subscriber.py [ENDPOINT [TOPIC]]
import signal
import sys

import zmq

# Ctrl-C, or the end of a reader like "| head", ends us without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:9001"
topic = (sys.argv[2] if len(sys.argv) > 2 else "chat").encode()

with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
    subscriber.subscribe(topic)
    try:
        subscriber.connect(endpoint)
    except zmq.ZMQError as error:
        sys.exit(f"subscriber: cannot connect to {endpoint}: {error}")
    while True:
        frames = subscriber.recv_multipart()  # the topic comes first, the data last
        # A subscription is to a prefix: "chat2" comes too, and so do the bridge's own events in "chat/!event".
        if frames[0] == topic:
            sys.stdout.buffer.write(frames[-1] + b"\n")
            sys.stdout.buffer.flush()
