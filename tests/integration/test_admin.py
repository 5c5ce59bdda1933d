"""The admin listener on a running daemon: health, metrics, status, who may ask."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.in_process import Running, running, until
from tests.metrics_lint import complaints, promtool
from tests.real_servers import RealServer

POST = {"X-Sockjs-Bridge": "1"}


@pytest.fixture(scope="module")
def server() -> Iterator[RealServer]:
    with RealServer("aio") as server:
        yield server


def config(server: RealServer, tmp_path: Path, more: str = "", admin: str = "") -> str:
    return (
        f'[bridge]\ndrain_timeout = "1s"\n[admin]\nlisten = "unix:{tmp_path}/admin"\n{admin}\n'
        f'[sessions.chat]\nurl = "{server.url("/echo").replace("//", "//user:hunter2@")}?key=s3cret"\n'
        'transports = ["websocket"]\n'
        f'[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\n{more}\n'
    )


async def ask(
    bridge: Running, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, str]:
    connector = aiohttp.UnixConnector(str(bridge.file.parent / "admin"))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.request(method, f"http://localhost{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def status(bridge: Running) -> dict[str, Any]:
    code, text = await ask(bridge, "/api/v1/status")
    assert code == 200
    document: dict[str, Any] = json.loads(text)
    return document


async def test_health(server: RealServer, tmp_path: Path) -> None:
    away = '[sessions.away]\nurl = "http://127.0.0.1:1/x"\n'
    async with running(config(server, tmp_path, away), tmp_path) as bridge:
        await bridge.opened()
        assert await ask(bridge, "/livez") == (200, "ok\n")
        # A dead server must not restart a sidecar for ever: ready is who serves programs.
        assert await ask(bridge, "/readyz") == (200, "ok\n")
        assert await ask(bridge, "/healthz") == (503, "1/2 sessions open\n")
        assert await ask(bridge, "/healthz?session=chat") == (200, "open\n")
        code, state = await ask(bridge, "/healthz?session=away")
        assert (code, state in {"waiting\n", "connecting\n"}) == (503, True)
        assert await ask(bridge, "/healthz?session=nobody") == (404, "no such session\n")


async def test_the_status_document(server: RealServer, tmp_path: Path) -> None:
    away = '[sessions.away]\nurl = "http://127.0.0.1:1/x"\n[[sessions.away.zmq]]\ntype = "pub"\nendpoint = "tcp://127.0.0.1:0"'
    async with running(config(server, tmp_path, away), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"hello\n")
        assert await program.line() == "hello"
        await until(lambda: bridge.daemon.bridges["away"].supervisor.status.last_failure)
        document = await status(bridge)
        chat, gone = document["sessions"]
        assert (chat["name"], chat["state"], chat["transport"], chat["epoch"]) == (
            "chat",
            "open",
            "websocket",
            1,
        )
        confirmed = chat["messages"].pop("confirmed")  # by the answer to a PING, which may have come or not
        assert confirmed in {0, 1}
        counts = {"from_server": 1, "to_server": 1, "accepted": 1, "in_doubt": 0, "resent": 0}
        assert chat["messages"] == counts
        assert chat["listeners"][0]["clients"] == 1
        assert (gone["state"], gone["epoch"], gone["last_close"]) == ("waiting", 0, None)
        assert "connection refused" in gone["last_failure"]["detail"]
        assert gone["next_try_seconds"] >= 0
        assert gone["listeners"][0]["subscribers"] == 0
        assert document["boot"] == bridge.daemon.process.boot
        for secret in ("hunter2", "s3cret"):
            assert secret not in json.dumps(document)
            assert secret not in (await ask(bridge, "/"))[1]
            assert secret not in (await ask(bridge, "/metrics"))[1]


async def test_the_metrics_page(server: RealServer, tmp_path: Path) -> None:
    async with running(config(server, tmp_path), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        await program.send(b"hello\n")
        await program.line()
        _, text = await ask(bridge, "/metrics")
        families = {family.name: family for family in text_string_to_metric_families(text)}
        for name, kind in {
            "session_up": "gauge",
            "connects": "counter",
            "closes": "counter",
            "messages": "counter",
            "bytes": "counter",
            "queue_messages": "gauge",
            "queue_bytes": "gauge",
            "queue_oldest_seconds": "gauge",
            "dropped": "counter",
            "in_doubt": "counter",
            "clients": "gauge",
            "last_receive_seconds": "gauge",
            "zmq_subscribers": "gauge",
            "reloads": "counter",
        }.items():
            family = families[f"sockjs_bridge_{name}"]
            assert (family.type, bool(family.documentation)) == (kind, True)
            for sample in family.samples:
                assert sample.name.endswith("_total") == (kind == "counter")
                assert name == "reloads" or sample.labels["session"] == "chat"
        values = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in families.values()
            for sample in family.samples
        }
        session = ("session", "chat")
        assert values["sockjs_bridge_session_up", session] == 1
        assert values["sockjs_bridge_messages_total", ("direction", "from_server"), session] == 1
        connects = "sockjs_bridge_connects_total", ("result", "opened"), session, ("transport", "websocket")
        assert values[connects] == 1
        assert values["sockjs_bridge_clients", ("listener", bridge.listener().name), session] == 1


async def test_the_linter_of_prometheus_has_nothing_to_say(server: RealServer, tmp_path: Path) -> None:
    pub = '[[sessions.chat.zmq]]\ntype = "pub"\nendpoint = "tcp://127.0.0.1:0"\n'
    away = '[sessions.away]\nurl = "http://127.0.0.1:1/x"\n'
    async with running(config(server, tmp_path, pub + away), tmp_path) as bridge:
        await bridge.opened()
        await until(lambda: bridge.daemon.bridges["away"].supervisor.status.last_failure)
        _, text = await ask(bridge, "/metrics")
    assert "sockjs_bridge_zmq_subscribers{" in text
    assert "process_cpu_seconds_total" in text
    assert complaints(text) == []
    said = await asyncio.to_thread(promtool, text)
    if said is not None:
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


async def test_what_each_listener_was_offered_adds_up(server: RealServer, tmp_path: Path) -> None:
    more = "".join(
        f'[[sessions.chat.zmq]]\ntype = "{kind}"\nendpoint = "tcp://127.0.0.1:0"\n'
        for kind in ("push", "pull")
    )
    async with running(config(server, tmp_path, more), tmp_path) as bridge:
        await bridge.opened()
        one, other = await bridge.client(), await bridge.client()
        await one.send(b"hello\nagain\n")
        assert await other.lines(2) == ["hello", "again"]
        assert await one.lines(2) == ["hello", "again"]
        _, text = await ask(bridge, "/metrics")
        found: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(text):
            if family.name.startswith("sockjs_bridge_listener_"):
                for sample in family.samples:
                    if not sample.name.endswith("_created"):
                        values = found.setdefault(sample.labels["listener"], {})
                        name = sample.name.removeprefix("sockjs_bridge_listener_")
                        values[name] = values.get(name, 0) + sample.value
        tcp, push, _ = (endpoint.name for endpoint in bridge.chat.endpoints)
        assert found == {
            tcp: {
                "offered_messages_total": 4,
                "delivered_messages_total": 4,
                "buffered_messages": 0,
            },
            push: {
                "offered_messages_total": 2,
                "delivered_messages_total": 0,
                "buffered_messages": 2,
                "dropped_messages_total": 0,
            },
        }
        listeners = (await status(bridge))["sessions"][0]["listeners"]
        assert [each.get("offered") for each in listeners] == [4, 2, None]
        assert [each.get("dropped") for each in listeners] == [0, 0, None]


async def test_reconnect(server: RealServer, tmp_path: Path) -> None:
    async with running(config(server, tmp_path), tmp_path) as bridge:
        await bridge.opened()
        program = await bridge.client()
        code, text = await ask(bridge, "/api/v1/sessions/chat/reconnect", "POST", POST)
        assert (code, json.loads(text)) == (200, {"reconnecting": "chat"})
        await bridge.opened(2)
        await program.send(b"hello\n")
        assert await program.line() == "hello"
        assert (await status(bridge))["sessions"][0]["last_close"]["cause"] == "reload"
        assert (await ask(bridge, "/api/v1/sessions/nobody/reconnect", "POST", POST))[0] == 404


async def test_reconnect_cuts_the_wait_for_the_next_try_short(server: RealServer, tmp_path: Path) -> None:
    slow = '[sessions.away]\nurl = "http://127.0.0.1:1/x"\nreconnect = { initial = "1h", max = "1h" }\n'
    async with running(config(server, tmp_path, slow), tmp_path) as bridge:
        away = bridge.daemon.bridges["away"]

        def attempts() -> int:
            return sum(away.hub.stats.connects.values())

        await until(lambda: attempts() == 1 and away.supervisor.status.state == "waiting")
        await ask(bridge, "/api/v1/sessions/away/reconnect", "POST", POST)
        await until(lambda: attempts() == 2)


async def test_reload_says_what_changed_or_what_is_wrong(server: RealServer, tmp_path: Path) -> None:
    async with running(config(server, tmp_path), tmp_path) as bridge:
        await bridge.opened()
        bridge.file.write_text(config(server, tmp_path, f'[sessions.more]\nurl = "{server.url("/echo")}"'))
        code, text = await ask(bridge, "/api/v1/reload", "POST", POST)
        assert (code, json.loads(text)) == (200, {"changed": ["session more: added"]})
        bridge.file.write_text("[sesions]")
        code, text = await ask(bridge, "/api/v1/reload", "POST", POST)
        assert code == 422
        assert any("sesions" in problem for problem in json.loads(text)["problems"])


async def test_a_reload_can_move_the_admin_listener_that_asked_for_it(
    server: RealServer, tmp_path: Path
) -> None:
    async with running(config(server, tmp_path), tmp_path) as bridge:
        await bridge.opened()
        moved = config(server, tmp_path).replace(f"unix:{tmp_path}/admin", "127.0.0.1:0")
        bridge.file.write_text(moved)
        code, text = await ask(bridge, "/api/v1/reload", "POST", POST)
        assert (code, json.loads(text)) == (200, {"changed": ["admin: changed"]})


@pytest.mark.parametrize("gone", [False, True], ids=["as it was", "removed by somebody"])
async def test_a_unix_socket_outlasts_a_reload_and_is_removed_at_the_end(
    server: RealServer, tmp_path: Path, gone: bool
) -> None:
    async with running(config(server, tmp_path), tmp_path) as bridge:
        if gone:
            (tmp_path / "admin").unlink()
        bridge.file.write_text(config(server, tmp_path, admin='token = "new"'))
        assert await bridge.daemon.reload() == ["admin: changed"]
        assert (await ask(bridge, "/livez"))[0] == 200
    assert not (tmp_path / "admin").exists()


async def test_who_asks_for_a_reload_during_the_stop_is_told_so(server: RealServer, tmp_path: Path) -> None:
    async with running(config(server, tmp_path), tmp_path) as bridge:
        await bridge.opened()
        # A reload that is under way holds the stop up for as long as the test needs.
        async with bridge.daemon._reloading:
            bridge.daemon.stop()
            code, text = await ask(bridge, "/api/v1/reload", "POST", POST)
        assert (code, json.loads(text)) == (503, {"error": "the bridge is stopping; nothing has changed"})


# --- the events of the page -------------------------------------------------------------------------------


async def watch(tmp_path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(tmp_path / "admin")
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    return reader, writer


async def test_pages_that_nobody_reads_keep_nobody_out(server: RealServer, tmp_path: Path) -> None:
    async with running(config(server, tmp_path), tmp_path) as bridge:
        await bridge.opened()
        watchers = [await watch(tmp_path) for _ in range(33)]
        await watchers[-1][0].readuntil(b"data: {")
        await watchers[0][0].read()  # the oldest is closed
        await watchers[1][0].readuntil(b"data: {")
        for _, writer in watchers:
            writer.close()


async def test_a_head_request_for_the_events_does_not_stay(server: RealServer, tmp_path: Path) -> None:
    async with running(config(server, tmp_path), tmp_path) as bridge:
        assert (await ask(bridge, "/events", "HEAD"))[0] == 405


# --- who may ask ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost:9180", 200),
        ("127.0.0.1:9180", 200),
        ("[::1]:9180", 200),
        ("LOCALHOST", 200),
        ("bridge.example:9180", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:9180", 403),
        ("", 403),
    ],
)
async def test_only_hosts_that_no_page_can_have_made_up(
    server: RealServer, tmp_path: Path, host: str, code: int
) -> None:
    admin = 'allowed_hosts = ["bridge.example"]'
    toml = config(server, tmp_path, admin=admin).replace(f"unix:{tmp_path}/admin", "127.0.0.1:0")
    async with running(toml, tmp_path) as bridge:
        port = bridge.admin_port()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert int(answer.split()[1]) == code


@pytest.mark.parametrize("path", ["/api/v1/reload", "/api/v1/sessions/chat/reconnect"])
async def test_no_form_of_another_site_can_post(server: RealServer, tmp_path: Path, path: str) -> None:
    async with running(config(server, tmp_path), tmp_path) as bridge:
        await bridge.opened()
        code, text = await ask(bridge, path, "POST")
        assert (code, text) == (403, "refused: POST needs the header X-Sockjs-Bridge: 1\n")
        assert bridge.daemon.reloads == {"ok": 0, "failed": 0}
        assert (await ask(bridge, path))[0] == 405


async def test_a_token_is_asked_for_where_there_is_one(server: RealServer, tmp_path: Path) -> None:
    async with running(config(server, tmp_path, admin='token = "open sesame"'), tmp_path) as bridge:
        path = "/api/v1/reload"
        assert (await ask(bridge, path, "POST", POST))[0] == 401
        assert (await ask(bridge, path, "POST", {**POST, "Authorization": "Bearer wrong"}))[0] == 401
        assert (await ask(bridge, path, "POST", {**POST, "Authorization": "open sesame"}))[0] == 401
        assert (await ask(bridge, path, "POST", {**POST, "Authorization": "Bearer \udcff"}))[0] == 401
        assert (await ask(bridge, path, "POST", {**POST, "Authorization": "bearer open sesame"}))[0] == 200
        assert (await ask(bridge, path, "POST", {**POST, "Authorization": "Bearer open sesame"}))[0] == 200
        assert (await ask(bridge, "/api/v1/status"))[0] == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"GET /livez HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(
            b"GET /livez HTTP/1.1\r\nHost: h\r\nCookie: hunter2=%b\r\n\r\n" % (b"x" * 9000), id="long"
        ),
    ],
)
async def test_what_is_no_request_leaves_nothing_in_the_log(
    server: RealServer, tmp_path: Path, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Not a traceback for each, and nothing of the headers."""
    async with running(config(server, tmp_path), tmp_path) as bridge:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "admin")
        writer.write(request_bytes)
        answer = await reader.read()
        writer.close()
        assert answer.split()[1] == b"400"
        await bridge.opened()
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]
