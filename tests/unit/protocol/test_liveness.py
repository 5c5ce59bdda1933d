"""When silence is death and when a PING is due (protocol section 5, "Heartbeats")."""

from math import inf

import pytest

from sockjs_bridge.protocol.liveness import Liveness, Verdict

START = 1000.0


def made(silence_timeout: float = 60.0, ping_interval: float = 20.0) -> Liveness:
    return Liveness(now=START, silence_timeout=silence_timeout, ping_interval=ping_interval)


def without_pings() -> Liveness:
    return made(ping_interval=0.0)


def without_silence() -> Liveness:
    return made(silence_timeout=0.0)


# --- silence ----------------------------------------------------------------------------------------------


def test_a_peer_that_never_showed_a_heartbeat_may_be_silent_for_ever() -> None:
    """tornado never heartbeats a stream: an idle session would die every minute."""
    liveness = without_pings()
    assert liveness.judge(START + 1e9) is Verdict.ALIVE
    assert liveness.next_look() == inf


def test_bytes_alone_do_not_make_silence_count() -> None:
    liveness = without_pings()
    liveness.receive_bytes(START + 1)
    assert liveness.judge(START + 1e9) is Verdict.ALIVE


def test_after_a_heartbeat_silence_counts() -> None:
    liveness = without_pings()
    liveness.receive_heartbeat(START + 5)
    assert liveness.judge(START + 64.9) is Verdict.ALIVE
    assert liveness.judge(START + 65) is Verdict.SILENT


def test_after_a_pong_silence_counts() -> None:
    liveness = without_pings()
    liveness.receive_pong(START + 5)
    assert liveness.judge(START + 64.9) is Verdict.ALIVE
    assert liveness.judge(START + 65) is Verdict.SILENT


def test_any_byte_counts_as_life() -> None:
    liveness = without_pings()
    liveness.receive_heartbeat(START)
    liveness.receive_bytes(START + 50)
    assert liveness.judge(START + 109.9) is Verdict.ALIVE
    assert liveness.judge(START + 110) is Verdict.SILENT


def test_older_news_of_a_byte_does_not_turn_the_clock_back() -> None:
    liveness = without_pings()
    liveness.receive_heartbeat(START + 50)
    liveness.receive_bytes(START + 10)
    assert liveness.judge(START + 109.9) is Verdict.ALIVE


def test_a_silence_timeout_of_0_is_off() -> None:
    liveness = made(silence_timeout=0.0, ping_interval=0.0)
    liveness.receive_heartbeat(START)
    assert liveness.judge(START + 1e9) is Verdict.ALIVE
    assert liveness.next_look() == inf


# --- PINGs of ours ----------------------------------------------------------------------------------------


def test_a_ping_is_due_after_each_interval() -> None:
    liveness = without_silence()
    assert liveness.judge(START + 19.9) is Verdict.ALIVE
    assert liveness.judge(START + 20) is Verdict.PING_DUE
    liveness.sent_ping(START + 20)
    assert liveness.judge(START + 39.9) is Verdict.ALIVE
    assert liveness.judge(START + 40) is Verdict.PING_DUE


def test_a_ping_sent_for_another_purpose_puts_the_next_one_off() -> None:
    liveness = without_silence()
    liveness.sent_ping(START + 15)
    assert liveness.judge(START + 20) is Verdict.ALIVE
    assert liveness.next_look() == START + 35


def test_a_ping_interval_of_0_is_off() -> None:
    liveness = without_pings()
    liveness.sent_ping(START)
    assert liveness.judge(START + 1e9) is Verdict.ALIVE
    assert liveness.next_look() == inf


def test_a_pong_overdue_by_the_interval_is_death_where_pongs_have_come() -> None:
    liveness = without_silence()
    liveness.sent_ping(START + 20)
    liveness.receive_pong(START + 21)
    liveness.sent_ping(START + 40)
    assert liveness.judge(START + 59.9) is Verdict.ALIVE
    assert liveness.judge(START + 60) is Verdict.PONG_OVERDUE


def test_a_missing_pong_is_no_death_where_none_has_ever_come() -> None:
    liveness = without_silence()
    liveness.sent_ping(START + 20)
    assert liveness.judge(START + 40) is Verdict.PING_DUE


def test_the_oldest_unanswered_ping_is_the_one_that_counts() -> None:
    liveness = without_silence()
    liveness.receive_pong(START)
    liveness.sent_ping(START + 5)
    liveness.sent_ping(START + 15)
    assert liveness.judge(START + 24.9) is Verdict.ALIVE
    assert liveness.judge(START + 25) is Verdict.PONG_OVERDUE


def test_a_pong_answers_every_ping_before_it() -> None:
    liveness = without_silence()
    liveness.receive_pong(START)
    liveness.sent_ping(START + 5)
    liveness.sent_ping(START + 15)
    liveness.receive_pong(START + 16)
    assert liveness.judge(START + 34.9) is Verdict.ALIVE
    assert liveness.judge(START + 35) is Verdict.PING_DUE


