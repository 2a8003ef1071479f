"""The tags of all entities, to be looked at. Sheet: admin-api.md, section 4.3."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.errors import invalid_unique
from gateway.admin.query import (
    next_link,
    offset_after_tag,
    page_size,
    parse_query,
    tag_page_start,
)
from gateway.admin.resource import Paths, path_as_sent
from gateway.admin.responses import page_response
from gateway.entities.errors import error_text
from gateway.entities.types import Tag
from gateway.store.overview import FIRST_PLACE, Overview, TagRow

_TAG: TypeAdapter[str] = TypeAdapter(Tag)


class TagResource:
    """``/tags`` and ``/tags/{tag}``."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        return {"/tags": {"GET": self.list_all}, "/tags/{tags}": {"GET": self.list_one}}

    async def list_all(self, request: Request) -> Response:
        """Return one page of the tags that entities have."""
        return await self._page(request, None)

    async def list_one(self, request: Request) -> Response:
        """Return one page of the entities that have a tag."""
        tag = request.path_params["tags"]
        try:
            _TAG.validate_python(tag, strict=True)
        except ValidationError as error:
            (found,) = error.errors(include_url=False)
            raise invalid_unique("tag", error_text(found)) from None
        return await self._page(request, tag)

    async def _page(self, request: Request, tag: str | None) -> Response:
        query = parse_query(request.scope["query_string"])
        size, after = page_size(query), tag_page_start(query) or FIRST_PLACE
        found = await self._overview.tags(size + 1, after, tag)
        further: dict[str, str | None] = {"next": None}
        if len(found) > size:
            offset = offset_after_tag(found[size - 1].place)
            link = next_link(path_as_sent(request), offset, query, ())
            further = {"next": link, "offset": offset}
        return await page_response(found[:size], _to_api, further)


def _to_api(row: TagRow) -> dict[str, Any]:
    return {
        "entity_name": row.place.table,
        "entity_id": str(row.place.entity_id),
        "tag": row.tag,
    }
