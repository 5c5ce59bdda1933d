"""What an open session does by itself: in which order, and what happens while the server does not keep up."""

import asyncio
from types import SimpleNamespace

import pytest

from sockjs_bridge.bridge import login_guide
from sockjs_bridge.bridge.login_guide import LoginGuide, LoginPlan
from sockjs_bridge.errors import LoginError
from sockjs_bridge.log import EventLog
from sockjs_bridge.protocol.login import Expect, LoginScript, ReloginRule, Send
from tests.hand_loop import HandLoop

STEPS = (Send("1", "s1"), Send("2", "s2"), Expect("on_connect[2] (expect x)", "x", 10.0), Send("4", "s4"))


class FakeLogin:
    """A login without HTTP steps, and two pings."""

    guides = True
    periods: tuple[float, ...] = (5.0, 7.0)

    def relogin_rule(self) -> ReloginRule | None:
        return None

    async def log_in(self, origin: str | None) -> LoginScript:
        raise AssertionError(origin)


class FakeSession:
    """Takes `room` messages, or any number."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.room = 1000
        self.errors: list[str] = []

    def send_own(self, messages: list[str]) -> bool:
        if self.room < len(messages):
            return False
        self.room -= len(messages)
        self.sent += messages
        return True

    def begin_login(self) -> None:
        raise AssertionError

    def become_ready(self) -> None:
        self.sent.append("READY")

    def fail_login(self, error: LoginError) -> None:
        self.errors.append(error.detail)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> HandLoop:
    hand_loop = HandLoop()
    patched = SimpleNamespace(get_running_loop=lambda: hand_loop, Event=asyncio.Event)
    monkeypatch.setattr(login_guide, "asyncio", patched)
    return hand_loop


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def guide(loop: HandLoop, session: FakeSession) -> LoginGuide:
    plan = LoginPlan(FakeLogin(), LoginScript(STEPS, ("p1", "p2")), None)
    return LoginGuide(plan, session, EventLog())


def test_steps_then_messages_of_programs_then_pings(
    loop: HandLoop, session: FakeSession, guide: LoginGuide
) -> None:
    guide.begin()
    assert session.sent == ["s1", "s2"]
    loop.pass_time(6.0)
    guide.receive(["nothing", "ax"])
    assert session.sent == ["s1", "s2", "s4", "READY"]
    loop.pass_time(5.0)
    loop.pass_time(2.0)
    loop.pass_time(3.0)
    assert session.sent[4:] == ["p1", "p2", "p1"]
    assert session.errors == []


def test_a_step_that_waits_in_vain(loop: HandLoop, session: FakeSession, guide: LoginGuide) -> None:
    guide.begin()
    loop.pass_time(9.9)
    assert not session.errors
    loop.pass_time(0.2)
    assert session.errors == ["on_connect[2] (expect x): no such message came within 10 s"]


def test_steps_wait_in_order_while_the_server_does_not_keep_up(
    session: FakeSession, guide: LoginGuide
) -> None:
    session.room = 1
    guide.begin()
    assert session.sent == ["s1"]
    guide.receive(["x"])
    # Programs have their turn when the server keeps up again: what is our own goes first then.
    assert session.sent == ["s1", "READY"]
    session.room = 1
    guide.flush()
    assert session.sent == ["s1", "READY", "s2"]
    session.room = 10
    guide.flush()
    assert session.sent == ["s1", "READY", "s2", "s4"]


def test_pings_do_not_pile_up(loop: HandLoop, session: FakeSession, guide: LoginGuide) -> None:
    guide.begin()
    guide.receive(["x"])
    session.sent.clear()
    session.room = 0
    for _ in range(100):
        loop.pass_time(1.0)
    assert session.sent == []
    session.room = 10
    guide.flush()
    assert session.sent == ["p1", "p2"]
    guide.flush()
    assert session.sent == ["p1", "p2"]


def test_a_loop_that_was_held_up_does_not_make_up_for_it(
    loop: HandLoop, session: FakeSession, guide: LoginGuide
) -> None:
    guide.begin()
    guide.receive(["x"])
    session.sent.clear()
    loop.pass_time(1000.0)
    loop.pass_time(0.0)
    assert session.sent == ["p1", "p2"]
    loop.pass_time(4.9)
    assert len(session.sent) == 2


@pytest.mark.parametrize("is_ready", [False, True])
def test_after_the_end_nothing_is_left(
    loop: HandLoop, session: FakeSession, guide: LoginGuide, is_ready: bool
) -> None:
    session.room = 1
    guide.begin()
    if is_ready:
        guide.receive(["x"])
    before = list(session.sent)
    guide.end()
    session.room = 10
    guide.flush()
    guide.receive(["x"])
    guide.begin()
    loop.pass_time(100.0)

    assert (session.sent, session.errors, loop.pending) == (before, [], 0)
