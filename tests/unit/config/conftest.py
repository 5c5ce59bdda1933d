"""Configurations from text, for the tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sockjs_bridge.config import Config, load
from sockjs_bridge.errors import ConfigError

Loader = Callable[..., Config]
Finder = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Loader:
    """Load a configuration from the text of a file and from variables."""

    def load_text(text: str | bytes | None, **environ: str) -> Config:
        if text is None:
            return load(None, environ)
        path = tmp_path / "bridge.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, environ)

    return load_text


@pytest.fixture
def problems(read: Loader, tmp_path: Path) -> Finder:
    """Find what is wrong with a configuration; the file is called bridge.toml in the lines. Empty: nothing."""

    def find(text: str | bytes | None, **environ: str) -> list[str]:
        try:
            read(text, **environ)
        except ConfigError as error:
            return [line.replace(f"{tmp_path}/", "") for line in error.problems]
        return []

    return find
