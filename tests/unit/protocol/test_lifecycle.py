"""What one configured session does next (protocol section 5, "Fallback" and "Origin").

Each test is a transcript: what happened, when (in seconds), and the command that must be the answer.
"""

from collections.abc import Callable, Sequence
from itertools import count

import pytest

from sockjs_bridge.errors import Cause, Obstacle
from sockjs_bridge.protocol.events import (
    AskInfo,
    AttemptFailed,
    CarryOn,
    Connect,
    DelayElapsed,
    Finish,
    GiveUp,
    InfoReceived,
    LifecycleCommand,
    LifecycleEvent,
    LoggedIn,
    LogIn,
    LoginFailed,
    SessionClosed,
    SessionOpened,
    Wait,
)
from sockjs_bridge.protocol.info import Info
from sockjs_bridge.protocol.lifecycle import Lifecycle, ReconnectPolicy
from sockjs_bridge.protocol.urls import BaseUrl

SAME_ORIGIN = "http://host:8081"
TRANSPORTS = ("websocket", "xhr-streaming", "xhr-polling")

Step = tuple[LifecycleEvent | None, float, LifecycleCommand]

START = None
OPENED = SessionOpened()
CLOSED = SessionClosed(Cause.SERVER_CLOSED, 3000, "Go away!")
BROKEN = SessionClosed(Cause.TRANSPORT_LOST, 1006)
ELAPSED = DelayElapsed()
REFUSED = AttemptFailed(Obstacle.UNREACHABLE, "connection refused")
NOT_FOUND = AttemptFailed(Obstacle.STATUS, "404", 404)
FORBIDDEN = AttemptFailed(Obstacle.STATUS, "403", 403)
NOT_OPENED = AttemptFailed(Obstacle.NOT_OPENED, "no open frame")
CARRY_ON = CarryOn()


def to(
    transport: str,
    number: int,
    origin: str | None = None,
    base: BaseUrl | None = None,
    patience: float = 0.0,
) -> Connect:
    """The attempt with the session id of this number."""
    return Connect(transport, f"id{number}", origin, base, patience)


def made(
    transports: Sequence[str] = TRANSPORTS,
    *,
    random: Callable[[], float] = lambda: 0.5,
    asks_info: bool = False,
    logs_in: bool = False,
    origin: str | None = None,
    initial: float = 1.0,
    maximum: float = 30.0,
    stable_after: float = 30.0,
    max_attempts: int = 0,
    reopens: bool = True,
) -> Lifecycle:
    """A lifecycle whose session ids are id1, id2, ...; delays are drawn from the middle: 2, 3.5, 5.75, ..."""
    numbers = count(1)
    return Lifecycle(
        transports,
        ReconnectPolicy(initial, maximum, stable_after, max_attempts),
        asks_info=asks_info,
        logs_in=logs_in,
        reopens=reopens,
        origin=origin,
        same_origin=SAME_ORIGIN,
        random=random,
        new_session_id=lambda: f"id{next(numbers)}",
    )


def play(lifecycle: Lifecycle, *transcript: Step) -> None:
    for number, (event, now, expected) in enumerate(transcript, start=1):
        command = lifecycle.start(now) if event is None else lifecycle.receive(event, now)
        assert command == expected, f"step {number}: {event} at {now}"


# --- fallback ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        NOT_FOUND,
        NOT_OPENED,
        AttemptFailed(Obstacle.HANDSHAKE, "no WebSocket"),
        AttemptFailed(Obstacle.TLS, "certificate"),
        AttemptFailed(Obstacle.LOST, "closed before it was open"),
        AttemptFailed(Obstacle.STATUS, "500", 500),
    ],
    ids=lambda failure: failure.detail,
)
def test_transports_are_tried_in_the_configured_order_until_one_opens(failure: AttemptFailed) -> None:
    play(
        made(),
        (START, 0.0, to("websocket", 1)),
        (failure, 0.1, to("xhr-streaming", 2)),
        (failure, 0.2, to("xhr-polling", 3)),
        (OPENED, 0.3, CARRY_ON),
    )


