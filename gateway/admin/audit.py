"""``/audit``: who changed what, the newest first. Kong has no such log; see `tables.audit`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.audit_entry import entry_to_api
from gateway.admin.errors import invalid_offset, invalid_option, not_found
from gateway.admin.query import next_link, page_size, parse_query
from gateway.admin.resource import Paths, path_as_sent
from gateway.admin.responses import JsonResponse, page_response
from gateway.entities import VERSIONED
from gateway.entities.types import parse_uuid
from gateway.store.audit import AuditFilter, AuditLog
from gateway.store.tables import admin_tokens

KINDS = (*VERSIONED, admin_tokens.name)
OPERATIONS = ("create", "update", "delete")
LONGEST_TEXT = 256

_WHOLE = re.compile(r"[0-9]{1,19}")
_LARGEST = 2**63 - 1
_SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,6})?")
_LATEST_S = 253_402_300_799  # the year 9999


class AuditResource:
    """``/audit`` and ``/audit/{id}``."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        return {"/audit": {"GET": self.list_page}, "/audit/{entry}": {"GET": self.read}}

    async def list_page(self, request: Request) -> Response:
        """Return one page of entries; the offset is the id of the last one on the page before."""
        query = parse_query(request.scope["query_string"])
        size, wanted, after = page_size(query), _filter(query), _page_start(query)
        page = await self._log.page(wanted, size, after)
        further: dict[str, str | None] = {"next": None}
        if page.has_more:
            offset = str(page.entries[-1].id)
            link = next_link(path_as_sent(request), offset, query, ("size", *_READERS))
            further = {"next": link, "offset": offset}
        return await page_response(page.entries, entry_to_api, further)

    async def read(self, request: Request) -> Response:
        """Return one entry."""
        id_ = _whole(request.path_params["entry"])
        entry = None if id_ is None else await self._log.get(id_)
        if entry is None:
            raise not_found()
        return JsonResponse(entry_to_api(entry))


def _page_start(query: Mapping[str, str]) -> int | None:
    if "offset" not in query:
        return None
    id_ = _whole(query["offset"])
    if id_ is None:
        raise invalid_offset(query["offset"], "expected the id of an entry")
    return id_


def _whole(text: str) -> int | None:
    number = int(text) if _WHOLE.fullmatch(text) else _LARGEST + 1
    return number if number <= _LARGEST else None


# -- filters


def _filter(query: Mapping[str, str]) -> AuditFilter:
    """Return what the query asks for. Raises an answer for an option that cannot be."""
    asked = {name: _read_option(name, query[name]) for name in _READERS if name in query}
    times = {name: asked.pop(name, None) for name in ("since", "until")}
    return AuditFilter(asked, **times)


def _read_option(name: str, text: str) -> Any:
    try:
        return _READERS[name](text)
    except ValueError as error:
        raise invalid_option(name, str(error)) from None


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of: {', '.join(choices)}")
        return text

    return read


def _uuid(text: str) -> Any:
    if (uuid := parse_uuid(text)) is None:
        raise ValueError("expected a valid UUID")
    return uuid


def _text(text: str) -> str:
    if not 0 < len(text) <= LONGEST_TEXT or "\x00" in text:
        raise ValueError(f"expected a text of 1 to {LONGEST_TEXT} characters")
    return text


def _version(text: str) -> int:
    if (version := _whole(text)) is None:
        raise ValueError(f"expected an integer from 0 to {_LARGEST}")
    return version


def _time(text: str) -> datetime:
    """Return a moment given in seconds since 1970, or as ISO 8601; UTC unless that says more."""
    if _SECONDS.fullmatch(text) and float(text) <= _LATEST_S:
        return datetime.fromtimestamp(float(text), UTC)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            "expected seconds since 1970 or a time such as 2026-01-31T12:00:00Z; "
            "in a URL + is written %2B"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_READERS: dict[str, Callable[[str], Any]] = {
    "kind": _one_of(*KINDS),
    "entity_id": _uuid,
    "operation": _one_of(*OPERATIONS),
    "token": _text,
    "address": _text,
    "request_id": _text,
    "version": _version,
    "since": _time,
    "until": _time,
}
"""How each option is read. Raises ValueError, whose text the client is told."""
