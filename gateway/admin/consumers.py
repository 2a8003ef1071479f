"""Consumers, which can also be looked up by what another system calls them.

Sheet: admin-api.md, section 5.1.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.errors import plain
from gateway.admin.query import parse_pairs
from gateway.admin.resource import Resource
from gateway.admin.responses import page_response


class Consumers(Resource):
    """``/consumers``; ``?custom_id=…`` selects one."""

    async def list_page(self, request: Request) -> Response:
        """Return one page of consumers, or the one with a ``custom_id``."""
        pairs = parse_pairs(request.scope["query_string"])
        match [value for name, value in pairs if name == "custom_id"]:
            case []:
                return await super().list_page(request)
            case [str(custom_id)] if custom_id:
                return await self._with_custom_id(custom_id)
            case _:
                raise plain(400, "custom_id must be an unempty string")

    async def _with_custom_id(self, custom_id: str) -> Response:
        async with self._store.read() as transaction:
            found = await transaction.get(self._type.table, "custom_id", custom_id)
        return await page_response([found] if found else [], self._rows.to_api, {"next": None})
