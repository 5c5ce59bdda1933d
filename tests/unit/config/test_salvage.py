from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError

from sockjs_bridge.config import Config
from sockjs_bridge.config.salvage import _STAND_INS, Salvage
from sockjs_bridge.config.shape import inside, keys
from sockjs_bridge.config.tree import Tree


def salvage(tree: Tree) -> Salvage:
    with pytest.raises(ValidationError) as caught:
        Config(**tree)
    return Salvage(tree, caught.value)


def required_keys(model: type[BaseModel]) -> Iterator[str]:
    """Of a model and the models in it, however deep."""
    for name, field in model.model_fields.items():
        if field.is_required():
            yield name
    for key in keys(model):
        below = inside(model, key)
        for annotation in (below, inside(below, 0), inside(below, "x")):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from required_keys(annotation)


def test_every_required_key_has_a_stand_in() -> None:
    assert {"url", "listen"} <= set(required_keys(Config)) <= set(_STAND_INS)


def test_what_is_right_is_left() -> None:
    left = salvage(
        {
            "log": {"level": "debug", "format": "x"},
            "sessions": {"a": {"url": "x", "server_id": "001", "tcp": [{"listen": "9000", "framng": 1}, {}]}},
        }
    ).config

    assert left is not None
    assert (left.log.level, left.log.format) == ("debug", "auto")
    assert left.sessions["a"].server_id == "001"
    assert left.sessions["a"].tcp[0].listen == "9000"
    assert len(left.sessions["a"].tcp) == 2


@pytest.mark.parametrize(
    "tree",
    [
        {"sessions": 5},
        {"log": []},
        {"defaults": 5, "sessions": {"a": 5}},
        {"sessions": {"a": {"tcp": [5, {}], "zmq": [{}, 5], "on_connect": [{"http": 5}, {"http": {}}]}}},
        {"sessions": {"A!": {"url": 5}}, "_env_file": "x", "sources": 1},
        {
            "defaults": {"queue": {"spool": 5}},
            "sessions": {"a": {"url": "http://h"}, "b": {"url": "http://h"}},
        },
    ],
    ids=str,
)
def test_something_is_always_left(tree: Tree) -> None:
    assert salvage(tree).config is not None