def test_each_attempt_has_a_fresh_session_id() -> None:
    """Section 1: never reused, whatever came of the last one."""
    play(
        made(["websocket", "xhr-polling"]),
        (START, 0.0, to("websocket", 1)),
        (NOT_FOUND, 0.0, to("xhr-polling", 2)),
        (NOT_FOUND, 0.0, Wait(1.375)),
        (ELAPSED, 1.4, to("websocket", 3)),
        (FORBIDDEN, 1.5, to("websocket", 4, SAME_ORIGIN)),
        (OPENED, 1.6, CARRY_ON),
        (CLOSED, 1.7, Wait(1.375)),
        (ELAPSED, 3.1, to("websocket", 5, SAME_ORIGIN)),
    )


@pytest.mark.parametrize("end", [BROKEN, CLOSED], ids=["broken", "closed"])
def test_rule_w_a_session_that_has_ended_is_abandoned_and_a_new_one_is_opened(end: SessionClosed) -> None:
    """Section 5: after an unclean break, and after `c`, another session id is used."""
    play(
        made(["websocket"]),
        (START, 0.0, to("websocket", 1)),
        (OPENED, 0.1, CARRY_ON),
        (end, 5.0, Wait(1.375)),
        (ELAPSED, 6.4, to("websocket", 2)),
    )


def test_an_unreachable_server_ends_the_round() -> None:
    """No other transport can do better: the next attempt is the first transport, after a delay."""
    play(
        made(),
        (START, 0.0, to("websocket", 1)),
        (REFUSED, 0.1, Wait(1.375)),
        (ELAPSED, 1.5, to("websocket", 2)),
        (NOT_FOUND, 1.6, to("xhr-streaming", 3)),
        (REFUSED, 1.7, Wait(1.375)),
        (ELAPSED, 3.1, to("websocket", 4)),
    )


def test_after_a_failed_round_comes_a_delay_and_a_new_round() -> None:
    play(
        made(["websocket", "xhr-polling"]),
        (START, 0.0, to("websocket", 1)),
        (NOT_FOUND, 0.1, to("xhr-polling", 2)),
        (NOT_FOUND, 0.2, Wait(1.375)),
        (ELAPSED, 1.6, to("websocket", 3)),
        (NOT_FOUND, 1.7, to("xhr-polling", 4)),
    )


def test_what_opened_last_is_tried_first_at_the_next_reconnect() -> None:
    play(
        made(),
        (START, 0.0, to("websocket", 1)),
        (NOT_FOUND, 0.1, to("xhr-streaming", 2)),
        (NOT_FOUND, 0.2, to("xhr-polling", 3)),
        (OPENED, 0.3, CARRY_ON),
        (BROKEN, 5.0, Wait(1.375)),
        (ELAPSED, 6.4, to("xhr-polling", 4)),
        (NOT_FOUND, 6.5, to("websocket", 5)),
        (NOT_FOUND, 6.6, to("xhr-streaming", 6)),
        (OPENED, 6.7, CARRY_ON),
        (BROKEN, 8.0, Wait(1.375)),
        (ELAPSED, 9.4, to("xhr-streaming", 7)),
        (NOT_FOUND, 9.5, to("websocket", 8)),
        (NOT_FOUND, 9.6, to("xhr-polling", 9)),
        (NOT_FOUND, 9.7, Wait(1.375)),
    )


def test_what_opened_last_stays_first_while_rounds_fail() -> None:
    play(
        made(["websocket", "xhr-polling"]),
        (START, 0.0, to("websocket", 1)),
        (NOT_FOUND, 0.1, to("xhr-polling", 2)),
        (OPENED, 0.2, CARRY_ON),
        (BROKEN, 5.0, Wait(1.375)),
        (ELAPSED, 6.4, to("xhr-polling", 3)),
        (REFUSED, 6.5, Wait(1.375)),
        (ELAPSED, 7.9, to("xhr-polling", 4)),
    )


