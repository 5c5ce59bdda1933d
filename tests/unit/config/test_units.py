import math

import pytest

from sockjs_bridge.config.units import (
    parse_count,
    parse_duration,
    parse_size,
    parse_switch,
    show_seconds,
    show_size,
)
from tests.unit.config.conftest import Finder, Loader


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0.0),
        (10, 10.0),
        (0.5, 0.5),
        ("10", 10.0),
        ("0.5", 0.5),
        ("500ms", 0.5),
        ("10s", 10.0),
        ("1.5s", 1.5),
        (" 5m ", 300.0),
        ("1h", 3600.0),
        ("10 s", 10.0),
    ],
    ids=repr,
)
def test_durations_become_seconds(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds
    assert isinstance(parse_duration(value), float)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.1,
        "-1s",
        math.nan,
        math.inf,
        -math.inf,
        "nan",
        "inf",
        "1e3",
        "",
        "s",
        "10S",
        "1d",
        "1s1",
        "\u0661s",
        True,
        [],
        None,
    ],
    ids=repr,
)
def test_what_is_no_duration_is_refused_with_the_forms(value: object) -> None:
    with pytest.raises(ValueError, match=r'"500ms", "10s", "5m", "1h"'):
        parse_duration(value)


@pytest.mark.parametrize("value", [10**400, 1e300, "999999h"], ids=repr)
def test_a_duration_that_no_timer_can_hold_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        (0, 0),
        (8000, 8000),
        ("8000", 8000),
        ("64KiB", 65536),
        ("8MiB", 8 << 20),
        ("1 GiB", 1 << 30),
        ("10B", 10),
    ],
    ids=repr,
)
def test_sizes_become_bytes(value: object, size_bytes: int) -> None:
    assert parse_size(value) == size_bytes


@pytest.mark.parametrize(
    "value", [-1, 1.5, 8.0, "8MB", "8M", "1.5MiB", "-1", "", "9" * 30, 1 << 64, True, math.nan], ids=repr
)
def test_what_is_no_size_is_refused_with_the_forms(value: object) -> None:
    with pytest.raises(ValueError, match=r'"64KiB", "8MiB"'):
        parse_size(value)


@pytest.mark.parametrize(("value", "count"), [(0, 0), (7, 7), ("7", 7)], ids=repr)
def test_counts(value: object, count: int) -> None:
    assert parse_count(value) == count


@pytest.mark.parametrize("value", [-1, "-1", 1.0, "1.0", True, "", "x", 1 << 64, "\u00b2"], ids=repr)
def test_what_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="whole number, 0 or more"):
        parse_count(value)


@pytest.mark.parametrize(
    ("value", "switch"),
    [(True, True), (False, False), ("true", True), ("False", False), ("1", True), ("0", False), ("on", True)],
    ids=repr,
)
def test_switches(value: object, switch: bool) -> None:
    assert parse_switch(value) is switch


@pytest.mark.parametrize("value", [1, 0, "", "maybe", None, []], ids=repr)
def test_what_is_no_switch_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="true or false"):
        parse_switch(value)


def test_units_in_messages() -> None:
    assert [show_seconds(0.5), show_seconds(30.0)] == ["0.5s", "30s"]
    assert [show_size(size) for size in (0, 1000, 65536, 1 << 20, 2 << 30)] == [
        "0 bytes",
        "1000 bytes",
        "64KiB",
        "1MiB",
        "2GiB",
    ]


SESSION_KEYS = {
    "connect_timeout": "more than 0",
    "open_timeout": "more than 0",
    "max_frame_size": "more than 0",
    "reconnect.initial": "more than 0",
    "reconnect.max": "more than 0",
    "queue.max_messages": "more than 0",
    "queue.max_bytes": "more than 0",
}


@pytest.mark.parametrize("key", SESSION_KEYS)
def test_keys_that_must_not_be_zero(problems: Finder, key: str) -> None:
    lines = problems(f'[sessions.chat]\nurl = "http://h"\n{key} = 0\n')

    assert lines == [f"bridge.toml: sessions.chat.{key}: must be more than 0"]


@pytest.mark.parametrize("key", ["max_clients", "max_message_size", "client_buffer"], ids=repr)
def test_keys_of_a_listener_that_must_not_be_zero(problems: Finder, key: str) -> None:
    lines = problems(f'[sessions.chat]\nurl = "http://h"\ntcp = [{{ listen = "9000", {key} = 0 }}]\n')

    assert lines == [f"bridge.toml: sessions.chat.tcp[0].{key}: must be more than 0"]


def test_zero_switches_off_what_can_be_off(read: Loader) -> None:
    session = read(
        """
        [sessions.chat]
        url = "http://h"
        silence_timeout = 0
        ping_interval = 0
        batch_bytes = 0
        reconnect = { stable_after = 0, max_attempts = 0 }
        queue = { max_age = 0 }
        tcp = [{ listen = "9000", stall_timeout = 0, eof_linger = 0 }]
        """
    ).sessions["chat"]

    assert (session.silence_timeout, session.ping_interval, session.batch_bytes) == (0.0, 0.0, 0)
