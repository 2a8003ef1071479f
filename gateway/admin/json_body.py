"""JSON bodies: one object, of so many values and levels, with numbers that can be kept.

What is too much is refused before it is parsed: the parser holds the interpreter, and with it the
proxy, for as long as there are values to make.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

from gateway.admin.errors import ApiError, plain
from gateway.entities import Given

MOST_VALUES = 10_000
"""Values in a body, at all levels: what is done with them holds the event loop for some ms."""

DEEPEST = 32
"""Levels of objects and lists in each other."""

MOST_DIGITS = 300
"""Digits of an integer: so many fit into a float, and far more than into any field."""

_STRUCTURE = re.compile(
    rb"""(?: [^"\[\]{},]++ | "[^"\\]*+ (?:\\.[^"\\]*+)*+ \\?"? )*+ ([\[\]{},]|\Z)""",
    re.DOTALL | re.VERBOSE,
)
"""The next mark of structure, strings and all else skipped. It matches at any place."""


def json_object(body: bytes) -> Given:
    """Return the object that the body is. Raises an answer that says what is wrong with it."""
    try:
        _check_extent(body)
        value = json.loads(
            body.decode(),
            object_pairs_hook=_without_duplicates,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise _refusal(f"not UTF-8 at byte {error.start + 1}") from None
    except ValueError as error:
        raise _refusal(str(error)) from None
    if not isinstance(value, dict):
        raise _refusal("expected an object")
    return value


def _check_extent(body: bytes) -> None:
    """Raise ValueError if there are too many values, or too many levels."""
    values = level = 0
    for found in _STRUCTURE.finditer(body):
        if found[1] in (b"]", b"}"):
            level -= 1
            continue
        values += 1
        level += found[1] != b","
        if values > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values")
        if level > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        (twice, _), *_rest = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {json.dumps(twice)} appears twice")
    return value


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of more than {MOST_DIGITS} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number that is too large")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _refusal(reason: str) -> ApiError:
    return plain(400, "Cannot parse JSON body", reason=reason)