@pytest.mark.parametrize(
    ("closed_at", "first"),
    [(30.1, "xhr-polling"), (30.2, "websocket"), (1000.0, "websocket")],
    ids=["shorter", "just as long", "longer"],
)
def test_after_stable_after_the_full_order_counts_again(closed_at: float, first: str) -> None:
    lifecycle = made(["websocket", "xhr-polling"], stable_after=30.0, random=lambda: 0.0)
    play(
        lifecycle,
        (START, 0.0, to("websocket", 1)),
        (NOT_FOUND, 0.1, to("xhr-polling", 2)),
        (OPENED, 0.2, CARRY_ON),
        (BROKEN, closed_at, Wait(1.0)),
        (ELAPSED, closed_at + 1.0, to(first, 3)),
    )


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert ReconnectPolicy() == ReconnectPolicy(initial=1.0, maximum=30.0, stable_after=30.0, max_attempts=0)


# --- delays -----------------------------------------------------------------------------------------------


def test_while_an_outage_lasts_the_delays_grow_up_to_the_maximum() -> None:
    play(
        made(["websocket"], maximum=10.0),
        (START, 0.0, to("websocket", 1)),
        (REFUSED, 0.0, Wait(1.375)),
        (ELAPSED, 1.375, to("websocket", 2)),
        (REFUSED, 20.0, Wait((1 + 3 * 1.375) / 2)),
        (ELAPSED, 23.0, to("websocket", 3)),
        (REFUSED, 23.0, Wait((1 + 9 * 1.375 / 2 + 3 / 2) / 2)),
        (ELAPSED, 30.0, to("websocket", 4)),
        (REFUSED, 30.0, Wait(5.5)),
        (ELAPSED, 36.0, to("websocket", 5)),
        (REFUSED, 36.0, Wait(5.5)),
    )


def test_in_the_first_10_s_of_an_outage_the_delays_stay_short() -> None:
    """At most twice `initial`, even with the highest draw; the limit falls with the 10 s."""
    lifecycle = made(["websocket"], random=lambda: 1 - 2**-53)
    lifecycle.start(1000.0)
    for now in (1000.0, 1003.0, 1006.0, 1009.9):
        command = lifecycle.receive(REFUSED, now)
        assert isinstance(command, Wait)
        assert 1.0 < command.delay <= 2.0
        lifecycle.receive(ELAPSED, now + command.delay)
    late = lifecycle.receive(REFUSED, 1012.0)
    assert isinstance(late, Wait)
    assert late.delay > 2.0


def test_the_delays_start_over_after_stable_after() -> None:
    play(
        made(["websocket"]),
        (START, 0.0, to("websocket", 1)),
        (REFUSED, 20.0, Wait(2.0)),
        (ELAPSED, 22.0, to("websocket", 2)),
        (REFUSED, 22.0, Wait(3.5)),
        (ELAPSED, 26.0, to("websocket", 3)),
        (OPENED, 26.0, CARRY_ON),
        (CLOSED, 56.0, Wait(1.375)),
        (ELAPSED, 58.0, to("websocket", 4)),
        (REFUSED, 66.0, Wait((1 + 3 * 1.375) / 2)),
    )


def test_a_session_that_ends_as_soon_as_it_opens_does_not_start_the_delays_over() -> None:
    """A server that opens and closes at once is asked less and less often."""
    play(
        made(["websocket"]),
        (START, 0.0, to("websocket", 1)),
        (REFUSED, 20.0, Wait(2.0)),
        (ELAPSED, 22.0, to("websocket", 2)),
        (OPENED, 22.0, CARRY_ON),
        (CLOSED, 22.9, Wait(3.5)),
        (ELAPSED, 27.0, to("websocket", 3)),
        (OPENED, 27.0, CARRY_ON),
        (CLOSED, 27.1, Wait(5.75)),
    )


def test_stable_after_starts_the_delays_over_while_the_outage_goes_on() -> None:
    play(
        made(["websocket"], stable_after=0.5),
        (START, 0.0, to("websocket", 1)),
        (REFUSED, 20.0, Wait(2.0)),
        (ELAPSED, 22.0, to("websocket", 2)),
        (OPENED, 22.0, CARRY_ON),
        (CLOSED, 22.5, Wait(2.0)),
        (ELAPSED, 25.0, to("websocket", 3)),
        (OPENED, 25.0, CARRY_ON),
        (CLOSED, 25.4, Wait(3.5)),
    )


