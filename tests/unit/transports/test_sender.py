"""The one sender of an HTTP session (protocol section 4)."""

import asyncio
from collections import deque

import pytest
from yarl import URL

from sockjs_bridge.errors import Cause, ConnectError, Obstacle
from sockjs_bridge.transports.base import Fate, SendResult, TransportClosed
from sockjs_bridge.transports.http_requests import KINDS
from sockjs_bridge.transports.sender import LARGEST_BODY_BYTES, Sender

XHR = KINDS["xhr-polling"]
ENDPOINT = URL("http://h/echo/000/id/xhr_send")
TAKEN = SendResult(Fate.ACCEPTED, 1, [], [])

Answer = int | Exception


class FakeClient:
    """Gives the next answer to each request, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = deque(answers)
        self.requests: list[tuple[URL, bytes, str]] = []

    async def post(self, url: URL, body: bytes, content_type: str) -> int:
        self.requests.append((url, body, content_type))
        answer = self.answers.popleft()
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Course:
    """A sender whose client answers as the test says, and what it reported."""

    def __init__(self, *answers: Answer, kind: str = "xhr-polling") -> None:
        self.client = FakeClient(*answers)
        self.reports: list[tuple[SendResult, TransportClosed | None]] = []
        self.next: deque[list[str]] = deque()
        self.is_free = False
        """Whether more could be sent in the end."""
        self.sender = Sender(self.client, KINDS[kind], ENDPOINT, self.report)  # type: ignore[arg-type]

    def report(self, result: SendResult, end: TransportClosed | None) -> None:
        self.reports.append((result, end))
        if self.next and not self.sender.is_busy:
            self.sender.send(self.next.popleft())

    def unanswered(self) -> SendResult | None:
        return self.sender.unanswered

    async def send(self, *batches: list[str]) -> list[tuple[SendResult, TransportClosed | None]]:
        """Send one batch after the other; returns the reports."""
        self.next.extend(batches)
        task = asyncio.create_task(self.sender.run())
        await asyncio.sleep(0)
        self.sender.send(self.next.popleft())
        while self.sender.is_busy and not task.done():
            await asyncio.sleep(0)
        self.is_free = not self.sender.is_busy
        task.cancel()
        return self.reports


async def test_rule_w_a_post_holds_a_json_array_of_strings_as_plain_text() -> None:
    course = Course(204)
    assert await course.send(['a"b', "é"]) == [(SendResult(Fate.ACCEPTED, 2, [], []), None)]
    assert course.client.requests == [(ENDPOINT, '["a\\"b","é"]'.encode(), "text/plain;charset=UTF-8")]


async def test_jsonp_posts_a_form() -> None:
    course = Course(200, kind="jsonp-polling")
    await course.send(["a&b=c %é+"])
    ((_, body, content_type),) = course.client.requests
    assert body == b"d=%5B%22a%26b%3Dc+%25%C3%A9%2B%22%5D"
    assert content_type == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("status", [200, 204])
async def test_rule_w_200_and_204_are_taken_and_the_next_batch_may_follow(status: int) -> None:
    course = Course(status, status)
    assert await course.send(["a"], ["b"]) == [(TAKEN, None), (TAKEN, None)]
    assert course.is_free
    assert course.sender.unsent_bytes == 0


async def test_rule_w_there_is_one_request_at_a_time() -> None:
    course = Course(204)
    task = asyncio.create_task(course.sender.run())
    course.sender.send(["a"])
    await asyncio.sleep(0)
    assert len(course.client.requests) == 1
    assert course.sender.is_busy
    assert course.sender.unsent_bytes > 0
    task.cancel()


@pytest.mark.parametrize(
    ("answer", "fate", "cause"),
    [
        (404, Fate.REFUSED, Cause.SESSION_LOST),
        (401, Fate.REFUSED, Cause.SEND_REJECTED),
        (403, Fate.REFUSED, Cause.SEND_REJECTED),
        (400, Fate.OFFENDING, Cause.SEND_REJECTED),
        (413, Fate.OFFENDING, Cause.SEND_REJECTED),
        (500, Fate.IN_DOUBT, Cause.SEND_REJECTED),
        (302, Fate.IN_DOUBT, Cause.SEND_REJECTED),
        (201, Fate.IN_DOUBT, Cause.SEND_REJECTED),
        (TimeoutError(), Fate.IN_DOUBT, Cause.TRANSPORT_LOST),
        (ConnectError(Obstacle.LOST, "reset"), Fate.IN_DOUBT, Cause.TRANSPORT_LOST),
        (ConnectError(Obstacle.HANDSHAKE, "no HTTP"), Fate.IN_DOUBT, Cause.TRANSPORT_LOST),
        (ConnectError(Obstacle.UNREACHABLE, "refused"), Fate.REFUSED, Cause.TRANSPORT_LOST),
        (ConnectError(Obstacle.TLS, "expired"), Fate.REFUSED, Cause.TRANSPORT_LOST),
    ],
    ids=str,
)
async def test_rule_w_anything_else_ends_the_session(answer: Answer, fate: Fate, cause: Cause) -> None:
    course = Course(answer)
    ((result, end),) = await course.send(["a", "b"], ["never sent"])
    assert result == SendResult(fate, 0, ["a", "b"], [])
    assert end is not None
    assert end.cause is cause
    assert end.reason.removeprefix("the server answered ")
    assert not course.is_free  # for ever: this session sends nothing any more
    assert len(course.client.requests) == 1


async def test_a_batch_over_the_largest_body_goes_in_several_requests_and_its_end_is_known() -> None:
    messages = [f"{number}:" + "x" * 200_000 for number in range(6)]
    course = Course(204, 404)
    ((result, end),) = await course.send(messages)
    assert all(len(body) <= LARGEST_BODY_BYTES for _, body, _ in course.client.requests)
    assert result == SendResult(Fate.REFUSED, 2, messages[2:4], messages[4:])
    assert end is not None


async def test_a_message_over_the_largest_body_goes_alone() -> None:
    large = "x" * (LARGEST_BODY_BYTES + 1)
    course = Course(204, 204, 204)
    await course.send(["a", large, "b"])
    assert [len(body) for _, body, _ in course.client.requests] == [5, len(large) + 4, 5]


async def test_what_is_known_of_a_batch_that_is_never_answered() -> None:
    """Only the request under way is in doubt: what came before was taken, what comes after was never sent."""
    messages = [f"{number}:" + "x" * 200_000 for number in range(6)]
    course = Course(204, 204, 204)
    task = asyncio.create_task(course.sender.run())
    course.sender.send(messages)
    assert course.unanswered() == SendResult(Fate.IN_DOUBT, 0, [], messages)
    while len(course.client.requests) < 2:
        await asyncio.sleep(0)
    assert course.unanswered() == SendResult(Fate.IN_DOUBT, 2, messages[2:4], messages[4:])
    while not course.reports:
        await asyncio.sleep(0)
    assert course.unanswered() is None
    task.cancel()
