"""What a field has to keep, as sentences for people; code in them stands between backticks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.entities.kong_schema import value_schema
from gateway.entities.schema import Field


def sentences(field: Field) -> Iterator[str]:
    """Yield a sentence for each rule, of the value or of what it is a list of."""
    if field.unique:
        yield "Unique."
    if field.secret:
        yield "Secret."
    for value in (field.value, field.value.element):
        attributes = {} if value is None else value_schema(value)
        for name, words in _WORDS.items():
            if name in attributes:
                yield f"{words} {listed(attributes[name])}."


_WORDS = {
    "between": "From",
    "gt": "More than",
    "one_of": "One of",
    "len_min": "At least as long as",
    "len_max": "At most as long as",
    "starts_with": "Starts with",
    "match": "Matches",
    "mutually_exclusive_subsets": "All from one of",
    "on_delete": "When that is deleted:",
}


def listed(value: Any) -> str:
    """Return a value, a list of values, or a list of such lists, as part of a sentence."""
    match value:
        case [int() as low, int() as high]:
            return f"{low} to {high}"
        case [list(), *_]:
            return "; ".join(listed(each) for each in value)
        case list():
            return ", ".join(f"`{each}`" for each in value)
        case _:
            return f"`{value}`"
