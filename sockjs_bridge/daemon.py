"""The daemon: runs every configured session until a signal or a failure ends it, then drains."""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import uvloop

from sockjs_bridge import __version__
from sockjs_bridge.admin.view import Process, sessions_open
from sockjs_bridge.config import AdminConfig, Config
from sockjs_bridge.endpoints.address import parse_listen
from sockjs_bridge.endpoints.base import ClientBudget
from sockjs_bridge.endpoints.binding import bind
from sockjs_bridge.errors import BindError, BridgeError, ConfigError, DropReason
from sockjs_bridge.fleet import Fleet
from sockjs_bridge.local_sockets import LocalSockets, bind_listeners
from sockjs_bridge.log import EventLog, configure
from sockjs_bridge.reload import make_plan, unchangeable
from sockjs_bridge.service_manager import ServiceManager
from sockjs_bridge.upstream_route import route_problems
from sockjs_bridge.wiring import Bridge

if TYPE_CHECKING:
    from sockjs_bridge.admin.server import AdminServer

EXIT_OK = 0
EXIT_UNAVAILABLE = 69
_EXIT_INTERRUPTED = 130
# Descriptors that are not local clients: sessions with their attempts, files, the loop's own.
_RESERVED_DESCRIPTORS = 64
_DESCRIPTORS_PER_SESSION = 4
# libzmq accepts its peers itself; nobody can refuse one when descriptors run out.
_DESCRIPTORS_PER_ZMQ_ENDPOINT = 8
_GC_THRESHOLD = 50_000
_ADMIN_SOCKET_MODE = 0o600
_TELL_SECONDS = 1.0
_STOP_MARGIN_SECONDS = 2.0


@dataclass(slots=True)
class Surroundings:
    """What the daemon has around it beside the programs: all of it may be missing."""

    load: Callable[[], Config] | None = None
    """Reads the configuration again. Raises ConfigError."""
    manager: ServiceManager = field(default_factory=lambda: ServiceManager.from_environment({}))
    admin_sockets: list[socket.socket] = field(default_factory=list)


def run(config: Config, load: Callable[[], Config]) -> int:
    """Run the daemon in this process; returns its exit code. Raises BindError."""
    try:
        manager = ServiceManager.from_environment(os.environ)
    except OSError as error:
        raise BindError([("service manager", str(error))]) from error
    with contextlib.closing(manager):
        log = EventLog()
        local, admin_sockets = _bind_all(config, log, manager)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(config, local, log, Surroundings(load, manager, admin_sockets)))


def _bind_all(
    config: Config, log: EventLog, manager: ServiceManager
) -> tuple[LocalSockets, list[socket.socket]]:
    """Bind all listeners, and look at the files of TLS. Raises BindError with every problem."""
    problems = route_problems(config)
    local = LocalSockets(log, manager)
    admin_sockets: list[socket.socket] = []
    try:
        local = bind_listeners(config, log, manager)
    except BindError as error:
        problems += error.problems
    try:
        admin_sockets = bind_admin(config.admin)
    except BindError as error:
        problems += error.problems
    if problems:
        local.close()
        for sock in admin_sockets:
            sock.close()
        raise BindError(problems)
    return local, admin_sockets


def bind_admin(admin: AdminConfig) -> list[socket.socket]:
    """Bind the admin listener, if it is on. Raises BindError."""
    if not admin.listen:
        return []
    try:
        return bind(parse_listen(admin.listen), _ADMIN_SOCKET_MODE)
    except OSError as error:
        raise BindError([("admin.listen", str(error))]) from error


