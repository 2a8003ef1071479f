"""What must hold of a request beyond its method, host and path: header values and the SNI.

Source: ``router.md`` section 2. What the flavors make of regexes and wildcards differs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.routing.patterns import ValueRegex

_REGEX_MARK = "~*"


@dataclass(frozen=True, slots=True)
class HeaderCondition:
    """One header that must be there with any of ``values``, or with one that a regex finds.

    Name and values are lower case.
    """

    name: bytes
    values: frozenset[bytes]
    regexes: tuple[ValueRegex, ...]

    def accepts(self, values: Collection[bytes]) -> bool:
        """Tell whether any of a request's lower-cased values of this header will do."""
        if not self.values.isdisjoint(values):
            return True
        return any(regex.found_in(value) for regex in self.regexes for value in values)


@dataclass(frozen=True, slots=True)
class ServerNames:
    """TLS server names: whole ones, and what is beside the ``*`` of others."""

    whole: frozenset[bytes]
    starts: tuple[bytes, ...]
    ends: tuple[bytes, ...]

    @classmethod
    def of(cls, snis: Iterable[str], *, wildcards: bool) -> ServerNames:
        """Make them of a route's ``snis``. Raises ValueError for a wildcard without ``wildcards``.

        A trailing dot means nothing (router.md section 2).
        """
        names = [sni.removesuffix(".").encode() for sni in snis]
        with_star = [name for name in names if b"*" in name]
        if with_star and not wildcards:
            raise ValueError(
                f"sni '{with_star[0].decode()}' has a wildcard, which is matched only "
                "if setting router_flavor is traditional_compatible"
            )
        return cls(
            frozenset(names).difference(with_star),
            tuple(name[:-1] for name in with_star if name.endswith(b"*")),
            tuple(name[1:] for name in with_star if name.startswith(b"*")),
        )

    def accept(self, sni: bytes | None) -> bool:
        """Tell whether the server name that a client asked for is one of these."""
        if sni is None:
            return False
        return sni in self.whole or sni.startswith(self.starts) or sni.endswith(self.ends)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The headers and server names of a route; None for ``snis`` accepts any."""

    headers: tuple[HeaderCondition, ...]
    snis: ServerNames | None

    def accepts(self, headers: Mapping[bytes, Collection[bytes]], sni: bytes | None) -> bool:
        """Tell whether a request with these headers (from `by_name`) and this SNI will do."""
        if self.snis is not None and not self.snis.accept(sni):
            return False
        return all(condition.accepts(headers.get(condition.name, ())) for condition in self.headers)


def by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """Gather (lower-case name, value) pairs as name → lower-cased values."""
    gathered: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        gathered.setdefault(name, []).append(value.lower())
    return gathered


def header_conditions(
    headers: Mapping[str, Sequence[str]], *, compatible: bool
) -> tuple[HeaderCondition, ...]:
    """Compile a route's ``headers``. Raises ValueError naming the header of a bad regex.

    A regex stands alone and as it is written; in the ``compatible`` flavor it may be one of several
    values, and is lowered.
    """
    make = _compatible_condition if compatible else _traditional_condition
    conditions = []
    for name, values in headers.items():
        try:
            conditions.append(make(name.lower().encode(), values))
        except ValueError as error:
            raise ValueError(f"regex of header '{name}' does not compile: {error}") from error
    return tuple(conditions)


def _traditional_condition(name: bytes, values: Sequence[str]) -> HeaderCondition:
    if len(values) == 1 and values[0].startswith(_REGEX_MARK):
        regex = ValueRegex(values[0].removeprefix(_REGEX_MARK))
        return HeaderCondition(name, frozenset(), (regex,))
    return HeaderCondition(name, _lowered(values), ())


def _compatible_condition(name: bytes, values: Sequence[str]) -> HeaderCondition:
    regexes = tuple(
        ValueRegex(_ascii_lower(value.removeprefix(_REGEX_MARK)))
        for value in values
        if value.startswith(_REGEX_MARK)
    )
    plain = [value for value in values if not value.startswith(_REGEX_MARK)]
    return HeaderCondition(name, _lowered(plain), regexes)


def _lowered(values: Iterable[str]) -> frozenset[bytes]:
    return frozenset(value.encode().lower() for value in values)


def _ascii_lower(text: str) -> str:
    """Lower as values are lowered: byte by byte."""
    return text.encode().lower().decode()
