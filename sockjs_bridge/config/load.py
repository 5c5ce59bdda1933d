"""Reading and checking the whole configuration."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from sockjs_bridge.config.addresses import clashes
from sockjs_bridge.config.availability import missing_features, used_variables
from sockjs_bridge.config.environment import read_environment
from sockjs_bridge.config.inheritance import inherit
from sockjs_bridge.config.models import Config
from sockjs_bridge.config.origins import Origins
from sockjs_bridge.config.problems import Problem
from sockjs_bridge.config.rules import problems_between
from sockjs_bridge.config.salvage import Salvage
from sockjs_bridge.config.sources import Layer, read_toml
from sockjs_bridge.config.tree import Loc, Tree, merge
from sockjs_bridge.errors import ConfigError

_SMALLEST = """\
  [sessions.chat]
  url = "http://localhost:8081/echo"
  [[sessions.chat.tcp]]
  listen = "127.0.0.1:9000"\
"""


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the file, if there is one, and the environment over it.

    Nothing else is read: `environ` stands for the process's environment. Raises ConfigError with
    every problem found, each a line that begins with the file or the variable.
    """
    environment = read_environment(environ, Config)
    try:
        file = read_toml(path) if path else {}
    except ConfigError as error:
        raise ConfigError([*error.problems, *environment.problems]) from None
    written = merge(file, environment.tree)
    origins = Origins(str(path) if path else None, file, environment.variables, written)
    config: Config | None
    try:
        config = Config(_build_sources=((Layer(Config, environment.tree), Layer(Config, file)), {}))
        problems = list(_broken_rules(config))
    except ValidationError as error:
        salvage = Salvage(inherit(written), error)
        config, problems = salvage.config, salvage.problems
        if config:
            problems += filter(salvage.is_sure_of, _broken_rules(config))
    lines = list(environment.problems)
    lines += map(origins.line, _without_moot(problems, _unavailable(config, written), origins))
    if not written.get("sessions") and not environment.problems:
        lines.append(_no_session(path))
    if lines or config is None:
        raise ConfigError(list(dict.fromkeys(lines)))
    return config


def _broken_rules(config: Config) -> Iterator[Problem]:
    yield from problems_between(config)
    yield from clashes(config)


def _unavailable(config: Config | None, written: Tree) -> list[Problem]:
    features = list(missing_features(config.model_dump())) if config else []
    return [*features, *used_variables(written)]


def _without_moot(problems: list[Problem], unavailable: list[Problem], origins: Origins) -> Iterator[Problem]:
    # What is wrong inside a feature that is not there does not matter: the whole of it must go.
    gone: set[Loc] = set()
    for problem in (*unavailable, *problems):
        locs = [origins.source(loc) for loc in problem.locs]
        if any(loc[: len(above)] == above for above in gone for loc in locs):
            continue
        yield problem
        if problem in unavailable:
            gone.add(locs[0])


def _no_session(path: Path | None) -> str:
    where = f"{path}: no session" if path else "no configuration file, and no session in the environment"
    return f"{where}; the smallest working file is\n{_SMALLEST}"
