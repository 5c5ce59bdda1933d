"""What a new configuration changes, session by session and listener by listener."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from sockjs_bridge.config import Config, SessionConfig, TcpListener
from sockjs_bridge.local_sockets import ListenerConfig, listeners_of

_QUEUE_LIMITS = {"max_messages", "max_bytes", "max_age", "overflow", "spool_max_bytes"}


Identity = tuple[str | bool, ...]


@dataclass(frozen=True, slots=True)
class ListenerChanges:
    """How the listeners of a session go over into the new ones.

    `fates` has for each new listener the place of the old one that it goes on from, None for a new one;
    and whether that one stays as it is. `gone` are the places of the old ones that go.
    """

    fates: list[tuple[int | None, bool]]
    gone: list[int]

    def keeps(self, index: int) -> bool:
        """Whether the old listener at this place stays as it is."""
        return (index, True) in self.fates

    @property
    def is_nothing(self) -> bool:
        """Whether every listener stays as it is."""
        return not self.gone and all(stays for _, stays in self.fates)


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between two configurations. `lines` tells of it, a line each."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    upstream: list[str] = field(default_factory=list)
    """Sessions that have to connect anew."""
    listeners: dict[str, ListenerChanges] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def identity(listener: ListenerConfig) -> Identity:
    """What makes two listeners the same one: where it listens, and as what."""
    if isinstance(listener, TcpListener):
        return ("tcp", str(listener.address))
    return (listener.type, listener.endpoint, listener.bind)


def make_plan(
    old: Config, running: Mapping[str, SessionConfig], new: Config, given_up: Collection[str] = ()
) -> Plan:
    """Compare a configuration with what runs: its process-wide part is `old`'s, its sessions are `running`.

    `given_up` are the sessions that have used up their attempts: they try again.
    """
    plan = Plan()
    plan.lines.extend(_process_lines(old, new))
    for name in running.keys() - new.sessions.keys():
        plan.removed.append(name)
        plan.lines.append(f"session {name}: removed")
    for name, session in new.sessions.items():
        before = running.get(name)
        if before is None:
            plan.added.append(name)
            plan.lines.append(f"session {name}: added")
            continue
        changed_keys = _upstream_keys(before, session)
        if changed_keys:
            plan.upstream.append(name)
            plan.lines.append(f"session {name}: {_upstream_line(before, session, ', '.join(changed_keys))}")
        elif before.is_on_demand != session.is_on_demand:
            plan.upstream.append(name)
            what = "has no shared session any more" if session.is_on_demand else "has a shared session now"
            plan.lines.append(f"session {name}: {what}")
        elif name in given_up:
            plan.upstream.append(name)
            plan.lines.append(f"session {name}: had failed, tries again")
        elif before.queue != session.queue:
            plan.lines.append(f"session {name}: queue limits changed")
        changes = _listener_changes(before, session)
        if not changes.is_nothing:
            plan.listeners[name] = changes
            plan.lines.extend(_listener_lines(name, before, session, changes))
    return plan


def unchangeable(running: Mapping[str, SessionConfig], new: Config) -> list[str]:
    """What a reload cannot change, as problems with their key path."""
    return [
        f'sessions.{name}.queue.spool: can only change at a restart: messages may wait in "{before}"'
        for name, session in new.sessions.items()
        if name in running and (before := running[name].queue.spool) != session.queue.spool
    ]


def _process_lines(old: Config, new: Config) -> Iterator[str]:
    for table in ("bridge", "log", "admin"):
        if getattr(old, table) != getattr(new, table):
            yield f"{table}: changed"


def _upstream_keys(old: SessionConfig, new: SessionConfig) -> list[str]:
    """The keys for which the session has to connect anew. The bounds of the queue are no such key."""
    before, after = _upstream_part(old), _upstream_part(new)
    return [key for key in after if after[key] != before[key]]


def _upstream_part(session: SessionConfig) -> dict[str, object]:
    part = session.model_dump(exclude={"tcp", "zmq"})
    part["queue"] = {key: value for key, value in part["queue"].items() if key not in _QUEUE_LIMITS}
    return part


def _upstream_line(before: SessionConfig, session: SessionConfig, changed: str) -> str:
    line = f"{changed} changed" if session.is_on_demand else f"connects anew ({changed} changed)"
    stay = before.has_dedicated and session.has_dedicated
    return f"{line}; dedicated clients that are connected go on as they began" if stay else line


def _listener_changes(old: SessionConfig, new: SessionConfig) -> ListenerChanges:
    left: dict[Identity, list[int]] = {}
    before = [listener for _, listener in listeners_of(old)]
    for index, listener in enumerate(before):
        left.setdefault(identity(listener), []).append(index)
    fates: list[tuple[int | None, bool]] = []
    for _, listener in listeners_of(new):
        candidates = left.get(identity(listener), [])
        same = next((index for index in candidates if before[index] == listener), None)
        goes_on_from = same if same is not None else next(iter(candidates), None)
        if goes_on_from is not None:
            candidates.remove(goes_on_from)
        fates.append((goes_on_from, same is not None))
    return ListenerChanges(fates, sorted(index for indexes in left.values() for index in indexes))


def _listener_lines(
    name: str, old: SessionConfig, new: SessionConfig, changes: ListenerChanges
) -> Iterator[str]:
    before, after = listeners_of(old), listeners_of(new)
    for index in changes.gone:
        yield f"session {name}: {_shown(before[index][1])} removed"
    for (goes_on_from, stays), (_, listener) in zip(changes.fates, after, strict=True):
        if not stays:
            yield f"session {name}: {_shown(listener)} {'added' if goes_on_from is None else 'changed'}"


def _shown(listener: ListenerConfig) -> str:
    if isinstance(listener, TcpListener):
        return f"tcp {listener.address}"
    return f"{listener.type} {listener.endpoint}"


def without_listeners(session: SessionConfig, places: Collection[int]) -> SessionConfig:
    """The configuration of a session without some of its listeners, by their places in `listeners_of`."""
    tcp = [each for index, each in enumerate(session.tcp) if index not in places]
    zmq = [each for index, each in enumerate(session.zmq, len(session.tcp)) if index not in places]
    return session.model_copy(update={"tcp": tuple(tcp), "zmq": tuple(zmq)}) if places else session
