"""A STOMP 1.2 broker over SockJS, as strict as the specification allows.

Frames may come in pieces and several at once: what ends a frame is its NUL, as for Spring's decoder. Whoever promised
heart-beats and does not send them is closed. Everybody subscribed gets what is sent, its sender too.
"""

import asyncio
import itertools

import sockjs

# What this broker wants of those who can send heart-beats, and how late they may be.
HEART_BEAT_MS = 10_000
MARGIN_SECONDS = 1.0

subscribers = {}
numbers = itertools.count(1)


class ProtocolError(Exception):
    """What the client has done wrong. It gets an ERROR frame, and its session ends."""


class Client:
    """What the broker knows of one session."""

    def __init__(self, session):
        self.session = session
        self.topics = {}
        self.version = None
        self.buffer = ""
        self.patience = None
        self.timer = None

    def take(self, text):
        """Take a message: a frame, a part of one, several, or a heart-beat."""
        self.expect_a_sign_of_life()
        self.buffer += text
        while "\0" in (text := self.buffer.lstrip("\r\n")):
            frame, self.buffer = text.split("\0", 1)
            self.act(*parse(frame))

    def act(self, command, headers, body):
        if self.version is None:
            if command not in ("CONNECT", "STOMP"):
                raise ProtocolError(f"{command} before CONNECT")
            self.connect(headers)
        elif command == "SUBSCRIBE":
            self.topics[need(headers, "destination")] = need(headers, "id")
        elif command == "SEND":
            publish(need(headers, "destination"), body)
        else:
            raise ProtocolError(f"this broker does not know {command}")

    def connect(self, headers):
        if "1.2" not in need(headers, "accept-version").split(","):
            raise ProtocolError("only 1.2 is spoken here")
        need(headers, "host")
        self.version = "1.2"
        promised = int(headers.get("heart-beat", "0,0").split(",")[0])
        if promised:
            self.patience = max(promised, HEART_BEAT_MS) / 1000 + MARGIN_SECONDS
            self.expect_a_sign_of_life()
        self.send("CONNECTED", {"version": "1.2", "heart-beat": f"0,{HEART_BEAT_MS}"})

    def expect_a_sign_of_life(self):
        if self.patience is not None:
            self.stop_waiting()
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(self.patience, self.session.close, 3001, "no heart-beat")

    def stop_waiting(self):
        if self.timer is not None:
            self.timer.cancel()

    def send(self, command, headers, body=""):
        lines = [command, *(f"{name}:{value}" for name, value in headers.items())]
        self.session.send("\n".join(lines) + f"\n\n{body}\0")


def parse(frame):
    head, separator, body = frame.replace("\r\n", "\n").partition("\n\n")
    command, *lines = head.split("\n")
    if not separator or not all(":" in line for line in lines):
        raise ProtocolError("that is no frame")
    return command, dict(line.split(":", 1) for line in lines), body


def need(headers, name):
    if name not in headers:
        raise ProtocolError(f"there is no header {name}")
    return headers[name]


def publish(topic, body):
    for client in subscribers.values():
        if topic in client.topics:
            headers = {
                "subscription": client.topics[topic],
                "message-id": next(numbers),
                "destination": topic,
                "content-length": len(body.encode()),
            }
            client.send("MESSAGE", headers, body)


async def stomp(_manager, session, msg):
    if msg.type == sockjs.MsgType.OPEN:
        subscribers[session.id] = Client(session)
    elif msg.type == sockjs.MsgType.MESSAGE:
        client = subscribers[session.id]
        try:
            client.take(msg.data)
        except ProtocolError as error:
            client.send("ERROR", {"message": error})
            session.close(3000, "ERROR")
    elif session.id in subscribers:
        subscribers.pop(session.id).stop_waiting()
