"""What is wrong with a declarative file: as a tree, as text, and as a list of entities.

Shapes: reference sheet decl-config.md, section A3. Positions count from 1 in texts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.entities.errors import ENTITY, Tree

Place = tuple[str | int, ...]
"""Where something stands in a file: names of keys, and positions in lists from 0."""

MOST_TOLD = 1000
"""Problems that are told; of the others, the number."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """An entity that has a problem, as far as it helps to find it."""

    type: str
    name: str | None
    id: str | None
    tags: Any
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at one place: a text, or the tree of an entity's fields."""

    place: Place
    found: Tree | str
    culprit: Culprit | None = None


class Problems:
    """All that has been found so far."""

    def __init__(self) -> None:
        self._found: dict[Place, Problem] = {}

    def add(self, place: Place, found: Tree | str, culprit: Culprit | None = None) -> None:
        """Note a problem; what is wrong with one entity becomes one problem."""
        there = self._found.get(place)
        if there is not None and isinstance(there.found, dict) and isinstance(found, dict):
            found = _merged(there.found, found)
        self._found[place] = Problem(place, found, culprit)

    def raise_if_any(self) -> None:
        """Raise InvalidConfigError if there is a problem."""
        if self._found:
            raise InvalidConfigError(list(self._found.values()))


class InvalidConfigError(Exception):
    """The file does not describe a configuration; ``str()`` is the text for people."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = problems[:MOST_TOLD]
        self.untold = len(problems) - len(self.problems)
        super().__init__("\n".join(self._lines()))

    def tree(self) -> Tree:
        """Return the problems as one tree, ``None`` at the good positions of lists."""
        tree: Tree = {}
        for problem in self.problems:
            _put(tree, problem.place, problem.found)
        return tree

    def flattened(self) -> list[dict[str, Any]]:
        """Return the entities that have problems, each with a list of them."""
        return [
            _entity(problem.culprit) | {"errors": list(_errors(problem.found))}
            for problem in self.problems
            if problem.culprit is not None
        ]

    def _lines(self) -> Iterator[str]:
        names = {p.place: p.culprit.name for p in self.problems if p.culprit and p.culprit.name}
        yield from _lines(self.tree(), (), names)
        if self.untold:
            yield f"and {self.untold} more"


def _merged(one: Tree, other: Tree) -> Tree:
    texts = [*one.get(ENTITY, ()), *other.get(ENTITY, ())]
    return one | other | ({ENTITY: texts} if texts else {})


# -- as a tree


def _put(tree: Tree, place: Place, found: Tree | str) -> None:
    """Lay ``found`` into the tree at a place, beside what is nested in the same entity."""
    branch: Any = tree
    for step, following in itertools.pairwise(place):
        branch = _branch(branch, step, [] if isinstance(following, int) else {})
    if isinstance(found, str):
        _branch(branch, place[-1], found)
        return
    _branch(branch, place[-1], {}).update(found)


def _branch(parent: Any, step: str | int, empty: Any) -> Any:
    if isinstance(step, str):
        return parent.setdefault(step, empty)
    parent.extend([None] * (step + 1 - len(parent)))
    if parent[step] is None:
        parent[step] = empty
    return parent[step]


# -- as text


def _lines(tree: Any, place: Place, names: Mapping[Place, str]) -> Iterator[str]:
    indent = "  " * len(place)
    for key, below in _below(tree):
        if key == ENTITY:
            yield from (f"{indent}{text}" for text in below)
            continue
        here = (*place, key)
        label = f"{indent}{_label(here, names)}"
        if isinstance(below, str):
            yield f"{label}: {below}"
        else:
            yield f"{label}:"
            yield from _lines(below, here, names)


def _below(tree: Any) -> Iterator[tuple[str | int, Any]]:
    items = enumerate(tree) if isinstance(tree, list) else tree.items()
    return ((key, below) for key, below in items if below is not None)


def _label(place: Place, names: Mapping[Place, str]) -> str:
    *_, key = place
    if isinstance(key, str):
        return f"in '{key}'"
    label = f"- in entry {key + 1} of '{place[-2]}'"
    return f"{label} ({names[place]})" if place in names else label


# -- as a list of entities


def _entity(culprit: Culprit) -> dict[str, Any]:
    named = {"entity_name": culprit.name, "entity_id": culprit.id, "entity_tags": culprit.tags}
    return {
        "entity_type": culprit.type,
        **{key: value for key, value in named.items() if value is not None},
        "entity": dict(culprit.given),
    }


def _errors(found: Any, field: str = "") -> Iterator[dict[str, Any]]:
    if isinstance(found, str):
        kind = {"type": "field", "field": field} if field else {"type": "entity"}
        yield {**kind, "message": found}
        return
    for key, below in _below(found):
        if key == ENTITY:
            yield from ({"type": "entity", "message": text} for text in below)
        else:
            step = str(key + 1 if isinstance(key, int) else key)
            yield from _errors(below, f"{field}.{step}" if field else step)
