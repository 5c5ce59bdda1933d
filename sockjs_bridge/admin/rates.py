"""Messages a second of the last minute, for the plots of the page."""

from collections import deque
from dataclasses import dataclass, field

from sockjs_bridge.admin.view import DaemonView

SAMPLES = 60


@dataclass(slots=True)
class Rates:
    """One session: messages of each of the last seconds, oldest first."""

    from_server: deque[int] = field(default_factory=lambda: deque([0] * SAMPLES, maxlen=SAMPLES))
    to_server: deque[int] = field(default_factory=lambda: deque([0] * SAMPLES, maxlen=SAMPLES))
    _seen: tuple[int, int] | None = None

    def sample(self, from_server: int, to_server: int) -> None:
        """Take the totals, once a second."""
        before = self._seen or (from_server, to_server)
        self.from_server.append(max(from_server - before[0], 0))
        self.to_server.append(max(to_server - before[1], 0))
        self._seen = (from_server, to_server)


class RateBook:
    """The rates of every session."""

    def __init__(self, daemon: DaemonView) -> None:
        self._daemon = daemon
        self._rates: dict[str, Rates] = {}

    def sample(self) -> None:
        """Look at every session; call it once a second."""
        bridges = self._daemon.bridges
        self._rates = {name: self._rates.get(name) or Rates() for name in bridges}
        for name, view in bridges.items():
            stats = view.hub.stats
            self._rates[name].sample(stats.messages_received, stats.messages_sent)

    def of(self, session: str) -> Rates:
        """The rates of one session."""
        return self._rates.get(session) or Rates()
