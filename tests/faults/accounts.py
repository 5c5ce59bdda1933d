"""The two sums of the delivery promises, added up from the metrics page.

Towards the server: accepted == written + (waiting - of these written before) + given up.
Towards the programs of each listener: offered == delivered + buffered + dropped.
"""

import http.client
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "sockjs_bridge_"
_TIMEOUT = 15.0


class Accounts:
    """One reading of the metrics page of a bridge."""

    def __init__(self, page: str) -> None:
        self._samples = {
            (sample.name.removeprefix(_PREFIX), frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    @classmethod
    def read(cls, admin_port: int) -> "Accounts":
        """Ask the admin listener at 127.0.0.1."""
        connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=_TIMEOUT)
        try:
            connection.request("GET", "/metrics")
            return cls(connection.getresponse().read().decode())
        finally:
            connection.close()

    def __contains__(self, name: str) -> bool:
        """Whether there is any sample of this name."""
        return any(sample == name for sample, _ in self._samples)

    def sum(self, name: str, **labels: str) -> int:
        """The sum of all samples that have these labels; 0 where there are none."""
        wanted = labels.items()
        return int(sum(v for (sample, has), v in self._samples.items() if sample == name and wanted <= has))

    def by(self, name: str, label: str, **labels: str) -> dict[str, int]:
        """The samples that have these labels, by the value of one more."""
        wanted = labels.items()
        return {
            dict(has)[label]: int(value)
            for (sample, has), value in self._samples.items()
            if sample == name and wanted <= has
        }

    def upwards(self, session: str) -> "Upwards":
        """The sum of a session towards its server."""
        return Upwards(
            accepted=self.sum("accepted_messages_total", session=session),
            written=self.sum("messages_total", session=session, direction="to_server"),
            queued=self.sum("queue_messages", session=session),
            queued_again=self.sum("queue_resend_messages", session=session),
            given_up=self.by("queue_dropped_messages_total", "reason", session=session),
            in_doubt=self.sum("in_doubt_total", session=session),
            resent=self.sum("resent_messages_total", session=session),
        )

    def downwards(self, session: str) -> dict[str, "Downwards"]:
        """The sum of each listener of a session."""
        return {
            listener: Downwards(
                offered=offered,
                delivered=self.sum("listener_delivered_messages_total", session=session, listener=listener),
                buffered=self.sum("listener_buffered_messages", session=session, listener=listener),
                dropped=self.by(
                    "listener_dropped_messages_total", "reason", session=session, listener=listener
                ),
            )
            for listener, offered in self.by(
                "listener_offered_messages_total", "listener", session=session
            ).items()
        }


@dataclass(frozen=True)
class Upwards:
    """What became of the messages of programs. All counts are of messages."""

    accepted: int
    written: int
    queued: int
    queued_again: int
    given_up: dict[str, int]
    in_doubt: int
    resent: int

    def check(self) -> None:
        """Raise AssertionError where a message is missing."""
        found = self.written + (self.queued - self.queued_again) + sum(self.given_up.values())
        assert self.accepted == found, f"{self.accepted - found} messages are unaccounted for: {self}"


@dataclass(frozen=True)
class Downwards:
    """What became of the messages of a server, times the clients of one listener."""

    offered: int
    delivered: int
    buffered: int
    dropped: dict[str, int]

    def check(self) -> None:
        """Raise AssertionError where a message is missing."""
        found = self.delivered + self.buffered + sum(self.dropped.values())
        assert self.offered == found, f"{self.offered - found} messages are unaccounted for: {self}"
