"""The operations on entities, the same for every kind; sheet admin-api.md, sections 3 to 5.

Those that a kind does not have are described as well: what there is, the table of paths decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from gateway.admin.barrier import BEHIND_HEADER, PROPAGATION_HEADER, UNSEEN_HEADER
from gateway.admin.openapi import examples
from gateway.admin.openapi.errors import CHANGED, CONFLICT, NOT_FOUND, OF_BODIES
from gateway.admin.openapi.json_schema import (
    INTEGER,
    Schema,
    answered_schema,
    given_schema,
    page_of,
    reference,
    required_fields,
)
from gateway.admin.openapi.operation import Answer, Body, Header, Operation, Parameter
from gateway.admin.openapi.parameters import (
    CONDITIONS,
    CUSTOM_ID,
    IF_NONE_MATCH,
    OFFSET,
    ROW_OFFSET,
    SIZE,
    TAGS,
    WAIT,
    key_of,
)
from gateway.admin.responses import VERSION_HEADER
from gateway.entities import ENTITIES, EntityType
from gateway.entities.consumer import CONSUMERS
from gateway.entities.target import TARGETS

_ETAG = {"ETag": Header("The state of the entity, for `If-Match`.", always=True, component="ETag")}
WRITTEN = {
    VERSION_HEADER: Header(
        "The version of the configuration that this made.",
        INTEGER,
        always=True,
        component=VERSION_HEADER,
    ),
    PROPAGATION_HEADER: Header(
        "With `wait`: how many live nodes serve it, as `2/3`, or `unknown`.",
        component=PROPAGATION_HEADER,
    ),
    BEHIND_HEADER: Header(
        "With `wait`: the live nodes that do not serve it yet.", component=BEHIND_HEADER
    ),
    UNSEEN_HEADER: Header(
        "With `wait`: the nodes not heard of lately, which are not counted.",
        component=UNSEEN_HEADER,
    ),
}
"""Headers of the answer to a write."""


def schemas() -> dict[str, Schema]:
    """Return the components for entities: as given, as answered, and a page of them."""
    found: dict[str, Schema] = {}
    for entity_type in ENTITIES.values():
        name = entity_type.model.__name__
        doc = {"description": _doc(entity_type)}
        _, example = examples.of(entity_type)
        found[f"{name}Fields"] = given_schema(entity_type) | doc
        found[name] = answered_schema(entity_type) | doc | {"examples": [example]}
        found[f"{name}Page"] = page_of(reference(name))
    return found


def chapters() -> Iterator[tuple[str, str]]:
    """Yield the kinds of entities, each with what it is."""
    for table, entity_type in ENTITIES.items():
        yield table, _doc(entity_type)


def operations() -> Iterator[Operation]:
    """Yield what there may be to do with entities."""
    for entity_type in ENTITIES.values():
        yield from _Kind(entity_type).operations()
        for field, foreign_key in entity_type.foreign_keys.items():
            parent = ENTITIES[foreign_key.table]
            below = _Below(entity_type, parent, field)
            yield from below.operations()
            yield from _parent_operations(entity_type, parent, field)
            if entity_type is TARGETS:
                yield below.list_all()


@dataclass(frozen=True, slots=True)
class _Kind:
    """The operations on entities of one kind."""

    type: EntityType

    def operations(self) -> Iterator[Operation]:
        yield self.list_page()
        yield self.create()
        yield self.read()
        yield self.upsert()
        yield self.patch()
        yield self.delete()

    # -- what is different below a parent

    @property
    def collection(self) -> str:
        return f"/{self.type.collection}"

    @property
    def suffix(self) -> str:
        return ""

    @property
    def whose(self) -> str:
        return ""

    @property
    def parents(self) -> tuple[Parameter, ...]:
        return ()

    @property
    def given_by_url(self) -> frozenset[str]:
        return frozenset()

    @property
    def list_parameters(self) -> tuple[Parameter, ...]:
        further = (CUSTOM_ID,) if self.type is CONSUMERS else ()
        return (SIZE, OFFSET, TAGS, *further)

    # -- operations

    def list_page(self) -> Operation:
        what = _words(self.type.collection)
        return Operation(
            id=f"list_{self.type.table}{self.suffix}",
            method="GET",
            path=self.collection,
            about=self.type.table,
            summary=f"List {what}{self.whose}",
            parameters=(*self.parents, *self.list_parameters),
            answers=self._answers({200: self._page()}),
        )

    def create(self) -> Operation:
        return Operation(
            id=f"create_{self.type.singular}{self.suffix}",
            method="POST",
            path=self.collection,
            about=self.type.table,
            summary=f"Create {_a(self.type)}{self.whose}",
            parameters=(*self.parents, *WAIT),
            body=_body(self.type, self.given_by_url),
            answers=self._answers({201: _written(self.type), **_WRITE_ERRORS}),
        )

    def read(self) -> Operation:
        return Operation(
            id=f"get_{self.type.singular}{self.suffix}",
            method="GET",
            path=self._single,
            about=self.type.table,
            summary=f"Read {_a(self.type)}{self.whose}",
            parameters=(*self._key, IF_NONE_MATCH),
            answers={200: _entity(self.type), 304: _KNOWN, **_MISSING},
        )

    def upsert(self) -> Operation:
        in_url = {self.type.endpoint_key} if self.type.endpoint_key else frozenset()
        return Operation(
            id=f"put_{self.type.singular}{self.suffix}",
            method="PUT",
            path=self._single,
            about=self.type.table,
            summary=f"Create or replace {_a(self.type)}{self.whose}",
            doc="Fields that are absent go back to their defaults.",
            parameters=(*self._key, *CONDITIONS, *WAIT),
            body=_body(self.type, self.given_by_url | in_url),
            answers={200: _written(self.type), 412: CHANGED, **_WRITE_ERRORS, **_MISSING},
        )

    def patch(self) -> Operation:
        return Operation(
            id=f"patch_{self.type.singular}{self.suffix}",
            method="PATCH",
            path=self._single,
            about=self.type.table,
            summary=f"Change {_a(self.type)}{self.whose}",
            doc=_PATCH_DOC,
            parameters=(*self._key, *CONDITIONS, *WAIT),
            body=_changes(self.type),
            answers={200: _written(self.type), 412: CHANGED, **_WRITE_ERRORS, **_MISSING},
        )

    def delete(self) -> Operation:
        return Operation(
            id=f"delete_{self.type.singular}{self.suffix}",
            method="DELETE",
            path=self._single,
            about=self.type.table,
            summary=f"Delete {_a(self.type)}{self.whose}",
            doc="" if self.parents else "It is no error if it is not there.",
            parameters=(*self._key, *CONDITIONS, *WAIT),
            answers={204: Answer("It is gone.", headers=WRITTEN), 412: CHANGED, **_MISSING},
        )

    # -- parts

    @property
    def _single(self) -> str:
        return f"{self.collection}/{{{self.type.table}}}"

    @property
    def _key(self) -> tuple[Parameter, ...]:
        return (*self.parents, key_of(self.type))

    def _page(self) -> Answer:
        page = reference(f"{self.type.model.__name__}Page")
        return Answer("One page.", page)

    def _answers(self, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        return {**answers, **_MISSING} if self.parents else {**answers}


@dataclass(frozen=True, slots=True)
class _Below(_Kind):
    """The operations on entities that refer to one of ``parent`` in ``field``."""

    parent: EntityType
    field: str

    @property
    def collection(self) -> str:
        return f"/{self.parent.collection}/{{{self.parent.table}}}/{self.type.nested}"

    @property
    def suffix(self) -> str:
        return f"_of_{self.parent.singular}"

    @property
    def whose(self) -> str:
        return f" of {_a(self.parent)}"

    @property
    def parents(self) -> tuple[Parameter, ...]:
        return (key_of(self.parent),)

    @property
    def given_by_url(self) -> frozenset[str]:
        return frozenset({self.field})

    @property
    def list_parameters(self) -> tuple[Parameter, ...]:
        return (SIZE, ROW_OFFSET if self.type is TARGETS else OFFSET)

    def upsert(self) -> Operation:
        """Return the PUT, which for targets is a PATCH."""
        usual = super(_Below, self).upsert()
        if self.type is not TARGETS:
            return usual
        patch = self.patch()
        doc = f"As PATCH: it never creates one. {patch.doc}"
        return replace(usual, summary=patch.summary, doc=doc, body=patch.body)

    def list_all(self) -> Operation:
        """Return the list in the order of ids, where the usual one is in another."""
        usual = self.list_page()
        return replace(
            usual,
            id=f"{usual.id}_by_id",
            path=f"{usual.path}/all",
            summary=f"{usual.summary}, by id",
            parameters=(*self.parents, SIZE, OFFSET),
        )


def _parent_operations(child: EntityType, parent: EntityType, field: str) -> Iterator[Operation]:
    """Yield the operations on the entity that another one refers to."""
    path = f"/{child.collection}/{{{child.table}}}/{field}"
    suffix = f"_{field}_of_{child.singular}"
    whose = f"the {_words(field)} of {_a(child)}"
    key = (key_of(child),)
    written = {200: _written(parent), 412: CHANGED, **_WRITE_ERRORS, **_MISSING}
    yield Operation(
        id=f"get{suffix}",
        method="GET",
        path=path,
        about=child.table,
        summary=f"Read {whose}",
        parameters=(*key, IF_NONE_MATCH),
        answers={200: _entity(parent), 304: _KNOWN, **_MISSING},
    )
    yield Operation(
        id=f"put{suffix}",
        method="PUT",
        path=path,
        about=child.table,
        summary=f"Replace {whose}",
        doc="If there is none, one is created and linked.",
        parameters=(*key, *CONDITIONS, *WAIT),
        body=_body(parent, frozenset()),
        answers=written,
    )
    yield Operation(
        id=f"patch{suffix}",
        method="PATCH",
        path=path,
        about=child.table,
        summary=f"Change {whose}",
        doc=_PATCH_DOC,
        parameters=(*key, *CONDITIONS, *WAIT),
        body=_changes(parent),
        answers=written,
    )
    yield Operation(
        id=f"delete{suffix}",
        method="DELETE",
        path=path,
        about=child.table,
        summary=f"Never deletes {whose}",
        doc="A parent is deleted by its own URL.",
        parameters=(*key, *WAIT),
        answers={405: _NOT_HERE, **_MISSING},
    )


# -- parts

_PATCH_DOC = "Absent fields stay as they are; null clears; records are merged field by field."
_MISSING = {404: NOT_FOUND}
_WRITE_ERRORS = {409: CONFLICT, **OF_BODIES}
_KNOWN = Answer("It is in the state of `If-None-Match`.", headers=_ETAG, component="Known")
_NOT_HERE = Answer(
    "There is one, and it is not deleted here.",
    reference("Message"),
    example={"message": "Method not allowed"},
)


def _entity(entity_type: EntityType) -> Answer:
    schema = reference(entity_type.model.__name__)
    return Answer(f"The {_words(entity_type.singular)}.", schema, headers=_ETAG)


def _written(entity_type: EntityType) -> Answer:
    return replace(_entity(entity_type), headers=_ETAG | WRITTEN)


def _body(entity_type: EntityType, given_by_url: frozenset[str] | set[str]) -> Body:
    """Return the body of a write of the whole entity, some fields of which the URL gives."""
    schema = _fields(entity_type)
    required = [name for name in required_fields(entity_type) if name not in given_by_url]
    given, _ = examples.of(entity_type)
    example = {name: value for name, value in given.items() if name not in given_by_url}
    return Body({**schema, "required": required} if required else schema, example)


def _changes(entity_type: EntityType) -> Body:
    return Body(_fields(entity_type), {"tags": ["shop", "eu"]})


def _fields(entity_type: EntityType) -> Schema:
    return reference(f"{entity_type.model.__name__}Fields")


def _doc(entity_type: EntityType) -> str:
    return (entity_type.model.__doc__ or "").partition("\n")[0]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _a(entity_type: EntityType) -> str:
    words = _words(entity_type.singular)
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
