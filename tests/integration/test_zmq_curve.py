"""CURVE: who may connect to the bridge, and to whom the bridge connects."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq

from sockjs_bridge.endpoints.zeromq.curve import write_key_pair
from tests.in_process import events, one_session, running, until
from tests.scripted import scripted
from tests.zmq_peer import Remote, address, endpoint, other, pub, zmq_programs


@dataclass(frozen=True)
class Keys:
    """A key pair of a program."""

    public: str
    secret: str

    @classmethod
    def new(cls) -> "Keys":
        public, secret = (key.decode() for key in zmq.curve_keypair())
        # A key may hold "${", which the configuration takes for something else: that has a test of its own.
        return cls.new() if "${" in public else cls(public, secret)

    def client(self, server_key: str) -> dict[str, str]:
        """The options of a program that connects with this pair."""
        return {"PUBLICKEY": self.public, "SECRETKEY": self.secret, "SERVERKEY": server_key}

    @property
    def server(self) -> dict[str, str]:
        """The options of a program that listens with this pair."""
        return {"SECRETKEY": self.secret}


def serving(kind: str, key_file: Path, *allow: Keys) -> str:
    keys = ", ".join(f'"{each.public}"' for each in allow)
    return endpoint(kind, more=f'curve = {{ secret_key_file = "{key_file}", allow = [{keys}] }}')


def calling(kind: str, where: str, key_file: Path, server_key: str) -> str:
    curve = f'curve = {{ secret_key_file = "{key_file}", server_key = "{server_key}" }}'
    return endpoint(kind, where, f"bind = false\n{curve}")


async def test_the_bridge_lets_in_whom_it_knows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    friend, stranger = Keys.new(), Keys.new()
    server_key = write_key_pair(str(tmp_path / "key"))
    remote = Remote()
    listener = serving("pull", tmp_path / "key", friend, Keys.new()) + endpoint("pull")
    async with (
        zmq_programs() as start,
        scripted(remote.play) as server,
        running(one_session(server.url(), listener=listener), tmp_path) as bridge,
    ):
        await bridge.opened()
        where = address(bridge)
        wrong = await start("push", connect=where, curve=stranger.client(server_key))
        wrong.tell("send", messages=[["evil"]])
        await until(lambda: events(caplog, "its CURVE key is not in allow"))
        wrong = await start("push", connect=where, curve=stranger.client(server_key))
        wrong.tell("send", messages=[["evil"]])
        null = await start("push", connect=where)
        null.tell("send", messages=[["evil"]])
        await until(lambda: events(caplog, "no ZeroMQ handshake"))
        right = await start("push", connect=where, curve=friend.client(server_key))
        await right.send(b"good")
        await until(lambda: remote.received)
        plain = await start("push", connect=address(bridge, 2))
        await plain.send(b"plain")
        await until(lambda: len(remote.received) == 2)
        assert remote.received == ["good", "plain"]
        assert other(bridge)._opened.peers == 1
        (refused,) = events(caplog, "its CURVE key is not in allow")
        assert refused["public_key"] == stranger.public
        assert refused["peer"] == "127.0.0.1"
        assert not any(key.secret in caplog.text for key in (friend, stranger))
        assert bridge.dropped == {}


@pytest.mark.parametrize(("kind", "partner"), [("pub", "sub"), ("push", "pull"), ("dealer", "router")])
async def test_only_whom_it_knows_hears_anything(
    tmp_path: Path, kind: str, partner: str, caplog: pytest.LogCaptureFixture
) -> None:
    friend, stranger = Keys.new(), Keys.new()
    server_key = write_key_pair(str(tmp_path / "key"))
    remote = Remote()
    topics = ["chat"] if kind == "pub" else []
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=serving(kind, tmp_path / "key", friend))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            await start(partner, connect=address(bridge), topics=topics, curve=stranger.client(server_key))
            await start(partner, connect=address(bridge), topics=topics)
            await until(lambda: events(caplog, "refused a peer") and events(caplog, "no ZeroMQ handshake"))
            if kind == "pub":
                assert pub(bridge).consumers == 0
            right = await start(
                partner, connect=address(bridge), topics=topics, curve=friend.client(server_key)
            )
            await until(lambda: events(caplog, "peer in") and bridge.chat.endpoints[1].consumers == 1)
            await remote.say(*[f"secret {number}" for number in range(20)])
            assert [frames[-1] for frames in await right.receive(20)] == [b"secret %d" % n for n in range(20)]
            assert len(events(caplog, "peer in")) == 1


async def test_a_wrong_key_of_the_bridge_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A program that takes another for the bridge does not get in either, and the log says what to look at."""
    friend = Keys.new()
    write_key_pair(str(tmp_path / "key"))
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=serving("pull", tmp_path / "key", friend))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            mistaken = await start("push", connect=address(bridge), curve=friend.client(Keys.new().public))
            mistaken.tell("send", messages=[["for another"]])
            await until(lambda: events(caplog, "no ZeroMQ handshake"))
            assert other(bridge)._opened.peers == 0
            assert not remote.received


