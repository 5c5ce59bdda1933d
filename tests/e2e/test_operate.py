"""The commands that talk to a running bridge, and the page in a real browser."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge_process import (
    BridgeProcess,
    BridgeStarter,
    LineClient,
    clean_environment,
    run_command,
    wait_until,
)
from tests.browser import browser
from tests.on_terminal import OnTerminal
from tests.real_servers import RealServer

PHONE_WIDTH = 390


@pytest.fixture(scope="module")
def server() -> Iterator[RealServer]:
    with RealServer("aio") as server:
        yield server


def config(server: RealServer, more: str = "") -> str:
    return (
        '[admin]\nlisten = "127.0.0.1:0"\n'
        f'[sessions.chat]\nurl = "{server.url("/echo")}"\ntransports = ["websocket"]\n'
        '[[sessions.chat.tcp]]\nlisten = "127.0.0.1:0"\n'
        f'[sessions.away]\nurl = "http://127.0.0.1:1/x"\n{more}\n'
    )


@pytest.fixture
def bridge(server: RealServer, tmp_path: Path) -> Iterator[BridgeProcess]:
    with BridgeStarter(tmp_path) as starter:
        process = starter(config(server))
        process.wait_open()
        yield process


def admin(bridge: BridgeProcess) -> str:
    return str(bridge.wait_for_log("admin listening on")["message"]).removeprefix("admin listening on ")


def test_status_is_a_table_or_json(bridge: BridgeProcess, tmp_path: Path) -> None:
    table = run_command("status", "--admin", admin(bridge), folder=tmp_path)
    assert (table.returncode, table.stderr) == (0, "")
    heading, chat, away = table.stdout.splitlines()
    assert heading.split()[:3] == ["SESSION", "STATE", "FOR"]
    assert chat.split()[:2] == ["chat", "open"]
    assert away.split()[0] == "away"
    assert heading.index("STATE") == chat.index("open")
    document = run_command("status", "--json", "--admin", admin(bridge), folder=tmp_path)
    assert [session["name"] for session in json.loads(document.stdout)["sessions"]] == ["chat", "away"]


def test_watching_fits_the_terminal_and_outlasts_the_bridge(bridge: BridgeProcess) -> None:
    with OnTerminal("status", "--watch", "--admin", admin(bridge)) as terminal:
        terminal.resize(40, 3)
        terminal.read_until("SESSION")
        terminal.forget()
        terminal.read_until("\x1b\\[H\x1b\\[2J[^\x1b]*\x1b")
        drawn = terminal.screen.partition("\x1b[H\x1b[2J")[2].partition("\x1b")[0].splitlines()
        assert [line[:7] for line in drawn] == ["SESSION", "and 2 m"]
        assert len(drawn[0]) == 40
        bridge.stop()
        terminal.read_until("no answer at")
        terminal.type("\x03")
        assert terminal.wait() == 0


def test_whoever_reads_the_output_may_leave(bridge: BridgeProcess, tmp_path: Path) -> None:
    """Such as `head`: it is no failure, and there is no traceback."""
    for command in (["status", "--admin", admin(bridge)], ["schema"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "sockjs_bridge", *command],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            cwd=tmp_path,
            check=False,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b"")


def test_reconnect(bridge: BridgeProcess, tmp_path: Path) -> None:
    done = run_command("reconnect", "chat", "--admin", admin(bridge), folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "session chat connects anew\n")
    bridge.wait_open(2)
    done = run_command("reconnect", "nobody", "--admin", admin(bridge), folder=tmp_path)
    assert (done.returncode, done.stderr) == (69, "sockjs-bridge reconnect: no session nobody\n")


def test_reload_by_command_and_by_signal(server: RealServer, bridge: BridgeProcess, tmp_path: Path) -> None:
    file = next(tmp_path.glob("*.toml"))
    file.write_text(config(server, f'[sessions.more]\nurl = "{server.url("/echo")}"'))
    done = run_command("reload", "--admin", admin(bridge), folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "session more: added\n")
    file.write_text(config(server))
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_log("reloaded", changes="session more: removed")
    file.write_text("[sesions]")
    done = run_command("reload", "--admin", admin(bridge), folder=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert "sesions" in done.stderr
    assert len(bridge.log_lines("open", session="chat")) == 1


def test_healthcheck(bridge: BridgeProcess, tmp_path: Path) -> None:
    address = admin(bridge)
    assert run_command("healthcheck", "--admin", address, folder=tmp_path).returncode == 0
    assert (
        run_command("healthcheck", "--session", "chat", "--admin", address, folder=tmp_path).returncode == 0
    )
    assert (
        run_command("healthcheck", "--session", "away", "--admin", address, folder=tmp_path).returncode == 69
    )
    environment = {"SOCKJS_BRIDGE_ADMIN__LISTEN": address}
    assert run_command("healthcheck", folder=tmp_path, environment=environment).returncode == 0


def test_what_it_says_when_nobody_answers(tmp_path: Path) -> None:
    done = run_command("status", "--admin", "127.0.0.1:1", folder=tmp_path)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith("sockjs-bridge status: no answer at 127.0.0.1:1: ")
    done = run_command("status", folder=tmp_path)
    assert done.returncode == 64
    assert "--admin ADDR" in done.stderr
    done = run_command("status", "--admin", "nonsense", folder=tmp_path)
    assert done.returncode == 64


def test_the_page_is_live_and_fits_a_phone(bridge: BridgeProcess) -> None:
    with browser() as window, LineClient(bridge.port) as program:
        window.open(f"http://{admin(bridge)}/")
        wait_until(
            lambda: window.run("return document.getElementById('live').textContent") == "Live.", "live"
        )
        program.exchange(["one", "two"])

        def card() -> str:
            script = "return document.getElementById('name-chat').closest('article').textContent"
            return str(window.run(script))

        wait_until(lambda: "From the server2 messages" in card(), "two messages on the page")
        window.resize(PHONE_WIDTH, 900)
        backgrounds = set()
        for scheme in ("light", "dark"):
            window.prefer(scheme)
            assert window.run("return document.documentElement.scrollWidth") <= PHONE_WIDTH
            backgrounds.add(window.run("return getComputedStyle(document.body).backgroundColor"))
        assert len(backgrounds) == 2
        # The focus stays on the button while the page changes below it.
        window.run(
            "const button = document.querySelector('[data-reconnect=chat]'); button.focus(); button.click()"
        )
        bridge.wait_open(2)
        wait_until(lambda: "Last closereload" in card(), "the close on the page")
        assert window.run("return document.activeElement.getAttribute('aria-label')") == "Reconnect chat"


def test_the_page_goes_on_after_its_sessions_have_changed(
    server: RealServer, bridge: BridgeProcess, tmp_path: Path
) -> None:
    with browser() as window:
        window.open(f"http://{admin(bridge)}/")
        next(tmp_path.glob("*.toml")).write_text(
            config(server, f'[sessions.more]\nurl = "{server.url("/echo")}"')
        )
        bridge.send_signal(signal.SIGHUP)
        wait_until(lambda: window.run("return document.getElementById('name-more') !== null"), "the new card")
        window.run("document.querySelector('[data-reconnect=chat]').click()")
        bridge.wait_open(2)


def test_the_page_tells_of_a_refusal_until_the_next_try(server: RealServer, bridge: BridgeProcess) -> None:
    with browser() as window:
        window.open(f"http://{admin(bridge)}/")

        def click() -> None:
            window.run("document.querySelector('[data-reconnect]').click()")

        def text(element: str) -> str:
            return str(window.run(f"return document.getElementById('{element}').textContent"))

        # A session that has gone from the configuration, on a page that does not know it yet.
        window.run("document.querySelector('[data-reconnect=chat]').dataset.reconnect = 'gone'")
        click()
        refusal = "Reconnecting gone was refused: "
        wait_until(lambda: text("answer").startswith(refusal), "the refusal")
        summary = text("summary")
        wait_until(lambda: text("summary") != summary, "the next event")
        assert text("answer").startswith(refusal)
        click()
        wait_until(lambda: text("answer") == "", "the refusal is over")


def test_the_page_comes_back_after_an_error_of_a_proxy(bridge: BridgeProcess) -> None:
    """A browser gives an EventSource up for good that was answered by another status than 200."""
    with browser() as window:
        # The page from the bridge, the events from something that is no bridge.
        window.devtools("Page.enable")
        window.devtools(
            "Page.addScriptToEvaluateOnNewDocument",
            source="const real = EventSource; let asked = 0;"
            "window.EventSource = class extends real {"
            "constructor(url) { super(asked++ ? url : '/nowhere'); } };",
        )
        window.open(f"http://{admin(bridge)}/")
        wait_until(
            lambda: window.run("return document.getElementById('live').textContent") == "Live.", "live"
        )


def test_everything_on_the_page_has_an_accessible_name(bridge: BridgeProcess) -> None:
    with browser() as window:
        window.open(f"http://{admin(bridge)}/")
        tree = window.devtools("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "link", "image", "heading", "article", "RootWebArea"}
        named = [
            (node["role"]["value"], node["name"]["value"])
            for node in tree
            if not node["ignored"] and node["role"]["value"] in roles
        ]
        assert {role for role, _ in named} == roles
        assert all(name for _, name in named), named


def test_the_page_can_be_read_without_scripts(bridge: BridgeProcess) -> None:
    with browser(scripts=False) as window:
        window.open(f"http://{admin(bridge)}/")
        nodes = window.devtools("Accessibility.getFullAXTree")["nodes"]
        text = " ".join(str(node["name"]["value"]) for node in nodes if node.get("name", {}).get("value"))
        assert "1 of 2 sessions open" in text
        assert "connection refused" in text
        assert "This page shows the moment at which it was loaded." in text
        assert "Reconnect" not in text
