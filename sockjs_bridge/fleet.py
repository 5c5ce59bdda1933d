"""All bridges of the process: started together, changed by a reload, drained together."""

import asyncio
import secrets
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sockjs_bridge.config import Config, SessionConfig
from sockjs_bridge.config import TcpListener as TcpConfig
from sockjs_bridge.endpoints.address import UnixAddress
from sockjs_bridge.endpoints.base import ClientBudget, Endpoint
from sockjs_bridge.endpoints.dedicated import DedicatedListener
from sockjs_bridge.endpoints.tcp_group import TcpGroup
from sockjs_bridge.errors import BindError, Cause, SpoolError
from sockjs_bridge.local_certificates import RenewedCertificates
from sockjs_bridge.local_sockets import (
    ListenerConfig,
    LocalSockets,
    OpenListener,
    ProcessResources,
    SessionNames,
    close_listener,
    listeners_of,
)
from sockjs_bridge.log import EventLog
from sockjs_bridge.reload import Identity, ListenerChanges, Plan, identity, without_listeners
from sockjs_bridge.wiring import Bridge, build, queue_limits

# Of a drain, until then messages are still taken, sent, and written to disk; the rest is for the local clients.
_INTAKE_SHARE = 0.3
_UPSTREAM_SHARE = 0.7
_SPOOL_SHARE = 0.85
_LAST_COMMIT_SECONDS = 1.0
_QUIET_SECONDS = 0.02
_OPEN_AGAIN_SECONDS = 2.0