@pytest.mark.parametrize("lasted", [1.0, 5.0, 29.9])
def test_the_end_of_a_session_that_lasted_for_initial_begins_a_new_outage(lasted: float) -> None:
    """In whose first 10 s the delays are short: a server that restarts is found again at once."""
    play(
        made(["websocket"], random=lambda: 0.75),
        (START, 0.0, to("websocket", 1)),
        (OPENED, 50.0, CARRY_ON),
        (BROKEN, 50.0 + lasted, Wait(1.5625)),
        (ELAPSED, 52.0 + lasted, to("websocket", 2)),
        (REFUSED, 59.9 + lasted, Wait(1.5625)),
        (ELAPSED, 61.0 + lasted, to("websocket", 3)),
        (REFUSED, 61.0 + lasted, Wait((1 + 3 * 3 * 1.5625) / 4)),
    )


# --- giving up --------------------------------------------------------------------------------------------


def test_max_attempts_rounds_and_then_it_gives_up() -> None:
    lifecycle = made(["websocket", "xhr-polling"], max_attempts=2)
    play(
        lifecycle,
        (START, 0.0, to("websocket", 1)),
        (NOT_FOUND, 0.1, to("xhr-polling", 2)),
        (NOT_FOUND, 0.2, Wait(1.375)),
        (ELAPSED, 1.6, to("websocket", 3)),
        (REFUSED, 1.7, GiveUp(2)),
    )
    assert lifecycle.failed_rounds == 2


def test_max_attempts_of_one_gives_up_without_any_delay() -> None:
    play(made(["websocket"], max_attempts=1), (START, 0.0, to("websocket", 1)), (REFUSED, 0.1, GiveUp(1)))


def test_a_session_that_is_not_to_be_opened_again_is_tried_until_it_opens_and_then_it_was_that() -> None:
    play(
        made(reopens=False),
        (START, 0.0, to("websocket", 1)),
        (REFUSED, 0.1, Wait(1.375)),
        (ELAPSED, 1.6, to("websocket", 2)),
        (NOT_FOUND, 1.7, to("xhr-streaming", 3)),
        (SessionOpened(), 1.8, CARRY_ON),
        (SessionClosed(Cause.SERVER_CLOSED, 3000), 100.0, Finish()),
    )


def test_a_session_that_opens_starts_the_count_of_rounds_over() -> None:
    lifecycle = made(["websocket"], max_attempts=2)
    play(
        lifecycle,
        (START, 0.0, to("websocket", 1)),
        (REFUSED, 0.1, Wait(1.375)),
        (ELAPSED, 1.5, to("websocket", 2)),
        (OPENED, 1.6, CARRY_ON),
    )
    assert lifecycle.failed_rounds == 0
    play(
        lifecycle,
        (BROKEN, 2.0, Wait(1.375)),
        (ELAPSED, 3.4, to("websocket", 3)),
        (REFUSED, 3.5, Wait(1.375)),
        (ELAPSED, 4.9, to("websocket", 4)),
        (REFUSED, 5.0, GiveUp(2)),
    )


def test_max_attempts_of_0_never_gives_up() -> None:
    lifecycle = made(["websocket"], max_attempts=0)
    lifecycle.start(0.0)
    for number in range(1, 200):
        assert isinstance(lifecycle.receive(REFUSED, number * 100.0), Wait)
        assert isinstance(lifecycle.receive(ELAPSED, number * 100.0 + 50), Connect)
    assert lifecycle.failed_rounds == 199


# --- the Origin header ------------------------------------------------------------------------------------


def test_section_5_a_403_without_an_origin_is_retried_once_with_the_same_origin() -> None:
    """Vert.x with a fixed origin and webpack-dev-server refuse a handshake that has none."""
    play(
        made(),
        (START, 0.0, to("websocket", 1)),
        (FORBIDDEN, 0.1, to("websocket", 2, SAME_ORIGIN)),
        (FORBIDDEN, 0.2, to("xhr-streaming", 3)),
        (FORBIDDEN, 0.3, to("xhr-streaming", 4, SAME_ORIGIN)),
        (NOT_FOUND, 0.4, to("xhr-polling", 5)),
    )


