"""Delays between rounds of attempts: decorrelated jitter (config.md, `reconnect`)."""

from collections.abc import Callable, Iterator
from itertools import cycle

import pytest

from sockjs_bridge.protocol.backoff import Backoff

ALMOST_ONE = 1 - 2**-53
LONG_OUTAGE = 3600.0


def repeating(*values: float) -> Callable[[], float]:
    """A source of randomness that is none."""
    endless: Iterator[float] = cycle(values)
    return lambda: next(endless)


def test_a_delay_is_drawn_between_initial_and_three_times_the_one_before() -> None:
    backoff = Backoff(1.0, 100.0, repeating(0.5))
    assert [backoff.next_delay(LONG_OUTAGE) for _ in range(4)] == [2.0, 3.5, 5.75, 9.125]


def test_the_lowest_draw_gives_initial() -> None:
    backoff = Backoff(2.0, 30.0, repeating(0.0))
    assert [backoff.next_delay(LONG_OUTAGE) for _ in range(3)] == [2.0, 2.0, 2.0]


def test_the_highest_draw_gives_three_times_the_one_before() -> None:
    backoff = Backoff(1.0, 1000.0, repeating(ALMOST_ONE))
    assert [backoff.next_delay(LONG_OUTAGE) for _ in range(4)] == pytest.approx([3.0, 9.0, 27.0, 81.0])


def test_a_low_draw_lowers_what_comes_next() -> None:
    """Decorrelated: the next delay depends on the last one drawn, not on how many there were."""
    backoff = Backoff(1.0, 1000.0, repeating(ALMOST_ONE, ALMOST_ONE, 0.0, ALMOST_ONE))
    assert [backoff.next_delay(LONG_OUTAGE) for _ in range(4)] == pytest.approx([3.0, 9.0, 1.0, 3.0])


@pytest.mark.parametrize("draw", [0.0, 0.3, 0.9, ALMOST_ONE])
@pytest.mark.parametrize("maximum", [1.0, 2.5, 30.0])
def test_no_delay_is_ever_outside_its_bounds(draw: float, maximum: float) -> None:
    backoff = Backoff(1.0, maximum, repeating(draw))
    delays = [backoff.next_delay(LONG_OUTAGE) for _ in range(20)]
    assert all(1.0 <= delay <= maximum for delay in delays)


@pytest.mark.parametrize("outage", [0.0, 0.1, 5.0, 9.999])
def test_in_the_first_10_s_of_an_outage_no_delay_is_longer_than_twice_initial(outage: float) -> None:
    """A server that restarts is found again at once."""
    backoff = Backoff(1.0, 30.0, repeating(ALMOST_ONE))
    assert all(1.0 < backoff.next_delay(outage) <= 2.0 for _ in range(10))


def test_after_10_s_of_an_outage_the_delays_grow() -> None:
    backoff = Backoff(1.0, 30.0, repeating(ALMOST_ONE))
    early = backoff.next_delay(9.9)
    assert backoff.next_delay(10.0) == pytest.approx(3 * early)


def test_early_in_an_outage_maximum_still_rules() -> None:
    backoff = Backoff(4.0, 5.0, repeating(ALMOST_ONE))
    assert 4.0 <= backoff.next_delay(0.0) <= 5.0


def test_a_long_delay_before_does_not_lengthen_an_early_one() -> None:
    backoff = Backoff(1.0, 30.0, repeating(ALMOST_ONE))
    for _ in range(5):
        backoff.next_delay(LONG_OUTAGE)
    assert backoff.next_delay(0.0) <= 2.0


def test_reset_starts_over() -> None:
    backoff = Backoff(1.0, 100.0, repeating(0.5))
    before = [backoff.next_delay(LONG_OUTAGE) for _ in range(3)]
    backoff.reset()
    assert [backoff.next_delay(LONG_OUTAGE) for _ in range(3)] == before


def test_two_clients_spread_out() -> None:
    one, other = Backoff(1.0, 30.0, repeating(0.2)), Backoff(1.0, 30.0, repeating(0.8))
    assert one.next_delay(0.0) != other.next_delay(0.0)
