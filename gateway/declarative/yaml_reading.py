"""YAML 1.1, restricted to what JSON can hold, as plain values.

The text is read event by event and not with PyYAML's composer, which recurses in C: nesting deep
enough ends the process. Aliases share what they stand for, and count as often as they appear.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from gateway.declarative.bounds import (
    MOST_INTEGER_DIGITS,
    MOST_LEVELS,
    MOST_VALUES,
    ReadError,
    too_deep,
    too_large,
)

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML without libyaml: five times slower
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

_TAG = "tag:yaml.org,2002:"

_MERGE = object()
"""Stands for the key ``<<``."""


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read; ``key`` is the key that waits for its value."""

    value: Any
    anchor: str | None
    mark: Any
    size: int = 1
    depth: int = 1
    key: Any = None
    has_key: bool = False
    merged: set[str] = field(default_factory=set)

    @property
    def awaits_key(self) -> bool:
        return isinstance(self.value, dict) and not self.has_key


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an anchor stands for, with the number of values and of levels in it."""

    value: Any
    size: int
    depth: int


def read_yaml(text: str) -> Any:
    """Return the value that a text stands for. Raises ReadError."""
    try:
        return _YamlReader().read(text)
    except yaml.MarkedYAMLError as error:
        raise _at(error.problem_mark, error.problem or str(error)) from None
    except yaml.YAMLError as error:
        raise ReadError(" ".join(str(error).split())) from None


class _YamlReader:
    """Builds one document out of events, without recursion."""

    def __init__(self) -> None:
        self._resolver: Any = Resolver()
        self._constructor: Any = SafeConstructor()
        self._anchors: dict[str, _Anchored | None] = {}
        self._stack: list[_Open] = []
        self._documents: list[Any] = []
        self._size = 0

    def read(self, text: str) -> Any:
        """Return the value of the only document."""
        for event in yaml.parse(text, Loader=_Loader):
            self._take(event)
        if not self._documents:
            raise ReadError("the file is empty")
        return self._documents[0]

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                value = self._scalar(event)
                self._anchor(event.anchor, _Anchored(value, 1, 0))
                self._put(value, event.start_mark, 1, 0)
            case yaml.MappingStartEvent():
                self._open({}, event, "map")
            case yaml.SequenceStartEvent():
                self._open([], event, "seq")
            case yaml.CollectionEndEvent():
                self._close()
            case yaml.AliasEvent():
                anchored = self._anchored(event)
                self._put(anchored.value, event.start_mark, anchored.size, anchored.depth)
            case yaml.DocumentStartEvent() if self._documents:
                raise _at(event.start_mark, "a second document; one file is one document")

    # -- collections

    def _open(self, value: Any, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise _at(event.start_mark, f"tag {event.tag} is not supported")
        if len(self._stack) >= MOST_LEVELS:
            raise too_deep()
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(value, event.anchor, event.start_mark))

    def _close(self) -> None:
        closed = self._stack.pop()
        self._anchor(closed.anchor, _Anchored(closed.value, closed.size, closed.depth))
        self._put(closed.value, closed.mark, closed.size, closed.depth)

    def _put(self, value: Any, mark: Any, size: int, depth: int) -> None:
        """Place a finished value where the innermost open collection wants it."""
        self._size += 1
        if not self._stack:
            self._documents.append(value)
            return
        into = self._stack[-1]
        into.size += size
        into.depth = max(into.depth, depth + 1)
        if into.size > MOST_VALUES:
            raise too_large()
        if len(self._stack) + depth > MOST_LEVELS:
            raise too_deep()
        if isinstance(into.value, list):
            into.value.append(value)
        elif into.awaits_key:
            into.key, into.has_key = _key(value, mark), True
        else:
            into.has_key = False
            if into.key is _MERGE:
                self._merge(into, value, mark)
            else:
                _set(into, into.key, value, mark)

    def _merge(self, into: _Open, value: Any, mark: Any) -> None:
        """Add what a merge key (``<<``) names: the mapping's own keys win, then earlier ones."""
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                raise _at(mark, "a merge key (<<) takes a mapping or a list of mappings")
            self._size += len(source)
            if self._size > MOST_VALUES:
                raise too_large()
            new = source.keys() - into.value.keys()
            into.value |= {key: source[key] for key in source if key in new}
            into.merged |= new

    # -- anchors

    def _anchor(self, name: str | None, anchored: _Anchored) -> None:
        if name is not None:
            self._anchors[name] = anchored

    def _anchored(self, event: yaml.AliasEvent) -> _Anchored:
        if event.anchor not in self._anchors:
            raise _at(event.start_mark, f"alias *{event.anchor} has no anchor before it")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise _at(event.start_mark, f"alias *{event.anchor} is inside what it stands for")
        return anchored

    # -- scalars

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        tag = event.tag
        if tag in (None, "!"):
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        try:
            return self._constructed(tag.removeprefix(_TAG), event)
        except (ValueError, OverflowError):
            raise _at(event.start_mark, f"{event.value[:40]!r} is no {tag[len(_TAG) :]}") from None

    def _awaits_key(self) -> bool:
        return bool(self._stack) and self._stack[-1].awaits_key

    def _constructed(self, kind: str, event: Any) -> Any:
        node = yaml.ScalarNode(_TAG + kind, event.value, event.start_mark, event.end_mark)
        match kind:
            case "str" | "timestamp" | "value":  # JSON has no dates: what looks like one is text
                return event.value
            case "null":
                return None
            case "bool":
                return self._constructor.construct_yaml_bool(node)
            case "int" if len(event.value) <= MOST_INTEGER_DIGITS:
                return self._constructor.construct_yaml_int(node)
            case "float" if math.isfinite(number := self._constructor.construct_yaml_float(node)):
                return number
            case "int" | "float":
                raise ValueError
            case "merge":
                return _MERGE if self._awaits_key() else event.value
            case _:
                raise _at(event.start_mark, f"tag {event.tag} is not supported")


def _key(value: Any, mark: Any) -> Any:
    if not isinstance(value, str) and value is not _MERGE:
        raise _at(mark, f"key {json.dumps(value, default=str)[:40]} is no string: quote it")
    return value


def _set(into: _Open, key: str, value: Any, mark: Any) -> None:
    if key in into.value and key not in into.merged:
        raise _at(mark, f"key {json.dumps(key)} appears twice in one mapping")
    into.merged.discard(key)
    into.value[key] = value


def _at(mark: Any, reason: str) -> ReadError:
    if mark is None:
        return ReadError(reason)
    return ReadError(f"line {mark.line + 1}, column {mark.column + 1}: {reason}")
