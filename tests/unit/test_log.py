"""Log lines: one a transition, fields that cannot be forged, repeats held back (operations.md, "Logs")."""

import io
import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest

from sockjs_bridge.log import ROOT, EventLog, configure

LIBRARIES = ("picows", "aiohttp", "asyncio", "aiohttp_sse")


class FakeClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """`configure` changes what the whole process logs; put it back."""
    root = logging.getLogger()
    loggers = [root, logging.getLogger(ROOT), *map(logging.getLogger, LIBRARIES)]
    handlers, levels = root.handlers[:], [logger.level for logger in loggers]
    yield
    root.handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def caught() -> BaseException:
    """An exception with a traceback."""

    def divide() -> None:
        raise ZeroDivisionError("what was divided")

    with pytest.raises(ZeroDivisionError) as failure:
        divide()
    return failure.value


Lines = Callable[[], list[str]]


@pytest.fixture
def text_lines(stream: io.StringIO) -> Lines:
    """Log as text; gives what was written so far without the time."""
    configure("info", "text", stream)
    return lambda: [line.split(" ", 2)[2] for line in stream.getvalue().splitlines()]


@pytest.fixture
def json_lines(stream: io.StringIO) -> Callable[[], list[dict[str, object]]]:
    configure("info", "json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


# --- text -------------------------------------------------------------------------------------------------


def test_a_text_line_has_time_level_session_event_and_fields(stream: io.StringIO) -> None:
    configure("info", "text", stream)
    EventLog(session="chat").info("open", transport="websocket", epoch=1)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO chat: open transport=websocket epoch=1\n", stream.getvalue()
    )


def test_a_text_line_without_a_session(text_lines: Lines) -> None:
    EventLog().warning("no session is configured")
    assert text_lines() == ["WARNING no session is configured"]


def test_fields_without_a_value_are_left_out(text_lines: Lines) -> None:
    EventLog().info("closed", reason=None, code=1006)
    assert text_lines() == ["INFO closed code=1006"]


def test_floats_have_three_digits(text_lines: Lines) -> None:
    EventLog().info("closed", lasted=12.3456, delay=0.1)
    assert text_lines() == ["INFO closed lasted=12.3 delay=0.1"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("caf\u00e9", "caf\u00e9"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("it's", '"it\'s"'),
        ("x\n2026-01-31 12:00:00 INFO chat: forged", '"x\\n2026-01-31 12:00:00 INFO chat: forged"'),
        ("x\r\ny", '"x\\r\\ny"'),
        ("x\x1b[2Jy", '"x\\u001b[2Jy"'),
        ("x\u2028y", '"x\\u2028y"'),
        ("x\x85y", '"x\\u0085y"'),
        ("\u202ex", '"\\u202ex"'),
        ("\ud800", '"\\ud800"'),
        ("\ttab", '"\\ttab"'),
    ],
    ids=ascii,
)
def test_words_of_a_peer_cannot_forge_lines_or_fields(text_lines: Lines, value: str, written: str) -> None:
    EventLog().info("closed", reason=value, code=1)
    assert text_lines() == [f"INFO closed reason={written} code=1"]


def test_a_failure_has_its_traceback_behind_it(stream: io.StringIO) -> None:
    configure("info", "text", stream)
    EventLog(session="chat").failure("an internal error ended the session", caught())
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("ERROR chat: an internal error ended the session")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ZeroDivisionError: what was divided"


# --- JSON -------------------------------------------------------------------------------------------------


def test_a_json_line_is_an_object(json_lines: Callable[[], list[dict[str, object]]]) -> None:
    EventLog(session="chat").info("open", transport="websocket", epoch=1, lasted=1.25, reason=None)
    (line,) = json_lines()
    time = line.pop("time")
    assert isinstance(time, str)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert line == {
        "level": "info",
        "message": "open",
        "session": "chat",
        "transport": "websocket",
        "epoch": 1,
        "lasted": 1.25,
    }


def test_the_time_of_a_json_line_is_utc_with_milliseconds(stream: io.StringIO) -> None:
    configure("info", "json", stream)
    record = logging.makeLogRecord({"msg": "x", "created": 86_399.0425, "msecs": 42.5})
    (handler,) = logging.getLogger().handlers
    assert json.loads(handler.format(record))["time"] == "1970-01-01T23:59:59.042Z"


