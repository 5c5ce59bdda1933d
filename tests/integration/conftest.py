"""What all integration tests have: the log from INFO on, and a loop that has nothing to complain about."""

from collections.abc import Iterator

import pytest

from tests.in_process import log_everything
from tests.openssl_authority import Authority


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log_everything(caplog)
    yield
    complaints = [record.getMessage() for record in caplog.get_records("call") if record.name == "asyncio"]
    assert complaints == []


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs what listeners and their clients show."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "Another CA")