def test_section_5_an_origin_that_opened_is_kept() -> None:
    play(
        made(),
        (START, 0.0, to("websocket", 1)),
        (FORBIDDEN, 0.1, to("websocket", 2, SAME_ORIGIN)),
        (OPENED, 0.2, CARRY_ON),
        (BROKEN, 100.0, Wait(1.375)),
        (ELAPSED, 101.4, to("websocket", 3, SAME_ORIGIN)),
        (FORBIDDEN, 101.5, to("xhr-streaming", 4, SAME_ORIGIN)),
    )


def test_an_origin_that_did_not_open_is_not_kept() -> None:
    play(
        made(["websocket"]),
        (START, 0.0, to("websocket", 1)),
        (FORBIDDEN, 0.1, to("websocket", 2, SAME_ORIGIN)),
        (NOT_OPENED, 0.2, Wait(1.375)),
        (ELAPSED, 1.6, to("websocket", 3)),
    )


def test_an_unreachable_server_ends_the_round_in_the_retry_with_an_origin_too() -> None:
    play(
        made(),
        (START, 0.0, to("websocket", 1)),
        (FORBIDDEN, 0.1, to("websocket", 2, SAME_ORIGIN)),
        (REFUSED, 0.2, Wait(1.375)),
    )


def test_a_configured_origin_is_sent_and_a_403_with_it_is_not_retried() -> None:
    origin = "https://example.org"
    play(
        made(["websocket", "xhr-polling"], origin=origin),
        (START, 0.0, to("websocket", 1, origin)),
        (FORBIDDEN, 0.1, to("xhr-polling", 2, origin)),
        (OPENED, 0.2, CARRY_ON),
        (CLOSED, 1.0, Wait(1.375)),
        (ELAPSED, 2.4, to("xhr-polling", 3, origin)),
    )


@pytest.mark.parametrize("status", [401, 404, 500, None])
def test_other_answers_than_403_bring_no_origin(status: int | None) -> None:
    play(
        made(),
        (START, 0.0, to("websocket", 1)),
        (AttemptFailed(Obstacle.STATUS, "refused", status), 0.1, to("xhr-streaming", 2)),
    )


# --- what the server says of itself ---------------------------------------------------------------------------


def said(websocket: bool = True, base: BaseUrl | None = None, seconds: float = 0.0) -> InfoReceived:
    return InfoReceived(Info(websocket=websocket, base=base), seconds)


NOTHING_SAID = InfoReceived(None, 0.0)


def test_section_1_every_round_begins_with_the_question_and_nothing_is_kept_of_the_answer() -> None:
    play(
        made(asks_info=True),
        (START, 0.0, AskInfo(None)),
        (said(websocket=False, seconds=1.0), 0.1, to("xhr-streaming", 1, patience=4.0)),
        (OPENED, 0.2, CARRY_ON),
        (CLOSED, 60.0, Wait(1.375)),
        (ELAPSED, 61.4, AskInfo(None)),
        (NOTHING_SAID, 61.5, to("websocket", 2)),
    )


def test_section_1_the_answer_is_never_required() -> None:
    play(
        made(asks_info=True),
        (START, 0.0, AskInfo(None)),
        (NOTHING_SAID, 0.1, to("websocket", 1)),
        (NOT_OPENED, 0.2, to("xhr-streaming", 2)),
    )


def test_websocket_false_skips_both_websocket_kinds() -> None:
    play(
        made(["websocket-raw", "websocket", "xhr-polling"], asks_info=True),
        (START, 0.0, AskInfo(None)),
        (said(websocket=False), 0.1, to("xhr-polling", 1)),
        (NOT_OPENED, 0.2, Wait(1.375)),
    )


def test_where_nothing_else_is_configured_websocket_is_tried_in_spite_of_the_answer() -> None:
    play(
        made(["websocket"], asks_info=True),
        (START, 0.0, AskInfo(None)),
        (said(websocket=False), 0.1, to("websocket", 1)),
    )


def test_websocket_false_skips_what_opened_last_too() -> None:
    play(
        made(asks_info=True),
        (START, 0.0, AskInfo(None)),
        (said(), 0.1, to("websocket", 1)),
        (OPENED, 0.2, CARRY_ON),
        (CLOSED, 2.0, Wait(1.375)),
        (ELAPSED, 3.4, AskInfo(None)),
        (said(websocket=False), 3.5, to("xhr-streaming", 2)),
    )


