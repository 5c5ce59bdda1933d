"""What becomes of an answer to a request to send that comes when the session has just ended."""

from yarl import URL

from sockjs_bridge.errors import Cause
from sockjs_bridge.log import EventLog
from sockjs_bridge.transports.base import Fate, SendResult, TransportClosed
from sockjs_bridge.transports.cookies import SessionCookies
from sockjs_bridge.transports.http import HttpTransport, HttpTransportOptions
from sockjs_bridge.transports.http_client import HttpOptions
from sockjs_bridge.transports.route import Route
from sockjs_bridge.transports.tls import Tls, TlsOptions

URL_OF_ALL = URL("http://127.0.0.1:1/echo")


class Recorder:
    """The connection above: it hears of frames, and of what became of requests to send."""

    def __init__(self) -> None:
        self.results: list[SendResult] = []

    def receive_frames(self, payloads: list[bytes]) -> None:
        raise NotImplementedError

    def receive_ping(self) -> None:
        raise NotImplementedError

    def receive_pong(self, payload: bytes = b"") -> None:
        raise NotImplementedError

    def receive_send_result(self, result: SendResult) -> None:
        self.results.append(result)

    def resume_sending(self) -> None:
        raise NotImplementedError


async def test_a_result_that_comes_with_the_end_is_told_all_the_same() -> None:
    """Else its messages would neither be written nor in doubt: they would be under way for ever."""
    options = HttpTransportOptions(
        name="xhr-polling",
        receive_url=URL_OF_ALL,
        send_url=URL_OF_ALL,
        info_url=URL_OF_ALL,
        http=HttpOptions(headers={}, connect_timeout=1.0, route=Route(Tls(TlsOptions(), ""))),
        max_frame_bytes=1000,
    )
    transport = HttpTransport(options, SessionCookies(URL_OF_ALL, {}, None, EventLog()))
    transport._receiver = recorder = Recorder()
    result = SendResult(Fate.ACCEPTED, 3, [], [])
    transport._end(TransportClosed(Cause.SERVER_CLOSED, 3000))
    transport._note_sent(result, None)
    assert recorder.results == [result]
