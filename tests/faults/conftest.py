"""What the fault runs share: bridges and fault servers as processes, and how much of everything there is."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.bridge_process import BridgeStarter
from tests.faults.server_process import FaultServerProcess


class ServerStarter(Protocol):
    """Starts a fault server with a name."""

    def __call__(self, name: str = "server") -> FaultServerProcess:
        """Start it."""


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[BridgeStarter]:
    """Start bridges: `start_bridge(config)`. They end with the test."""
    with BridgeStarter(tmp_path) as starter:
        yield starter


@pytest.fixture
def fault_server(tmp_path: Path) -> Iterator[ServerStarter]:
    """Start fault servers. They end with the test."""
    with ExitStack() as running:
        yield lambda name="server": running.enter_context(FaultServerProcess(tmp_path, name))
