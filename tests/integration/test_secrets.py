"""Nothing that the program prints has a secret in it (config.md, operations.md "Logs").

Secrets of every kind are planted; then everything is made to be printed, and searched for them.
"""

import asyncio
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sockjs_bridge import cli
from sockjs_bridge.config import Config, load
from sockjs_bridge.errors import ConfigError
from sockjs_bridge.log import EventLog, configure
from sockjs_bridge.secret_store import MASK
from tests.in_process import QUICK, Running, running, until
from tests.login_server import LoginServer
from tests.scripted import Peer, scripted

# Each is found by its number, in whatever way the rest of it is escaped.
PLANTED = {
    name: f'{name}-z9x{number}q"\\{number} end'
    for number, name in enumerate(
        (
            "env",
            "file",
            "credential",
            "captured-csrf",
            "captured-user",
            "captured-key",
        )
    )
}
PLAIN = {
    name: f"{name}-z9x{number}q"
    for number, name in enumerate(
        ("token", "password", "query", "header", "authorization", "cookie", "step-header", "jar"), 50
    )
}
MARK = re.compile(r"z9x(\d+)q")


def planted_in(text: str) -> set[str]:
    """The secrets that a text holds, by name."""
    names = {re.findall(MARK, value)[0]: name for name, value in (PLANTED | PLAIN).items()}
    return {names[number] for number in MARK.findall(text)}


class Parrot(LoginServer):
    """Says back all that it gets, which is the worst that a server can do to the logs of its clients."""

    async def _session(self, peer: Peer) -> None:
        assert self._has_cookie(peer)
        await peer.open_session()
        self.sessions.append(peer)
        await self.tell(peer, *peer.headers.values(), peer.path)
        for _, _, headers, body in self.requests:
            await self.tell(peer, *headers.values(), body.decode())
        await self.tell(peer, *await peer.receive_messages())
        await self.let_in(peer)
        while True:
            await self.tell(peer, *await peer.receive_messages())

    async def close_with_secrets(self, peer: Peer) -> None:
        reason = " ".join([*PLANTED.values(), *PLAIN.values()])
        await peer.send_text("c" + json.dumps([4000, reason]))


def written(site: Parrot, server_url: str, tmp_path: Path) -> str:
    (tmp_path / "secret").write_text(PLANTED["file"] + "\n")
    (tmp_path / "credentials").mkdir(exist_ok=True)
    (tmp_path / "credentials" / "db").write_text(PLANTED["credential"])
    (tmp_path / "credentials" / "token").write_text(PLAIN["token"])
    base = server_url.replace("http://", f"http://me:{PLAIN['password']}@")
    return f"""
        bridge.drain_timeout = "1s"
        log = {{ level = "debug", format = "json" }}
        admin = {{ listen = "127.0.0.1:0", token = "${{credential:token}}" }}
        [sessions.chat]
        url = "{base}?q={PLAIN["query"]}&f=${{file:{tmp_path}/secret}}"
        transports = ["websocket"]
        {QUICK}
        headers = {{ X-Key = "{PLAIN["header"]}", X-Env = "${{env:HEADER}}" }}
        cookies = {{ own = "{PLAIN["cookie"]}" }}
        [[sessions.chat.tcp]]
        listen = "127.0.0.1:0"
        replay = 3
        [[sessions.chat.on_connect]]
        capture = {{ csrf = "/tokens/0/a~1b", user = "/name" }}
        [sessions.chat.on_connect.http]
        url = "/login?f=${{file:{tmp_path}/secret}}&q={PLAIN["query"]}"
        json = {{ user = "bridge", password = "${{env:PASSWORD}}" }}
        headers = {{ X-Step = "{PLAIN["step-header"]}" }}
        [[sessions.chat.on_connect]]
        http = {{ url = "/csrf?db=${{credential:db}}", headers = {{ X-Csrf = "t" }}, form = {{ token = "${{csrf}}" }} }}
        capture = {{ key = "" }}
        [[sessions.chat.on_connect]]
        send = '{{"auth":"${{user}}:${{key}} ${{credential:db}} ${{env:PASSWORD}}"}}'
        [[sessions.chat.on_connect]]
        expect = '"connected"'
        [[sessions.chat.keepalive]]
        send = "${{key}} ${{csrf}} ${{file:{tmp_path}/secret}}"
        every = "10ms"
        """


def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "PASSWORD": PLANTED["env"],
        "HEADER": PLAIN["authorization"],
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
    }


