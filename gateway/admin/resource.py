"""The endpoints of an entity, the same for every kind: by itself, below a parent, and its parent.

Sheet: admin-api.md, sections 3 to 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.actor import actor_of
from gateway.admin.body import read_fields
from gateway.admin.endpoint import Handler
from gateway.admin.errors import ApiError, method_not_allowed, missing_entity, not_found
from gateway.admin.etag import Preconditions, etag_of
from gateway.admin.query import (
    EVERY_TAG,
    TagFilter,
    next_link,
    offset_after,
    page_size,
    page_start,
    parse_query,
    tag_filter,
)
from gateway.admin.responses import VERSION_HEADER, JsonResponse, page_response
from gateway.admin.rows import Key, Rows, Where, validated
from gateway.entities import Given, Row
from gateway.store.paging import Page
from gateway.store.store import Store
from gateway.store.transactions import ReadTransaction, WriteTransaction

Paths = dict[str, Mapping[str, Handler]]


class Resource:
    """``/{table}`` and ``/{table}/{key}``."""

    def __init__(self, store: Store, rows: Rows, body_limit_bytes: int) -> None:
        self._store = store
        self._rows = rows
        self._type = rows.type
        self._body_limit_bytes = body_limit_bytes

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        collection = self._collection()
        return {
            collection: {"GET": self.list_page, "POST": self.create},
            f"{collection}/{{{self._type.table}}}": self._handlers_of_one(),
        }

    def _handlers_of_one(self) -> Mapping[str, Handler]:
        return {
            "GET": self.read,
            "PUT": self.upsert,
            "PATCH": self.patch,
            "DELETE": self.delete,
        }

    # -- what a subclass says differently

    def _collection(self) -> str:
        """Return the path of all of them."""
        return f"/{self._type.collection}"

    async def _scope(self, transaction: ReadTransaction, request: Request) -> Where:
        """Return which rows the URL is about. Raises an answer if its parent is missing."""
        del transaction, request
        return {}

    async def _implied(self, request: Request) -> Given:
        """Return the fields that the URL gives, over those of the body."""
        del request
        return {}

    def _missing(self, key: Key) -> ApiError:
        """Return the answer to a PATCH of nothing."""
        return missing_entity(key.field, key.value)

    def _tags(self, query: Mapping[str, str]) -> TagFilter:
        return tag_filter(query)

    _KEPT_IN_LINKS: tuple[str, ...] = ("tags", "size")
    _MISSING_IS_DELETED = True

    # -- handlers

    async def list_page(self, request: Request) -> Response:
        """Return one page of entities."""
        query = parse_query(request.scope["query_string"])
        size, after, tags = page_size(query), page_start(query), self._tags(query)
        async with self._store.read() as transaction:
            scope = await self._scope(transaction, request)
            page = await self._rows.find_page(
                transaction, size, after=after, where=scope, tags=tags
            )
        return await self._page(request, query, page)

    async def create(self, request: Request) -> Response:
        """Store a new entity."""
        given = await self._given(request)
        complete = self._type.expand(given | await self._implied(request), "create")
        entity = await validated(self._type, complete)
        async with self._store.write(actor_of(request)) as transaction:
            row = await self._rows.insert(transaction, entity)
        return _written(transaction, self._rows, row, 201)

    async def read(self, request: Request) -> Response:
        """Return one entity."""
        key, conditions = self._key(request), Preconditions.of(request)
        async with self._store.read() as transaction:
            scope = await self._scope(transaction, request)
            row = await self._rows.find(transaction, key, scope)
        if row is None:
            raise not_found()
        return _read(self._rows, row, conditions)

    async def upsert(self, request: Request) -> Response:
        """Store the entity that the URL names, whether or not there is one."""
        key, conditions = self._key(request), Preconditions.of(request)
        given = await self._given(request)
        named = {key.field: str(key.value)} if key.field in self._type.fields else {}
        complete = self._type.expand(given | await self._implied(request) | named, "upsert")
        entity = await validated(self._type, complete)
        async with self._store.write(actor_of(request)) as transaction:
            if conditions:
                current = await self._rows.current(transaction, key, entity)
                conditions.check(current, self._type.singular)
            row = await self._rows.upsert(transaction, key, entity)
        return _written(transaction, self._rows, row)

    async def patch(self, request: Request) -> Response:
        """Change some fields of an entity."""
        key, conditions = self._key(request), Preconditions.of(request)
        given = self._type.expand(await self._given(request), "update")
        async with self._store.write(actor_of(request)) as transaction:
            scope = await self._scope(transaction, request)
            stored = await self._rows.find(transaction, key, scope)
            if stored is None:
                raise self._missing(key)
            conditions.check(stored, self._type.singular)
            row = await self._rows.patch(transaction, stored, given)
        return _written(transaction, self._rows, row)

    async def delete(self, request: Request) -> Response:
        """Remove an entity."""
        key, conditions = self._key(request), Preconditions.of(request)
        async with self._store.write(actor_of(request)) as transaction:
            scope = await self._scope(transaction, request)
            stored = await self._rows.find(transaction, key, scope)
            if stored is None and not self._MISSING_IS_DELETED:
                raise not_found()
            conditions.check(stored, self._type.singular)
            if stored is not None:
                await self._rows.delete(transaction, stored)
        return Response(status_code=204, headers=version_header(transaction))

    # -- steps

    def _key(self, request: Request) -> Key:
        return self._rows.key(request.path_params[self._type.table])

    async def _given(self, request: Request) -> Given:
        return await read_fields(request, self._type, self._body_limit_bytes)

    async def _page(self, request: Request, query: Mapping[str, str], page: Page) -> Response:
        further: dict[str, str | None] = {"next": None}
        if page.has_more:
            offset = offset_after(page.rows[-1]["id"])
            link = next_link(path_as_sent(request), offset, query, self._KEPT_IN_LINKS)
            further = {"next": link, "offset": offset}
        return await page_response(page.rows, self._rows.to_api, further)


@dataclass(frozen=True, slots=True)
class Link:
    """A reference: entities of ``child`` refer to one of ``parent`` in ``field``."""

    child: Rows
    field: str
    parent: Rows

    @property
    def column(self) -> str:
        """The column that keeps the parent's id."""
        return self.child.type.fields[self.field].column