def test_the_round_trip_time_sets_how_long_each_attempt_may_take_to_open() -> None:
    """TCP, TLS, the handshake and the open frame are a round trip each."""
    play(
        made(asks_info=True),
        (START, 0.0, AskInfo(None)),
        (said(seconds=2.5), 2.5, to("websocket", 1, patience=10.0)),
        (NOT_OPENED, 12.5, to("xhr-streaming", 2, patience=10.0)),
    )


def test_a_base_url_is_followed_for_the_round() -> None:
    other = BaseUrl.parse("http://host:8081/other")
    play(
        made(["websocket", "xhr-polling"], asks_info=True),
        (START, 0.0, AskInfo(None)),
        (said(base=other), 0.1, to("websocket", 1, base=other)),
        (FORBIDDEN, 0.2, to("websocket", 2, SAME_ORIGIN, base=other)),
        (NOT_FOUND, 0.3, to("xhr-polling", 3, base=other)),
        (NOT_FOUND, 0.4, Wait(1.375)),
        (ELAPSED, 1.8, AskInfo(None)),
        (NOTHING_SAID, 1.9, to("websocket", 4)),
    )


def test_the_question_carries_the_origin_that_opened() -> None:
    play(
        made(asks_info=True),
        (START, 0.0, AskInfo(None)),
        (NOTHING_SAID, 0.1, to("websocket", 1)),
        (FORBIDDEN, 0.2, to("websocket", 2, SAME_ORIGIN)),
        (OPENED, 0.3, CARRY_ON),
        (CLOSED, 2.0, Wait(1.375)),
        (ELAPSED, 3.4, AskInfo(SAME_ORIGIN)),
    )


def test_a_server_that_cannot_be_reached_for_the_question_ends_the_round() -> None:
    play(
        made(asks_info=True, max_attempts=2),
        (START, 0.0, AskInfo(None)),
        (REFUSED, 0.1, Wait(1.375)),
        (ELAPSED, 1.5, AskInfo(None)),
        (REFUSED, 1.6, GiveUp(2)),
    )


# --- login ------------------------------------------------------------------------------------------------

LOGGED_IN = LoggedIn()
LOG_IN = LogIn(None)
UNAUTHORIZED = LoginFailed("on_connect[0]", 401)
LOGIN_BROKEN = LoginFailed("on_connect[0]", 500)
EXPECTED_IN_VAIN = LoginFailed("on_connect[2]", ended_session=True)


def test_a_round_begins_with_the_login_once_for_all_its_transports() -> None:
    play(
        made(logs_in=True, asks_info=True),
        (START, 0.0, LOG_IN),
        (LOGGED_IN, 0.1, AskInfo(None)),
        (InfoReceived(None, 0.0), 0.2, to("websocket", 1)),
        (NOT_FOUND, 0.3, to("xhr-streaming", 2)),
        (OPENED, 0.4, CARRY_ON),
        (CLOSED, 40.0, Wait(1.375)),
        (ELAPSED, 42.0, LOG_IN),
        (LOGGED_IN, 42.1, AskInfo(None)),
    )


