"""What a declared type is underneath its rules and its ``None``."""

from __future__ import annotations

from types import NoneType
from typing import Annotated, Any, get_args, get_origin


def allows_none(annotation: Any) -> bool:
    """Tell whether ``None`` is a value of the annotated type."""
    return NoneType in get_args(annotation)


def bare(annotation: Any) -> Any:
    """Return the type without ``Annotated[...]`` and ``| None`` around it."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif allows_none(annotation):
            annotation = next(arg for arg in get_args(annotation) if arg is not NoneType)
        else:
            return annotation
