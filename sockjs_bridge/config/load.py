"""Reading and checking the whole configuration."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from sockjs_bridge.config.addresses import clashes
from sockjs_bridge.config.environment import read_environment
from sockjs_bridge.config.inheritance import inherit
from sockjs_bridge.config.models import Config
from sockjs_bridge.config.origins import Origins
from sockjs_bridge.config.problems import Problem
from sockjs_bridge.config.references import References
from sockjs_bridge.config.rules import problems_between
from sockjs_bridge.config.salvage import Salvage
from sockjs_bridge.config.sources import Layer, read_toml
from sockjs_bridge.config.tree import merge
from sockjs_bridge.errors import ConfigError
from sockjs_bridge.secret_store import SecretStore

_SMALLEST = """\
  [sessions.chat]
  url = "http://localhost:8081/echo"
  [[sessions.chat.tcp]]
  listen = "127.0.0.1:9000"\
"""


def load(path: Path | None, environ: Mapping[str, str], secrets: SecretStore | None = None) -> Config:
    """Read the file, if there is one, and the environment over it.

    Nothing else is read but the files that references name: `environ` stands for the process's environment,
    and `secrets` are read from it where none are given. Raises ConfigError with every problem found, each a
    line that begins with the file or the variable, and none with a secret.
    """
    secrets = secrets or SecretStore(environ)
    try:
        return _load(path, environ, secrets)
    except ConfigError as error:
        raise ConfigError([secrets.mask(line) for line in error.problems]) from None


def _load(path: Path | None, environ: Mapping[str, str], secrets: SecretStore) -> Config:
    environment = read_environment(environ, Config)
    try:
        file = read_toml(path) if path else {}
    except ConfigError as error:
        raise ConfigError([*error.problems, *environment.problems]) from None
    written = merge(file, environment.tree)
    origins = Origins(str(path) if path else None, file, environment.variables, written)
    references = References(secrets)
    resolved = references.resolve(written)
    config: Config | None
    try:
        config = Config(_build_sources=((Layer(Config, resolved),), {}))
        problems = list(_broken_rules(config))
    except ValidationError as error:
        salvage = Salvage(inherit(resolved), error)
        config, problems = salvage.config, salvage.problems
        if config:
            problems += filter(salvage.is_sure_of, _broken_rules(config))
    lines = list(environment.problems)
    lines += map(origins.line, _without_moot(references.problems, problems, origins=origins))
    if not written.get("sessions") and not environment.problems:
        lines.append(_no_session(path))
    if lines or config is None:
        raise ConfigError(list(dict.fromkeys(lines)))
    return config.with_references(written, secrets)


def _broken_rules(config: Config) -> Iterator[Problem]:
    yield from problems_between(config)
    yield from clashes(config)


def _without_moot(unread: list[Problem], problems: list[Problem], *, origins: Origins) -> Iterator[Problem]:
    """All problems, but what is wrong with a value that could not be read is not known yet."""
    yield from unread
    gone = {origins.source(problem.locs[0]) for problem in unread}
    for problem in problems:
        locs = [origins.source(loc) for loc in problem.locs]
        if not any(loc[: len(above)] == above for above in gone for loc in locs):
            yield problem


def _no_session(path: Path | None) -> str:
    where = f"{path}: no session" if path else "no configuration file, and no session in the environment"
    return f"{where}; the smallest working file is\n{_SMALLEST}"
