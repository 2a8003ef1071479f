"""Filter chains, which are WebAssembly: as Kong without it, this has none.

Sheet: admin-api.md, section 5.1.
"""

from __future__ import annotations

from typing import NoReturn

from starlette.requests import Request

from gateway.admin.errors import plain
from gateway.admin.resource import Paths


def filter_chain_paths() -> Paths:
    """Return the handlers by path and method; each says why there is nothing."""
    paths: Paths = {}
    for parent in ("", "/services/{services}", "/routes/{routes}"):
        collection = f"{parent}/filter-chains"
        paths[collection] = dict.fromkeys(("GET", "POST"), _refuse)
        paths[f"{collection}/{{filter_chains}}"] = dict.fromkeys(
            ("GET", "PUT", "PATCH", "DELETE"), _refuse
        )
    return paths


async def _refuse(_request: Request) -> NoReturn:
    raise plain(400, "this endpoint is only available when wasm is enabled")
