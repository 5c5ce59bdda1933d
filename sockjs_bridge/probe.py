"""`sockjs-bridge probe`: what works with a server, and what does not."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus

import uvloop
from yarl import URL

from sockjs_bridge import log
from sockjs_bridge.cli_arguments import TRANSPORTS, add_probe
from sockjs_bridge.config import SessionConfig
from sockjs_bridge.errors import ConnectError, Obstacle, ProtocolError
from sockjs_bridge.probe_report import Findings, Given, InfoResult, as_json, as_text
from sockjs_bridge.probe_trial import TransportResult, Wishes, plan, try_transport
from sockjs_bridge.protocol.info import Info, parse_info
from sockjs_bridge.protocol.urls import BaseUrl
from sockjs_bridge.single_session import UsageError, let_connections_close, load_session
from sockjs_bridge.transports.http_client import HttpClient
from sockjs_bridge.transports.status import describe_status
from sockjs_bridge.wiring import TransportFactory, make_factory

EXIT_OK = 0
EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69
EXIT_INTERRUPTED = 130

add_arguments = add_probe

_NAME = "probe"


def run(options: argparse.Namespace) -> int:
    """Try everything and print what was found; returns the exit code."""
    wanted = tuple(dict.fromkeys(options.transports)) if options.transports else TRANSPORTS
    try:
        session = load_session(_NAME, options, TRANSPORTS, options.timeout)
    except UsageError as error:
        for problem in error.problems:
            print(f"sockjs-bridge probe: {problem}", file=sys.stderr)
        return EXIT_USAGE
    mask = session.as_written.secrets.mask
    log.configure("warning", "text", mask=mask)
    log.mask_uncaught(mask)
    wishes = Wishes(
        open_timeout=options.timeout,
        heartbeat_wait=options.heartbeat_wait,
        sends=not options.no_send,
        measures_size=options.size_limit and not options.no_send,
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            findings = runner.run(_find_out(session, wanted, wishes))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    try:
        print(mask(as_json(findings) if options.json else as_text(findings)), flush=True)
    except BrokenPipeError:
        sys.stdout = None  # or the interpreter complains of what it cannot flush
    return EXIT_OK if findings.works else EXIT_UNAVAILABLE


async def _find_out(session: SessionConfig, transports: Sequence[str], wishes: Wishes) -> Findings:
    event_log = log.EventLog().bind(session=_NAME)
    origin = {"none": None, "same": BaseUrl.parse(session.url).origin}.get(session.origin, session.origin)
    info, said = await _ask_info(make_factory(session, event_log), origin)
    results: tuple[TransportResult, ...] = ()
    # No transport reaches a server that does not answer at all.
    if not info.unreachable:
        base = said.base if said is not None else None
        turn = asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    # Each has a jar of its own, so that the table tells which of them sets what.
                    try_transport(make_factory(session, event_log), plan(name, base, origin), wishes, turn)
                )
                for name in transports
            ]
        results = tuple(task.result() for task in tasks)
    await let_connections_close()
    return Findings(_given(session), wishes, info, results)


async def _ask_info(factory: TransportFactory, origin: str | None) -> tuple[InfoResult, Info | None]:
    """`GET /info`, and what it says as far as the bridge heeds it."""
    known = {morsel.key for morsel in factory.cookies.jar}
    begun = time.perf_counter()
    http = factory.http_options(factory.headers).with_origin(origin)
    try:
        async with HttpClient(http, factory.cookies) as client:
            status, body = await client.get(factory.base.info())
    except ConnectError as error:
        return InfoResult(False, error.detail, unreachable=error.obstacle is Obstacle.UNREACHABLE), None
    except TimeoutError:
        return InfoResult(False, "no answer in time"), None
    seconds = time.perf_counter() - begun
    cookies = tuple(sorted({morsel.key for morsel in factory.cookies.jar} - known))
    if status != HTTPStatus.OK:
        return InfoResult(False, describe_status(status, "GET /info"), status, cookies=cookies), None
    try:
        info = parse_info(body, factory.base)
        said = json.loads(body)
    except (ProtocolError, ValueError) as error:
        return InfoResult(False, str(error), status, cookies=cookies), None
    result = InfoResult(
        True,
        info.problem,
        status,
        seconds,
        websocket=info.websocket if "websocket" in said else None,
        cookie_needed=info.cookie_needed if "cookie_needed" in said else None,
        cookies=cookies,
    )
    return result, info


def _given(session: SessionConfig) -> Given:
    base = BaseUrl.parse(session.url)
    has_query = bool(URL(session.url.strip()).raw_query_string)
    return Given(
        shown_url=session.shown_url,
        has_secrets_in_url=base.user_info is not None or has_query,
        header_names=tuple(session.headers),
        cookie_names=tuple(session.cookies),
        origin=session.origin,
        way=tuple(_way(session)),
    )


def _way(session: SessionConfig) -> Iterator[str]:
    if session.tls.ca:
        yield f"tls.ca = {json.dumps(session.tls.ca)}"
    if not session.tls.verify:
        yield "tls.verify = false"
    if "@" in session.proxy:
        yield "# proxy = the value that you gave"
    elif session.proxy:
        yield f"proxy = {json.dumps(session.proxy)}"
