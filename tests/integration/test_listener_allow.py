"""Allow lists, with the addresses that every Linux has: 127.0.0.0/8 and ::1."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sockjs_bridge.config import load
from sockjs_bridge.errors import BindError
from sockjs_bridge.local_sockets import bind_listeners
from sockjs_bridge.log import EventLog
from sockjs_bridge.service_manager import ServiceManager
from tests.in_process import Program, Running, events, one_session, running, until
from tests.openssl_authority import Authority, client_context
from tests.scripted import Peer, scripted


async def echo(peer: Peer) -> None:
    await peer.open_session()
    await peer.echo()


@asynccontextmanager
async def serving(tmp_path: Path, listener: str, listen: str = "0.0.0.0:0") -> AsyncIterator[Running]:
    async with scripted(echo) as server:
        config = one_session(server.url(), listener=listener).replace("127.0.0.1:0", listen)
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            yield bridge


async def connect(bridge: Running, source: str, to: str = "127.0.0.1") -> Program:
    port = int(bridge.listener().name.rpartition(":")[2])
    return Program(*await asyncio.open_connection(to, port, local_addr=(source, 0)))


async def is_served(program: Program) -> bool:
    """Whether what it says comes back; False where it is closed instead."""
    try:
        await program.send(b"hello\n")
        return await program.reader.readline() == b"hello\n"
    except ConnectionError:
        return False
    finally:
        program.close()


async def test_only_who_is_in_the_list_comes_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path, 'allow = ["127.0.0.2", "127.0.1.0/24"]') as bridge:
        assert await is_served(await connect(bridge, "127.0.0.2"))
        assert await is_served(await connect(bridge, "127.0.1.255"))
        for source in ("127.0.0.1", "127.0.0.3", "127.0.2.0"):
            assert not await is_served(await connect(bridge, source))
        (refused,) = events(caplog, "refused a client")
        assert refused["message"] == "refused a client: its address is not in allow"
        assert str(refused["client"]).startswith("127.0.0.1:")
        assert bridge.listener().describe()["refused"] == 3
        await until(lambda: bridge.listener().clients == 0)
        assert bridge.chat.hub.stats.messages_accepted == 2
        assert len(events(caplog, "client in")) == 2


async def test_ipv6(tmp_path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    async with serving(tmp_path, 'allow = ["::1"]', "[::1]:0") as bridge:
        assert await is_served(await connect(bridge, "::1", "::1"))
    async with serving(tmp_path, 'allow = ["2001:db8::/32", "127.0.0.0/8"]', "[::1]:0") as bridge:
        assert not await is_served(await connect(bridge, "::1", "::1"))


async def test_ipv4_that_comes_mapped_into_ipv6_counts_as_ipv4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Our own sockets of IPv6 take no IPv4, but those of a service manager may."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    sock = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    sock.setblocking(False)
    monkeypatch.setattr("sockjs_bridge.local_sockets.bind", lambda *_: [sock])
    async with serving(tmp_path, 'allow = ["127.0.0.2"]', "[::]:0") as bridge:
        assert await is_served(await connect(bridge, "127.0.0.2"))
        assert str(events(caplog, "client in")[0]["client"]).startswith("::ffff:127.0.0.2:")
        assert not await is_served(await connect(bridge, "127.0.0.1"))


async def test_an_address_is_looked_at_before_the_handshake(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    own = authority.server()
    listener = f'allow = ["127.0.0.2"]\ntls = {{ cert = "{own.cert}", key = "{own.key}" }}'
    async with serving(tmp_path, listener) as bridge:
        stranger = await connect(bridge, "127.0.0.1")
        assert await stranger.closed() == b"", "and it has not said a word"
        stranger.close()
        assert [each["message"] for each in events(caplog, "refused a client")] == [
            "refused a client: its address is not in allow"
        ]
        port = int(bridge.listener().name.rpartition(":")[2])
        reader, writer = await asyncio.open_connection(
            *("127.0.0.1", port), local_addr=("127.0.0.2", 0), ssl=client_context(authority)
        )
        assert await is_served(Program(reader, writer))


async def test_a_reload_changes_the_list_for_those_who_come_then(tmp_path: Path) -> None:
    async with serving(tmp_path, 'allow = ["127.0.0.2"]') as bridge:
        bridge.file.write_text(bridge.file.read_text().replace("127.0.0.2", "127.0.0.3"))
        (line,) = await bridge.daemon.reload()
        assert line.endswith(" changed")
        assert not await is_served(await connect(bridge, "127.0.0.2"))
        assert await is_served(await connect(bridge, "127.0.0.3"))


@pytest.mark.parametrize("key", ["allow", "tls"])
def test_a_unix_socket_of_the_service_manager(tmp_path: Path, key: str) -> None:
    own = Authority(tmp_path).server()
    value = {"allow": '["127.0.0.1"]', "tls": f'{{ cert = "{own.cert}", key = "{own.key}" }}'}[key]
    file = tmp_path / "bridge.toml"
    file.write_text(
        one_session("http://h", listener=f"{key} = {value}").replace("127.0.0.1:0", "systemd:chat")
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
        sock.listen()
        manager = ServiceManager(passed=[("chat", os.dup(sock.fileno()))])
        with manager, pytest.raises(BindError) as caught:
            bind_listeners(load(file, {}), EventLog(), manager)
    assert [where for where, _ in caught.value.problems] == [f"sessions.chat.tcp[0].{key}"]
