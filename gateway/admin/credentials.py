"""Memberships of groups, which below their consumer are called by the group's name.

All other credentials are like any entity. Sheets: admin-api.md, section 5.1; entities.md, 3.10.
"""

from __future__ import annotations

from starlette.requests import Request

from gateway.admin.errors import invalid_unique
from gateway.admin.resource import Children
from gateway.admin.rows import Key, Rows
from gateway.entities import Row
from gateway.entities.credentials import ACLS, Acl
from gateway.entities.entity import Entity
from gateway.entities.types import parse_uuid
from gateway.store.transactions import ReadTransaction


class AclRows(Rows):
    """Memberships; a group's name means the one of the entity's consumer."""

    def __init__(self) -> None:
        super().__init__(ACLS)

    async def current(self, transaction: ReadTransaction, key: Key, entity: Entity) -> Row | None:
        """Return the row that an upsert would replace by the entity."""
        assert isinstance(entity, Acl)  # noqa: S101 - validated as one
        of_consumer = {"consumer_id": entity.consumer.value} if key.field == "group" else {}
        return await self.find(transaction, key, of_consumer)


class AclsOfConsumer(Children):
    """``/consumers/{consumer}/acls/{group or id}``."""

    def _key(self, request: Request) -> Key:
        segment = request.path_params[self._type.table]
        if (id_ := parse_uuid(segment)) is not None:
            return Key("id", id_)
        if (problem := self._type.problem_with("group", segment)) is not None:
            raise invalid_unique("group", problem)
        return Key("group", segment)
