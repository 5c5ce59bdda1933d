"""Who may connect to a socket: the answers to ZAP requests (ZeroMQ RFC 27)."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
import zmq
from zmq.utils import z85

from sockjs_bridge.endpoints.zeromq.doorkeeper import Doorkeeper
from sockjs_bridge.endpoints.zeromq.polled import PolledSocket
from sockjs_bridge.log import EventLog

ZAP = "inproc://zeromq.zap.01"
FRIEND, OTHER_FRIEND, STRANGER = bytes(range(32)), b"f" * 32, b"s" * 32
ALLOW = [z85.encode(FRIEND), z85.encode(OTHER_FRIEND)]


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = zmq.Context[zmq.Socket[bytes]]()
    context.setsockopt(zmq.LINGER, 0)
    yield context
    context.destroy(linger=0)


@pytest.fixture
def doorkeeper(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Doorkeeper]:
    """It guards one socket without CURVE, and one with."""
    doorkeeper = Doorkeeper(context, EventLog(lambda: 0.0))
    doorkeeper.guard("open", None)
    doorkeeper.guard("locked", ALLOW)
    with closing(doorkeeper):
        yield doorkeeper


def request(domain: str, mechanism: bytes, *credentials: bytes) -> list[bytes]:
    return [b"1.0", b"id-7", domain.encode(), b"192.0.2.1", b"identity", mechanism, *credentials]


def status(doorkeeper: Doorkeeper, domain: str, mechanism: bytes, *credentials: bytes) -> str:
    return doorkeeper._answer(request(domain, mechanism, *credentials))[2].decode()


def fields(record: object) -> dict[str, object]:
    return {name: value for name, value in vars(record)["fields"].items() if value is not None}


# --- answers ----------------------------------------------------------------------------------------------


def test_an_answer_has_the_six_frames_of_rfc_27_with_the_id_of_its_request(doorkeeper: Doorkeeper) -> None:
    assert doorkeeper._answer(request("open", b"NULL")) == [b"1.0", b"id-7", b"200", b"OK", b"", b""]
    assert doorkeeper._answer(request("locked", b"NULL")) == [b"1.0", b"id-7", b"400", b"refused", b"", b""]


def test_without_an_allow_list_anybody_enters_without_a_key(doorkeeper: Doorkeeper) -> None:
    assert status(doorkeeper, "open", b"NULL") == "200"


@pytest.mark.parametrize(
    ("mechanism", "credentials"),
    [(b"PLAIN", [b"user", b"password"]), (b"CURVE", [FRIEND]), (b"GSSAPI", [b"principal"]), (b"", [])],
)
def test_without_an_allow_list_only_null_enters(
    doorkeeper: Doorkeeper, mechanism: bytes, credentials: list[bytes]
) -> None:
    assert status(doorkeeper, "open", mechanism, *credentials) == "400"


@pytest.mark.parametrize("key", [FRIEND, OTHER_FRIEND], ids=["one", "another"])
def test_with_an_allow_list_the_owners_of_its_keys_enter(
    doorkeeper: Doorkeeper, key: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert status(doorkeeper, "locked", b"CURVE", key) == "200"
    assert not caplog.records


@pytest.mark.parametrize(
    ("mechanism", "credentials"),
    [
        pytest.param(b"NULL", [], id="no key"),
        pytest.param(b"NULL", [FRIEND], id="a key that nobody has checked"),
        pytest.param(b"PLAIN", [b"user", b"password"], id="a password"),
        pytest.param(b"PLAIN", [FRIEND], id="a key as a user name"),
        pytest.param(b"CURVE", [STRANGER], id="another key"),
        pytest.param(b"CURVE", [], id="CURVE without a key"),
        pytest.param(b"CURVE", [FRIEND, b""], id="too many credentials"),
        pytest.param(b"CURVE", [FRIEND[:-1]], id="a part of a key"),
        pytest.param(b"CURVE", [z85.encode(FRIEND)], id="a key in Z85"),
        pytest.param(b"CURVE", [b""], id="an empty key"),
        pytest.param(b"curve", [FRIEND], id="another mechanism"),
    ],
)
def test_with_an_allow_list_nobody_else_enters(
    doorkeeper: Doorkeeper, mechanism: bytes, credentials: list[bytes]
) -> None:
    assert status(doorkeeper, "locked", mechanism, *credentials) == "400"


@pytest.mark.parametrize("domain", ["unknown", "", "lock", "locked ", "global"])
@pytest.mark.parametrize("mechanism", [b"NULL", b"CURVE"])
def test_nobody_enters_a_domain_that_is_not_known(
    doorkeeper: Doorkeeper, domain: str, mechanism: bytes
) -> None:
    credentials = [FRIEND] if mechanism == b"CURVE" else []
    assert status(doorkeeper, domain, mechanism, *credentials) == "400"


def test_an_empty_allow_list_lets_nobody_in(doorkeeper: Doorkeeper) -> None:
    doorkeeper.guard("shut", [])
    assert status(doorkeeper, "shut", b"CURVE", FRIEND) == "400"
    assert status(doorkeeper, "shut", b"NULL") == "400"


def test_each_domain_has_its_own_list(doorkeeper: Doorkeeper) -> None:
    doorkeeper.guard("other", [z85.encode(STRANGER)])
    assert status(doorkeeper, "other", b"CURVE", STRANGER) == "200"
    assert status(doorkeeper, "other", b"CURVE", FRIEND) == "400"
    assert status(doorkeeper, "locked", b"CURVE", STRANGER) == "400"


@pytest.mark.parametrize(
    ("malformed", "request_id"),
    [
        ([], b""),
        ([b"1.0"], b""),
        ([b"1.0", b"id-7"], b"id-7"),
        (request("open", b"NULL")[:-1], b"id-7"),
        ([b"2.0", *request("open", b"NULL")[1:]], b"id-7"),
        ([b"", *request("locked", b"CURVE", FRIEND)[1:]], b"id-7"),
    ],
    ids=["empty", "version only", "id only", "no mechanism", "another version", "no version"],
)
def test_a_malformed_request_lets_nobody_in(
    doorkeeper: Doorkeeper, malformed: list[bytes], request_id: bytes
) -> None:
    assert doorkeeper._answer(malformed) == [b"1.0", request_id, b"500", b"bad request", b"", b""]


# --- what is logged ---------------------------------------------------------------------------------------


def test_a_refused_key_is_told_once_with_what_to_put_into_allow(
    doorkeeper: Doorkeeper, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        status(doorkeeper, "locked", b"CURVE", STRANGER)
    (record,) = caplog.records
    assert record.getMessage() == "refused a peer: its CURVE key is not in allow"
    assert fields(record) == {
        "endpoint": "locked",
        "peer": "192.0.2.1",
        "public_key": z85.encode(STRANGER).decode(),
    }


def test_every_refused_key_is_told_and_for_each_endpoint(
    doorkeeper: Doorkeeper, caplog: pytest.LogCaptureFixture
) -> None:
    doorkeeper.guard("other", ALLOW)
    for domain in ("locked", "other", "locked"):
        for key in (STRANGER, b"t" * 32):
            status(doorkeeper, domain, b"CURVE", key)
    told = [(fields(record)["endpoint"], fields(record)["public_key"]) for record in caplog.records]
    keys = [z85.encode(STRANGER).decode(), z85.encode(b"t" * 32).decode()]
    assert told == [(domain, key) for domain in ("locked", "other") for key in keys]


def test_a_peer_without_curve_is_told_once_with_its_mechanism(
    doorkeeper: Doorkeeper, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        status(doorkeeper, "locked", b"NULL")
    (record,) = caplog.records
    assert record.getMessage() == "refused a peer: it does not use CURVE"
    assert fields(record) == {"endpoint": "locked", "peer": "192.0.2.1", "mechanism": "NULL"}


def test_a_password_is_not_logged(doorkeeper: Doorkeeper, caplog: pytest.LogCaptureFixture) -> None:
    status(doorkeeper, "locked", b"PLAIN", b"user", b"hunter2")
    assert "hunter2" not in str([vars(record) for record in caplog.records])


def test_addresses_and_mechanisms_of_any_bytes_can_be_logged(
    doorkeeper: Doorkeeper, caplog: pytest.LogCaptureFixture
) -> None:
    asked = request("locked", b"\xff")
    asked[3] = b"\xfe"
    assert doorkeeper._answer(asked)[2] == b"400"
    (record,) = caplog.records
    assert (fields(record)["peer"], fields(record)["mechanism"]) == ("\ufffd", "\ufffd")


# --- on the loop ------------------------------------------------------------------------------------------


async def test_questions_that_came_before_it_started_are_answered_too(
    context: zmq.Context[zmq.Socket[bytes]], doorkeeper: Doorkeeper
) -> None:
    answered: asyncio.Queue[list[bytes]] = asyncio.Queue()
    asking = PolledSocket(context.socket(zmq.REQ))
    with closing(doorkeeper), closing(asking):
        asking.raw.connect(ZAP)
        asking.raw.send_multipart(request("locked", b"CURVE", FRIEND))
        asking.start(receive=lambda: answered.put_nowait(asking.raw.recv_multipart(zmq.NOBLOCK)))
        doorkeeper.start()
        assert await answered.get() == [b"1.0", b"id-7", b"200", b"OK", b"", b""]
        asking.raw.send_multipart([b"nonsense"])
        asking.look_again()
        assert (await answered.get())[2] == b"500"
        asking.raw.send_multipart(request("locked", b"CURVE", STRANGER))
        asking.look_again()
        assert (await answered.get())[2] == b"400"


def test_made_up_keys_cannot_fill_the_log(doorkeeper: Doorkeeper, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1100):
        status(doorkeeper, "locked", b"CURVE", number.to_bytes(32, "big"))
    assert len(caplog.records) == 1001