class Children(Resource):
    """``/{parents}/{parent}/{table}`` and one of those: the entities that refer to a parent."""

    _KEPT_IN_LINKS = ()
    _MISSING_IS_DELETED = False

    def __init__(self, store: Store, link: Link, body_limit_bytes: int) -> None:
        super().__init__(store, link.child, body_limit_bytes)
        self._link = link

    def _collection(self) -> str:
        parent = self._link.parent.type
        return f"/{parent.collection}/{{{parent.table}}}/{self._type.nested}"

    async def _scope(self, transaction: ReadTransaction, request: Request) -> Where:
        parent = await named(transaction, self._link.parent, request)
        return {self._link.column: parent["id"]}

    async def _implied(self, request: Request) -> Given:
        async with self._store.read() as transaction:
            parent = await named(transaction, self._link.parent, request)
        return {self._link.field: {"id": str(parent["id"])}}

    def _missing(self, key: Key) -> ApiError:
        del key
        return not_found()

    def _tags(self, query: Mapping[str, str]) -> TagFilter:
        del query
        return EVERY_TAG


class ParentOf:
    """``/{table}/{key}/{field}``: the entity that another one refers to."""

    def __init__(self, store: Store, link: Link, body_limit_bytes: int) -> None:
        self._store = store
        self._link = link
        self._rows = link.parent
        self._type = link.parent.type
        self._body_limit_bytes = body_limit_bytes

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        child = self._link.child.type
        return {
            f"/{child.collection}/{{{child.table}}}/{self._link.field}": {
                "GET": self.read,
                "PUT": self.upsert,
                "PATCH": self.patch,
                "DELETE": self.refuse_to_delete,
            }
        }

    async def read(self, request: Request) -> Response:
        """Return the parent."""
        conditions = Preconditions.of(request)
        async with self._store.read() as transaction:
            parent = await self._parent(
                transaction, await named(transaction, self._link.child, request)
            )
        return _read(self._rows, parent, conditions)

    async def upsert(self, request: Request) -> Response:
        """Replace the parent, or create and link one."""
        conditions = Preconditions.of(request)
        given = self._type.expand(await self._given(request), "upsert")
        async with self._store.read() as reading:
            await named(reading, self._link.child, request)
        entity = await validated(self._type, given)
        async with self._store.write(actor_of(request)) as transaction:
            child = await named(transaction, self._link.child, request)
            linked = child[self._link.column]
            if conditions:
                current = linked and await self._rows.current(
                    transaction, Key("id", linked), entity
                )
                conditions.check(current, self._type.singular)
            if linked is None:
                parent = await self._rows.insert(transaction, entity)
                link = {self._link.field: {"id": str(parent["id"])}}
                await self._link.child.patch(transaction, child, link)
            else:
                parent = await self._rows.upsert(transaction, Key("id", linked), entity)
        return _written(transaction, self._rows, parent)

    async def patch(self, request: Request) -> Response:
        """Change some fields of the parent."""
        conditions = Preconditions.of(request)
        given = self._type.expand(await self._given(request), "update")
        async with self._store.write(actor_of(request)) as transaction:
            stored = await self._parent(
                transaction, await named(transaction, self._link.child, request)
            )
            conditions.check(stored, self._type.singular)
            parent = await self._rows.patch(transaction, stored, given)
        return _written(transaction, self._rows, parent)

    async def refuse_to_delete(self, request: Request) -> Response:
        """Answer that a parent is not deleted through its child."""
        async with self._store.read() as transaction:
            await self._parent(transaction, await named(transaction, self._link.child, request))
        raise method_not_allowed()

    # -- steps

    async def _parent(self, transaction: ReadTransaction, child: Row) -> Row:
        linked = child[self._link.column]
        parent = linked and await self._rows.find(transaction, Key("id", linked), {})
        if parent is None:
            raise not_found()
        return parent

    async def _given(self, request: Request) -> Given:
        return await read_fields(request, self._type, self._body_limit_bytes)