async def test_the_bridge_connects_to_whom_it_knows(tmp_path: Path) -> None:
    listening = Keys.new()
    write_key_pair(str(tmp_path / "key"))
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        puller = await start("pull", bind="tcp://127.0.0.1:*", curve=listening.server)
        pusher = await start("push", bind="tcp://127.0.0.1:*", curve=listening.server)
        subscriber = await start("sub", bind="tcp://127.0.0.1:*", topics=["chat"], curve=listening.server)
        programs = {"push": puller, "pull": pusher, "pub": subscriber}
        listener = "".join(
            calling(kind, program.address, tmp_path / "key", listening.public)
            for kind, program in programs.items()
        )
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            await bridge.opened()
            subscriber.tell("receive", count=1)
            await until(lambda: pub(bridge, 3).consumers == 1)
            await remote.say("down")
            assert await puller.receive() == [[b"down"]]
            assert (await subscriber.report())["messages"] == [["chat", "down"]]
            await pusher.send(b"up")
            await until(lambda: remote.received == ["up"])


async def test_the_bridge_does_not_talk_to_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another key than that of the program, or no CURVE there: not a message passes, and the log says so."""
    listening = Keys.new()
    write_key_pair(str(tmp_path / "key"))
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        impostor = await start("pull", bind="tcp://127.0.0.1:*", curve=Keys.new().server)
        plain = await start("pull", bind="tcp://127.0.0.1:*")
        pusher = await start("push", bind="tcp://127.0.0.1:*", curve=Keys.new().server)
        pusher.tell("send", messages=[["evil"]])
        listener = calling("push", impostor.address, tmp_path / "key", listening.public)
        listener += calling("push", plain.address, tmp_path / "key", listening.public)
        listener += calling("pull", pusher.address, tmp_path / "key", listening.public)
        async with running(one_session(server.url(), listener=listener), tmp_path) as bridge:
            await bridge.opened()
            await remote.say("secret")
            await until(lambda: bridge.chat.hub.stats.messages_received == 1)
            await until(
                lambda: len({each["endpoint"] for each in events(caplog, "no ZeroMQ handshake")}) == 3
            )
            for index in (1, 2):
                outgoing = other(bridge, index).outgoing
                assert outgoing
                assert (outgoing.waiting, outgoing.handed_over) == (1, 0)
            assert not remote.received
            assert not events(caplog, "peer in")


async def test_every_second_refused_peer_is_not_a_line_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that tries for ever with a wrong key is one line a minute, and others are served meanwhile."""
    friend, stranger = Keys.new(), Keys.new()
    server_key = write_key_pair(str(tmp_path / "key"))
    remote = Remote()
    async with zmq_programs() as start, scripted(remote.play) as server:
        config = one_session(server.url(), listener=serving("pull", tmp_path / "key", friend))
        async with running(config, tmp_path) as bridge:
            await bridge.opened()
            for _ in range(5):
                wrong = await start("push", connect=address(bridge), curve=stranger.client(server_key))
                wrong.tell("send", messages=[["evil"]])
            right = await start("push", connect=address(bridge), curve=friend.client(server_key))
            await right.ask("send_numbers", count=1000)
            await until(lambda: len(remote.received) == 1000)
            assert len(events(caplog, "its CURVE key is not in allow")) == 1
            assert other(bridge)._opened.peers == 1
