"""What all tests have: uvloop under the async ones, as under the daemon, and real SockJS servers to talk to."""

import asyncio
import faulthandler
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

import pytest
import uvloop

from tests.proxies import ProxyServer
from tests.real_servers import RealServer, ServerMissingError

_T = TypeVar("_T")
# Seconds before the hard limit of pytest-timeout at which an async test is cancelled.
_CANCEL_BEFORE_LIMIT = 5.0
_TEARDOWN_LIMIT = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run what is repeated ten times as often as CI does")


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether this is the long form of the tests that repeat something many times."""
    return bool(request.config.getoption("--long"))


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], uvloop.Loop]]:
    """Name the one event loop. pytest-asyncio calls this; with a single entry the tests' names stay as they are."""
    mark = item.get_closest_marker("timeout")
    limit = float(mark.args[0] if mark else item.config.getini("timeout"))
    return {"uvloop": partial(_new_event_loop, limit - _CANCEL_BEFORE_LIMIT)}


def _new_event_loop(limit: float) -> uvloop.Loop:
    """Return a loop that cancels its tasks after `limit` seconds.

    A test that hangs then fails with the line that it waits in. pytest-timeout can only end the process and show the
    stack of the loop itself, and has to: under uvloop no signal handler can raise into a test.
    """
    loop = uvloop.new_event_loop()
    loop.call_later(limit, _cancel_tasks, loop, f"the test still ran after {limit:.0f} seconds")
    return loop


def _cancel_tasks(loop: uvloop.Loop, why: str) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel(why)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """End the worker where a teardown hangs: pytest-timeout gives up its timer as soon as a test has failed."""
    faulthandler.dump_traceback_later(_TEARDOWN_LIMIT, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _start_or_skip(name: str, tls: Mapping[str, str] | None = None) -> RealServer:
    return _or_skip(lambda: RealServer(name, tls))


def _or_skip(start: Callable[[], _T]) -> _T:
    """Start a program of others, or skip the test where it is not installed."""
    try:
        return start()
    except ServerMissingError as exc:
        # What a developer may do without, CI may not: a skip there would look like a pass.
        if os.environ.get("CI") == "true":
            pytest.fail(str(exc))
        pytest.skip(str(exc))


@pytest.fixture
def real_server() -> Iterator[Callable[..., RealServer]]:
    """Start servers by name ("node", "tornado", "aio", "protocols"), for this test alone: it may kill and restart them."""
    with ExitStack() as running:
        yield lambda name, tls=None: running.enter_context(_start_or_skip(name, tls))


@pytest.fixture
def start_proxy() -> Iterator[Callable[..., ProxyServer]]:
    """Start proxies by name, for this test: `start_proxy("squid", login=True)`."""
    with ExitStack() as running:

        def start(name: str, *, login: bool = False) -> ProxyServer:
            return running.enter_context(_or_skip(lambda: ProxyServer(name, login=login)))

        yield start


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Callable[[str], RealServer]]:
    """Start servers by name, or hand out the ones that run: for tests that leave them as they were.

    Each test process has its own. Sessions of other tests may still be open in /chat.
    """
    started: dict[str, RealServer] = {}
    with ExitStack() as running:

        def start_once(name: str) -> RealServer:
            if name not in started:
                started[name] = running.enter_context(_start_or_skip(name))
            return started[name]

        yield start_once
