"""The SockJS bridge of an event bus, as Vert.x documents it, with one permitted address: "chat".

Its answers have the words of Vert.x. A socket without a ping for `pingTimeout` is closed at the next look.
"""

import asyncio
import json

import sockjs

PING_TIMEOUT_SECONDS = 10.0
PERMITTED = "chat"

listeners = {}


class Socket:
    """One session: the addresses that it listens to, and whether it has pinged since the last look."""

    def __init__(self, session):
        self.session = session
        self.addresses = set()
        self.has_pinged = False
        self.looking = asyncio.create_task(self.look())

    async def look(self):
        while True:
            await asyncio.sleep(PING_TIMEOUT_SECONDS)
            if not self.has_pinged:
                self.session.close(3000, "Go away!")
                return
            self.has_pinged = False

    def take(self, text):
        """Take a message; returns the body of the error, if it is one."""
        try:
            message = json.loads(text)
        except ValueError:
            return "invalid_json"
        kind = message.get("type")
        if kind is None:
            return "missing_type"
        if kind == "ping":
            self.has_pinged = True
            return None
        if "address" not in message:
            return "missing_address"
        if message["address"] != PERMITTED:
            return "access_denied"
        return self.act(kind, message)

    def act(self, kind, message):
        address = message["address"]
        match kind:
            case "register":
                self.addresses.add(address)
            case "unregister":
                self.addresses.discard(address)
            case "publish":
                for socket in listeners.values():
                    socket.deliver(address, message.get("body"))
            case "send":
                # To one of those who listen: the first.
                for socket in listeners.values():
                    if socket.deliver(address, message.get("body")):
                        break
            case _:
                return "invalid_type"
        return None

    def deliver(self, address, body):
        if address not in self.addresses:
            return False
        self.session.send(compact({"type": "rec", "address": address, "headers": {}, "body": body}))
        return True


def compact(message):
    return json.dumps(message, separators=(",", ":"))


async def event_bus(_manager, session, msg):
    if msg.type == sockjs.MsgType.OPEN:
        listeners[session.id] = Socket(session)
    elif msg.type == sockjs.MsgType.MESSAGE:
        error = listeners[session.id].take(msg.data)
        if error is not None:
            session.send(compact({"type": "err", "body": error}))
    elif session.id in listeners:
        listeners.pop(session.id).looking.cancel()