def test_a_login_that_fails_is_a_failed_round() -> None:
    play(
        made(logs_in=True, max_attempts=3),
        (START, 0.0, LOG_IN),
        (LOGIN_BROKEN, 0.1, Wait(1.375)),
        (ELAPSED, 2.0, LOG_IN),
        (LOGIN_BROKEN, 20.0, Wait(2.5625)),
        (ELAPSED, 23.0, LOG_IN),
        (LOGIN_BROKEN, 24.0, GiveUp(3)),
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_waits_for_the_longest_delay_at_once(status: int) -> None:
    play(
        made(logs_in=True, maximum=20.0),
        (START, 0.0, LOG_IN),
        (LoginFailed("on_connect[0]", status), 0.1, Wait(20.0)),
        (ELAPSED, 20.1, LOG_IN),
        (LOGIN_BROKEN, 20.2, Wait(10.5)),
        (ELAPSED, 31.0, LOG_IN),
        (LOGGED_IN, 31.1, to("websocket", 1)),
        (OPENED, 31.2, CARRY_ON),
        (CLOSED, 70.0, Wait(1.375)),
    )


def test_steps_on_the_open_session_that_fail_end_the_round_whatever_transport_it_was() -> None:
    play(
        made(logs_in=True, max_attempts=3),
        (START, 0.0, LOG_IN),
        (LOGGED_IN, 0.1, to("websocket", 1)),
        (EXPECTED_IN_VAIN, 10.1, Wait(2.0)),
        (ELAPSED, 12.2, LOG_IN),
        (LOGGED_IN, 12.3, to("websocket", 2)),
        (CLOSED, 12.4, Wait(3.5)),
        (ELAPSED, 16.0, LOG_IN),
        (LOGGED_IN, 16.1, to("websocket", 3)),
        (BROKEN, 16.2, GiveUp(3)),
    )


def test_what_opens_but_does_not_let_us_in_is_not_tried_first() -> None:
    play(
        made(logs_in=True),
        (START, 0.0, LOG_IN),
        (LOGGED_IN, 0.0, to("websocket", 1)),
        (NOT_FOUND, 0.1, to("xhr-streaming", 2)),
        (EXPECTED_IN_VAIN, 10.1, Wait(2.0)),
        (ELAPSED, 12.2, LOG_IN),
        (LOGGED_IN, 12.3, to("websocket", 3)),
    )


def test_an_origin_that_opened_is_tried_again_where_the_login_failed_behind_it() -> None:
    play(
        made(["websocket"], logs_in=True),
        (START, 0.0, LOG_IN),
        (LOGGED_IN, 0.0, to("websocket", 1)),
        (FORBIDDEN, 0.1, to("websocket", 2, SAME_ORIGIN)),
        (EXPECTED_IN_VAIN, 10.1, Wait(2.0)),
        (ELAPSED, 12.2, LOG_IN),
        (LOGGED_IN, 12.3, to("websocket", 3)),
        (FORBIDDEN, 12.4, to("websocket", 4, SAME_ORIGIN)),
        (OPENED, 12.5, CARRY_ON),
        (CLOSED, 50.0, Wait(1.375)),
        (ELAPSED, 52.0, LogIn(SAME_ORIGIN)),
    )


def test_another_login_on_a_session_that_was_ready_is_no_failed_round() -> None:
    play(
        made(["websocket"], logs_in=True, max_attempts=1),
        (START, 0.0, LOG_IN),
        (LOGGED_IN, 0.0, to("websocket", 1)),
        (OPENED, 0.1, CARRY_ON),
        (EXPECTED_IN_VAIN, 40.0, Wait(1.375)),
        (ELAPSED, 42.0, LOG_IN),
        (LOGGED_IN, 42.1, to("websocket", 2)),
        (OPENED, 42.2, CARRY_ON),
        (LoginFailed("on_connect[0]", 401, ended_session=True), 50.0, Wait(30.0)),
    )


def test_times_count_from_when_messages_may_flow() -> None:
    """Opening took 40 s, being ready 20: less than `stable_after`, so the delays go on."""
    play(
        made(["websocket"], logs_in=True, stable_after=30.0),
        (START, 0.0, LOG_IN),
        (LOGIN_BROKEN, 11.0, Wait(2.0)),
        (ELAPSED, 13.0, LOG_IN),
        (LOGGED_IN, 13.0, to("websocket", 1)),
        (OPENED, 53.0, CARRY_ON),
        (CLOSED, 73.0, Wait(1.375)),
        (ELAPSED, 75.0, LOG_IN),
        (LOGIN_BROKEN, 90.0, Wait(2.5625)),
    )


def test_a_session_that_opens_once_is_over_when_it_was_open_and_tries_again_while_it_was_not() -> None:
    play(
        made(["websocket"], logs_in=True, reopens=False),
        (START, 0.0, LOG_IN),
        (LOGIN_BROKEN, 0.1, Wait(1.375)),
        (ELAPSED, 2.0, LOG_IN),
        (LOGGED_IN, 2.1, to("websocket", 1)),
        (EXPECTED_IN_VAIN, 12.1, Finish()),
    )
    play(
        made(["websocket"], logs_in=True, reopens=False),
        (START, 0.0, LOG_IN),
        (LOGGED_IN, 0.1, to("websocket", 1)),
        (BROKEN, 0.2, Finish()),
    )
