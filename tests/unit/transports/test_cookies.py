"""The cookie jar of a session and its file: like a browser, and never a reason to stop."""

import asyncio
import json
import logging
import os
import pickle
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from yarl import URL

from sockjs_bridge.log import EventLog
from sockjs_bridge.transports.cookies import SessionCookies
from tests.in_process import events

HOST = URL("http://example.com/echo")
SESSION = URL("http://example.com/echo/000/abc/websocket")
HOSTS = ("example.com", "127.0.0.1", "[::1]", "localhost")

Maker = Callable[..., SessionCookies]


class FakeClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(time, "time", clock)
    return clock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder / "cookies.json"


@pytest.fixture
def make(file: Path) -> Maker:
    """A session's cookies as after a start, with the file unless told otherwise."""

    async def on_a_loop(url: URL, file: Path | None, cookies: dict[str, str]) -> SessionCookies:
        return SessionCookies(url, cookies, file, EventLog())

    def make_cookies(url: URL = HOST, file: Path | None = file, **cookies: str) -> SessionCookies:
        return asyncio.run(on_a_loop(url, file, cookies))

    return make_cookies


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    before = os.umask(0o022)

    def set_umask(mask: int) -> None:
        os.umask(mask)

    yield set_umask
    os.umask(before)


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def sent(cookies: SessionCookies, url: URL = SESSION) -> set[str]:
    header = cookies.header(url)
    return set(header.split("; ")) if header else set()


# --- the jar -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
def test_configured_cookies_go_to_the_whole_host(make: Maker, host: str) -> None:
    cookies = make(URL(f"http://{host}:8081/some/echo"), None, a="b", c='x"y=z')

    assert cookies.header(URL(f"http://{host}:8081/")) == 'a=b; c=x"y=z'
    assert cookies.header(URL("http://other.example/")) == ""


def test_there_may_be_more_configured_cookies_than_one_answer_may_set(make: Maker) -> None:
    assert len(sent(make(file=None, **{f"c{number}": "x" for number in range(60)}))) == 60


@pytest.mark.parametrize("host", HOSTS)
def test_cookies_of_an_answer_come_back_as_they_were(make: Maker, host: str) -> None:
    cookies = make(URL(f"http://{host}/echo"), None)
    url = URL(f"http://{host}/echo/000/abc/websocket")
    cookies.store(url, ["lb=a b,c==; Path=/", "JSESSIONID=1.node|x; Path=/echo; HttpOnly"])

    assert sent(cookies, url) == {"lb=a b,c==", "JSESSIONID=1.node|x"}
    assert sent(cookies, URL(f"http://{host}/")) == {"lb=a b,c=="}


