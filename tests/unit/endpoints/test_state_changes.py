"""What programs read of a state change (delivery.md, "Framing of local byte streams")."""

import dataclasses

import pytest

from sockjs_bridge.endpoints.state_changes import Connected, Disconnected, StateChange, describe
from sockjs_bridge.errors import Cause


@pytest.mark.parametrize("transport", ["websocket", "xhr_streaming", ""])
def test_connected_names_its_transport(transport: str) -> None:
    assert describe(Connected(2, transport)) == {"event": "connected", "transport": transport}


@pytest.mark.parametrize("cause", Cause)
def test_disconnected_names_its_cause_as_metrics_do_with_the_code_and_reason(cause: Cause) -> None:
    told = describe(Disconnected(1, 42, cause, 3000, "Go away!"))
    assert told == {"event": "disconnected", "cause": cause.value, "code": 3000, "reason": "Go away!"}
    assert type(told["cause"]) is str


def test_an_empty_reason_is_told_too() -> None:
    told = describe(Disconnected(1, 42, Cause.TRANSPORT_LOST, 1006, ""))
    assert told == {"event": "disconnected", "cause": "transport_lost", "code": 1006, "reason": ""}


@pytest.mark.parametrize(
    "change", [Connected(7, "websocket"), Disconnected(7, 42, Cause.SILENCE, 1006, "")], ids=["in", "out"]
)
def test_the_event_comes_first_and_where_it_happened_is_left_to_the_layout(change: StateChange) -> None:
    told = describe(change)
    assert next(iter(told)) == "event"
    assert not told.keys() & {"session", "boot", "epoch", "seq"}


def test_a_change_is_a_value() -> None:
    assert Connected(1, "websocket") == Connected(1, "websocket") != Connected(2, "websocket")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Connected(1, "websocket").epoch = 2  # type: ignore[misc]  # what is tested
