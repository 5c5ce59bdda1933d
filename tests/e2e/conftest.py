"""What the tests of the whole program share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bridge_process import BridgeStarter
from tests.real_servers import RealServer


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[BridgeStarter]:
    """Start bridges: `start_bridge(config)`. They end with the test."""
    with BridgeStarter(tmp_path) as starter:
        yield starter


@pytest.fixture
def server(shared_server: Callable[[str], RealServer]) -> RealServer:
    """One real server, for tests that leave it as it was and do not care which it is."""
    return shared_server("tornado")
