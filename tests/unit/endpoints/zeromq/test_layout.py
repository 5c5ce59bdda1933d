"""The frames of messages, state changes and gaps (config.md, `layout`)."""

import json

import pytest

from sockjs_bridge.endpoints.state_changes import Connected, Disconnected
from sockjs_bridge.endpoints.zeromq.layout import Frames, Layout, Place
from sockjs_bridge.errors import Cause


@pytest.fixture
def plain() -> Layout:
    return Layout("chat", "boot-1", meta=False)


@pytest.fixture
def meta() -> Layout:
    """A layout in which upstream session 1 is open."""
    layout = Layout("chat", "boot-1", meta=True)
    layout.of_change(Connected(1, "websocket"))
    return layout


def numbers(frames: list[Frames]) -> list[tuple[int, int]]:
    """Epoch and seq of each message."""
    told = [json.loads(meta) for meta, _ in frames]
    return [(each["epoch"], each["seq"]) for each in told]


# --- plain ------------------------------------------------------------------------------------------------


def test_plain_is_one_frame_with_the_message(plain: Layout) -> None:
    assert plain.of_messages([b"a", b"", b'"c"'], 1) == [(b"a",), (b"",), (b'"c"',)]
    assert plain.of_messages([], 4) == []


def test_plain_has_no_place_for_events(plain: Layout) -> None:
    assert plain.of_change(Connected(1, "websocket")) is None
    assert plain.of_gap(3, Place(1, 3)) is None
    assert plain.of_change(Disconnected(1, 0, Cause.SILENCE, 1006, "")) is None


def test_plain_counts_epochs_all_the_same(plain: Layout) -> None:
    plain.of_change(Connected(4, "websocket"))
    assert plain.epoch == 4


# --- messages ---------------------------------------------------------------------------------------------


def test_meta_is_a_frame_of_json_before_the_message(meta: Layout) -> None:
    assert meta.of_messages([b"hello"], 1) == [
        (b'{"session":"chat","boot":"boot-1","epoch":1,"seq":1,"event":"message"}', b"hello")
    ]


def test_each_message_of_a_burst_has_its_number(meta: Layout) -> None:
    assert meta.of_messages([b"a", b"", b"c"], 41) == [
        (b'{"session":"chat","boot":"boot-1","epoch":1,"seq":41,"event":"message"}', b"a"),
        (b'{"session":"chat","boot":"boot-1","epoch":1,"seq":42,"event":"message"}', b""),
        (b'{"session":"chat","boot":"boot-1","epoch":1,"seq":43,"event":"message"}', b"c"),
    ]


def test_numbers_go_on_from_burst_to_burst_as_the_hub_says(meta: Layout) -> None:
    assert numbers(meta.of_messages([b"a", b"b"], 1)) == [(1, 1), (1, 2)]
    assert numbers(meta.of_messages([b"c"], 3)) == [(1, 3)]
    assert numbers(meta.of_messages([b"f"], 6)) == [(1, 6)]  # others passed while nobody was there


def test_an_empty_burst_has_no_frames(meta: Layout) -> None:
    assert meta.of_messages([], 3) == []


def test_a_message_may_hold_any_bytes(meta: Layout) -> None:
    data = bytes(range(256))
    assert meta.of_messages([data], 1)[0][1] is data


def test_large_numbers_are_written_out(meta: Layout) -> None:
    meta.of_change(Connected(10**6, "websocket"))
    assert numbers(meta.of_messages([b"a", b"b"], 2**53 - 1)) == [(10**6, 2**53 - 1), (10**6, 2**53)]


# --- state changes ----------------------------------------------------------------------------------------


def test_before_the_first_upstream_session_the_epoch_is_0() -> None:
    assert Layout("chat", "boot-1", meta=True).epoch == 0


def test_connected_begins_an_epoch_and_names_the_transport(meta: Layout) -> None:
    meta.of_messages([b"a", b"b"], 1)
    assert meta.of_change(Connected(2, "xhr_streaming")) == (
        b'{"session":"chat","boot":"boot-1","epoch":2,"seq":0,"event":"connected","transport":"xhr_streaming"}',
        b"",
    )
    assert meta.epoch == 2
    assert numbers(meta.of_messages([b"c"], 1)) == [(2, 1)]


def test_disconnected_tells_the_number_of_the_last_message_with_cause_code_and_reason(meta: Layout) -> None:
    meta.of_messages([b"a", b"b", b"c"], 1)
    assert meta.of_change(Disconnected(1, 3, Cause.SERVER_CLOSED, 3000, "Go away!")) == (
        (
            b'{"session":"chat","boot":"boot-1","epoch":1,"seq":3,"event":"disconnected",'
            b'"cause":"server_closed","code":3000,"reason":"Go away!"}'
        ),
        b"",
    )
    assert meta.epoch == 1


def test_disconnected_counts_messages_that_passed_while_nobody_was_there(meta: Layout) -> None:
    meta.of_messages([b"a"], 1)
    assert meta.of_change(Disconnected(1, 9, Cause.TRANSPORT_LOST, 1006, "")) == (
        (
            b'{"session":"chat","boot":"boot-1","epoch":1,"seq":9,"event":"disconnected",'
            b'"cause":"transport_lost","code":1006,"reason":""}'
        ),
        b"",
    )


# --- gaps -------------------------------------------------------------------------------------------------


def test_a_gap_tells_how_many_were_dropped_and_the_last_of_them(meta: Layout) -> None:
    meta.of_messages([b"x"] * 20, 1)
    assert meta.of_gap(12, Place(1, 14)) == (
        b'{"session":"chat","boot":"boot-1","epoch":1,"seq":14,"event":"gap","dropped":12}',
        b"",
    )


def test_a_gap_may_lie_in_an_earlier_epoch(meta: Layout) -> None:
    meta.of_messages([b"x"] * 9, 1)
    meta.of_change(Connected(2, "websocket"))
    gap = meta.of_gap(1, Place(1, 9))
    assert gap is not None
    assert (json.loads(gap[0])["epoch"], json.loads(gap[0])["seq"]) == (1, 9)
    assert meta.epoch == 2
    assert numbers(meta.of_messages([b"x"], 1)) == [(2, 1)]


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        'a "quoted" one',
        "back\\slash",
        "line\nbreak",
        "100%d %b %%",
        "{}",
        "}",
        "caf\u00e9 \U0001f600",
        "\0",
        "",
    ],
    ids=ascii,
)
def test_any_name_comes_back_from_the_json(name: str) -> None:
    layout = Layout(name, name, meta=True)
    connected = layout.of_change(Connected(1, name))
    gone = layout.of_change(Disconnected(1, 0, Cause.SERVER_CLOSED, 3000, name))
    gap = layout.of_gap(1, Place(1, 1))
    for frames in (connected, gone, gap, *layout.of_messages([b"a"], 1)):
        assert frames is not None
        told = json.loads(frames[0])
        assert (told["session"], told["boot"], told["epoch"]) == (name, name, 1)
        assert told.get("transport", name) == told.get("reason", name) == name
