"""What the lists of a transformer are made of: names, ``name:value`` and ``old:new``."""

from __future__ import annotations

import re
from typing import Annotated

from gateway.entities.errors import violation
from gateway.entities.rules import Matches, Satisfies
from gateway.entities.types import Text
from gateway.plugins.lines import LineError, checked_name, line

_OF_FORWARDING = re.compile(r"(?i)via|x-real-ip|x-forwarded-(?:for|proto|host|port|path|prefix)")


def split(pair: str) -> tuple[str, str]:
    """Return name and value of a pair; the value is what follows all colons after the name."""
    name, _, value = pair.partition(":")
    return name, value.lstrip(":")


def _has_value(pair: str) -> str:
    name, value = split(pair)
    if not name or not value:
        raise violation(f"key '{name}' has no value")
    return pair


def _check_header(name: str) -> None:
    try:
        line(name, "")
    except LineError:
        raise violation(f"'{name}' is not a valid header") from None


def _names_header(entry: str) -> str:
    _check_header(split(entry)[0])
    return entry


def _sets_header(pair: str) -> str:
    name, value = split(_names_header(pair))
    try:
        checked_name(name)
        line(name, value)
    except LineError as error:
        raise violation(str(error)) from None
    return pair


def _renames_header(pair: str) -> str:
    _, new = split(_names_header(pair))
    _check_header(new)
    _sets_header(f"{new}:")
    return pair


def _tells_no_way(pair: str) -> str:
    """Refuse headers that tell the service which way a request has come."""
    _check_forwarding(split(pair)[0])
    return pair


def _renames_no_way(pair: str) -> str:
    _check_forwarding(split(pair)[1])
    return pair


def _check_forwarding(name: str) -> None:
    if _OF_FORWARDING.fullmatch(name):
        raise violation(f"{name} is written by the proxy only")


_Pair = Annotated[Text, Matches(r"[^:]+:.*")]

Pair = Annotated[_Pair, Satisfies(_has_value)]
HeaderEntry = Annotated[Text, Satisfies(_names_header)]
"""The name of a header, or a pair of one and a value."""

HeaderPair = Annotated[_Pair, Satisfies(_sets_header)]
HeaderRename = Annotated[_Pair, Satisfies(_renames_header)]
RequestHeaderPair = Annotated[HeaderPair, Satisfies(_tells_no_way)]
RequestHeaderRename = Annotated[HeaderRename, Satisfies(_renames_no_way)]
