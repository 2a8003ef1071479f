"""Edits of named values, in their order: removed, renamed, replaced, added, appended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, Protocol, TypeVar

from gateway.plugins.transformers.pairs import split

Value = TypeVar("Value")
Given_contra = TypeVar("Given_contra", contravariant=True)


class Fields(Protocol[Given_contra]):
    """What is edited: headers, the arguments of a query, the fields of a form."""

    @property
    def renames_first(self) -> bool:
        """Whether names are changed before any is taken out."""
        ...

    def has(self, name: str) -> bool:
        """Tell whether there is such a field."""
        ...

    def remove(self, name: str) -> None:
        """Take a field out, if it is there."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a field that is there another name, in place of any that has it."""
        ...

    def put(self, name: str, value: Given_contra, /) -> None:
        """Give a field this value and no other."""
        ...

    def append(self, name: str, value: Given_contra, /) -> None:
        """Give a field one more value."""
        ...


@dataclass(frozen=True, slots=True)
class Edits(Generic[Value]):
    """What happens to one kind of fields."""

    remove: tuple[str, ...]
    rename: tuple[tuple[str, str], ...]
    replace: tuple[tuple[str, Value], ...]
    add: tuple[tuple[str, Value], ...]
    append: tuple[tuple[str, Value], ...]

    def __bool__(self) -> bool:
        return bool(self.remove or self.rename or self.replace or self.add or self.append)

    @property
    def may_make_some(self) -> bool:
        """Whether there may be fields thereafter where there were none."""
        return bool(self.add or self.append)

    @property
    def names(self) -> set[str]:
        """All that fields are called, before or after, in small letters."""
        put = (name for name, _ in (*self.replace, *self.add, *self.append))
        return {name.lower() for name in (*self.remove, *chain(*self.rename), *put)}

    @property
    def values(self) -> list[Value]:
        """All that is put."""
        return [value for _, value in (*self.replace, *self.add, *self.append)]

    def apply(
        self, fields: Fields[Given_contra], rendered: Callable[[Value], Given_contra]
    ) -> None:
        """Do it. ``rendered`` makes what is put out of what is configured."""
        if fields.renames_first:
            self._rename(fields)
        for name in self.remove:
            fields.remove(name)
        if not fields.renames_first:
            self._rename(fields)
        for name, value in self.replace:
            if fields.has(name):
                fields.put(name, rendered(value))
        for name, value in self.add:
            if not fields.has(name):
                fields.put(name, rendered(value))
        for name, value in self.append:
            fields.append(name, rendered(value))

    def _rename(self, fields: Fields[Given_contra]) -> None:
        for old, new in self.rename:
            if fields.has(old):
                fields.rename(old, new)


def names(entries: Sequence[str]) -> tuple[str, ...]:
    """Return the names of entries, which may have values."""
    return tuple(split(entry)[0] for entry in entries)


def renames(pairs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return old and new names."""
    return tuple(map(split, pairs))


def values(pairs: Sequence[str], compiled: Callable[[str], Value]) -> tuple[tuple[str, Value], ...]:
    """Return names and what their values are compiled to."""
    return tuple((name, compiled(value)) for name, value in map(split, pairs))
