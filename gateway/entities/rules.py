"""Rules a field's value must satisfy, each with Kong's exact text when it does not.

A rule stands in a field's ``Annotated[...]`` and stays readable there, so that schemas and
documents can be derived from the declaration. Texts: reference sheet entities.md, section 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from gateway.entities.errors import error_text, violation


class Rule:
    """Base of the rules: ``check`` runs on a value whose type is already right."""

    def check(self, value: Any) -> Any:
        """Return the value to keep. Raises a violation."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


@dataclass(frozen=True, slots=True)
class Between(Rule):
    """A number from ``low`` to ``high``, both included."""

    low: int
    high: int

    def check(self, value: Any) -> Any:
        """Return the value as it is."""
        if not self.low <= value <= self.high:
            raise violation(f"value should be between {self.low} and {self.high}")
        return value


@dataclass(frozen=True, slots=True)
class MoreThan(Rule):
    """A number above ``low``."""

    low: int

    def check(self, value: Any) -> Any:
        """Return the value as it is."""
        if value <= self.low:
            raise violation(f"value must be greater than {self.low}")
        return value


@dataclass(frozen=True, slots=True, init=False)
class OneOf(Rule):
    """One of a fixed list; the text names them in the order of the declaration."""

    choices: tuple[Any, ...]

    def __init__(self, *choices: Any) -> None:
        object.__setattr__(self, "choices", choices)

    def check(self, value: Any) -> Any:
        """Return the value as it is."""
        if value not in self.choices:
            raise violation(f"expected one of: {', '.join(map(str, self.choices))}")
        return value


@dataclass(frozen=True, slots=True)
class AtLeast(Rule):
    """A string or a collection of at least ``length`` characters or elements."""

    length: int

    def check(self, value: Any) -> Any:
        """Return the value as it is."""
        if len(value) < self.length:
            raise violation(f"length must be at least {self.length}")
        return value


@dataclass(frozen=True, slots=True)
class AtMost(Rule):
    """A string or a collection of at most ``length`` characters or elements."""

    length: int

    def check(self, value: Any) -> Any:
        """Return the value as it is."""
        if len(value) > self.length:
            raise violation(f"length must be at most {self.length}")
        return value


@dataclass(frozen=True, slots=True)
class StartsWith(Rule):
    """A string with a fixed beginning."""

    prefix: str

    def check(self, value: Any) -> Any:
        """Return the value as it is."""
        if not value.startswith(self.prefix):
            raise violation(f"should start with: {self.prefix}")
        return value


@dataclass(frozen=True, slots=True)
class Without(Rule):
    """A string that does not contain ``part``."""

    part: str
    text: str

    def check(self, value: Any) -> Any:
        """Return the value as it is."""
        if self.part in value:
            raise violation(self.text)
        return value


@dataclass(frozen=True, slots=True)
class Matches(Rule):
    """A string that matches ``pattern`` from end to end; ``{value}`` in ``text`` is the string."""

    pattern: str
    text: str = "invalid value: {value}"

    def check(self, value: Any) -> Any:
        """Return the value as it is."""
        if not re.fullmatch(self.pattern, value):
            raise violation(self.text.replace("{value}", value))
        return value


@dataclass(frozen=True, slots=True)
class Satisfies(Rule):
    """A value on which ``function`` raises no violation; what it returns is kept."""

    function: Callable[[Any], Any]

    def check(self, value: Any) -> Any:
        """Return what the function returns."""
        return self.function(value)


@dataclass(frozen=True, slots=True, init=False)
class FromOneFamily(Rule):
    """A collection whose elements all come from one of several families."""

    families: tuple[tuple[str, ...], ...]

    def __init__(self, *families: tuple[str, ...]) -> None:
        object.__setattr__(self, "families", families)

    def check(self, value: Any) -> Any:
        """Return the value as it is."""
        seen = [family for family in self.families if not set(family).isdisjoint(value)]
        if len(seen) > 1:
            quoted = (f"({', '.join(repr(name) for name in family)})" for family in seen)
            raise violation(f"these sets are mutually exclusive: {', '.join(quoted)}")
        return value


class Unrepeated(Rule):
    """Makes a list a set: duplicates are dropped, the first of each stays where it is."""

    def check(self, value: Any) -> Any:
        """Return the list without its duplicates."""
        return list(dict.fromkeys(value))

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        checked = core_schema.no_info_after_validator_function(self.check, handler(source))
        return core_schema.no_info_before_validator_function(_must_be_a_set, checked)


class ErrorsAsOne(Rule):
    """Tells the first error anywhere inside a map as the error of the whole map."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_first_error, handler(source))


def _must_be_a_set(value: Any) -> Any:
    if value is not None and not isinstance(value, list):
        raise violation("expected a set")
    return value


def _first_error(value: Any, inner: Callable[[Any], Any]) -> Any:
    try:
        return inner(value)
    except ValidationError as error:
        raise violation(error_text(error.errors()[0])) from None
