"""Login steps, logging in again, application pings: against a server that wants them (config.md, delivery.md)."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sockjs_bridge.bridge.supervisor import Supervisor
from tests.certificates import Authority
from tests.in_process import Running, events, one_session, running, until
from tests.login_server import LoginServer, steps
from tests.scripted import Peer, ScriptedServer, scripted
from tests.scripted_http import Backend, over


def config(server: ScriptedServer, tables: str, session: str = "", listener: str = "") -> str:
    """A session whose tables stand behind its listener."""
    return one_session(server.url(), session, listener) + tables


def state(bridge: Running) -> str:
    return str(bridge.chat.supervisor.status.state)


def first_round(bridge: Running) -> Any:
    assert isinstance(bridge.chat.supervisor, Supervisor)
    return bridge.chat.supervisor.first_round


async def test_a_whole_login(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = LoginServer()
    async with scripted(site) as server, running(config(server, steps()), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"hello\n")
        assert await program.line() == "hello"
        stats = bridge.chat.hub.stats
        assert (stats.messages_accepted, stats.messages_sent, stats.own_messages) == (1, 1, 1)
        assert first_round(bridge).result() is None

    assert site.said == [[site.auth(), "hello"]]
    (csrf,) = site.requests_to("/csrf")
    assert csrf[1] == "/csrf?user=me%20%22and%5C%22%20you"
    assert csrf[2]["content-type"] == "application/x-www-form-urlencoded"
    assert csrf[3] == b"token=csrf-%22token%22"
    (login,) = site.requests_to("/login")
    assert login[2]["content-type"] == "application/json"
    (event,) = events(caplog, "logged in")
    assert (event["session"], event["steps"]) == ("chat", 4)
    (opened,) = [event for event in events(caplog, "open") if event["message"] == "open"]
    assert opened["epoch"] == 1


async def test_what_the_server_says_meanwhile_reaches_programs_and_what_they_say_waits(
    tmp_path: Path,
) -> None:
    site = LoginServer(answers=False)
    async with scripted(site) as server, running(config(server, steps()), tmp_path) as bridge:
        program = await bridge.client()
        await until(lambda: site.said and site.said[0])
        await program.send(b"one\ntwo\n")
        await site.tell(site.sessions[0], "early")
        assert await program.line() == "early"
        await until(lambda: bridge.chat.hub.queue.messages == 2)
        assert state(bridge) == "logging_in"
        assert not bridge.chat.supervisor.is_open
        assert site.said == [[site.auth()]]

        await site.let_in(site.sessions[0])
        assert await program.lines(5) == ["welcome", '{"type":"connected"}', "after", "one", "two"]
        assert (state(bridge), bridge.chat.supervisor.epoch) == ("open", 1)

    assert site.said == [[site.auth(), "one", "two"]]


async def test_a_step_that_waits_in_vain_ends_the_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = LoginServer(answers=False)
    async with scripted(site) as server:
        text = config(server, steps(timeout="50ms"))
        text = text.replace('max = "20ms"', 'max = "20ms", max_attempts = 2')
        async with running(text, tmp_path) as bridge:
            await until(lambda: bridge.chat.supervisor.has_given_up)
            closes = bridge.chat.hub.stats.closes
            assert {str(cause): count for cause, count in closes.items()} == {"login_failed": 2}
            assert bridge.chat.supervisor.status.last_close is not None
            assert bridge.chat.supervisor.status.last_close.reason == (
                'on_connect[3] (expect "connected"): no such message came within 0.05 s'
            )
            assert first_round(bridge).result() is not None

    assert len(site.said) == 2
    (failed,) = events(caplog, "cannot log in")
    assert "on_connect[3]" in str(failed["message"])


async def test_a_session_that_the_server_closes_during_the_login_is_a_failed_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = LoginServer(closes=True)
    async with scripted(site) as server, running(config(server, steps()), tmp_path) as bridge:
        await until(lambda: len(site.said) >= 3)
        assert bridge.chat.supervisor.epoch >= 2
        assert not bridge.chat.supervisor.is_open
        assert {str(cause) for cause in bridge.chat.hub.stats.closes} == {"login_failed"}
        outcome = await first_round(bridge)
        assert "login_failed" in outcome.detail
    (failed,) = events(caplog, "cannot log in")
    assert 'on_connect[3] (expect "connected"): the server ended the session: ' in str(failed["message"])


async def test_a_refused_login_backs_off_to_the_maximum_at_once_and_succeeds_with_other_credentials(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = LoginServer()
    password = tmp_path / "password"
    password.write_text("old\n")
    async with scripted(site) as server:
        text = config(server, steps(password=f"${{file:{password}}}"))
        text = text.replace('max = "20ms"', 'max = "30s"')
        async with running(text, tmp_path) as bridge:
            await until(lambda: state(bridge) == "waiting")
            (event,) = events(caplog, "cannot log in")
            assert event["message"] == (
                "cannot log in: on_connect[0] (POST /login): the server answered 401 Unauthorized to the request "
                "(the credentials may be wrong, or have expired); next try in 30.0 s"
            )
            assert bridge.chat.hub.stats.connects["login", "login_failed"] == 1
            assert not site.said
            password.write_text(f"{site.password}\n")
            bridge.chat.supervisor.reconnect()
            await bridge.opened()

    assert len(site.requests_to("/login")) == 2


async def test_a_secret_that_is_gone_is_a_clear_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = LoginServer()
    password = tmp_path / "password"
    password.write_text(site.password)
    step_texts = steps(password=f"${{file:{password}}}")
    async with scripted(site) as server, running(config(server, step_texts), tmp_path) as bridge:
        await bridge.opened()
        password.unlink()
        bridge.chat.supervisor.reconnect()
        await until(lambda: events(caplog, "cannot log in"))
        password.write_text(site.password)
        await bridge.opened(2)

    (event,) = events(caplog, "cannot log in")
    assert f"${{file:{password}}} cannot be read: no such file or directory" in str(event["message"])


@pytest.mark.parametrize(
    ("status", "body", "detail"),
    [
        ("302 Found", b"", "the server answered 302 Found to the request (redirects are not followed)"),
        ("500 Internal Server Error", b"", "the server answered 500 Internal Server Error to the request"),
        ("200 OK", b"<html>", "its answer is no JSON, so nothing can be captured"),
        ("200 OK", b"[" * 100_000, "its answer is no JSON, so nothing can be captured"),
        ("200 OK", b"{}", 'its answer has nothing at "/a/0", for x'),
        ("200 OK", b'{"a":[1e999]}', 'what its answer has at "/a/0" is no JSON'),
        ("200 OK", b'"' + b"x" * 1_100_000 + b'"', "the answer has more than 1024 KiB"),
    ],
    ids=range(7),
)
async def test_an_answer_that_is_of_no_use(tmp_path: Path, status: str, body: bytes, detail: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(status, "Location: /other\r\n", body)
        await peer.until_closed()

    table = '[[sessions.chat.on_connect]]\nhttp = { url = "/in?q=hunter2" }\ncapture = { x = "/a/0" }\n'
    async with scripted(script) as server, running(config(server, table), tmp_path) as bridge:
        outcome = await first_round(bridge)

    assert outcome.detail == f"on_connect[0] (POST /in): {detail}"
    assert {peer.path for peer in server.peers if peer.request_line} == {"/in?q=hunter2"}


async def test_no_answer(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.until_closed()

    table = '[[sessions.chat.on_connect]]\nhttp = { method = "GET", url = "/in" }\n'
    text = 'connect_timeout = "50ms"'
    async with scripted(script) as server, running(config(server, table, text), tmp_path) as bridge:
        outcome = await first_round(bridge)

    assert outcome.detail == "on_connect[0] (GET /in): no answer within connect_timeout (0.05 s)"


async def test_nothing_that_is_meant_for_the_server_goes_to_another_one(tmp_path: Path) -> None:
    async def elsewhere(peer: Peer) -> None:
        await peer.answer(
            "200 OK", "Set-Cookie: sso=given; Path=/\r\nConnection: close\r\n", b'{"t":[1,"x"]}'
        )

    async def script(peer: Peer) -> None:
        await peer.accept_websocket()
        await peer.send_text("o")
        await peer.stay()

    session = (
        'headers = { X-Key = "k", Authorization = "Bearer b" }\ncookies = { own = "c" }\norigin = "same"'
    )
    async with scripted(elsewhere) as other, scripted(script) as server:
        other_url = other.url("/sso").replace("http://", "http://me:pass@")
        table = (
            f'[[sessions.chat.on_connect]]\nhttp = {{ url = "{other_url}", body = "x", headers = {{ X-Step = "s" }} }}\n'
            'capture = { t = "/t" }\n[[sessions.chat.on_connect]]\nsend = "${t}"\n'
        )
        async with running(config(server, table, session), tmp_path) as bridge:
            await bridge.opened()

    (asked,), (opened,) = other.peers, server.peers
    assert asked.headers["authorization"] == "Basic bWU6cGFzcw=="
    assert (asked.headers["x-step"], asked.body) == ("s", b"x")
    assert asked.headers.keys().isdisjoint({"x-key", "cookie", "origin"})
    assert asked.headers["user-agent"].startswith("sockjs-bridge/")
    assert opened.headers["authorization"] == "Bearer b"
    assert set(opened.headers["cookie"].split("; ")) == {"own=c", "sso=given"}


RELOGIN = '[[sessions.chat.relogin_on]]\nmatch = "reauth"\n'


@pytest.mark.parametrize("queue", ["{}", "{ resend_in_doubt = true }", '{ spool = "{folder}/spool" }'])
async def test_another_login_when_the_server_asks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, queue: str
) -> None:
    site = LoginServer()
    session = f"queue = {queue.replace('{folder}', str(tmp_path))}"
    async with (
        scripted(site) as server,
        running(config(server, steps() + RELOGIN, session), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await bridge.opened()
        assert await program.lines(3) == ["welcome", '{"type":"connected"}', "after"]
        await program.send(b"before\n")
        assert await program.line() == "before"
        site.answers, site.key, first = False, "another key", site.auth()
        await site.tell(site.sessions[0], "please reauth", "more")
        assert await program.lines(2) == ["please reauth", "more"]
        await until(lambda: len(site.said[0]) == 3)
        assert state(bridge) == "logging_in"
        await program.send(b"waits\n")
        await until(lambda: bridge.chat.hub.queue.messages == 1)
        # It asks again meanwhile, which changes nothing.
        await site.tell(site.sessions[0], "reauth")
        await site.let_in(site.sessions[0])
        assert await program.lines(5) == ["reauth", "welcome", '{"type":"connected"}', "after", "waits"]
        assert (state(bridge), bridge.chat.supervisor.epoch) == ("open", 1)

    stats = bridge.chat.hub.stats
    assert (stats.messages_accepted, stats.messages_sent, stats.messages_in_doubt) == (2, 2, 0)
    assert bridge.chat.hub.queue.is_empty
    assert site.said == [[first, "before", site.auth(), "waits"]]
    assert len(site.requests_to("/login")) == 2
    assert len(events(caplog, "logged in")) == 2
    assert len([event for event in events(caplog, "open") if event["message"] == "open"]) == 1


async def test_another_login_that_fails_ends_the_session(tmp_path: Path) -> None:
    site = LoginServer()
    async with scripted(site) as server, running(config(server, steps() + RELOGIN), tmp_path) as bridge:
        await bridge.opened()
        site.password = "another"
        await site.tell(site.sessions[0], "reauth")
        await until(lambda: bridge.chat.hub.stats.closes)
        close = bridge.chat.supervisor.status.last_close
        assert close is not None
        assert (str(close.cause), close.reason.partition(":")[0]) == (
            "login_failed",
            "on_connect[0] (POST /login)",
        )
        site.password = "hunter2!"
        await bridge.opened(2)


async def test_a_second_request_for_a_login_comes_too_soon(tmp_path: Path) -> None:
    site = LoginServer()
    async with scripted(site) as server, running(config(server, steps() + RELOGIN), tmp_path) as bridge:
        program = await bridge.client()
        await bridge.opened()
        await site.tell(site.sessions[0], "reauth")
        await until(lambda: len(site.said[0]) == 2 and bridge.chat.supervisor.is_open)
        await site.tell(site.sessions[0], "reauth")
        await program.send(b"goes on\n")
        await until(lambda: "goes on" in site.said[0])
        assert state(bridge) == "open"
        assert len(site.requests_to("/login")) == 2


PING = '[[sessions.chat.keepalive]]\nsend = \'{"ping":"${user}"}\'\nevery = "20ms"\n'


async def test_keepalive_begins_when_the_session_is_ready(tmp_path: Path) -> None:
    site = LoginServer(answers=False)
    async with scripted(site) as server, running(config(server, steps() + PING), tmp_path) as bridge:
        await until(lambda: site.said and site.said[0])
        await asyncio.sleep(0.1)
        assert site.said == [[site.auth()]]
        await site.let_in(site.sessions[0])
        await until(lambda: len(site.said[0]) >= 4)
        stats = bridge.chat.hub.stats
        assert stats.own_messages >= 4
        assert (stats.messages_accepted, stats.messages_sent, stats.messages_in_doubt) == (0, 0, 0)

    ping = json.dumps({"ping": site.user}, separators=(",", ":"))
    assert set(site.said[0][1:]) == {ping}


async def test_keepalive_without_any_login(tmp_path: Path) -> None:
    received: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.open_session()
        while True:
            received.extend(await peer.receive_messages())

    table = '[[sessions.chat.keepalive]]\nsend = "a"\nevery = "10ms"\n[[sessions.chat.keepalive]]\nsend = "b"\nevery = "25ms"\n'
    async with scripted(script) as server, running(config(server, table), tmp_path) as bridge:
        await until(lambda: received.count("b") >= 2)
        assert bridge.chat.hub.stats.messages_sent == 0

    assert set(received) == {"a", "b"}
    assert received.count("a") > received.count("b")


async def test_keepalive_over_polling_keeps_to_one_request_at_a_time(tmp_path: Path) -> None:
    held = asyncio.Event()
    backend = Backend()

    async def send(peer: Peer) -> None:
        if len(backend.sent) == 1:
            await held.wait()
        await backend.send(peer)

    backend.use_send(send)
    table = '[[sessions.chat.keepalive]]\nsend = "ping"\nevery = "10ms"\n'
    async with scripted(backend) as server:
        text = config(server, table, over("xhr-polling"))
        async with running(text, tmp_path) as bridge:
            await backend.until_requested("xhr_send", 2)
            program = await bridge.client()
            await program.send(b"one\ntwo\n")
            await until(lambda: bridge.chat.hub.queue.messages == 2)
            await asyncio.sleep(0.1)  # many periods, in which one ping is due, not many
            held.set()
            await until(lambda: ["one", "two"] in backend.sent)
            await until(lambda: backend.sent[-1] == ["ping"])
            stats = bridge.chat.hub.stats
            await until(lambda: stats.messages_sent == 2)
            assert stats.messages_accepted == 2

    place = backend.sent.index(["one", "two"])
    assert backend.sent[:place] == [["ping"]] * place
    assert place <= 3
    assert backend.most_at_once["send"] == 1


async def test_steps_over_polling(tmp_path: Path) -> None:
    backend = Backend()
    table = (
        '[[sessions.chat.on_connect]]\nsend = "first"\n[[sessions.chat.on_connect]]\nsend = "second"\n'
        '[[sessions.chat.on_connect]]\nexpect = "in"\n'
    )
    async with (
        scripted(backend) as server,
        running(config(server, table, over("xhr-polling")), tmp_path) as bridge,
    ):
        program = await bridge.client()
        await program.send(b"waits\n")
        await until(lambda: len(backend.sent) == 2)
        assert not bridge.chat.supervisor.is_open
        backend.push('a["you are in"]')
        await until(lambda: len(backend.sent) == 3)

    assert backend.sent == [["first"], ["second"], ["waits"]]


async def test_each_client_of_a_dedicated_listener_logs_in(tmp_path: Path) -> None:
    site = LoginServer()
    async with scripted(site) as server:
        text = config(server, steps(), listener='mode = "dedicated"')
        async with running(text, tmp_path) as bridge:
            first, second = await bridge.client(), await bridge.client()
            for program in (first, second):
                assert await program.lines(3) == ["welcome", '{"type":"connected"}', "after"]
                await program.send(b"hello\n")
                assert await program.line() == "hello"

    assert site.said == [[site.auth(), "hello"]] * 2
    assert len(site.requests_to("/login")) == 2


async def test_a_dedicated_client_whose_login_fails_is_closed(tmp_path: Path) -> None:
    site = LoginServer(closes=True)
    async with scripted(site) as server:
        text = config(server, steps(), listener='mode = "dedicated"')
        async with running(text, tmp_path) as bridge:
            program = await bridge.client()
            assert await program.closed() == b""

    assert len(site.said) == 1


async def test_other_steps_are_a_change_of_the_session(tmp_path: Path) -> None:
    site = LoginServer()
    async with scripted(site) as server, running(config(server, steps()), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        assert await bridge.daemon.reload() == []
        bridge.file.write_text(
            bridge.file.read_text() + '[[sessions.chat.keepalive]]\nsend = "x"\nevery = 5\n'
        )
        lines = await bridge.daemon.reload()
        assert lines == ["session chat: connects anew (keepalive changed)"]
        await bridge.opened(2)
        await program.send(b"still here\n")
        await until(lambda: "still here" in site.said[1])


async def test_the_url_and_the_headers_are_read_anew_at_each_connect(tmp_path: Path) -> None:
    token, cookie = tmp_path / "token", tmp_path / "cookie"
    token.write_text("first/1")
    cookie.write_text("c1")

    async def script(peer: Peer) -> None:
        await peer.open_session()
        await peer.stay()

    async with scripted(script) as server:
        session = f'headers = {{ X-Key = "k ${{file:{token}}}" }}\ncookies = {{ a = "${{file:{cookie}}}" }}'
        text = one_session(f"{server.url()}?t=${{file:{token}}}", session)
        async with running(text, tmp_path) as bridge:
            await bridge.opened()
            token.write_text("second&2")
            cookie.write_text("c2")
            bridge.chat.supervisor.reconnect()
            await bridge.opened(2)
            token.write_text("no\nheader")
            bridge.chat.supervisor.reconnect()
            await until(lambda: bridge.chat.supervisor.status.last_failure is not None)
            failure = bridge.chat.supervisor.status.last_failure
            assert failure is not None
            assert failure.detail.startswith("headers.X-Key: a header's value is printable ASCII")

    first, second = server.peers
    assert (first.path.partition("?")[2], first.headers["x-key"]) == ("t=first%2F1", "k first/1")
    assert (second.path.partition("?")[2], second.headers["x-key"]) == ("t=second%262", "k second&2")
    assert (first.headers["cookie"], second.headers["cookie"]) == ("a=c1", "a=c2")


async def test_the_example_of_a_login_runs(tmp_path: Path) -> None:
    requests: list[tuple[str, bytes]] = []

    async def script(peer: Peer) -> None:
        await peer.read_request()
        requests.append((peer.path, peer.body))
        if peer.name == "info":
            await peer.answer("404 Not Found", "Connection: close\r\n")
        elif peer.name == "login":
            await peer.answer("200 OK", "Connection: close\r\n", b'{"name":"me","session":7}')
        else:
            await peer.open_session()
            assert await peer.receive_messages() == ['{"auth":"me:7"}']
            await peer.send_text(r'a["{\"type\":\"connected\"}"]')
            await peer.echo()

    example = (Path(__file__).parents[2] / "config" / "login.toml").read_text(encoding="utf-8")
    async with scripted(script, plays_info=True) as server:
        text = example.replace("http://localhost:8081/echo", server.url()).replace(
            "127.0.0.1:9000", "127.0.0.1:0"
        )
        async with running(text, tmp_path, {"CHAT_PASSWORD": 'p"w'}) as bridge:
            await bridge.opened()
            program = await bridge.client()
            await program.send(b"hello\n")
            assert await program.line() == "hello"

    assert requests[0] == ("/api/login", b'{"user":"bridge","password":"p\\"w"}')
    assert [path for path, _ in requests][:2] == ["/api/login", "/echo/info"]


async def test_steps_go_over_the_tls_of_the_session(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = LoginServer()
    async with scripted(site, authority.issue().context()) as server:
        session = f"tls.ca = {json.dumps(str(authority.file))}"
        async with running(config(server, steps(), session), tmp_path) as bridge:
            await bridge.opened()
        async with running(config(server, steps()), tmp_path) as bridge:
            outcome = await first_round(bridge)

    assert len(site.said) == 1
    assert outcome.detail.startswith("on_connect[0] (POST /login): the server's certificate ")


async def test_steps_go_through_the_proxy_of_the_session(tmp_path: Path) -> None:
    site = LoginServer()
    asked: list[str] = []

    async def proxy(peer: Peer) -> None:
        await peer.read_request()
        asked.append(peer.request_line)
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await site(peer)

    async with scripted(proxy, plays_info=True) as server:
        session = f'transports = ["websocket"]\ninfo = false\nproxy = "{server.url("")}"'
        text = one_session("http://chat.invalid:8081/echo", session) + steps()
        async with running(text, tmp_path) as bridge:
            await bridge.opened()

    assert asked == ["CONNECT chat.invalid:8081 HTTP/1.1"] * 3
    assert site.said == [[site.auth()]]
