"""What the admin listener sees of the daemon, and the status document made of it (README, "Admin")."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sockjs_bridge.bridge.hub import Hub
from sockjs_bridge.bridge.private import OnDemand, Waiting
from sockjs_bridge.bridge.status import UpstreamState, UpstreamStatus
from sockjs_bridge.bridge.supervisor import Supervisor
from sockjs_bridge.endpoints.base import Endpoint

_OWN_WORDS = frozenset({"boot", "cause", "name", "state", "transport", "type", "version"})


class SessionView(Protocol):
    """One configured session."""

    @property
    def hub(self) -> Hub:
        """Counts, the queue, the endpoints."""

    @property
    def supervisor(self) -> Supervisor | OnDemand:
        """The upstream side."""

    def count_waiting(self, now: float) -> Waiting:
        """What waits for the server; `now` is the loop's time."""

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """The local side."""


@dataclass(frozen=True, slots=True)
class Process:
    """This run of the program. `started_at` is in seconds of the wall clock."""

    version: str
    pid: int
    boot: str
    started_at: float


class DaemonView(Protocol):
    """The daemon."""

    @property
    def process(self) -> Process:
        """Which run of the program this is."""

    @property
    def bridges(self) -> Mapping[str, SessionView]:
        """The sessions by name."""

    @property
    def problems(self) -> list[str]:
        """What keeps it from serving programs, a line each; nothing: it is ready."""

    @property
    def reloads(self) -> Mapping[str, int]:
        """How many reloads there were, by result: `ok`, `failed`."""

    async def reload(self) -> list[str]:
        """Load the configuration again; returns what changed, a line each. Raises BridgeError."""


def status_document(daemon: DaemonView, wall: float, clock: float) -> dict[str, Any]:
    """The whole status; `wall` and `clock` are now, by the wall clock and by the loop's."""
    process = daemon.process
    return {
        "version": process.version,
        "pid": process.pid,
        "boot": process.boot,
        "started_at": _iso(process.started_at),
        "uptime_seconds": round(wall - process.started_at, 1),
        "ready": not daemon.problems,
        "problems": daemon.problems,
        "reloads": dict(daemon.reloads),
        "sessions": [_session(name, view, wall, clock) for name, view in daemon.bridges.items()],
    }


def without_secrets(node: Any, mask: Callable[[str], str]) -> Any:
    """A part of the document without what must not be shown. Words of our own stay: programs go by them."""
    match node:
        case str():
            return mask(node)
        case dict():
            return {
                key: value if key in _OWN_WORDS else without_secrets(value, mask)
                for key, value in node.items()
            }
        case list():
            return [without_secrets(value, mask) for value in node]
    return node


def sessions_open(daemon: DaemonView) -> tuple[int, int]:
    """How many sessions are open, of how many. Those that clients open by themselves are as good as open."""
    return sum(view.supervisor.is_fine for view in daemon.bridges.values()), len(daemon.bridges)


def _session(name: str, view: SessionView, wall: float, clock: float) -> dict[str, Any]:
    stats, supervisor = view.hub.stats, view.supervisor
    status, waiting = supervisor.status, view.count_waiting(clock)
    return {
        "name": name,
        "url": supervisor.shown_url,
        "state": status.state,
        "transport": status.transport,
        "epoch": supervisor.epoch,
        "since": _iso(status.since),
        "for_seconds": round(wall - status.since, 1),
        "next_try_seconds": _until(status, wall),
        "last_close": _last_close(status, wall),
        "last_failure": _last_failure(status, wall),
        "last_receive_seconds": (
            None if stats.last_receive_at is None else round(clock - stats.last_receive_at, 1)
        ),
        "queue": {
            "messages": waiting.messages,
            "to_resend": waiting.resends,
            "bytes": waiting.size_bytes,
            "oldest_seconds": round(waiting.oldest_seconds, 1),
        },
        "messages": {
            "from_server": stats.messages_received,
            "to_server": stats.messages_sent,
            "accepted": stats.messages_accepted,
            "confirmed": stats.messages_confirmed,
            "in_doubt": stats.messages_in_doubt,
            "resent": stats.messages_resent,
        },
        "bytes": {"from_server": stats.bytes_received, "to_server": stats.bytes_sent},
        "dropped": {str(reason): count for reason, count in stats.dropped.items()},
        "listeners": [endpoint.describe() for endpoint in view.endpoints],
    }


def _until(status: UpstreamStatus, wall: float) -> float | None:
    if status.state is not UpstreamState.WAITING or status.next_try_at is None:
        return None
    return round(max(status.next_try_at - wall, 0.0), 1)


def _last_close(status: UpstreamStatus, wall: float) -> dict[str, str | int | float] | None:
    close = status.last_close
    if close is None:
        return None
    return {"cause": close.cause, "code": close.code, "reason": close.reason, **_when(close.at, wall)}


def _last_failure(status: UpstreamStatus, wall: float) -> dict[str, str | float] | None:
    failure = status.last_failure
    if failure is None:
        return None
    return {"detail": failure.detail, "transport": failure.transport, **_when(failure.at, wall)}


def _when(at: float, wall: float) -> dict[str, str | float]:
    return {"at": _iso(at), "ago_seconds": round(wall - at, 1)}


def _iso(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