def test_the_whole_cookie_header_echoed_as_one_cookie(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    """Protocol section 5: Vert.x does so."""
    cookies = make(file=None, JSESSIONID="dummy")
    cookies.store(SESSION, ["JSESSIONID=a; other=b"])
    cookies.store(HOST, ["JSESSIONID=a; other=b"])

    assert sent(cookies, HOST) == {"JSESSIONID=a"}
    assert not caplog.records


@pytest.mark.parametrize(
    "malformed", ["", ";", "=", "=x", "a", "a\r\nb=c", "a=\0", "é=1", "a=\udcff", "Path=/"]
)
def test_what_is_no_cookie_is_passed_over(
    make: Maker, malformed: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="aiohttp")  # as log.configure does
    cookies = make(file=None)
    cookies.store(HOST, [malformed, "b=1; Path=/"])

    assert "b=1" in sent(cookies)
    assert not caplog.records


def test_a_cookie_with_a_domain_goes_to_subdomains_and_one_without_does_not(make: Maker) -> None:
    cookies = make(file=None)
    cookies.store(
        HOST, ["wide=1; Domain=example.com; Path=/", "own=1; Path=/", "foreign=1; Domain=other.example"]
    )

    assert sent(cookies) == {"wide=1", "own=1"}
    assert sent(cookies, URL("http://sub.example.com/")) == {"wide=1"}


# --- the file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
def test_the_jar_survives_a_restart(make: Maker, host: str) -> None:
    url = URL(f"http://{host}/echo")
    make(url).store(
        url,
        [
            'lb=a"b,c==; Path=/',
            "login=1; Path=/; Max-Age=3600",
            "tls=1; Path=/; Secure",
            "deep=1; Path=/echo/x",
        ],
    )
    cookies = make(url)

    assert sent(cookies, url) == {'lb=a"b,c==', "login=1"}
    assert sent(cookies, url.with_scheme("https")) == {'lb=a"b,c==', "login=1", "tls=1"}
    assert "deep=1" in sent(cookies, url / "x" / "y")
    assert sent(cookies, URL("http://other.example/")) == set()


def test_host_only_stays_host_only_over_a_restart(make: Maker) -> None:
    make().store(HOST, ["wide=1; Domain=example.com; Path=/", "own=1; Path=/"])

    for _ in range(2):
        cookies = make()
        assert sent(cookies, URL("http://sub.example.com/")) == {"wide=1"}
        cookies.store(HOST, ["another=1; Path=/"])


def test_no_file_unless_configured(make: Maker, file: Path) -> None:
    make(file=None, a="b").store(HOST, ["c=d"])

    assert not list(file.parent.iterdir())


def test_no_file_before_there_is_a_cookie(make: Maker, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    make().store(HOST, [])

    assert not file.exists()
    assert not caplog.records


def test_the_file_wins_over_configured_cookies(make: Maker) -> None:
    make().store(HOST, ["a=server; Path=/", "b=server; Path=/elsewhere"])

    cookies = make(a="mine", b="mine", c="mine")

    assert sent(cookies) == {"a=server", "b=mine", "c=mine"}


def test_the_file_wins_for_its_own_host_only(make: Maker) -> None:
    make().store(HOST, ["a=server; Path=/"])
    other = URL("http://other.example/echo")

    assert sent(make(other, a="mine"), other) == {"a=mine"}


def test_expired_cookies_do_not_come_back(make: Maker, wall_clock: FakeClock) -> None:
    expires = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(wall_clock.now + 20))
    make().store(HOST, ["short=1; Path=/; Max-Age=10", f"long=1; Path=/; Expires={expires}", "lb=1; Path=/"])

    wall_clock.now += 15
    assert sent(make()) == {"long=1", "lb=1"}
    wall_clock.now += 15
    assert sent(make(short="mine")) == {"short=mine", "lb=1"}


def test_a_cookie_that_the_server_deletes_leaves_the_file(make: Maker) -> None:
    cookies = make()
    cookies.store(HOST, ["a=1; Path=/", "b=1; Path=/"])
    cookies.store(HOST, ["a=; Path=/; Max-Age=0"])

    assert sent(make()) == {"b=1"}


def test_a_prolonged_cookie_is_saved_though_it_looks_the_same(make: Maker, wall_clock: FakeClock) -> None:
    cookies = make()
    for _ in range(3):
        cookies.store(HOST, ["login=1; Path=/; Max-Age=10"])
        wall_clock.now += 6

    assert sent(make()) == {"login=1"}


def test_the_file_is_written_only_when_the_jar_has_changed(make: Maker, file: Path) -> None:
    cookies = make(a="b")
    cookies.store(HOST, ["lb=1; Path=/"])
    written = file.stat().st_ino, file.stat().st_mtime_ns
    cookies.store(HOST, ["lb=1; Path=/"])
    cookies.store(HOST, [])
    cookies.save()
    again = make(a="b")
    again.save()

    assert (file.stat().st_ino, file.stat().st_mtime_ns) == written
    cookies.store(HOST, ["lb=2; Path=/"])
    assert sent(make()) == {"a=b", "lb=2"}


def test_what_aiohttp_stored_itself_is_saved(make: Maker) -> None:
    cookies = make()
    cookies.jar.update_cookies_from_headers(["a=1; Path=/"], HOST)
    cookies.save()

    assert sent(make()) == {"a=1"}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_only_the_owner_may_read_it(make: Maker, file: Path, umask: Callable[[int], None], mask: int) -> None:
    umask(mask)
    make().store(HOST, ["a=1"])

    assert mode(file) == 0o600


def test_a_mode_that_was_wider_is_narrowed(make: Maker, file: Path) -> None:
    make().store(HOST, ["a=1; Path=/"])
    file.chmod(0o644)
    make().store(HOST, [])

    assert mode(file) == 0o600
    assert sent(make()) == {"a=1"}


def test_a_link_stays_and_its_target_is_written(make: Maker, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "volume"
    target.mkdir()
    file.symlink_to(target / "jar")
    make().store(HOST, ["a=1; Path=/"])

    assert file.is_symlink()
    assert mode(target / "jar") == 0o600
    assert sent(make()) == {"a=1"}


@pytest.mark.parametrize("failing", ["replace", "fchmod"])
def test_a_failure_while_writing_leaves_the_old_file(
    make: Maker, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    cookies = make()
    cookies.store(HOST, ["old=1; Path=/"])
    before = file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        cookies.store(HOST, ["new=1; Path=/"])
        cookies.store(HOST, ["newer=1; Path=/"])

    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
    assert sent(cookies) == {"old=1", "new=1", "newer=1"}
    assert events(caplog, "cookies") == [
        {"message": "cookies could not be saved", "file": str(file), "problem": "no space left on device"}
    ]
    cookies.save()
    assert sent(make()) == {"old=1", "new=1", "newer=1"}


def test_a_kill_while_writing_leaves_the_old_file(
    make: Maker, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookies = make()
    cookies.store(HOST, ["old=1; Path=/"])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        cookies.store(HOST, ["new=1; Path=/"])

    assert list(file.parent.iterdir()) == [file]
    assert sent(make()) == {"old=1"}


def test_a_missing_folder_is_reported_once(
    make: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "missing" / "jar"
    cookies = make(file=file)
    assert not caplog.records
    cookies.store(HOST, ["a=1; Path=/"])
    cookies.store(HOST, ["a=2; Path=/"])

    assert [event["problem"] for event in events(caplog, "saved")] == ["no such file or directory"]
    file.parent.mkdir()
    cookies.save()
    assert sent(make(file=file)) == {"a=2"}


# --- a broken file -------------------------------------------------------------------------------------------------

COOKIE = {"key": "a", "value": "hunter2", "coded_value": "hunter2", "path": "/"}
KEY = "example.com|"
BROKEN = {
    "empty": (b"", "not JSON: Expecting value in line 1"),
    "cut off": (b'{"example.com|": {"a"', "not JSON: Expecting ':' delimiter in line 1"),
    "not UTF-8": (b"\xff\xfe{}", "not UTF-8"),
    "a pickle": (pickle.dumps({}, protocol=0), "not JSON: Expecting value in line 1"),
    "a binary pickle": (pickle.dumps({}), "not UTF-8"),
    "nested too deep": (b"[" * 100_000, "not a saved cookie jar"),
}
MISSHAPEN = {
    "an array": [],
    "a number": 1,
    "null": None,
    "no tables": {KEY: []},
    "a cookie that is text": {KEY: {"a": "hunter2"}},
    "no path in the key": {"example.com": {"a": COOKIE}},
    "no value": {KEY: {"a": {"key": "a", "coded_value": "x"}}},
    "a value that is no text": {KEY: {"a": COOKIE | {"value": None}}},
    "a time that is none": {KEY: {"a": COOKIE | {"expires_timestamp": "hunter2"}}},
    "a time without end": {KEY: {"a": COOKIE | {"expires_timestamp": float("inf")}}},
    "a path that is no text": {KEY: {"a": COOKIE | {"path": 1}}},
    "a domain that is no text": {KEY: {"a": COOKIE | {"domain": 1}}},
}
BROKEN |= {name: (json.dumps(tree).encode(), "not a saved cookie jar") for name, tree in MISSHAPEN.items()}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_reported_and_set_aside(
    make: Maker, file: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    content, problem = BROKEN[name]
    file.write_bytes(content)
    broken = Path(f"{file}.broken")
    broken.write_bytes(b"an earlier one")
    cookies = make(a="mine")

    assert events(caplog, "") == [
        {
            "message": "the cookie_file is broken; starting without it",
            "file": str(file),
            "problem": problem,
            "moved_to": str(broken),
        }
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert broken.read_bytes() == content
    assert not file.exists()
    assert sent(cookies) == {"a=mine"}
    cookies.store(HOST, ["b=1; Path=/"])
    assert sent(make()) == {"a=mine", "b=1"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_set_aside(make: Maker, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text("{}")
    file.chmod(0)
    make()

    assert [event["problem"] for event in events(caplog, "broken")] == ["permission denied"]
    assert Path(f"{file}.broken").exists()


def _folder(file: Path) -> None:
    (file / "more").mkdir(parents=True)


@pytest.mark.parametrize("kind", [_folder, os.mkfifo])
def test_what_is_no_regular_file_is_left_alone(
    make: Maker, file: Path, caplog: pytest.LogCaptureFixture, kind: Callable[[Path], None]
) -> None:
    """It may be the folder of all state, or /dev/null."""
    kind(file)
    before = file.lstat()
    cookies = make(a="mine")
    cookies.store(HOST, ["b=1; Path=/"])

    assert events(caplog, "") == [
        {
            "message": "the cookie_file is broken and stays as it is; cookies are not kept over a restart",
            "file": str(file),
            "problem": "not a regular file",
            "not_moved": None,
        }
    ]
    assert (file.lstat().st_ino, file.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert list(file.parent.iterdir()) == [file]
    assert sent(cookies) == {"a=mine", "b=1"}


def test_a_broken_file_that_can_not_be_moved_is_not_written_over(
    make: Maker, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("not JSON")
    Path(f"{file}.broken").mkdir()
    cookies = make(a="mine")
    cookies.store(HOST, ["b=1; Path=/"])

    (event,) = events(caplog, "")
    assert "stays as it is" in str(event["message"])
    assert event["not_moved"] == "is a directory"
    assert file.read_text() == "not JSON"
    assert sent(cookies) == {"a=mine", "b=1"}


@pytest.mark.parametrize("value", ['"in quotes"', '"a\\"b"', "a=b", "x:y/z", 'half"', '""'])
def test_a_value_goes_back_exactly_as_it_came(make: Maker, value: str) -> None:
    """A balancer compares bytes; a browser knows of no quotes."""
    cookies = make(file=None)
    cookies.store(HOST, [f"route={value}; Path=/"])
    assert cookies.header(HOST) == f"route={value}"
    cookies.store(HOST, ["route=plain; Path=/"])
    assert cookies.header(HOST) == "route=plain"
