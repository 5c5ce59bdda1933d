"""The steps of a login on an open session (config.md, `on_connect`), and when one is made again."""

from math import inf

import pytest

from sockjs_bridge.protocol.login import Expect, LoginRun, LoginStep, ReloginRule, Send

S1, S2, S3 = (Send(f"on_connect[{index}] (send)", f"s{index}") for index in range(3))
A, B = Expect("on_connect[3] (expect a)", "a", 10.0), Expect("on_connect[4] (expect b)", "b", 5.0)

# Lines of a transcript: what the server sends in one burst, then what the bridge sends for it.
TRANSCRIPTS: dict[str, tuple[list[LoginStep], list[tuple[list[str], list[str]]], bool]] = {
    "nothing": ([], [([], [])], True),
    "sends only": ([S1, S2], [([], ["s0", "s1"])], True),
    "expect only": ([A], [([], []), (["x"], []), (["xax"], [])], True),
    "send, then wait": ([S1, A, S2], [([], ["s0"]), (["b"], []), (["a"], ["s1"])], True),
    "two that come together": ([A, B], [([], []), (["a", "b"], [])], True),
    "one message is not two": ([A, B], [([], []), (["ab"], [])], False),
    "one that came too early": ([A, B], [([], []), (["b", "a"], [])], False),
    "a send between two that come together": ([A, S1, B, S2], [([], []), (["a", "b"], ["s0", "s1"])], True),
    "the same however it is cut": ([A, S1, B, S2], [([], []), (["a"], ["s0"]), (["b"], ["s1"])], True),
    "what comes after is not looked at": ([A, S1], [([], []), (["a", "a"], ["s0"]), (["a"], [])], True),
    "not there yet": ([S1, A], [([], ["s0"]), (["x"] * 100, [])], False),
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(name: str) -> None:
    steps, lines, is_done = TRANSCRIPTS[name]
    run = LoginRun(steps)

    sent = [run.start(0.0)] + [run.receive(messages, 1.0) for messages, _ in lines[1:]]

    assert sent == [messages for _, messages in lines]
    assert run.is_done == is_done


def test_a_step_that_waits_in_vain_names_itself() -> None:
    run = LoginRun([A, B])
    assert run.overdue() == "no step waits"
    run.start(0.0)
    assert run.overdue() == f"on_connect[3] (expect a): no such message came within {A.timeout:g} s"


def test_a_server_that_ends_it_is_quoted_with_the_step_that_waited() -> None:
    run = LoginRun([A, B])
    assert run.cut_off("1000") == ""
    run.start(0.0)
    assert run.cut_off("1000") == "on_connect[3] (expect a): the server ended the session: 1000"
    run.receive(["ERROR: no", "a", "x" * 500], 1.0)
    said = run.cut_off("3000 Go away!")
    assert said.startswith(
        "on_connect[4] (expect b): the server ended the session: 3000 Go away!; it had said 'xxx"
    )
    assert len(said) < 350
    run.receive(["b"], 1.0)
    assert run.cut_off("1000") == ""


def test_the_time_of_a_step_begins_with_it() -> None:
    run = LoginRun([S1, A, S2, B])
    run.start(100.0)
    assert run.deadline == 110.0
    run.receive(["x"], 105.0)
    assert run.deadline == 110.0
    run.receive(["a"], 107.0)
    assert run.deadline == 112.0
    assert run.overdue() == "on_connect[4] (expect b): no such message came within 5 s"
    run.receive(["b"], 108.0)
    assert (run.is_done, run.deadline) == (True, inf)


def test_no_value_is_in_a_repr() -> None:
    assert "hunter2" not in repr([Send("x", "hunter2"), Expect("x", "hunter2", 1.0)])


def test_what_asks_for_another_login() -> None:
    rule = ReloginRule(['"reauth"', "expired"])

    assert rule.asks(["a", '{"type":"reauth"}'])
    assert rule.asks(["it has expired"])
    assert not rule.asks(["a", "reauth"])
    assert not rule.asks([])


def test_another_login_at_most_once_in_ten_seconds() -> None:
    rule = ReloginRule(["x"])

    assert rule.delay(0.0) == 0.0
    rule.begin(100.0)
    assert [rule.delay(now) for now in (100.0, 104.0, 110.0, 200.0)] == [10.0, 6.0, 0.0, 0.0]
