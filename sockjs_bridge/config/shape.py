"""The shape that the models give the configuration: what may stand where."""

from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

# An annotation can be any object, so these functions speak of Any.


def inside(annotation: Any, key: str | int) -> Any:
    """The annotation of a table's key or an array's element; None where nothing may stand."""
    annotation = _plain(annotation)
    if _is_model(annotation):
        return _fields(annotation).get(str(key))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return arguments[1]
    return arguments[0] if origin is tuple and isinstance(key, int) else None


def keys(annotation: Any) -> list[str]:
    """The keys that a table has; none for a table of free keys and for anything else."""
    annotation = _plain(annotation)
    return list(_fields(annotation)) if _is_model(annotation) else []


def is_array(annotation: Any) -> bool:
    """Whether an array stands here."""
    return get_origin(_plain(annotation)) is tuple


def is_free_table(annotation: Any) -> bool:
    """Whether a table stands here whose keys the user chooses."""
    return get_origin(_plain(annotation)) is dict


def is_structured(annotation: Any) -> bool:
    """Whether a table or an array stands here, not a single value."""
    return bool(keys(annotation)) or is_array(annotation) or is_free_table(annotation)


def _plain(annotation: Any) -> Any:
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, UnionType):
            annotation = next(part for part in get_args(annotation) if part is not NoneType)
        else:
            return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}
