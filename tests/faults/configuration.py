"""Configurations of the fault runs: an admin listener, short times, one or more sessions."""

import json

from tests.bridge_process import BridgeProcess

QUICK = """\
connect_timeout = "800ms"
open_timeout = "1s"
silence_timeout = "1s"
ping_interval = "400ms"
reconnect = { initial = "20ms", max = "100ms" }
"""
"""Times so short that a break costs a second at most."""

HEAD = '[bridge]\ndrain_timeout = "3s"\n[log]\nformat = "json"\n[admin]\nlisten = "127.0.0.1:0"\n'
JSON_FRAMING = 'framing = "json"\n'


def session(
    url: str, transport: str, keys: str = QUICK, *, name: str = "chat", listener: str = JSON_FRAMING
) -> str:
    """A session that uses one transport, with one TCP listener; `keys` and `listener` add keys."""
    return (
        f'[sessions.{name}]\nurl = "{url}"\ntransports = {json.dumps([transport])}\ninfo = false\n{keys}\n'
        f'[[sessions.{name}.tcp]]\nlisten = "127.0.0.1:0"\n{listener}\n'
    )


def port_of(bridge: BridgeProcess, name: str = "chat") -> int:
    """The port of the listener of a session, as the log names it."""
    return _port(bridge.wait_for_log("listening on ", session=name)["message"])


def admin_port(bridge: BridgeProcess) -> int:
    """The port of the admin listener."""
    return _port(bridge.wait_for_log("admin listening on ")["message"])


def _port(message: str) -> int:
    return int(message.rpartition(":")[2])
