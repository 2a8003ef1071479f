"""What must hold of a request beyond its method, host and path: header values and the SNI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.routing.patterns import ValueRegex

_REGEX_MARK = "~*"


@dataclass(frozen=True, slots=True)
class HeaderCondition:
    """One header that must be there with any of ``values``, or with a value that ``regex`` finds.

    Name and values are lower case.
    """

    name: bytes
    values: frozenset[bytes]
    regex: ValueRegex | None

    def accepts(self, values: Iterable[bytes]) -> bool:
        """Tell whether any of a request's lower-cased values of this header will do."""
        if self.regex is not None:
            return any(map(self.regex.found_in, values))
        return not self.values.isdisjoint(values)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The headers and server names of a route; None for ``snis`` accepts any."""

    headers: tuple[HeaderCondition, ...]
    snis: frozenset[bytes] | None

    def accepts(self, headers: Mapping[bytes, Sequence[bytes]], sni: bytes | None) -> bool:
        """Tell whether a request with these headers (from `by_name`) and this SNI will do."""
        if self.snis is not None and sni not in self.snis:
            return False
        return all(condition.accepts(headers.get(condition.name, ())) for condition in self.headers)


def by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """Gather (lower-case name, value) pairs as name → lower-cased values."""
    gathered: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        gathered.setdefault(name, []).append(value.lower())
    return gathered


def header_conditions(headers: Mapping[str, Sequence[str]]) -> tuple[HeaderCondition, ...]:
    """Compile a route's ``headers``. Raises ValueError naming the header of a bad regex."""
    return tuple(_header_condition(name, values) for name, values in headers.items())


def _header_condition(name: str, values: Sequence[str]) -> HeaderCondition:
    lower_name = name.lower().encode()
    if len(values) == 1 and values[0].startswith(_REGEX_MARK):
        try:
            regex = ValueRegex(values[0].removeprefix(_REGEX_MARK))
        except ValueError as error:
            raise ValueError(f"regex of header '{name}' does not compile: {error}") from error
        return HeaderCondition(lower_name, frozenset(), regex)
    return HeaderCondition(lower_name, frozenset(v.encode().lower() for v in values), None)
