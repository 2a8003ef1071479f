"""Several files as one: their lists are put together, all else must not contradict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.declarative.bounds import ReadError

_DROPPED = frozenset({"_comment", "_ignore"})


def merged(files: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the values of files, which are given with their names, as one. Raises ReadError."""
    whole: dict[str, Any] = {}
    for name, value in files:
        if not isinstance(value, dict):
            raise ReadError(f"{name}: expected a mapping at the top")
        kept = {key: part for key, part in value.items() if key not in _DROPPED}
        whole = _both(name, whole, kept)
    return whole


def _both(name: str, one: dict[str, Any], other: dict[str, Any], place: str = "") -> dict[str, Any]:
    both = one | other
    for key in one.keys() & other.keys():
        both[key] = _value(name, f"{place}{key}", one[key], other[key])
    return both


def _value(name: str, place: str, one: Any, other: Any) -> Any:
    match one, other:
        case (None, value) | (value, None):
            return value
        case list(), list() if not place.startswith("_info."):
            return one + other
        case dict(), dict():
            return _both(name, one, other, f"{place}.")
    if one != other:
        raise ReadError(f"{name}: '{place}' differs from the files before it")
    return one
