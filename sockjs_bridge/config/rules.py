"""Rules between the values of one session, of the admin listener, and between sessions."""

import contextlib
import os.path
from collections.abc import Iterator
from typing import Any

from sockjs_bridge.config.fields import is_raw_url
from sockjs_bridge.config.listener_rules import listener_problems
from sockjs_bridge.config.models import AdminConfig, Config, SessionConfig
from sockjs_bridge.config.problems import Problem
from sockjs_bridge.config.references import unknown_variable
from sockjs_bridge.config.steps import Step
from sockjs_bridge.config.tree import Loc, strings
from sockjs_bridge.config.units import show_seconds
from sockjs_bridge.endpoints.address import TcpAddress, parse_listen
from sockjs_bridge.protocol.templates import JsonTemplate, TemplateError, references_in


def problems_between(config: Config) -> Iterator[Problem]:
    """Every broken rule that takes more than one value to break, but for shared addresses."""
    yield from _admin(config.admin)
    for name, session in config.sessions.items():
        at: Loc = ("sessions", name)
        yield from _transports(session, at)
        yield from _timing(session, at)
        yield from _origin(session, at)
        if session.tls.key and not session.tls.cert:
            yield Problem((*at, "tls", "key"), "needs tls.cert too", ((*at, "tls", "cert"),))
        yield from _steps(session, at)
        yield from _session_references(session, at)
        yield from listener_problems(session, at)
    yield from _files(config)


def _admin(admin: AdminConfig) -> Iterator[Problem]:
    address = parse_listen(admin.listen) if admin.listen else None
    if not isinstance(address, TcpAddress) or address.is_loopback:
        return
    listen: Loc = ("admin", "listen")
    if not admin.allow_remote:
        text = f"{address} can be reached from other machines: add allow_remote = true and a token, or listen on 127.0.0.1"
        yield Problem(listen, text, (("admin", "allow_remote"),))
    elif not admin.token:
        yield Problem(
            listen, f"{address} can be reached from other machines: add a token", (("admin", "token"),)
        )


def _transports(session: SessionConfig, at: Loc) -> Iterator[Problem]:
    if is_raw_url(session.url) and "websocket-raw" not in session.transports:
        text = (
            'the url ends in /websocket, which means the transport "websocket-raw": '
            "remove transports, or the end of the url"
        )
        yield Problem((*at, "transports"), text, ((*at, "url"),))


def _timing(session: SessionConfig, at: Loc) -> Iterator[Problem]:
    reconnect, queue = session.reconnect, session.queue
    if reconnect.initial > reconnect.max:
        text = f"reconnect.initial ({show_seconds(reconnect.initial)}) is more than reconnect.max ({show_seconds(reconnect.max)})"
        yield Problem((*at, "reconnect", "initial"), text, ((*at, "reconnect", "max"),))
    if session.ping_interval == 0:
        needing = {"spool": bool(queue.spool), "resend_in_doubt": queue.resend_in_doubt}
        for key in (key for key, used in needing.items() if used):
            text = f"ping_interval = 0 is not possible with queue.{key}: only a PONG confirms a message"
            yield Problem((*at, "ping_interval"), text, ((*at, "queue", key),))


def _origin(session: SessionConfig, at: Loc) -> Iterator[Problem]:
    name = next((name for name in session.headers if name.lower() == "origin"), None)
    if name and session.origin != "none":
        yield Problem((*at, "headers", name), "origin is set as well: keep one of them", ((*at, "origin"),))


def _files(config: Config) -> Iterator[Problem]:
    """A file that the bridge writes belongs to one session."""
    owners: dict[str, tuple[str, Loc]] = {}
    for name, session in config.sessions.items():
        at: Loc = ("sessions", name)
        written = [
            ((*at, "cookie_file"), session.cookie_file),
            ((*at, "queue", "spool"), session.queue.spool),
        ]
        for loc, file in written:
            if not file:
                continue
            path = os.path.abspath(file)  # noqa: PTH100  # Path would keep `..`
            where = ".".join(map(str, loc))
            other, other_loc = owners.setdefault(path, (where, loc))
            if other != where:
                yield Problem(loc, f"one file for two uses, {path}: {other} and {where}", (other_loc,))


def _steps(session: SessionConfig, at: Loc) -> Iterator[Problem]:
    connected = False
    for index, step in enumerate(session.on_connect):
        here = (*at, "on_connect", index)
        kinds = [kind for kind in ("http", "send", "expect") if getattr(step, kind) is not None]
        if len(kinds) != 1:
            found = f", not {' and '.join(kinds)}" if kinds else ""
            yield Problem(here, f"a step has exactly one of http, send and expect{found}")
        if connected and step.http is not None:
            yield Problem((*here, "http"), "http steps come before send and expect")
        connected = connected or bool(kinds and kinds != ["http"])
        yield from _step_extras(step, here)


def _step_extras(step: Step, here: Loc) -> Iterator[Problem]:
    if step.capture and step.http is None:
        yield Problem(
            (*here, "capture"), "only an http step has an answer to capture from", ((*here, "http"),)
        )
    if "timeout" in step.model_fields_set and step.expect is None:
        text = "only an expect step has a timeout (http steps have connect_timeout)"
        yield Problem((*here, "timeout"), text, ((*here, "expect"),))
    if step.http is not None:
        request = step.http.model_dump(by_alias=True)
        bodies = [key for key in ("json", "form", "body") if request[key] is not None]
        if len(bodies) > 1:
            text = f"a request has one body at most, not {' and '.join(bodies)}"
            yield Problem((*here, "http"), text)


def _session_references(session: SessionConfig, at: Loc) -> Iterator[Problem]:
    captured: set[str] = set()
    for index, step in enumerate(session.on_connect):
        here = (*at, "on_connect", index)
        yield from _references(step.model_dump(by_alias=True), here, captured)
        if step.http is not None:
            try:
                JsonTemplate(step.http.json_value)
            except TemplateError as error:
                # One that is not closed has been reported with its place.
                if "closed" not in str(error):
                    yield Problem((*here, "http", "json"), str(error))
        captured |= set(step.capture)
    pings = [each.model_dump() for each in session.keepalive]
    yield from _references(pings, (*at, "keepalive"), captured)


def _references(tree: Any, at: Loc, known: set[str]) -> Iterator[Problem]:
    for loc, text in strings(tree, at):
        # What is no template has been reported, when secrets were read.
        with contextlib.suppress(TemplateError):
            for reference in references_in(text):
                if not reference.is_secret and reference.name not in known:
                    yield unknown_variable(reference, loc, known)
