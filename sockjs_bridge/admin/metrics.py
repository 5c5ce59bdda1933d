"""The metrics page. The only module that knows prometheus_client: everything else counts in plain integers."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sockjs_bridge.admin.view import DaemonView, SessionView
from sockjs_bridge.bridge.private import Waiting
from sockjs_bridge.errors import DropReason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "sockjs_bridge"
_SESSION = ("session",)

_Labels = tuple[str, ...]
_Samples = Iterator[tuple[tuple[str, ...], float]]
_GAUGES: tuple[tuple[str, str, Callable[[SessionView], float]], ...] = (
    (
        "session_up",
        "1 while the session is open, and where only clients open sessions.",
        lambda view: float(view.supervisor.is_fine),
    ),
    (
        "epoch",
        "How many upstream sessions have opened, those of single clients left out.",
        lambda view: view.supervisor.epoch,
    ),
)
_QUEUE_GAUGES: tuple[tuple[str, str, Callable[[Waiting], float]], ...] = (
    (
        "queue_messages",
        "Messages that wait for the server, those of a request under way included.",
        lambda waiting: waiting.messages,
    ),
    (
        "queue_resend_messages",
        "Those of queue_messages that were written before, and are in doubt.",
        lambda waiting: waiting.resends,
    ),
    ("queue_bytes", "Bytes of messages that wait for the server.", lambda waiting: waiting.size_bytes),
    (
        "queue_oldest_seconds",
        "For how long the oldest waiting message has waited.",
        lambda waiting: waiting.oldest_seconds,
    ),
)
_COUNTERS: tuple[tuple[str, str, Callable[[SessionView], float]], ...] = (
    (
        "in_doubt",
        "Messages written to the server of which nobody knows whether they arrived.",
        lambda view: view.hub.stats.messages_in_doubt,
    ),
    (
        "accepted_messages",
        "Messages of local programs that the bridge took.",
        lambda view: view.hub.stats.messages_accepted,
    ),
    (
        "confirmed_messages",
        "Messages that the server's side of the connection has certainly read.",
        lambda view: view.hub.stats.messages_confirmed,
    ),
    (
        "resent_messages",
        "Messages written once more, because they were in doubt.",
        lambda view: view.hub.stats.messages_resent,
    ),
    (
        "own_messages",
        "Messages that the bridge sent by itself: those of login steps and keepalive.",
        lambda view: view.hub.stats.own_messages,
    ),
    (
        "dropped_frames",
        "Frames of the server that could not be understood.",
        lambda view: view.hub.stats.frames_dropped,
    ),
)


class Metrics:
    """Reads the counters of the daemon when somebody asks. `clock` is the loop's."""

    def __init__(
        self, daemon: DaemonView, clock: Callable[[], float], mask: Callable[[str], str] = str
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_SessionCollector(daemon, clock, mask))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The page, in the text format of Prometheus."""
        return generate_latest(self._registry)


class _SessionCollector(Collector):
    def __init__(self, daemon: DaemonView, clock: Callable[[], float], mask: Callable[[str], str]) -> None:
        self._daemon = daemon
        self._clock = clock
        self._mask = mask

    def describe(self) -> list[Metric]:
        """Nothing: the registry would collect once for the names only."""
        return []

    def collect(self) -> Iterator[Metric]:
        for name, text, read in _GAUGES:
            yield self._gauge(name, text, _SESSION, self._each(read))
        for name, text, read in _COUNTERS:
            yield self._counter(name, text, _SESSION, self._each(read))
        now = self._clock()
        waiting = {name: view.count_waiting(now) for name, view in self._daemon.bridges.items()}
        for name, text, count in _QUEUE_GAUGES:
            samples = (((session,), count(each)) for session, each in waiting.items())
            yield self._gauge(name, text, _SESSION, samples)
        yield self._gauge(
            "last_receive_seconds",
            "Seconds since anything came from the server.",
            _SESSION,
            (
                ((name,), now - view.hub.stats.last_receive_at)
                for name, view in self._daemon.bridges.items()
                if view.hub.stats.last_receive_at is not None
            ),
        )
        yield from self._labelled()
        yield from self._of_listeners()
        yield self._counter(
            "reloads",
            "Reloads of the configuration by result.",
            ("result",),
            (((result,), count) for result, count in self._daemon.reloads.items()),
        )

    def _labelled(self) -> Iterator[Metric]:
        both = (*_SESSION, "direction")
        yield self._counter("messages", "Messages by direction.", both, self._directions("messages"))
        yield self._counter(
            "bytes", "Bytes of messages and frames by direction.", both, self._directions("bytes")
        )
        yield self._counter(
            "connects",
            "Attempts to connect by transport and result.",
            (*_SESSION, "transport", "result"),
            (
                ((name, transport, str(result)), count)
                for name, view in self._daemon.bridges.items()
                for (transport, result), count in view.hub.stats.connects.items()
            ),
        )
        yield self._counter(
            "closes",
            "Ends of upstream sessions by cause.",
            (*_SESSION, "cause"),
            (
                ((name, str(cause)), count)
                for name, view in self._daemon.bridges.items()
                for cause, count in view.hub.stats.closes.items()
            ),
        )
        reason = (*_SESSION, "reason")
        yield self._counter(
            "dropped",
            "Messages that went nowhere by reason.",
            reason,
            self._reasons(lambda view: view.hub.stats.dropped),
        )
        yield self._counter(
            "queue_dropped_messages",
            "Messages of local programs that were accepted and then given up, by reason.",
            reason,
            self._reasons(lambda view: view.hub.stats.queue_dropped),
        )

    def _of_listeners(self) -> Iterator[Metric]:
        listener = (*_SESSION, "listener")
        yield self._gauge(
            "clients", "Connected local programs.", listener, self._listeners("clients", "peers")
        )
        yield self._gauge(
            "dedicated_sessions",
            "Open upstream sessions of the clients of a dedicated listener.",
            listener,
            self._listeners("sessions"),
        )
        yield self._gauge(
            "zmq_subscribers",
            "Subscriptions that match the topic of a pub endpoint.",
            listener,
            self._listeners("subscribers"),
        )
        yield from self._deliveries(listener)

    def _deliveries(self, listener: tuple[str, ...]) -> Iterator[Metric]:
        """What became of messages for programs: offered = delivered + buffered + dropped (delivery.md)."""
        offered, delivered, buffered = Counter[_Labels](), Counter[_Labels](), Counter[_Labels]()
        dropped = Counter[_Labels]()
        for name, view in self._daemon.bridges.items():
            for endpoint in view.endpoints:
                counts = endpoint.count_delivery()
                if counts is None:
                    continue
                labels = name, self._mask(endpoint.name)
                offered[labels] += counts.offered
                delivered[labels] += counts.delivered
                buffered[labels] += counts.buffered
                for reason, messages in counts.dropped.items():
                    dropped[*labels, str(reason)] += messages
        yield self._counter(
            "listener_offered_messages",
            "Messages times the local programs that they were for.",
            listener,
            iter(offered.items()),
        )
        yield self._counter(
            "listener_delivered_messages",
            "Those of them that the kernel, or libzmq, has taken.",
            listener,
            iter(delivered.items()),
        )
        yield self._gauge(
            "listener_buffered_messages",
            "Those of them that wait.",
            listener,
            iter(buffered.items()),
        )
        yield self._counter(
            "listener_dropped_messages",
            "Those of them that were dropped, by reason.",
            (*listener, "reason"),
            iter(dropped.items()),
        )

    def _each(self, read: Callable[[SessionView], float]) -> _Samples:
        return (((name,), read(view)) for name, view in self._daemon.bridges.items())

    def _reasons(self, read: Callable[[SessionView], Mapping[DropReason, int]]) -> _Samples:
        for name, view in self._daemon.bridges.items():
            for reason, count in read(view).items():
                yield (name, str(reason)), count

    def _directions(self, what: str) -> _Samples:
        for name, view in self._daemon.bridges.items():
            yield (name, "from_server"), getattr(view.hub.stats, f"{what}_received")
            yield (name, "to_server"), getattr(view.hub.stats, f"{what}_sent")

    def _listeners(self, *counts: str) -> _Samples:
        # Two ZeroMQ endpoints may differ in nothing but their topics; Prometheus refuses a series that is there twice.
        sums: Counter[tuple[str, ...]] = Counter()
        for name, view in self._daemon.bridges.items():
            for endpoint in view.endpoints:
                known = endpoint.describe()
                for count in counts:
                    if count in known:
                        listener = known["address"] if known["type"] == "tcp" else endpoint.name
                        sums[name, self._mask(str(listener))] += int(known[count])
        yield from sums.items()

    @staticmethod
    def _gauge(name: str, text: str, labels: tuple[str, ...], samples: _Samples) -> Metric:
        family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
        for values, number in samples:
            family.add_metric(values, number)
        return family

    @staticmethod
    def _counter(name: str, text: str, labels: tuple[str, ...], samples: _Samples) -> Metric:
        family = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
        for values, number in samples:
            family.add_metric(values, number)
        return family
