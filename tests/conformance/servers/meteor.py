"""A Meteor server: DDP as its specification has it, with a publication "messages", and methods "say" and "login".

Heartbeats go as in Meteor: who has said nothing for an interval is sent a ping, and is closed where nothing follows.
"""

import asyncio
import hashlib
import itertools
import json

import sockjs

HEARTBEAT_INTERVAL_SECONDS = 15.0
HEARTBEAT_TIMEOUT_SECONDS = 15.0
DIGESTS = {"bridge": hashlib.sha256(b"hunter22").hexdigest()}

clients = {}
numbers = itertools.count(1)


class Client:
    """One session. It has to connect before it may do anything else."""

    def __init__(self, session):
        self.session = session
        self.is_connected = False
        self.is_subscribed = False
        self.user = None
        self.has_been_heard = False
        self.heartbeat = asyncio.create_task(self.beat())
        # Meteor begins with this: a message without "msg", to be ignored.
        self.send(server_id="0")

    async def beat(self):
        while True:
            self.has_been_heard = False
            await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)
            if self.has_been_heard:
                continue
            self.send(msg="ping")
            await asyncio.sleep(HEARTBEAT_TIMEOUT_SECONDS)
            if not self.has_been_heard:
                self.session.close(3000, "Go away!")
                return

    def take(self, text):
        self.has_been_heard = True
        message = json.loads(text)
        match message.get("msg"):
            case "ping":
                self.send(msg="pong", **{key: message[key] for key in message if key == "id"})
            case "pong":
                pass
            case "connect" if not self.is_connected:
                self.connect(message)
            case "sub" if self.is_connected:
                self.subscribe(message)
            case "method" if self.is_connected:
                self.call(message)
            case _:
                self.send(msg="error", reason="Bad request", offendingMessage=message)

    def connect(self, message):
        if message["version"] != "1" or "1" not in message["support"]:
            self.send(msg="failed", version="1")
            self.session.close(3000, "Go away!")
            return
        self.is_connected = True
        self.send(msg="connected", session=self.session.id)

    def subscribe(self, message):
        if message["name"] != "messages":
            self.send(msg="nosub", id=message["id"], error={"error": 404, "errorType": "Meteor.Error"})
            return
        self.is_subscribed = True
        self.send(msg="ready", subs=[message["id"]])

    def call(self, message):
        done = {"msg": "result", "id": message["id"]}
        if message["method"] == "login":
            (given,) = message["params"]
            name, password = given["user"]["username"], given["password"]
            if password["algorithm"] != "sha-256" or DIGESTS.get(name) != password["digest"]:
                self.send(**done, error={"error": 403, "errorType": "Meteor.Error"})
                return
            self.user = name
            done["result"] = {
                "id": name,
                "token": "t",
                "tokenExpires": {"$date": 1 << 41},
                "type": "password",
            }
        elif message["method"] == "say":
            (text,) = message["params"]
            document = {"id": str(next(numbers)), "fields": {"text": text, "user": self.user}}
            for client in clients.values():
                if client.is_subscribed:
                    client.send(msg="added", collection="messages", **document)
        else:
            done["error"] = {"error": 404, "errorType": "Meteor.Error"}
        self.send(**done)
        self.send(msg="updated", methods=[message["id"]])

    def send(self, **message):
        self.session.send(json.dumps(message, separators=(",", ":")))


async def meteor(_manager, session, msg):
    if msg.type == sockjs.MsgType.OPEN:
        clients[session.id] = Client(session)
    elif msg.type == sockjs.MsgType.MESSAGE:
        clients[session.id].take(msg.data)
    elif session.id in clients:
        clients.pop(session.id).heartbeat.cancel()
