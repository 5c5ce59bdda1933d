"""What the options mean: the strings below the keys of a table, read from its source.

Pydantic would do it for each table at every start of the program, and take a tenth of the time that `check` takes;
but the texts are only needed where the reference or the schema is made.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


@cache
def texts_of(table: type[BaseModel]) -> Mapping[str, str]:
    """The texts by the name of the field, inherited ones too. Empty where the sources are not installed."""
    texts: dict[str, str] = {}
    for model in reversed(table.__mro__):
        if issubclass(model, BaseModel) and model is not BaseModel:
            texts.update(_own_texts(model))
    return texts


def _own_texts(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    try:
        (definition,) = ast.parse(inspect.getsource(model)).body
    except OSError:
        return
    if isinstance(definition, ast.ClassDef):
        for field, below in pairwise(definition.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    yield name, inspect.cleandoc(text)