def test_bytes_do_not_stand_in_for_a_pong_that_is_due() -> None:
    liveness = made()
    liveness.receive_pong(START)
    liveness.sent_ping(START + 20)
    liveness.receive_bytes(START + 39)
    assert liveness.judge(START + 40) is Verdict.PONG_OVERDUE


def test_silence_is_the_verdict_when_both_limits_have_passed() -> None:
    liveness = made()
    liveness.receive_pong(START)
    liveness.sent_ping(START + 20)
    assert liveness.judge(START + 100) is Verdict.SILENT


# --- while we do not read ---------------------------------------------------------------------------------


def test_while_reading_is_suspended_nothing_is_judged_dead() -> None:
    liveness = made(ping_interval=1000.0)
    liveness.receive_pong(START)
    liveness.sent_ping(START)
    liveness.suspend()
    assert liveness.judge(START + 999) is Verdict.ALIVE
    assert liveness.next_look() == START + 1000
    assert liveness.judge(START + 1000) is Verdict.PING_DUE


def test_while_reading_is_suspended_pings_still_go_out() -> None:
    """They keep the server from giving up on us."""
    liveness = made()
    liveness.suspend()
    assert liveness.judge(START + 20) is Verdict.PING_DUE


def test_resuming_restarts_the_silence_timer() -> None:
    liveness = without_pings()
    liveness.receive_heartbeat(START)
    liveness.suspend()
    liveness.resume(START + 100)
    assert liveness.judge(START + 159.9) is Verdict.ALIVE
    assert liveness.judge(START + 160) is Verdict.SILENT


def test_resuming_restarts_the_pong_timer() -> None:
    liveness = without_silence()
    liveness.receive_pong(START)
    liveness.sent_ping(START + 15)
    liveness.suspend()
    liveness.sent_ping(START + 33)
    liveness.resume(START + 34)
    assert liveness.judge(START + 52.9) is Verdict.ALIVE
    liveness.sent_ping(START + 53)
    assert liveness.judge(START + 54) is Verdict.PONG_OVERDUE


def test_resuming_awaits_no_pong_where_none_is_due() -> None:
    liveness = without_silence()
    liveness.receive_pong(START)
    liveness.suspend()
    liveness.resume(START + 100)
    liveness.sent_ping(START + 110)
    assert liveness.next_look() == START + 130


# --- when to look again -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "when"),
    [
        pytest.param([], START + 20, id="the next PING"),
        pytest.param(["heartbeat", "ping at 55"], START + 60, id="silence comes first"),
        pytest.param(["pong", "ping at 10", "ping at 25"], START + 30, id="an overdue PONG comes first"),
    ],
)
def test_the_next_look_is_the_first_moment_at_which_the_verdict_changes(
    events: list[str], when: float
) -> None:
    liveness = made()
    for event in events:
        match event.split():
            case ["heartbeat"]:
                liveness.receive_heartbeat(START)
            case ["pong"]:
                liveness.receive_pong(START)
            case ["ping", "at", seconds]:
                liveness.sent_ping(START + float(seconds))
    assert liveness.next_look() == when
    assert liveness.judge(when - 0.001) is Verdict.ALIVE
    assert liveness.judge(when) is not Verdict.ALIVE


# --- questions --------------------------------------------------------------------------------------------


def asked() -> Liveness:
    """A peer on HTTP: no PINGs, but it answers a question."""
    return Liveness(now=START, silence_timeout=60.0, ping_interval=0.0, answers_questions=True)


def test_section_5_a_peer_that_never_showed_a_heartbeat_is_asked_when_it_was_silent_for_too_long() -> None:
    liveness = asked()
    assert liveness.next_look() == START + 60
    assert liveness.judge(START + 59.9) is Verdict.ALIVE
    assert liveness.judge(START + 60) is Verdict.QUESTION_DUE


def test_no_second_question_while_one_is_open() -> None:
    liveness = asked()
    liveness.sent_question()
    assert liveness.judge(START + 1000) is Verdict.ALIVE
    assert liveness.next_look() == inf


def test_an_answer_counts_as_life_and_the_next_question_comes_a_timeout_later() -> None:
    liveness = asked()
    liveness.sent_question()
    liveness.receive_answer(START + 61)
    assert liveness.judge(START + 120.9) is Verdict.ALIVE
    assert liveness.judge(START + 121) is Verdict.QUESTION_DUE


def test_a_peer_that_showed_a_heartbeat_is_not_asked_its_silence_is_death() -> None:
    liveness = asked()
    liveness.receive_heartbeat(START + 10)
    assert liveness.judge(START + 70) is Verdict.SILENT


def test_nobody_is_asked_while_we_do_not_read() -> None:
    liveness = asked()
    liveness.suspend()
    assert liveness.judge(START + 1000) is Verdict.ALIVE
    liveness.resume(START + 1000)
    assert liveness.judge(START + 1060) is Verdict.QUESTION_DUE


def test_without_silence_timeout_nobody_is_asked() -> None:
    liveness = Liveness(now=START, silence_timeout=0.0, ping_interval=0.0, answers_questions=True)
    assert liveness.next_look() == inf
    assert liveness.judge(START + 1e9) is Verdict.ALIVE
