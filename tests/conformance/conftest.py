"""Conformance tests run once against each of the real servers; those of the matrix keep the README true."""

import os
from collections.abc import Callable, Generator

import pytest

from tests.conformance.matrix import README, WRITING_VARIABLE, Cell, claims, section
from tests.real_servers import SERVER_NAMES, RealServer


@pytest.fixture(params=SERVER_NAMES)
def server(request: pytest.FixtureRequest, shared_server: Callable[[str], RealServer]) -> RealServer:
    """Each real server in turn, shared with other tests. To kill one, ask for `real_server` instead."""
    return shared_server(request.param)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a cell of the matrix whose outcome is not what the README says: also one skipped or expected to fail.

    Done for each test, in the process that ran it: so it holds under xdist, and for a part of the tests.
    """
    report = yield
    cell = getattr(item, "callspec", None) and item.callspec.params.get("cell")  # type: ignore[attr-defined]
    is_verdict = report.when == "call" or not report.passed
    if isinstance(cell, Cell) and is_verdict and WRITING_VARIABLE not in os.environ:
        check = item.originalname.removeprefix("test_")  # type: ignore[attr-defined]
        claimed = claims(section(README.read_text(encoding="utf-8"))).get((cell, check))
        missing = report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") != "true"
        # Without its server, a developer's machine says nothing; a failure needs no second word.
        if report.passed != (claimed == "ok") and not report.failed and not missing:
            problem = f'the README says "{claimed}", in this run it was {report.outcome}: run `make matrix`'
            report.longrepr = f"{problem}\n{report.longrepr or ''}"
            report.outcome = "failed"
    return report
