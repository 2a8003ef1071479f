"""What requests and responses say of caching, and for how long that keeps a response fresh.

``Cache-Control``, ``Expires`` and ``Age`` (RFC 9111). Whatever cannot be read is taken for the most
careful thing it could mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from types import MappingProxyType

from gateway.plugins.lines import values_of

_MOST_SECONDS = 2**31  # RFC 9111 section 1.2.2
_MOST_DIGITS = 10

_WORD = r"[^\s\",;=]"
_DIRECTIVE = re.compile(rf'({_WORD}++)(?:[ \t]*+=[ \t]*+(?:"([^"]*+)"?|({_WORD}*+)))?')

Directives = Mapping[str, str]
"""Directives by name in small letters, each with its argument, which may be empty."""

NOTHING: Directives = MappingProxyType({})

_FOR_ALL = ("public", "must-revalidate", "s-maxage")
_NEVER_STALE = ("must-revalidate", "proxy-revalidate", "s-maxage")


def directives_of(lines: bytes) -> Directives:
    """Return what the ``Cache-Control`` lines among header lines say; of the same twice, the first.

    Never raises.
    """
    values = values_of(lines, "cache-control")
    found: dict[str, str] = {}
    for name, quoted, token in _DIRECTIVE.findall(", ".join(values)) if values else ():
        found.setdefault(name.lower(), quoted or token)
    return found or NOTHING


def seconds(argument: str) -> int:
    """Return a number of seconds, 0 for what is none: so nothing is taken for fresher than it is.

    :param argument: of a directive, or the value of ``Age``.
    """
    if not (argument.isascii() and argument.isdigit()):
        return 0
    return min(_MOST_SECONDS, int(argument) if len(argument) <= _MOST_DIGITS else _MOST_SECONDS)


def forbids_storing(directives: Directives) -> bool:
    """Whether a response must not be kept for others, or not be used without asking."""
    return any(name in directives for name in ("private", "no-store", "no-cache"))


def is_for_all(directives: Directives) -> bool:
    """Whether a response may be for others though the request had ``Authorization``."""
    return any(name in directives for name in _FOR_ALL)


def may_be_stale(directives: Directives) -> bool:
    """Whether a client may be given the response when it is fresh no longer."""
    return not any(name in directives for name in _NEVER_STALE)


def is_fresh_enough(
    directives: Directives, age_s: float, lifetime_s: float, *, may_be_stale: bool
) -> bool:
    """Whether a response of this age, fresh for so long, may be given to who asks so."""
    left_s = lifetime_s - age_s
    if directives is NOTHING:
        return left_s > 0
    if "max-age" in directives and age_s > seconds(directives["max-age"]):
        return False
    if "min-fresh" in directives and left_s < seconds(directives["min-fresh"]):
        return False
    stale = directives.get("max-stale")
    if left_s <= 0 and stale is not None and may_be_stale:
        return not stale or -left_s <= seconds(stale)
    return left_s > 0


def lifetime_s(directives: Directives, lines: bytes, now: float) -> float:
    """Return for how many seconds a response says it is fresh, counted from its making.

    ``lines`` are all its header lines, ``now`` the seconds since the epoch, in case of no ``Date``.
    """
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return seconds(directives[name])
    expires = values_of(lines, "expires")
    if not expires:
        return 0
    made_at = _moment(values_of(lines, "date"))
    expires_at = _moment(expires)
    if expires_at is None:
        return 0
    return expires_at - (now if made_at is None else made_at)


def _moment(values: Sequence[str]) -> float | None:
    """Return the seconds since the epoch that a date stands for, None for what is no date."""
    try:
        return parsedate_to_datetime(values[0]).timestamp() if values else None
    except (ValueError, OverflowError, OSError):
        return None
