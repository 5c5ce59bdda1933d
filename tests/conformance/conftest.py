"""Conformance tests run once against each of the real servers."""

from collections.abc import Callable

import pytest

from tests.real_servers import SERVER_NAMES, RealServer


@pytest.fixture(params=SERVER_NAMES)
def server(request: pytest.FixtureRequest, shared_server: Callable[[str], RealServer]) -> RealServer:
    """Each real server in turn, shared with other tests. To kill one, ask for `real_server` instead."""
    return shared_server(request.param)
