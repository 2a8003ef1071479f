"""Checks across the fields of an entity, with Kong's exact texts.

Each check names the fields it reads and is skipped when one of them is already known to be bad.
Texts: reference sheet entities.md, section 2 (cross-field checks).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.entities.entity import Operation
from gateway.entities.errors import ENTITY, REQUIRED, Tree

Values = Mapping[str, Any]
Finding = tuple[str, str]
"""The key the text stands under (a field's name or ``@entity``), and the text."""


class Check(Protocol):
    """One rule over several fields."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields the check looks at."""
        ...

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield what is wrong with the values."""
        ...


def run_checks(
    checks: Iterable[Check], values: Values, tree: Tree, operation: Operation = "create"
) -> None:
    """Add to ``tree`` what the checks find in ``values``.

    ``tree`` holds the bad fields so far; a check that reads one of them, or one whose value is
    not known, is skipped.
    """
    for check in checks:
        if tree.keys().isdisjoint(check.reads) and values.keys() >= set(check.reads):
            for key, text in check.findings(values):
                if operation == "update" and isinstance(check, AtLeastOneOf):
                    text = f"when updating, {text}"  # noqa: PLW2901
                if key == ENTITY:
                    tree.setdefault(ENTITY, []).append(text)
                else:
                    tree[key] = text


def is_empty(value: Any) -> bool:
    """Tell whether a value counts as not set: null, or an empty string or collection."""
    return value is None or value in ("", [], {})


# -- what a condition asks of a field


class Condition(Protocol):
    """What one field must be."""

    def problem(self, value: Any) -> str | None:
        """Return why ``value`` does not do, or ``None``."""
        ...


@dataclass(frozen=True, slots=True)
class Is:
    """One of the given texts."""

    choices: tuple[str, ...]

    def problem(self, value: Any) -> str | None:
        """Return why ``value`` does not do, or ``None``."""
        return None if value in self.choices else f"expected one of: {', '.join(self.choices)}"


@dataclass(frozen=True, slots=True)
class IsNot:
    """None of the given texts."""

    choices: tuple[str, ...]

    def problem(self, value: Any) -> str | None:
        """Return why ``value`` does not do, or ``None``."""
        return f"must not be one of: {', '.join(self.choices)}" if value in self.choices else None


@dataclass(frozen=True, slots=True)
class IsNull:
    """Not set."""

    def problem(self, value: Any) -> str | None:
        """Return why ``value`` does not do, or ``None``."""
        return None if value is None else "value must be null"


@dataclass(frozen=True, slots=True)
class IsSet:
    """Not null."""

    def problem(self, value: Any) -> str | None:
        """Return why ``value`` does not do, or ``None``."""
        return REQUIRED if value is None else None


# -- checks


@dataclass(frozen=True, slots=True)
class Conditional:
    """If ``if_field`` is ``if_match``, then ``then_field`` must be ``then_match``."""

    if_field: str
    if_match: Condition
    then_field: str
    then_match: Condition

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields the check looks at."""
        return (self.if_field, self.then_field)

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield one text for the entity and one for the field."""
        if self.if_match.problem(values[self.if_field]) is not None:
            return
        if (problem := self.then_match.problem(values[self.then_field])) is not None:
            yield ENTITY, f"failed conditional validation given value of field '{self.if_field}'"
            yield self.then_field, problem


@dataclass(frozen=True, slots=True)
class Distinct:
    """The fields, where set, must differ from each other."""

    reads: tuple[str, ...]

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield at most one text for the entity."""
        present = [values[name] for name in self.reads if not is_empty(values[name])]
        if len(set(present)) < len(present):
            yield ENTITY, f"values of these fields must be distinct: {quoted(self.reads)}"


@dataclass(frozen=True, slots=True)
class MutuallyRequired:
    """All of the fields are set, or none."""

    reads: tuple[str, ...]

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield at most one text for the entity."""
        if len({is_empty(values[name]) for name in self.reads}) > 1:
            yield ENTITY, f"all or none of these fields must be set: {quoted(self.reads)}"


@dataclass(frozen=True, slots=True)
class AtLeastOneOf:
    """Some of the fields are set."""

    reads: tuple[str, ...]

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield at most one text for the entity."""
        if all(is_empty(values[name]) for name in self.reads):
            yield (
                ENTITY,
                f"at least one of these fields must be non-empty: {quoted(self.reads)}",
            )


def quoted(names: Iterable[str]) -> str:
    """Return the names in single quotes, joined by commas."""
    return ", ".join(f"'{name}'" for name in names)
