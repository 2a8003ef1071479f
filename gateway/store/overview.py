"""What can be asked of all kinds of entities at once: their tags, and which plugins are in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Executable, TextClause, select, text

from gateway.entities.entity_type import EXPIRY_COLUMN
from gateway.store.store import Store
from gateway.store.tables import ENTITY_TABLES


class TagPlace(NamedTuple):
    """Where a tag stands: places are in this order. Tables may have entities with the same id."""

    entity_id: UUID
    position: int
    table: str


FIRST_PLACE = TagPlace(UUID(int=0), 0, "")
"""Before all tags."""


@dataclass(frozen=True, slots=True)
class TagRow:
    """A tag of an entity."""

    place: TagPlace
    tag: str


class Overview:
    """Looks over all tables. All methods raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tags(self, limit: int, after: TagPlace, only: str | None = None) -> list[TagRow]:
        """Return up to ``limit`` tags, those after a place; ``only`` those that read so."""
        place = {"id": after.entity_id, "position": after.position, "table": after.table}
        if only is None:
            statement = _ALL_TAGS.bindparams(limit=limit, **place)
        else:
            statement = _ONE_TAG.bindparams(limit=limit, tag=only, **place)
        async with self._store.autocommit() as session:
            rows = (await session.execute(statement)).all()
        return [TagRow(TagPlace(row.id, row.position, row.table), row.tag) for row in rows]

    async def plugins_in_use(self) -> list[str]:
        """Return the names of the plugins that entities name, in order."""
        async with self._store.autocommit() as session:
            return list((await session.execute(_PLUGINS_IN_USE)).scalars())


def _tags(having: str, which: str) -> TextClause:
    """Return a statement for a page of tags; of each table it reads no more than may be on it."""
    each = " UNION ALL ".join(_tags_of(table, having) for table in ENTITY_TABLES)
    return text(f"""
        SELECT id, position, "table", tag FROM ({each}) AS tags
        WHERE (id, position, "table") > (:id, :position, :table) AND {which}
        ORDER BY id, position, "table" LIMIT :limit
    """)  # noqa: S608 - fixed texts


def _tags_of(table: str, having: str) -> str:
    expires = EXPIRY_COLUMN in ENTITY_TABLES[table].c
    is_there = f"({EXPIRY_COLUMN} IS NULL OR {EXPIRY_COLUMN} > now())" if expires else "true"
    return f"""
        SELECT id, position, '{table}' AS "table", tag
        FROM (
            SELECT id, tags FROM {table} WHERE id >= :id AND {having} AND {is_there}
            ORDER BY id LIMIT :limit + 1
        ) AS entities, unnest(tags) WITH ORDINALITY AS tagged (tag, position)
    """  # noqa: S608 - fixed texts


_ALL_TAGS = _tags("tags <> '{}'", "true")
_ONE_TAG = _tags("tags @> CAST(ARRAY[:tag] AS text[])", "tag = :tag")

_names = ENTITY_TABLES["plugins"].c.name
_PLUGINS_IN_USE: Executable = select(_names).distinct().order_by(_names)
