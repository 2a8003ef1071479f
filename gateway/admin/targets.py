"""Targets, which exist only below their upstream and differ from other children in places.

Sheet: admin-api.md, section 6.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.errors import invalid_offset
from gateway.admin.query import capped_page_size, next_link, parse_query
from gateway.admin.resource import Children, Paths, path_as_sent
from gateway.admin.responses import page_response
from gateway.admin.rows import Key, Where
from gateway.entities import Row
from gateway.entities.target import TARGETS
from gateway.entities.types import parse_uuid
from gateway.store.transactions import ReadTransaction


class Targets(Children):
    """``/upstreams/{upstream}/targets``, the newest first; a PUT never creates."""

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        (collection, handlers), (single, handlers_of_one) = super().paths().items()
        return {
            collection: {**handlers, "GET": self.list_newest_first},
            f"{collection}/all": {"GET": self.list_page},
            single: {**handlers_of_one, "PUT": self.patch},
        }

    async def list_newest_first(self, request: Request) -> Response:
        """Return one page of an upstream's targets; the offset counts rows."""
        async with self._store.read() as transaction:
            scope = await self._scope(transaction, request)
            rows, further = await newest_first(transaction, request, scope)
        return await page_response(rows, self._rows.to_api, further)

    def _key(self, request: Request) -> Key:
        return target_key(request)


async def newest_first(
    transaction: ReadTransaction, request: Request, scope: Where
) -> tuple[list[Row], dict[str, str | None]]:
    """Return one page of an upstream's targets, and what the answer tells of the next one."""
    query = parse_query(request.scope["query_string"])
    size = capped_page_size(query)
    start = _start(query.get("offset", "0"))
    page = await transaction.newest(TARGETS.table, size=size, start=start, where=scope)
    if not page.has_more:
        return page.rows, {"next": None}
    offset = str(start + len(page.rows))
    return page.rows, {
        "next": next_link(path_as_sent(request), offset, {}, ()),
        "offset": offset,
    }


def target_key(request: Request) -> Key:
    """Return what a URL names a target by: anything that is no id is ``host:port``."""
    segment = request.path_params[TARGETS.table]
    id_ = parse_uuid(segment)
    return Key("target", segment) if id_ is None else Key("id", id_)


def _start(offset: str) -> int:
    if not offset.isdecimal() or len(offset) > 9:
        raise invalid_offset(offset, "expected the number of a row")
    return int(offset)
