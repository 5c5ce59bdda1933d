"""All bridges of the process: started together, changed by a reload, drained together."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sockjs_bridge.config import Config, SessionConfig
from sockjs_bridge.config import TcpListener as TcpConfig
from sockjs_bridge.endpoints.address import UnixAddress
from sockjs_bridge.endpoints.base import ClientBudget, Endpoint
from sockjs_bridge.endpoints.tcp_group import TcpGroup
from sockjs_bridge.errors import BindError, Cause
from sockjs_bridge.local_sockets import (
    ListenerConfig,
    LocalSockets,
    OpenListener,
    SessionNames,
    close_listener,
    listeners_of,
)
from sockjs_bridge.log import EventLog
from sockjs_bridge.reload import Identity, ListenerChanges, Plan, identity, without_listeners
from sockjs_bridge.wiring import Bridge, build, make_supervisor, queue_limits

# Of a drain, until then messages are still taken, and until then sent; the rest is for the local clients.
_INTAKE_SHARE = 0.3
_UPSTREAM_SHARE = 0.7
_QUIET_SECONDS = 0.02
_OPEN_AGAIN_SECONDS = 2.0

_Opened = dict[tuple[str, int], OpenListener]
"""Sockets by the name of the session and the place of the listener in the new configuration."""


class Fleet:
    """The bridges by the name of their session.

    `all_failed` is called when every session has used up its attempts. Tasks run in `group`, which is
    given at the start.
    """

    def __init__(
        self,
        config: Config,
        local: LocalSockets,
        budget: ClientBudget,
        all_failed: Callable[[], None],
        log: EventLog,
    ) -> None:
        self.boot = secrets.token_hex(8)
        self._local = local
        self._budget = budget
        self._all_failed = all_failed
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._group: asyncio.TaskGroup
        self.bridges: dict[str, Bridge] = {
            name: self._build(name, session, local.opened[name]) for name, session in config.sessions.items()
        }

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints of all sessions."""
        return [endpoint for bridge in self.bridges.values() for endpoint in bridge.endpoints]

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Serve programs, then begin to connect."""
        self._group = group
        self._local.start()
        for endpoint in self.endpoints:
            await endpoint.start()
        for bridge in self.bridges.values():
            self._supervise(bridge)

    async def apply(self, config: Config, plan: Plan, drain_timeout: float) -> None:
        """Change over to a new configuration. Raises BindError; then nothing has changed."""
        going = self._going(plan)
        new = list(_new_listeners(config, plan))
        opened = self._open_new([each for each in new if identity(each.listener) not in going])
        # From here on nothing is refused any more.
        for name in plan.removed:
            bridge = self.bridges.pop(name)
            self._group.create_task(bridge.supervisor.stop(self._loop.time() + drain_timeout))
        await self._take_over(new, going, opened, drain_timeout)
        for name, bridge in self.bridges.items():
            bridge.config = config.sessions[name]
            bridge.hub.dispatcher.set_limits(queue_limits(bridge.config.queue))
        for name, changes in plan.listeners.items():
            await self._exchange_endpoints(self.bridges[name], changes, opened)
        for name in plan.upstream:
            await self._exchange_supervisor(self.bridges[name])
        for name in plan.added:
            await self._add(name, config.sessions[name], opened)
        self.bridges = {name: self.bridges[name] for name in config.sessions if name in self.bridges}

    async def drain(self, limit: float) -> float:
        """Take what programs wrote, send what waits, close everything; returns the seconds that it took."""
        start = self._loop.time()
        endpoints = self.endpoints
        for endpoint in endpoints:
            endpoint.stop_accepting()
        await self._take_what_is_written(endpoints, start + limit * _INTAKE_SHARE)
        for endpoint in endpoints:
            endpoint.stop_intake()
        upstream_deadline = start + limit * _UPSTREAM_SHARE
        await asyncio.gather(*[bridge.supervisor.stop(upstream_deadline) for bridge in self.bridges.values()])
        await asyncio.gather(*[endpoint.stop(start + limit) for endpoint in endpoints])
        await self._local.stop()
        return self._loop.time() - start

    def _build(self, name: str, session: SessionConfig, opened: list[OpenListener]) -> Bridge:
        return build(SessionNames(name, self.boot), session, opened, self._budget, self._log)

    def _supervise(self, bridge: Bridge) -> None:
        self._group.create_task(self._run_supervisor(bridge))

    async def _run_supervisor(self, bridge: Bridge) -> None:
        await bridge.supervisor.run()
        if self.bridges and all(other.supervisor.has_given_up for other in self.bridges.values()):
            self._all_failed()

    def _going(self, plan: Plan) -> dict[Identity, list[Endpoint]]:
        """The endpoints that stop, by what they are; some of their addresses are used again."""
        going: dict[Identity, list[Endpoint]] = {}
        for name, bridge in self.bridges.items():
            changes = plan.listeners.get(name)
            listeners = listeners_of(bridge.config)
            for index, endpoint in enumerate(bridge.endpoints):
                if name in plan.removed or (changes and not changes.keeps(index)):
                    going.setdefault(identity(listeners[index][1]), []).append(endpoint)
        return going

    def _open_new(self, listeners: list["NewListener"]) -> _Opened:
        """Open what no old listener stands in the way of. Raises BindError with all problems."""
        opened: _Opened = {}
        problems: list[tuple[str, str]] = []
        for new in listeners:
            try:
                opened[new.session, new.index] = self._local.open(new.session, new.listener, new.where)
            except BindError as error:
                problems += error.problems
        if problems:
            for sockets in opened.values():
                close_listener(sockets)
            raise BindError(problems)
        return opened

    async def _take_over(
        self,
        new: list["NewListener"],
        going: dict[Identity, list[Endpoint]],
        opened: _Opened,
        drain_timeout: float,
    ) -> None:
        """Stop the old endpoints, and use the addresses of those that have a successor."""
        left = {key: list(endpoints) for key, endpoints in going.items()}
        waiting: list[NewListener] = []
        for each in [each for each in new if (each.session, each.index) not in opened]:
            if not isinstance(each.listener, TcpConfig):
                waiting.append(each)
                continue
            # There may be several of port 0, and more now than there were.
            heirs = left[identity(each.listener)]
            before = heirs.pop(0) if heirs else None
            opened[each.session, each.index] = (
                before.acceptor.give_sockets()
                if isinstance(before, TcpGroup)
                else self._local.open(each.session, each.listener, each.where)
            )
            if isinstance(each.listener.address, UnixAddress):
                Path(each.listener.address.path).chmod(  # noqa: ASYNC240  # one system call
                    int(each.listener.socket_mode, 8)
                )
        deadline = self._loop.time() + drain_timeout
        stops: dict[Endpoint, asyncio.Task[None]] = {}
        for endpoint in (endpoint for endpoints in going.values() for endpoint in endpoints):
            endpoint.stop_accepting()
            endpoint.stop_intake()
            stops[endpoint] = self._group.create_task(endpoint.stop(deadline))
        for each in waiting:
            await asyncio.wait([stops[endpoint] for endpoint in going[identity(each.listener)]])
            try:
                opened[each.session, each.index] = await self._open_again(each)
            except BindError as error:
                self._log.error("a listener is lost", where=each.where, problem=error.problems[0][1])

    async def _open_again(self, new: "NewListener") -> OpenListener:
        """Open a ZeroMQ address that we have just let go: libzmq closes its socket a moment later."""
        deadline = self._loop.time() + _OPEN_AGAIN_SECONDS
        while True:
            try:
                return self._local.open(new.session, new.listener, new.where)
            except BindError:
                if self._loop.time() > deadline:
                    raise
            await asyncio.sleep(_QUIET_SECONDS)

    async def _exchange_endpoints(self, bridge: Bridge, changes: ListenerChanges, opened: _Opened) -> None:
        before = bridge.endpoints
        after: list[Endpoint] = []
        lost: set[int] = set()
        for index, (_, listener) in enumerate(listeners_of(bridge.config)):
            goes_on_from, stays = changes.fates[index]
            if stays and goes_on_from is not None:
                after.append(before[goes_on_from])
                continue
            sockets = opened.get((bridge.names.session, index))
            if sockets is not None:
                after.append(bridge.make_endpoint(listener, sockets, self._budget))
            else:
                lost.add(index)
        bridge.config = without_listeners(bridge.config, lost)
        bridge.hub.exchange(after)
        for endpoint in after:
            if endpoint not in before:
                await endpoint.start()

    async def _exchange_supervisor(self, bridge: Bridge) -> None:
        before = bridge.supervisor
        await before.hand_over(Cause.RELOAD)
        bridge.supervisor = make_supervisor(bridge.names.session, bridge.config, bridge.hub, bridge.log)
        bridge.supervisor.status.last_close = before.status.last_close
        self._supervise(bridge)

    async def _add(self, name: str, session: SessionConfig, opened: _Opened) -> None:
        lost = {index for index in range(len(listeners_of(session))) if (name, index) not in opened}
        session = without_listeners(session, lost)
        sockets = [opened[key] for key in sorted(opened) if key[0] == name]
        self.bridges[name] = bridge = self._build(name, session, sockets)
        for endpoint in bridge.endpoints:
            await endpoint.start()
        self._supervise(bridge)

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


@dataclass(frozen=True, slots=True)
class NewListener:
    """A listener of the new configuration that no running endpoint serves. `where` is its key path."""

    session: str
    index: int
    listener: ListenerConfig
    where: str


def _new_listeners(config: Config, plan: Plan) -> Iterator[NewListener]:
    for name, session in config.sessions.items():
        changes = plan.listeners.get(name)
        if name not in plan.added and changes is None:
            continue
        for index, (place, listener) in enumerate(listeners_of(session)):
            if changes is None or not changes.fates[index][1]:
                yield NewListener(name, index, listener, f"sessions.{name}.{place}")
