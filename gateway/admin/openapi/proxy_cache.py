"""The operations on what proxy-cache keeps."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.admin.openapi.entities import WRITTEN
from gateway.admin.openapi.errors import NOT_FOUND
from gateway.admin.openapi.json_schema import (
    INTEGER,
    NUMBER,
    OBJECT,
    TEXT,
    UUID,
    list_of,
    or_null,
    record,
)
from gateway.admin.openapi.operation import Answer, Operation, Parameter
from gateway.admin.openapi.parameters import WAIT

PROXY_CACHE = "proxy-cache"

_KEY = Parameter(
    "cache_key",
    "path",
    "What the response is kept by, as `X-Cache-Key` tells it.",
    {**TEXT, "pattern": "^[0-9a-f]{64}$"},
    example="0" * 64,
)
_PLUGIN = Parameter("plugins", "path", "Id of a plugin entity.", UUID)
_RESPONSE = record(
    status=INTEGER,
    headers={**OBJECT, "additionalProperties": list_of(TEXT)},
    body=or_null(TEXT),
    body_len=INTEGER,
    timestamp=INTEGER,
    ttl=NUMBER,
    age=NUMBER,
    plugin=record(id=UUID),
    node_id=UUID,
)
_PURGED = Answer("All nodes are told.", headers=WRITTEN)


def operations() -> Iterator[Operation]:
    """Yield what there is to ask and to forget."""
    yield Operation(
        id="purge_proxy_cache",
        method="DELETE",
        path="/proxy-cache",
        about=PROXY_CACHE,
        summary="Have all nodes forget all responses",
        parameters=WAIT,
        answers={204: _PURGED},
    )
    for path, parameters, suffix in (
        ("/proxy-cache/{cache_key}", (_KEY,), ""),
        ("/proxy-cache/{plugins}/caches/{cache_key}", (_PLUGIN, _KEY), "_of_plugin"),
    ):
        yield Operation(
            id=f"get_cached_response{suffix}",
            method="GET",
            path=path,
            about=PROXY_CACHE,
            summary="Tell a response that is kept",
            doc="On the node that answers; others may have it, or not.",
            parameters=parameters,
            answers={200: Answer("The response.", _RESPONSE), 404: NOT_FOUND},
        )
        yield Operation(
            id=f"purge_cached_response{suffix}",
            method="DELETE",
            path=path,
            about=PROXY_CACHE,
            summary="Have all nodes forget a response",
            doc="The answer 404 tells that the node that answers does not have it; the others are "
            "told all the same.",
            parameters=(*parameters, *WAIT),
            answers={204: _PURGED, 404: NOT_FOUND},
        )
