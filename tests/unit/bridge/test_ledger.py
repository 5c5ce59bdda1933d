"""What a PONG proves: all that was written before its PING was read."""

from sockjs_bridge.bridge.batch import Batch, Burst
from sockjs_bridge.bridge.ledger import Ledger


def batch(*messages: str) -> Batch:
    return Batch.of(Burst(list(messages), len(messages), 0.0))


def written(ledger: Ledger, *messages: str) -> Batch:
    one = batch(*messages)
    ledger.note_written(len(messages), one)
    return one


def test_a_pong_confirms_what_was_written_before_its_ping_and_nothing_else() -> None:
    ledger = Ledger()
    before = written(ledger, "a", "b")
    number = ledger.ping()
    after = written(ledger, "c")
    assert ledger.pong(number) == (2, [before])
    assert ledger.unconfirmed == 1
    assert ledger.pong(ledger.ping()) == (1, [after])
    assert ledger.unconfirmed == 0


def test_what_is_not_kept_is_counted_all_the_same() -> None:
    ledger = Ledger()
    ledger.note_written(3)
    kept = written(ledger, "a")
    ledger.note_written(2)
    assert ledger.pong(ledger.ping()) == (6, [kept])


def test_a_pong_answers_all_earlier_pings_too() -> None:
    """RFC 6455 section 5.5.3: a peer may answer only the newest."""
    ledger = Ledger()
    written(ledger, "a")
    first = ledger.ping()
    written(ledger, "b")
    second = ledger.ping()
    assert ledger.pong(second)[0] == 2
    assert not ledger.awaits_pong
    assert ledger.pong(first) == (0, [])


def test_a_pong_to_no_ping_proves_nothing() -> None:
    ledger = Ledger()
    written(ledger, "a")
    assert ledger.pong(0) == (0, [])
    assert ledger.pong(1) == (0, [])
    ledger.ping()
    assert ledger.pong(2) == (0, [])
    assert ledger.awaits_pong
    assert ledger.pong(1)[0] == 1
    assert ledger.pong(1) == (0, [])


def covered(ledger: Ledger) -> bool:
    """A call, because a type checker takes it that a property never changes."""
    return ledger.is_covered


def test_a_ping_covers_what_was_written_before_it() -> None:
    ledger = Ledger()
    assert covered(ledger)
    written(ledger, "a")
    assert not covered(ledger)
    number = ledger.ping()
    assert covered(ledger)
    ledger.pong(number)
    assert covered(ledger)
    written(ledger, "b")
    assert not covered(ledger)


def test_at_the_end_everything_that_is_not_confirmed_is_handed_out_once() -> None:
    ledger = Ledger()
    written(ledger, "a")
    number = ledger.ping()
    second = written(ledger, "b")
    ledger.pong(number)
    assert ledger.take_all() == (1, [second])
    assert ledger.take_all() == (0, [])
    assert not ledger.awaits_pong


def test_of_many_pings_without_an_answer_the_newest_still_confirm() -> None:
    ledger = Ledger()
    numbers = []
    for _ in range(200):
        written(ledger, "a")
        numbers.append(ledger.ping())
    assert ledger.pong(numbers[0]) == (0, [])
    assert ledger.pong(numbers[-1])[0] == 200


def test_the_oldest_that_are_kept_only_to_be_told_of_can_be_forgotten() -> None:
    ledger = Ledger()
    batches = [written(ledger, "a", "b") for _ in range(5)]
    assert ledger.kept_messages == 10
    assert ledger.forget(5) == batches[:3]
    assert ledger.kept_messages == 4
    assert ledger.pong(ledger.ping()) == (10, batches[3:])
    assert ledger.kept_messages == 0


def test_what_is_held_is_never_forgotten() -> None:
    ledger = Ledger()
    held = written(ledger, "a", "b")
    held.is_held = True
    other = written(ledger, "c")
    assert ledger.forget(1) == []
    assert ledger.take_all() == (3, [held, other])
