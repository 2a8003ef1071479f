"""The entities of a document, nested or not, as one flat list.

Reference sheet decl-config.md, sections A2 and B2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from gateway.declarative.document import KONG_ONLY, Document, unknown_field
from gateway.declarative.ids import generated_id
from gateway.declarative.keys import name_in
from gateway.declarative.older_paths import modernised
from gateway.declarative.problems import Culprit, Place, Problems
from gateway.entities import ENTITIES, EntityType, Given, Reference, Row
from gateway.entities.errors import Tree
from gateway.entities.plugin import PLUGINS, shown_config
from gateway.entities.route import ROUTES
from gateway.entities.sni import SNIS
from gateway.entities.types import parse_uuid

MASK = "******"

_NOT_FIELDS = KONG_ONLY | {"_comment", "_ignore", "ws_id"}
"""What may stand in an entity without being part of it."""


@dataclass(slots=True, eq=False)
class Item:
    """One entity of a file.

    ``given`` has neither children nor references: those are in ``above`` (the parent it is nested
    in, by field) and in ``named`` (as written), until they are resolved to ``parents`` (of the same
    file) or remain ``outside``. ``row`` is there once it is validated, with ids as in the file.
    ``left_to_server`` are columns for which the file has no value, and the server makes one up.
    """

    type: EntityType
    place: Place
    id: UUID
    has_own_id: bool
    given: Given
    above: Mapping[str, Item]
    named: dict[str, Any]
    is_bare_name: bool = False
    parents: dict[str, Item] = field(default_factory=dict)
    outside: dict[str, Reference] = field(default_factory=dict)
    row: Row | None = None
    left_to_server: frozenset[str] = frozenset()
    clear_password: str | None = None

    @property
    def name(self) -> str | None:
        """What people call it."""
        return name_in(self.type, self.given)

    @property
    def checked_row(self) -> Row:
        """The row of an entity that is valid."""
        if self.row is None:
            raise ValueError(f"{self.place} is not validated")
        return self.row

    def culprit(self) -> Culprit:
        """Return what is told about it together with its problems."""
        secret = {name for name in self.given if (f := self.type.fields.get(name)) and f.secret}
        written = self.given | self.named
        shown = {n: MASK if n in secret else value for n, value in written.items()}
        if self.type is PLUGINS and "config" in shown:
            shown["config"] = shown_config(shown.get("name"), shown["config"])
        id_ = str(self.id) if self.has_own_id else None
        return Culprit(self.type.singular, self.name, id_, self.given.get("tags"), shown)


@dataclass(frozen=True, slots=True)
class _Link:
    """Entities of ``child`` may stand inside what they refer to in ``field``."""

    child: EntityType
    field: str


def _links(table: str) -> Iterator[_Link]:
    for child in ENTITIES.values():
        for name, foreign_key in child.foreign_keys.items():
            if foreign_key.table == table:
                yield _Link(child, name)


_LINKS = {table: {link.child.table: link for link in _links(table)} for table in ENTITIES}


def flatten(document: Document, problems: Problems) -> list[Item]:
    """Return the entities, each parent before what is nested in it."""
    flattening = _Flattening(document, problems)
    for table, section in document.sections.items():
        for position, written in enumerate(section):
            flattening.take(ENTITIES[table], written, (table, position), {})
    return flattening.items


class _Flattening:
    def __init__(self, document: Document, problems: Problems) -> None:
        self._document = document
        self._problems = problems
        self.items: list[Item] = []

    def take(
        self, entity_type: EntityType, written: Any, place: Place, above: Mapping[str, Item]
    ) -> None:
        """Add an entity and all that is nested in it."""
        is_bare_name = entity_type is SNIS and isinstance(written, str)
        fields = {"name": written} if is_bare_name else written
        if not isinstance(fields, dict):
            self._problems.add(place, "expected a record")
            return
        children = {t: fields[t] for t in _LINKS[entity_type.table] if t in fields}
        given = self._given(entity_type, fields, children.keys() | _NOT_FIELDS)
        item = self._item(entity_type, given, place, above)
        item.is_bare_name = is_bare_name
        self._note_misplaced(item, fields)
        self.items.append(item)
        for table, section in children.items():
            self._take_children(item, _LINKS[entity_type.table][table], section)

    def _note_misplaced(self, item: Item, written: Given) -> None:
        """Note fields that cannot stand where they do, apart from what validation will find."""
        tree: Tree = dict.fromkeys(item.above.keys() & item.named.keys(), "value must be null")
        for key in KONG_ONLY & written.keys():
            if (problem := unknown_field(key, written[key])) is not None:
                tree[key] = problem
        if tree:
            self._problems.add(item.place, tree, item.culprit())

    def _take_children(self, parent: Item, link: _Link, section: Any) -> None:
        place = (*parent.place, link.child.table)
        if section is None:
            return
        if not isinstance(section, list):
            self._problems.add(place, "expected an array", parent.culprit())
            return
        for position, written in enumerate(section):
            self.take(link.child, written, (*place, position), {link.field: parent})

    def _given(self, entity_type: EntityType, written: Given, hidden: AbstractSet[str]) -> Given:
        """Return the fields of an entity, with what the rest of the document adds to them."""
        given = {name: value for name, value in written.items() if name not in hidden}
        if defaults := self._document.defaults.get(entity_type.table):
            given = entity_type.merge(dict(defaults), given)
        if entity_type is PLUGINS:
            given = self._with_plugin_config(given)
        if entity_type is ROUTES and self._document.format_version != "3.0":
            given = modernised(given)
        return self._with_select_tags(given)

    def _with_plugin_config(self, given: Given) -> Given:
        name = given.get("_config")
        shared = self._document.plugin_configs.get(name) if isinstance(name, str) else None
        if shared is None:
            return given  # `_config` stays, and is an unknown field, if it names nothing
        rest = {key: value for key, value in given.items() if key != "_config"}
        own = {} if rest.get("config") is None else rest["config"]
        return rest | {"config": shared | own if isinstance(own, dict) else own}

    def _with_select_tags(self, given: Given) -> Given:
        tags, select_tags = given.get("tags"), self._document.select_tags
        if not select_tags or not isinstance(tags, list | None):
            return given
        own = tags or []
        return given | {"tags": own + [tag for tag in select_tags if tag not in own]}

    def _item(
        self, entity_type: EntityType, given: Given, place: Place, above: Mapping[str, Item]
    ) -> Item:
        ids = {name: parent.id for name, parent in above.items()}
        own_id = given.get("id")
        id_ = parse_uuid(own_id) if isinstance(own_id, str) else None
        named = {n: given[n] for n in entity_type.foreign_keys if given.get(n) is not None}
        return Item(
            type=entity_type,
            place=place,
            id=id_ or generated_id(entity_type, given, ids),
            has_own_id=id_ is not None,
            given={name: value for name, value in given.items() if name not in named},
            above=above,
            named=named,
        )