@pytest.fixture
def site() -> Parrot:
    return Parrot(
        password=PLANTED["env"],
        user=PLANTED["captured-user"],
        csrf=PLANTED["captured-csrf"],
        key=PLANTED["captured-key"],
        cookie=PLAIN["jar"],
    )


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What goes to the log; the logging of the process is as before afterwards."""
    root, own = logging.getLogger(), logging.getLogger("sockjs_bridge")
    before = root.handlers[:], root.level, own.level
    yield io.StringIO()
    root.handlers[:], level, own_level = before
    root.setLevel(level)
    own.setLevel(own_level)


@asynccontextmanager
async def bridging(
    site: Parrot, tmp_path: Path, log: io.StringIO, form: str = "json"
) -> AsyncIterator[Running]:
    site_has_no_csrf_header = {"x-csrf": "t"}

    async def csrf(peer: Peer) -> None:
        good = peer.headers.get("x-csrf") == site_has_no_csrf_header["x-csrf"]
        await peer.answer(
            "200 OK" if good else "403 Forbidden", "Connection: close\r\n", json.dumps(site.key).encode()
        )

    site._csrf = csrf  # type: ignore[method-assign]  # a token that no header could hold
    async with scripted(site) as server:
        toml = written(site, server.url(), tmp_path)
        config = load_text(toml, tmp_path)
        configure("debug", form, log, config.secrets.mask)
        async with running(toml, tmp_path, environ(tmp_path)) as bridge:
            # The daemon has read its configuration for itself.
            configure("debug", form, log, bridge.daemon._config.secrets.mask)
            yield bridge


def load_text(toml: str, tmp_path: Path) -> Config:
    file = tmp_path / "bridge.toml"
    file.write_text(toml)
    return load(file, environ(tmp_path))


async def ask(bridge: Running, method: str, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", bridge.admin_port())
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Sockjs-Bridge: 1\r\nConnection: close\r\n"
        f"Authorization: Bearer {PLAIN['token']}\r\n\r\n".encode()
    )
    answer = b""
    # The page's events go on for ever.
    while b"\n\n\r\n" not in answer and (piece := await reader.read(1 << 16)):
        answer += piece
    writer.close()
    return answer.decode()


@pytest.mark.parametrize("form", ["json", "text"])
async def test_nothing_that_a_running_bridge_shows_holds_a_secret(
    site: Parrot, tmp_path: Path, log: io.StringIO, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    async with bridging(site, tmp_path, log, form) as bridge:
        await bridge.opened()
        program = await bridge.client()
        await until(lambda: bridge.chat.hub.stats.own_messages >= 4)
        shown = {"programs get": (await program.line())}
        await site.close_with_secrets(site.sessions[0])
        await bridge.opened(2)
        close = bridge.chat.supervisor.status.last_close
        assert close is not None
        assert planted_in(close.reason)
        for path in (
            "/",
            "/events",
            "/metrics",
            "/api/v1/status",
            "/healthz",
            "/healthz?session=chat",
            "/readyz",
        ):
            shown[path] = await ask(bridge, "GET", path)
        shown["reload"] = await ask(bridge, "POST", "/api/v1/reload")
        bridge.file.write_text(
            bridge.file.read_text()
            + '[defaults]\norigin = "${env:PASSWORD}"\neventsource_encoding = "${env:PASSWORD}"\n'
        )
        shown["reload with mistakes"] = await ask(bridge, "POST", "/api/v1/reload")
        assert "must be one of" in shown["reload with mistakes"]
        site.password = "another"
        bridge.chat.supervisor.reconnect()
        await until(lambda: bridge.chat.supervisor.status.last_failure is not None)
        shown["status after a failure"] = await ask(bridge, "GET", "/api/v1/status")
        assert "on_connect[0] (POST /login)" in shown["status after a failure"]
        try:
            raise RuntimeError(f"internal {PLANTED['env']} {PLANTED['captured-key']!r} {PLAIN['password']}")
        except RuntimeError as error:
            EventLog().failure("a fault", error)

    text = log.getvalue()
    shown["programs get"] = ""  # what the server says is theirs
    assert "received frames" in text
    assert text.count(MASK) > 20
    assert "Traceback" in text
    assert "logged in" in text
    assert planted_in(text) == set()
    for where, what in shown.items():
        assert planted_in(what) == set(), where
    captured = capfd.readouterr()
    assert planted_in(captured.out + captured.err) == set()
    assert planted_in(repr(bridge.daemon._config) + str(bridge.daemon._config.sessions["chat"])) == set()


async def test_the_search_would_find_them(tmp_path: Path, site: Parrot, log: io.StringIO) -> None:
    async with bridging(site, tmp_path, log) as bridge:
        configure("debug", "json", log)
        await bridge.opened()
        await until(lambda: bridge.chat.hub.stats.own_messages >= 4)
        await site.close_with_secrets(site.sessions[0])
        await bridge.opened(2)

    assert planted_in(log.getvalue()) == PLANTED.keys() | PLAIN.keys()


@pytest.mark.parametrize(
    "mistake", ["", "tpc = 1", 'origin = "${env:PASSWORD}"', "connect_timeout = '${env:PASSWORD}'"]
)
def test_what_check_prints(
    tmp_path: Path,
    site: Parrot,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    mistake: str,
) -> None:
    toml = written(site, "http://h/echo", tmp_path).replace(
        "[[sessions.chat.tcp]]", f"{mistake}\n[[sessions.chat.tcp]]"
    )
    (tmp_path / "bridge.toml").write_text(toml)
    for name, value in environ(tmp_path).items():
        monkeypatch.setenv(name, value)

    code = cli.main(["check", "--config", str(tmp_path / "bridge.toml")])

    out, err = capfd.readouterr()
    assert code == (78 if mistake else 0)
    assert ("session chat: http://h/echo by websocket" in out) == (not mistake)
    assert planted_in(out + err) == set()


def test_no_error_of_the_configuration_holds_a_secret_in_its_chain(tmp_path: Path, site: Parrot) -> None:
    toml = written(site, "http://h/echo", tmp_path).replace(
        "[[sessions.chat.tcp]]", 'origin = "${env:PASSWORD}"\n[[sessions.chat.tcp]]'
    )
    with pytest.raises(ConfigError) as caught:
        load_text(toml, tmp_path)

    assert planted_in(str(caught.value)) == set()
    assert caught.value.__suppress_context__
