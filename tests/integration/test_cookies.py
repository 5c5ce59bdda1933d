"""The cookie_file, from one daemon to the next."""

from pathlib import Path

import pytest

from tests.in_process import events, one_session, running
from tests.scripted import Peer, scripted


async def sticky(peer: Peer) -> None:
    """As behind a load balancer: the first answer says which server it is."""
    await peer.accept_websocket('Set-Cookie: lb=node"1==; Path=/\r\n' if peer.number == 1 else "")
    await peer.send_text("o")
    await peer.stay()


async def test_cookies_survive_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "cookies.json"
    session = f'cookies = {{ theme = "dark" }}\ncookie_file = "{file}"'
    async with scripted(sticky) as server:
        for _ in range(2):
            async with running(one_session(server.url(), session), tmp_path) as bridge:
                await bridge.opened()
        first, second = (set(peer.headers["cookie"].split("; ")) for peer in server.peers)

    assert first == {"theme=dark"}
    assert second == {"theme=dark", 'lb=node"1=='}
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_broken_file_does_not_stop_the_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "cookies.json"
    file.write_text("{")
    session = f'cookie_file = "{file}"'
    async with scripted(sticky) as server, running(one_session(server.url(), session), tmp_path) as bridge:
        await bridge.opened()

    (event,) = events(caplog, "cookie")
    assert (event["session"], event["moved_to"]) == ("chat", f"{file}.broken")
    assert "lb" in file.read_text()