async def serve(
    config: Config, local: LocalSockets, log: EventLog, surroundings: Surroundings | None = None
) -> int:
    """Serve on the running loop until a signal or a failure; returns the exit code."""
    log.info(f"sockjs-bridge {__version__} starts", pid=os.getpid(), sessions=len(config.sessions))
    daemon = Daemon(config, local, log, surroundings or Surroundings())
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(signal_number, daemon.receive_signal, signal_number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # one that has come meanwhile comes now
    _quiet_garbage_collector()
    return await daemon.run()


class Daemon:
    """The one place that decides when to reload and when to end. What the admin listener shows of it."""

    def __init__(
        self, config: Config, local: LocalSockets, log: EventLog, surroundings: Surroundings | None = None
    ) -> None:
        self._config = config
        self._log = log
        self._surroundings = surroundings or Surroundings()
        self._manager = self._surroundings.manager
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[int] = self._loop.create_future()
        self._reloading = asyncio.Lock()
        self._group: asyncio.TaskGroup
        self.listening = asyncio.Event()
        """Set once every endpoint serves programs."""
        self.reloads: dict[str, int] = {"ok": 0, "failed": 0}
        budget = ClientBudget(_client_limit(config, log))
        self._fleet = Fleet(config, local, budget, self._all_failed, log)
        self.process = Process(__version__, os.getpid(), self._fleet.boot, time.time())
        self._admin = self._make_admin(config.admin, self._surroundings.admin_sockets)

    @property
    def bridges(self) -> Mapping[str, Bridge]:
        """The sessions by name."""
        return self._fleet.bridges

    @property
    def problems(self) -> list[str]:
        """What keeps it from serving programs; what the servers do does not matter here."""
        if not self.listening.is_set():
            return ["it starts"]
        if self._end.done():
            return ["it stops"]
        queues = [(name, bridge.hub.queue) for name, bridge in self.bridges.items()]
        return [f"{name}: the spool fails: {queue.problem}" for name, queue in queues if queue.problem]

    async def run(self) -> int:
        """Serve until the end, then drain; returns the exit code. Raises BindError."""
        await self._fleet.open()
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._fleet.start(group)
            if self._admin is not None:
                await self._admin.start()
            self.listening.set()
            self._manager.notify(READY=1, STATUS=self._summary())
            watch = group.create_task(self._watch_startup())
            tell = group.create_task(self._tell_manager())
            exit_code = await self._end
            watch.cancel()
            async with self._reloading:
                await self._drain()
            tell.cancel()
            if self._admin is not None:
                await self._admin.stop()
        return exit_code

    def stop(self, exit_code: int = EXIT_OK) -> None:
        """Begin to drain; `run` returns when that is done."""
        if not self._end.done():
            self._end.set_result(exit_code)

    def receive_signal(self, signal_number: signal.Signals) -> None:
        """SIGHUP reloads; SIGTERM and SIGINT drain, a second SIGINT leaves at once."""
        if signal_number == signal.SIGHUP:
            if not self._end.done():
                self._group.create_task(self._reload_by_signal())
        elif not self._end.done():
            self._log.info(f"{signal_number.name}: stopping", drain_timeout=self._config.bridge.drain_timeout)
            self.stop()
        elif signal_number == signal.SIGINT:
            self._leave_at_once()

    async def reload(self) -> list[str]:
        """Load the configuration again and change over to it: all of it, or nothing.

        Returns what changed, a line each. Raises ConfigError with every problem; then nothing has changed.
        Raises BridgeError once the daemon has begun to stop.
        """
        self._refuse_while_stopping()
        async with self._reloading:
            self._refuse_while_stopping()
            self._manager.reloading()
            try:
                lines = await self._change_over()
            except BridgeError as error:
                self.reloads["failed"] += 1
                self._log.error("reload failed, nothing has changed", problems=str(error))
                raise
            finally:
                self._manager.notify(READY=1)
        self.reloads["ok"] += 1
        self._log.info("reloaded", changes="; ".join(lines) or "none")
        return lines

    def _refuse_while_stopping(self) -> None:
        if self._end.done():
            raise BridgeError("the bridge is stopping; nothing has changed")

    async def _change_over(self) -> list[str]:
        if self._surroundings.load is None:
            raise ConfigError(["there is nothing to reload"])
        config = await asyncio.to_thread(self._surroundings.load)
        running = {name: bridge.config for name, bridge in self._fleet.bridges.items()}
        problems = unchangeable(running, config)
        problems += [f"{where}: {what}" for where, what in route_problems(config)]
        if problems:
            raise ConfigError(problems)
        plan = make_plan(self._config, running, config, self._fleet.given_up)
        admin_changed = config.admin != self._config.admin
        try:
            admin_sockets = self._new_admin_sockets(config.admin) if admin_changed else []
            try:
                await self._fleet.apply(config, plan, config.bridge.drain_timeout)
            except BindError:
                for sock in admin_sockets:
                    sock.close()
                raise
        except BindError as error:
            raise ConfigError([f"{where}: {what}" for where, what in error.problems]) from error
        if config.log != self._config.log:
            configure(config.log.level, config.log.format, mask=config.secrets.mask)
        before, self._config = self._config, config
        if admin_changed:
            await self._exchange_admin(before.admin, config.admin, admin_sockets)
        return plan.lines

    async def _reload_by_signal(self) -> None:
        with contextlib.suppress(BridgeError):  # it is in the log
            await self.reload()

    def _make_admin(self, admin: AdminConfig, sockets: list[socket.socket]) -> "AdminServer | None":
        if not sockets:
            return None
        # Without the listener, its HTTP server and the writer of metrics are neither loaded nor in memory.
        from sockjs_bridge.admin.server import AdminOptions, AdminServer

        options = AdminOptions(admin.allowed_hosts, admin.token, self._config.secrets.mask)
        return AdminServer(options, sockets, self, self._log)

    def _new_admin_sockets(self, admin: AdminConfig) -> list[socket.socket]:
        if (
            self._admin is None
            or admin.listen != self._config.admin.listen
            or not self._admin.is_reachable  # somebody has removed the file of its socket
        ):
            return bind_admin(admin)
        try:
            return self._admin.give_sockets()
        except OSError as error:
            raise BindError([("admin.listen", str(error))]) from error

    async def _exchange_admin(
        self, old: AdminConfig, admin: AdminConfig, sockets: list[socket.socket]
    ) -> None:
        before, self._admin = self._admin, self._make_admin(admin, sockets)
        if self._admin is not None:
            await self._admin.start()
        if before is not None:
            # It may be answering the request that made us reload.
            self._group.create_task(before.stop(keep_files=old.listen == admin.listen))

    def _all_failed(self) -> None:
        self._log.error("every session has failed")
        self.stop(EXIT_UNAVAILABLE)

    async def _watch_startup(self) -> None:
        """With `startup = "fail"`, a session that does not open in its first round ends everything."""
        if self._config.bridge.startup != "fail":
            return
        for bridge in list(self._fleet.bridges.values()):
            failure = await bridge.supervisor.first_round
            if failure is not None:
                self._log.error(f'session {bridge.supervisor.name} did not open, and startup is "fail"')
                self.stop(EXIT_UNAVAILABLE)

    async def _tell_manager(self) -> None:
        """Tell the service manager how many sessions are open, and that the loop turns."""
        told = self._summary()
        interval = min(_TELL_SECONDS, self._manager.watchdog_seconds or _TELL_SECONDS)
        while True:
            await asyncio.sleep(interval)
            if self._manager.watchdog_seconds is not None:
                self._manager.notify(WATCHDOG=1)
            if self._summary() != told:
                told = self._summary()
                self._manager.notify(STATUS=told)

    def _summary(self) -> str:
        is_open, of_all = sessions_open(self)
        return f"{is_open}/{of_all} sessions open"

    def _leave_at_once(self) -> NoReturn:
        self._log.warning("second SIGINT: leaving at once")
        sys.stderr.flush()
        os._exit(_EXIT_INTERRUPTED)

    async def _drain(self) -> None:
        limit = self._config.bridge.drain_timeout
        extension = int((limit + _STOP_MARGIN_SECONDS) * 1_000_000)
        self._manager.notify(STOPPING=1, STATUS="draining", EXTEND_TIMEOUT_USEC=extension)
        seconds = await self._fleet.drain(limit)
        self._log.info("stopped", **self._numbers(), seconds=round(seconds, 2))

    def _numbers(self) -> dict[str, int | str | None]:
        """What became of all messages, over all sessions; what is not always of interest only where it is not 0."""
        hubs = [bridge.hub for bridge in self._fleet.bridges.values()]
        stats = [hub.stats for hub in hubs]
        dropped = sum([each.dropped for each in stats], Counter[DropReason]())
        return {
            "sent": sum(each.messages_sent for each in stats),
            "received": sum(each.messages_received for each in stats),
            "dropped": dropped.total(),
            "reasons": ", ".join(f"{reason} {count}" for reason, count in dropped.items()) or None,
            "confirmed": sum(each.messages_confirmed for each in stats) or None,
            "in_doubt": sum(each.messages_in_doubt for each in stats) or None,
            "resent": sum(each.messages_resent for each in stats) or None,
            "queued": sum(hub.queue.messages for hub in hubs) or None,
        }


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