def test_words_of_a_peer_cannot_forge_json_lines(
    stream: io.StringIO, json_lines: Callable[[], list[dict[str, object]]]
) -> None:
    hostile = 'x"}\n{"level":"error","message":"forged\u2028\ud800"}'
    EventLog().info("closed", reason=hostile)
    (line,) = json_lines()
    assert line["reason"] == hostile
    assert stream.getvalue().isascii()


def test_a_failure_in_json_carries_its_traceback_in_its_line(
    json_lines: Callable[[], list[dict[str, object]]],
) -> None:
    EventLog(session="chat").failure("an internal error ended the session", caught())
    (line,) = json_lines()
    assert line["level"] == "error"
    assert line["session"] == "chat"
    assert "ZeroDivisionError: what was divided" in str(line["exception"])


# --- configuration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "terminal", "is_json"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("text", False, False),
        ("json", True, True),
    ],
)
def test_auto_is_text_on_a_terminal_and_json_otherwise(form: str, terminal: bool, is_json: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    configure("info", form, stream)
    EventLog().info("open")
    assert stream.getvalue().startswith("{") is is_json


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_says_what_is_written(stream: io.StringIO, level: str, written: list[str]) -> None:
    configure(level, "json", stream)
    log = EventLog()
    log.debug("x")
    log.info("x")
    log.warning("x")
    log.error("x")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == written
    assert log.is_debugging() is (level == "debug")


def test_libraries_write_errors_only(text_lines: Lines) -> None:
    for name in LIBRARIES:
        logging.getLogger(name).warning("noise")
        logging.getLogger(name).error("trouble in %s", name)
    assert text_lines() == [f"ERROR trouble in {name}" for name in LIBRARIES]


def test_other_libraries_write_warnings_whatever_our_level_is(stream: io.StringIO) -> None:
    configure("debug", "text", stream)
    logging.getLogger("another.library").info("noise")
    logging.getLogger("another.library").warning("trouble")
    assert "trouble" in stream.getvalue()
    assert "noise" not in stream.getvalue()


def test_configuring_again_replaces_the_stream(stream: io.StringIO) -> None:
    configure("info", "text", stream)
    later = io.StringIO()
    configure("info", "text", later)
    EventLog().info("open")
    assert stream.getvalue() == ""
    assert later.getvalue().count("open") == 1


# --- fields that stay -------------------------------------------------------------------------------------


def test_a_bound_log_adds_its_fields_to_every_line(text_lines: Lines) -> None:
    log = EventLog(session="chat")
    bound = log.bind(transport="websocket")
    bound.info("open", epoch=1)
    bound.bind(transport="xhr").info("open")
    log.info("closed")
    assert text_lines() == [
        "INFO chat: open transport=websocket epoch=1",
        "INFO chat: open transport=xhr",
        "INFO chat: closed",
    ]


# --- repeats ----------------------------------------------------------------------------------------------


def test_an_event_that_repeats_is_written_once_a_minute(text_lines: Lines, clock: FakeClock) -> None:
    log = EventLog(clock)
    for clock.now in (0.0, 1.0, 59.9):
        log.repeated("refused a client")
    assert text_lines() == ["WARNING refused a client"]
    clock.now = 60.0
    log.repeated("refused a client")
    assert text_lines()[1:] == ["WARNING refused a client held_back=2"]
    clock.now = 120.0
    log.repeated("refused a client")
    assert text_lines()[2:] == ["WARNING refused a client"]


def test_the_minute_begins_with_the_line_that_was_written(text_lines: Lines, clock: FakeClock) -> None:
    """A steady stream of repeats does not silence itself for ever."""
    log = EventLog(clock)
    for second in range(0, 180, 10):
        clock.now = float(second)
        log.repeated("x")
    assert text_lines() == ["WARNING x", "WARNING x held_back=5", "WARNING x held_back=5"]


def test_the_first_event_is_written_whatever_the_clock_says(text_lines: Lines, clock: FakeClock) -> None:
    clock.now = 1e9
    EventLog(clock).repeated("x", level=logging.INFO, messages=3)
    assert text_lines() == ["INFO x messages=3"]


def test_different_events_do_not_hold_each_other_back(text_lines: Lines, clock: FakeClock) -> None:
    log = EventLog(clock)
    log.repeated("x")
    log.repeated("y")
    assert text_lines() == ["WARNING x", "WARNING y"]


def test_events_of_one_key_hold_each_other_back(text_lines: Lines, clock: FakeClock) -> None:
    log = EventLog(clock)
    log.repeated("cannot connect: refused", key="cannot connect")
    log.repeated("cannot connect: 404", key="cannot connect")
    assert text_lines() == ["WARNING cannot connect: refused"]


def test_sessions_do_not_hold_each_other_back(text_lines: Lines, clock: FakeClock) -> None:
    log = EventLog(clock)
    for name in ("one", "two", "one"):
        log.bind(session=name).repeated("x")
    assert text_lines() == ["WARNING one: x", "WARNING two: x"]


def test_many_that_are_alike_hold_each_other_back(text_lines: Lines, clock: FakeClock) -> None:
    log = EventLog(clock, session="chat")
    for number in range(3):
        one = log.bind_one_of_many(client=number).bind(transport="websocket")
        one.repeated("x")
        one.warning("w", messages=number)
        one.info("y")
    assert text_lines() == [
        "WARNING chat: x client=0 transport=websocket",
        "WARNING chat: w client=0 transport=websocket messages=0",
        *[f"INFO chat: y client={number} transport=websocket" for number in range(3)],
    ]
    log.repeated("x")
    assert text_lines()[5:] == ["WARNING chat: x"], "it is not one of them"
    assert log.bind_one_of_many(client=9).bind(transport="websocket").forget_repeats("x") == 2


def test_fields_of_the_single_line_do_not_tell_events_apart(text_lines: Lines, clock: FakeClock) -> None:
    log = EventLog(clock)
    log.repeated("refused a client", client="127.0.0.1:1")
    log.repeated("refused a client", client="127.0.0.1:2")
    assert text_lines() == ["WARNING refused a client client=127.0.0.1:1"]


def test_forgetting_repeats_tells_how_many_were_held_back(text_lines: Lines, clock: FakeClock) -> None:
    log = EventLog(clock, session="chat")
    for _ in range(4):
        log.repeated("cannot connect: refused", key="cannot connect")
    assert log.forget_repeats("cannot connect") == 3
    log.repeated("cannot connect: 404", key="cannot connect")
    assert text_lines() == ["WARNING chat: cannot connect: refused", "WARNING chat: cannot connect: 404"]


def test_forgetting_repeats_forgets_every_key_that_begins_so(text_lines: Lines, clock: FakeClock) -> None:
    log = EventLog(clock)
    for event in ("cannot connect: refused", "cannot connect: 404", "refused a client"):
        for _ in range(3):
            log.repeated(event)
    assert log.forget_repeats("cannot connect") == 4
    log.repeated("cannot connect: 404")
    log.repeated("refused a client")
    assert text_lines()[3:] == ["WARNING cannot connect: 404"]


def test_there_may_be_nothing_to_forget(clock: FakeClock) -> None:
    log = EventLog(clock)
    assert log.forget_repeats("cannot connect") == 0
    log.repeated("cannot connect")
    assert log.forget_repeats("cannot connect") == 0


def test_a_log_forgets_only_its_own_repeats(text_lines: Lines, clock: FakeClock) -> None:
    log = EventLog(clock)
    one, two = log.bind(session="one"), log.bind(session="two")
    for bound in (one, two, one, two):
        bound.repeated("x")
    assert one.forget_repeats("x") == 1
    one.repeated("x")
    two.repeated("x")
    assert text_lines() == ["WARNING one: x", "WARNING two: x", "WARNING one: x"]


def test_repeats_below_the_level_are_held_back_without_a_line(clock: FakeClock, text_lines: Lines) -> None:
    log = EventLog(clock)
    log.repeated("x", level=logging.DEBUG)
    log.repeated("x", level=logging.DEBUG)
    assert text_lines() == []
    assert log.forget_repeats("x") == 1
