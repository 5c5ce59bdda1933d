"""The one sender of an HTTP session: one request at a time (protocol section 4, rule W)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from yarl import URL

from sockjs_bridge.errors import Cause, ConnectError, Obstacle
from sockjs_bridge.protocol.frames import encode_groups
from sockjs_bridge.protocol.session import DROPPED
from sockjs_bridge.transports.base import Fate, SendResult, TransportClosed
from sockjs_bridge.transports.http_client import HttpClient
from sockjs_bridge.transports.http_requests import RequestKind
from sockjs_bridge.transports.status import describe_status

Report = Callable[[SendResult, TransportClosed | None], None]
LARGEST_BODY_BYTES = 512 * 1024
_ACCEPTED = {200, 204}
_REFUSED = {401, 403, 404}
_OFFENDING = {400, 413}
_NOTHING_SENT = {Obstacle.UNREACHABLE, Obstacle.TLS}


class Sender:
    """Posts what it is given, and reports what became of it.

    `report` gets each result; with one that is not ACCEPTED, the end of the session.
    """

    def __init__(self, client: HttpClient, kind: RequestKind, url: URL, report: Report) -> None:
        self._client = client
        self._kind = kind
        self._url = url
        self._report = report
        self._next: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self.unanswered: SendResult | None = None
        """What is to be said of the batch under way if no answer comes any more."""
        self.unsent_bytes = 0
        """About how many bytes of messages the server has not taken yet."""

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way: what comes meanwhile has to wait."""
        return self._next.done()

    def send(self, batch: list[str]) -> None:
        """Post messages. Only while not `is_busy`."""
        self.unsent_bytes = sum(map(len, batch)) + 1
        self.unanswered = SendResult(Fate.IN_DOUBT, 0, [], batch)
        self._next.set_result(batch)

    async def run(self) -> None:
        """Post until something goes wrong."""
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next
            result, end = await self._post_all(batch)
            self.unanswered, self.unsent_bytes = None, 0
            if end is None:
                # Before the report: it may bring the next batch at once.
                self._next = loop.create_future()
            self._report(result, end)
            if end is not None:
                return

    async def _post_all(self, batch: list[str]) -> tuple[SendResult, TransportClosed | None]:
        accepted = 0
        for array, count in encode_groups(batch, LARGEST_BODY_BYTES):
            untouched = accepted + count
            self.unanswered = SendResult(
                Fate.IN_DOUBT, accepted, batch[accepted:untouched], batch[untouched:]
            )
            fate, end = await self._post(array)
            if fate is not Fate.ACCEPTED:
                return replace(self.unanswered, fate=fate), end
            accepted = untouched
        return SendResult(Fate.ACCEPTED, accepted, [], []), None

    async def _post(self, array: bytes) -> tuple[Fate, TransportClosed | None]:
        name = self._kind.send_path
        try:
            status = await self._client.post(
                self._url, self._kind.encode_body(array), self._kind.content_type
            )
        except ConnectError as error:
            # Where no connection came about, nothing was sent.
            fate = Fate.REFUSED if error.obstacle in _NOTHING_SENT else Fate.IN_DOUBT
            return fate, TransportClosed(Cause.TRANSPORT_LOST, DROPPED, f"{name}: {error.detail}")
        except TimeoutError:
            end = TransportClosed(Cause.TRANSPORT_LOST, DROPPED, f"{name} was not answered in time")
            return Fate.IN_DOUBT, end
        if status in _ACCEPTED:
            return Fate.ACCEPTED, None
        cause = Cause.SESSION_LOST if status == HTTPStatus.NOT_FOUND else Cause.SEND_REJECTED
        end = TransportClosed(cause, DROPPED, describe_status(status, name))
        if status in _REFUSED:
            return Fate.REFUSED, end
        return (Fate.OFFENDING if status in _OFFENDING else Fate.IN_DOUBT), end