async def named(transaction: ReadTransaction, rows: Rows, request: Request) -> Row:
    """Return the one of these rows that the URL names. Raises an answer if there is none."""
    key = rows.key(request.path_params[rows.table])
    row = await rows.find(transaction, key, {})
    if row is None:
        raise not_found()
    return row


def _read(rows: Rows, row: Row, conditions: Preconditions) -> Response:
    """Return the answer to a read, which is short for a reader who has it already."""
    etag = etag_of(row)
    if conditions.is_known(etag):
        return Response(status_code=304, headers={"ETag": etag})
    return JsonResponse(rows.to_api(row), headers={"ETag": etag})


def _written(transaction: WriteTransaction, rows: Rows, row: Row, status: int = 200) -> Response:
    """Return the answer to a finished write."""
    headers = {"ETag": etag_of(row), **version_header(transaction)}
    return JsonResponse(rows.to_api(row), status, headers)


def version_header(transaction: WriteTransaction) -> dict[str, str]:
    """Return the header that names the version a finished write has made."""
    return {VERSION_HEADER: str(transaction.version)}


def path_as_sent(request: Request) -> str:
    """Return the request's path, percent triplets and all, for a link back to it."""
    raw = request.scope["raw_path"].decode("latin-1")
    return quote(raw, safe="/%:@!$&'()*+,;=~", encoding="latin-1")