_Opened = dict[tuple[str, int], OpenListener]
"""Sockets by the name of the session and the place of the listener in the new configuration."""
_TcpEndpoint = TcpGroup | DedicatedListener


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
        self._resources = ProcessResources(budget, self._spawn)
        self._all_failed = all_failed
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._group: asyncio.TaskGroup
        self.bridges: dict[str, Bridge] = {
            name: self._build(name, session) for name, session in config.sessions.items()
        }
        for name, bridge in self.bridges.items():
            bridge.add_endpoints(local.opened[name], self._resources)

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints of all sessions."""
        return [endpoint for bridge in self.bridges.values() for endpoint in bridge.endpoints]

    @property
    def given_up(self) -> frozenset[str]:
        """The sessions that have used up their attempts."""
        return frozenset(name for name, bridge in self.bridges.items() if bridge.supervisor.has_given_up)

    async def open(self) -> None:
        """Open the spools. Raises BindError; then nothing is open."""
        try:
            await _open_queues(self.bridges.values())
        except BindError:
            self._local.close()
            raise

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
        opened, certificates = self._open_new(config, new, going)
        added = [self._build(name, config.sessions[name]) for name in plan.added]
        try:
            await _open_queues(added)
        except BindError:
            for sockets in opened.values():
                close_listener(sockets)
            raise
        # From here on nothing is refused any more.
        certificates.adopt()
        plan.lines.extend(certificates.lines)
        for name in plan.removed:
            self._group.create_task(self._retire(self.bridges.pop(name), self._loop.time() + drain_timeout))
        plan.lines.extend(await self._take_over(new, going, opened, drain_timeout))
        for name, bridge in self.bridges.items():
            bridge.config = config.sessions[name]
            bridge.hub.dispatcher.set_limits(queue_limits(bridge.config.queue))
        for name in plan.upstream:
            if self.bridges[name].config.has_dedicated:
                self.bridges[name].renew_upstreams()  # before a new listener lets clients in
        for name, changes in plan.listeners.items():
            await self._exchange_endpoints(self.bridges[name], changes, opened)
        # Together: servers that do not answer any more would add up to minutes, and a stop has to wait for us.
        await asyncio.gather(
            *[self._exchange_supervisor(self.bridges[name], drain_timeout) for name in plan.upstream]
        )
        for bridge in added:
            await self._add(bridge, opened)
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
        await asyncio.gather(*[bridge.stop_upstream(upstream_deadline) for bridge in self.bridges.values()])
        await asyncio.gather(
            *[bridge.hub.queue.close(start + limit * _SPOOL_SHARE) for bridge in self.bridges.values()]
        )
        await asyncio.gather(*[endpoint.stop(start + limit) for endpoint in endpoints])
        await self._local.stop()
        return self._loop.time() - start

    def _build(self, name: str, session: SessionConfig) -> Bridge:
        return build(SessionNames(name, self.boot), session, self._log)

    async def _retire(self, bridge: Bridge, deadline: float) -> None:
        """A session that is not configured any more: send what waits, and let go of its spool."""
        await bridge.stop_upstream(deadline)
        await bridge.hub.queue.close(deadline + _LAST_COMMIT_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._group.create_task(work)

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

    def _open_new(
        self, config: Config, new: list["NewListener"], going: Mapping[Identity, list[Endpoint]]
    ) -> tuple[_Opened, RenewedCertificates]:
        """Open all that can be opened beside the old listeners. Raises BindError with all problems.

        What is not in the answer are ZeroMQ addresses that an old endpoint has to let go first. The
        certificates are those of the listeners that stay, too.
        """
        opened: _Opened = {}
        problems: list[tuple[str, str]] = []
        heirs: list[tuple[NewListener, _TcpEndpoint]] = []
        certificates = RenewedCertificates([], [])
        try:
            certificates = self._local.read_certificates(config)
        except BindError as error:
            problems += error.problems
        left = {key: list(endpoints) for key, endpoints in going.items()}
        for each in new:
            # There may be several of port 0, and more now than there were.
            key = identity(each.listener)
            before = left[key].pop(0) if left.get(key) else None
            try:
                if isinstance(before, _TcpEndpoint) and _has_its_file(each.listener):
                    heirs.append((each, before))
                elif isinstance(each.listener, TcpConfig) or key not in going:
                    opened[each.key] = self._local.open(each.session, each.listener, each.where)
                else:
                    self._local.check(each.listener, each.where)
            except BindError as error:
                problems += error.problems
        if not problems:
            problems += self._inherit(heirs, opened)
        if problems:
            for sockets in opened.values():
                close_listener(sockets)
            raise BindError(problems)
        return opened, certificates

    def _inherit(
        self, heirs: list[tuple["NewListener", _TcpEndpoint]], opened: _Opened
    ) -> list[tuple[str, str]]:
        """Let listeners have the sockets of those that they go on from; returns the problems."""
        problems: list[tuple[str, str]] = []
        for each, before in heirs:
            try:
                sockets = before.acceptor.give_sockets()
            except OSError as error:
                problems.append((f"{each.where}.listen", str(error)))
                continue
            try:
                assert isinstance(each.listener, TcpConfig)  # noqa: S101  # it goes on from one
                opened[each.key] = self._local.inherit(each.listener, each.where, sockets)
            except BindError as error:
                problems += error.problems
        return problems

    async def _take_over(
        self,
        new: list["NewListener"],
        going: Mapping[Identity, list[Endpoint]],
        opened: _Opened,
        drain_timeout: float,
    ) -> list[str]:
        """Stop the old endpoints, and use their addresses; returns what went wrong, a line each."""
        for each in new:
            if isinstance(each.listener, TcpConfig) and isinstance(each.listener.address, UnixAddress):
                Path(each.listener.address.path).chmod(  # noqa: ASYNC240  # one system call
                    int(each.listener.socket_mode, 8)
                )
        deadline = self._loop.time() + drain_timeout
        stops: dict[Endpoint, asyncio.Task[None]] = {}
        for endpoint in (endpoint for endpoints in going.values() for endpoint in endpoints):
            endpoint.stop_accepting()
            endpoint.stop_intake()
            stops[endpoint] = self._group.create_task(endpoint.stop(deadline))
        lost: list[str] = []
        for each in [each for each in new if each.key not in opened]:
            await asyncio.wait([stops[endpoint] for endpoint in going[identity(each.listener)]])
            try:
                opened[each.key] = await self._open_again(each)
            except BindError as error:
                problem = error.problems[0][1]
                self._log.error("a listener is lost", where=each.where, problem=problem)
                lost.append(f"session {each.session}: {each.where} is lost: {problem}")
        return lost

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
                after.append(bridge.make_endpoint(listener, sockets, self._resources))
            else:
                lost.add(index)
        bridge.config = without_listeners(bridge.config, lost)
        bridge.hub.exchange(after)
        for endpoint in after:
            if endpoint not in before:
                await endpoint.start()

    async def _exchange_supervisor(self, bridge: Bridge, drain_timeout: float) -> None:
        if bridge.config.is_on_demand:
            # Nobody will send what waits.
            await bridge.supervisor.stop(self._loop.time() + drain_timeout)
        else:
            await bridge.supervisor.hand_over(Cause.RELOAD)
        if not bridge.config.has_dedicated:
            bridge.renew_upstreams()  # only now: the old session may have written the cookie file
        bridge.renew_supervisor()
        self._supervise(bridge)

    async def _add(self, bridge: Bridge, opened: _Opened) -> None:
        name = bridge.names.session
        lost = {index for index in range(len(listeners_of(bridge.config))) if (name, index) not in opened}
        bridge.config = without_listeners(bridge.config, lost)
        bridge.add_endpoints([opened[key] for key in sorted(opened) if key[0] == name], self._resources)
        self.bridges[name] = bridge
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

    @property
    def key(self) -> tuple[str, int]:
        """Its place among all that are open."""
        return self.session, self.index


def _has_its_file(listener: ListenerConfig) -> bool:
    """Whether programs can still find the socket: somebody may have removed the file of a Unix socket."""
    address = listener.address
    return not isinstance(address, UnixAddress) or Path(address.path).exists()


async def _open_queues(bridges: Collection[Bridge]) -> None:
    """Open the spools. Raises BindError with all that cannot be used; then none is open."""
    outcomes = await asyncio.gather(*[each.hub.queue.open() for each in bridges], return_exceptions=True)
    problems: list[tuple[str, str]] = []
    for bridge, outcome in zip(bridges, outcomes, strict=True):
        if isinstance(outcome, SpoolError):
            problems.append((f"sessions.{bridge.names.session}.queue.spool", str(outcome)))
        elif outcome is not None:
            raise outcome
    if problems:
        now = asyncio.get_running_loop().time()
        await asyncio.gather(*[each.hub.queue.close(now + _LAST_COMMIT_SECONDS) for each in bridges])
        raise BindError(problems)


def _new_listeners(config: Config, plan: Plan) -> Iterator[NewListener]:
    for name, session in config.sessions.items():
        changes = plan.listeners.get(name)
        if name not in plan.added and changes is None:
            continue
        for index, (place, listener) in enumerate(listeners_of(session)):
            if changes is None or not changes.fates[index][1]:
                yield NewListener(name, index, listener, f"sessions.{name}.{place}")
