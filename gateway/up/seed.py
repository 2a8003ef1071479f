"""The demo service and route, created through the Admin API once per database.

A file in the data directory remembers the epoch of the database that was given them, so that a user
who deletes them does not get them back, and a new database does. A demo service that still carries
our tag follows the demo upstream to another port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from gateway.settings import NodeSettings
from gateway.up.watch import base_url

NAME = "demo"
PATH = "/demo"
REQUEST_TIMEOUT_S = 5.0
RETRY_S = 0.5
TOKEN_VARIABLE = "GATEWAY_ADMIN_TOKEN"  # noqa: S105 - the name of a variable


async def seed_demo(
    nodes: list[NodeSettings],
    demo_port: int,
    data_dir: Path,
    client: httpx.AsyncClient,
    tell: Callable[[str], None],
    *,
    token: str = "",
) -> None:
    """Create or adjust the demo through whichever node answers; try until one has.

    ``token`` is for an Admin API that asks for one.
    """
    while True:
        for node in nodes:
            api = _Admin(base_url(node.admin_host, node.admin_port), client, token)
            if outcome := await _attempt(api, demo_port, _Memory(data_dir / "demo-epoch")):
                tell(outcome)
                return
        await asyncio.sleep(RETRY_S)


async def _attempt(api: _Admin, demo_port: int, memory: _Memory) -> str | None:
    """Return what became of the demo, or None if this node cannot tell now."""
    try:
        return await _seed(api, demo_port, memory)
    except httpx.HTTPStatusError as error:
        if error.response.status_code == 401:
            return f"the demo is left as it is: for the Admin API, set a token as {TOKEN_VARIABLE}"
        refused = error.response.is_client_error
        return f"the demo was not created: {error.response.text}" if refused else None
    except httpx.HTTPError:
        return None


async def _seed(api: _Admin, demo_port: int, memory: _Memory) -> str:
    epoch = str((await api.call("GET", "/cluster"))["epoch"])
    service = await api.call("GET", f"/services/{NAME}", missing_is_ok=True)
    is_known = memory.read() == epoch
    if service and NAME not in (service.get("tags") or []):
        return f"a service named {NAME} exists and is not ours: the demo is left out"
    if is_known and not service:
        return "the demo service was deleted and stays deleted"
    if not is_known:
        await _create(api, demo_port)
        memory.write(epoch)
    elif service["port"] != demo_port:
        await api.call("PATCH", f"/services/{NAME}", {"port": demo_port})
    return f"demo: path {PATH} leads to the demo upstream on port {demo_port}"


async def _create(api: _Admin, demo_port: int) -> None:
    target = {"protocol": "http", "host": "127.0.0.1", "port": demo_port, "tags": [NAME]}
    service = await api.call("PUT", f"/services/{NAME}", target)
    route = {"paths": [PATH], "service": {"id": service["id"]}, "tags": [NAME]}
    await api.call("PUT", f"/routes/{NAME}", route)


class _Memory:
    """The epoch of the database that was given the demo."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        return self._path.read_text() if self._path.exists() else ""

    def write(self, epoch: str) -> None:
        self._path.write_text(epoch)


class _Admin:
    """The Admin API of one node."""

    def __init__(self, url: str, client: httpx.AsyncClient, token: str) -> None:
        self._url = url
        self._client = client
        self._headers = {"Kong-Admin-Token": token} if token else {}

    async def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        missing_is_ok: bool = False,
    ) -> dict[str, Any]:
        """Return the JSON answer; raise `httpx.HTTPError` if there is none or it is an error."""
        answer = await self._client.request(
            method, self._url + path, json=body, headers=self._headers, timeout=REQUEST_TIMEOUT_S
        )
        if missing_is_ok and answer.status_code == 404:
            return {}
        document: dict[str, Any] = answer.raise_for_status().json()
        return document
