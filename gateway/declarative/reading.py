"""The text of a declarative file as plain values: bounded in size, depth and repetition.

A text that begins with ``{`` is JSON, any other is YAML.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from gateway.declarative.bounds import (
    MOST_CHARACTERS,
    MOST_INTEGER_DIGITS,
    MOST_LEVELS,
    MOST_VALUES,
    ReadError,
    too_deep,
    too_large,
)
from gateway.declarative.yaml_reading import read_yaml

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def read(text: str) -> Any:
    """Return the value that a text stands for. Raises ReadError."""
    if len(text) > MOST_CHARACTERS:
        raise ReadError(f"larger than {MOST_CHARACTERS} characters")
    return _read_json(text) if text.lstrip("\ufeff \t\r\n").startswith("{") else read_yaml(text)


# -- JSON


def _read_json(text: str) -> Any:
    try:
        value = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_number,
        )
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise too_deep() from None
    except UnicodeEncodeError:
        raise ReadError("a string has half of a surrogate pair (\\ud800 to \\udfff)") from None
    except ValueError as error:
        raise ReadError(str(error)) from None
    _bound(value)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        (twice, _), *_rest = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {json.dumps(twice)} appears twice in one object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _integer(digits: str) -> int:
    if len(digits) > MOST_INTEGER_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:MOST_INTEGER_DIGITS]} is too large a number")
    return number


def _bound(value: Any) -> None:
    """Look at a value level by level. Raises ReadError for too many levels, or values."""
    level, size, depth = [value], 1, 0
    while level:
        inside = itertools.chain.from_iterable(_inside(value) for value in level)
        level = list(itertools.islice(inside, MOST_VALUES + 1))
        size, depth = size + len(level), depth + 1
        if size > MOST_VALUES:
            raise too_large()
        if depth > MOST_LEVELS:
            raise too_deep()


def _inside(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()
