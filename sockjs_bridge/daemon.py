"""The daemon: runs every configured session until a signal or a failure ends it, then drains."""

import asyncio
import gc
import os
import resource
import secrets
import signal
import sys
from collections import Counter
from typing import NoReturn

import uvloop

from sockjs_bridge import __version__
from sockjs_bridge.config import Config
from sockjs_bridge.endpoints.base import ClientBudget, Endpoint
from sockjs_bridge.errors import DropReason
from sockjs_bridge.local_sockets import LocalSockets, SessionNames, bind_listeners
from sockjs_bridge.log import EventLog
from sockjs_bridge.wiring import Bridge, build

EXIT_OK = 0
EXIT_UNAVAILABLE = 69
_EXIT_INTERRUPTED = 130
# Descriptors that are not local clients: sessions with their attempts, files, the loop's own.
_RESERVED_DESCRIPTORS = 64
_DESCRIPTORS_PER_SESSION = 4
# libzmq accepts its peers itself; nobody can refuse one when descriptors run out.
_DESCRIPTORS_PER_ZMQ_ENDPOINT = 8
# Of a drain, until then messages are still taken, and until then sent; the rest is for the local clients.
_INTAKE_SHARE = 0.3
_UPSTREAM_SHARE = 0.7
_QUIET_SECONDS = 0.02
_GC_THRESHOLD = 50_000


def run(config: Config) -> int:
    """Run the daemon in this process; returns its exit code. Raises BindError."""
    local = bind_listeners(config, EventLog())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(config, local))


async def serve(config: Config, local: LocalSockets) -> int:
    """Serve on the running loop until a signal or a failure; returns the exit code."""
    log = EventLog()
    log.info(f"sockjs-bridge {__version__} starts", pid=os.getpid(), sessions=len(config.sessions))
    daemon = Daemon(config, local, log)
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(signal_number, daemon.receive_signal, signal_number)
    _quiet_garbage_collector()
    return await daemon.run()


class Daemon:
    """All bridges of a configuration, and the one decision when to end."""

    def __init__(self, config: Config, local: LocalSockets, log: EventLog) -> None:
        self._startup = config.bridge.startup
        self._drain_timeout = config.bridge.drain_timeout
        self._log = log
        self._local = local
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[int] = self._loop.create_future()
        self.listening = asyncio.Event()
        """Set once every endpoint serves programs."""
        budget = ClientBudget(_client_limit(config, log))
        boot = secrets.token_hex(8)
        self.bridges = {
            name: build(SessionNames(name, boot), session, local, budget, log)
            for name, session in config.sessions.items()
        }

    async def run(self) -> int:
        """Serve until the end, then drain; returns the exit code."""
        async with asyncio.TaskGroup() as group:
            self._local.start()
            for endpoint in self._endpoints():
                await endpoint.start()
            self.listening.set()
            for bridge in self.bridges.values():
                group.create_task(self._supervise(bridge))
            watch = group.create_task(self._watch_startup())
            exit_code = await self._end
            watch.cancel()
            await self._drain()
        return exit_code

    def stop(self, exit_code: int = EXIT_OK) -> None:
        """Begin to drain; `run` returns when that is done."""
        if not self._end.done():
            self._end.set_result(exit_code)

    def receive_signal(self, signal_number: signal.Signals) -> None:
        """SIGTERM and SIGINT drain, a second SIGINT leaves at once."""
        if signal_number == signal.SIGHUP:
            self._log.warning(
                "SIGHUP: reload is not available in this version; restart to load the configuration"
            )
        elif not self._end.done():
            self._log.info(f"{signal_number.name}: stopping", drain_timeout=self._drain_timeout)
            self.stop()
        elif signal_number == signal.SIGINT:
            self._leave_at_once()

    async def _supervise(self, bridge: Bridge) -> None:
        await bridge.supervisor.run()
        if all(other.supervisor.has_given_up for other in self.bridges.values()):
            self._log.error("every session has failed")
            self.stop(EXIT_UNAVAILABLE)

    async def _watch_startup(self) -> None:
        """With `startup = "fail"`, a session that does not open in its first round ends everything."""
        if self._startup != "fail":
            return
        for bridge in self.bridges.values():
            failure = await bridge.supervisor.first_round
            if failure is not None:
                self._log.error(f'session {bridge.supervisor.name} did not open, and startup is "fail"')
                self.stop(EXIT_UNAVAILABLE)

    def _leave_at_once(self) -> NoReturn:
        self._log.warning("second SIGINT: leaving at once")
        sys.stderr.flush()
        os._exit(_EXIT_INTERRUPTED)

    async def _drain(self) -> None:
        start, limit = self._loop.time(), self._drain_timeout
        endpoints = self._endpoints()
        for endpoint in endpoints:
            endpoint.stop_accepting()
        await self._take_what_is_written(endpoints, start + limit * _INTAKE_SHARE)
        for endpoint in endpoints:
            endpoint.stop_intake()
        upstream_deadline = start + limit * _UPSTREAM_SHARE
        await asyncio.gather(*[bridge.supervisor.stop(upstream_deadline) for bridge in self.bridges.values()])
        await asyncio.gather(*[endpoint.stop(start + limit) for endpoint in endpoints])
        await self._local.stop()
        self._report_totals(self._loop.time() - start)

    def _endpoints(self) -> list[Endpoint]:
        return [endpoint for bridge in self.bridges.values() for endpoint in bridge.endpoints]

    async def _take_what_is_written(self, endpoints: list[Endpoint], deadline: float) -> None:
        """Take what programs wrote before the stop: it is in the kernel, or held back by a full queue."""
        accepted = -1
        while self._loop.time() < deadline:
            before, accepted = (
                accepted,
                sum(each.hub.stats.messages_accepted for each in self.bridges.values()),
            )
            if accepted == before and not any(endpoint.is_holding_back for endpoint in endpoints):
                return
            await asyncio.sleep(min(_QUIET_SECONDS, deadline - self._loop.time()))

    def _report_totals(self, seconds: float) -> None:
        stats = [bridge.hub.stats for bridge in self.bridges.values()]
        dropped = sum([each.dropped for each in stats], Counter[DropReason]())
        self._log.info(
            "stopped",
            sent=sum(each.messages_sent for each in stats),
            received=sum(each.messages_received for each in stats),
            dropped=dropped.total(),
            reasons=", ".join(f"{reason} {count}" for reason, count in dropped.items()) or None,
            seconds=round(seconds, 2),
        )


def _quiet_garbage_collector() -> None:
    """Let the collector of cycles look rarely: messages make no cycles, but many short-lived lists.

    At its defaults it took a tenth of the CPU of a busy session.
    """
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)


def _client_limit(config: Config, log: EventLog) -> int:
    """Raise the soft limit of open files to the hard one; returns how many local clients it leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError) as error:
            log.debug("could not raise the limit of open files", error=str(error))
    reserved = _RESERVED_DESCRIPTORS + _DESCRIPTORS_PER_SESSION * len(config.sessions)
    reserved += _DESCRIPTORS_PER_ZMQ_ENDPOINT * sum(len(session.zmq) for session in config.sessions.values())
    return max(soft - reserved, 1)
