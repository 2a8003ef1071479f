"""A thousand writes in a row, by ten clients through three nodes: none is lost, all nodes agree."""

from __future__ import annotations

import asyncio
import itertools
import random
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.entities import ENTITIES, Row
from gateway.settings import NodeSettings
from gateway.snapshot.disk_file import DiskFile
from gateway.store.store import Store
from tests.proxy.certificates import Authority

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach
from .sql import check_that_the_log_is_whole, newest_version, rows

PLUGINS = Path(__file__).parents[1] / "plugins" / "installed"

WRITES = 1000
CLIENTS = 10

REFUSALS = (400, 404, 409)
"""What a write may be told when another one was faster; never an error of the server."""

CA = Authority()
PAIR = CA.issue("a.test")
SHOWN = {"cert": PAIR.cert_pem, "key": PAIR.key_pem}
PASSWORD = {"password": "{kong-sha1}" + 40 * "0"}  # one that costs no time to hash

Request = tuple[str, str, Any]

REQUESTS: list[Request] = [
    ("PUT", "/services/s$a", {"host": "h$b.test"}),
    ("PATCH", "/services/s$a", {"path": "/$b"}),
    ("DELETE", "/services/s$a", None),
    ("POST", "/services", {"name": "s$a", "host": "h$b.test"}),
    ("PUT", "/routes/r$a", {"paths": ["/$a"], "service": {"name": "s$b"}}),
    ("PATCH", "/routes/r$a", {"service": {"name": "s$b"}}),
    ("DELETE", "/routes/r$a", None),
    ("POST", "/services/s$a/routes", {"name": "r$b", "hosts": ["h$b.test"]}),
    ("PATCH", "/routes/r$a/service", {"retries": 7}),
    ("PUT", "/upstreams/u$a", {"slots": 100}),
    ("DELETE", "/upstreams/u$a", None),
    ("POST", "/upstreams/u$a/targets", {"target": "10.0.0.$b:80"}),
    ("PATCH", "/upstreams/u$a/targets/10.0.0.$b:80", {"weight": 7}),
    ("DELETE", "/upstreams/u$a/targets/10.0.0.$b:80", None),
    ("PUT", "/consumers/c$a", {"tags": ["t$b"]}),
    ("PATCH", "/consumers/c$a", {"custom_id": "i$b"}),
    ("DELETE", "/consumers/c$a", None),
    ("PUT", "/consumers/c$a/key-auth/k$b", {}),
    ("DELETE", "/consumers/c$a/key-auth/k$b", None),
    ("PUT", "/consumers/c$a/basic-auth/b$b", PASSWORD),
    ("POST", "/consumers/c$a/jwt", {"key": "j$b"}),
    ("POST", "/consumers/c$a/hmac-auth", {"username": "h$b"}),
    ("POST", "/consumers/c$a/acls", {"group": "g$b"}),
    ("POST", "/services/s$a/plugins", {"name": "gate-key"}),
    ("PUT", "/plugins/p$a", {"name": "gate-key", "service": {"name": "s$b"}}),
    ("PATCH", "/plugins/p$a", {"enabled": False}),
    ("DELETE", "/plugins/p$a", None),
    ("PUT", "/certificates/h$a.test", SHOWN | {"snis": ["h$a.test", "h$b.test"]}),
    ("PATCH", "/certificates/h$a.test", {"snis": ["h$b.test"]}),
    ("DELETE", "/certificates/h$a.test", None),
    ("DELETE", "/snis/h$a.test", None),
    ("POST", "/ca_certificates", {"cert": CA.pem}),
]
"""``$a`` and ``$b`` are drawn anew each time."""


@dataclass(frozen=True, slots=True)
class Done:
    """A write that was acknowledged."""

    method: str
    request_id: str
    version: int


class Client:
    """Writes through one node what all others write too."""

    def __init__(self, node: NodeProcess, seed: int) -> None:
        self._node = node
        self._dice = random.Random(seed)
        self.done: list[Done] = []

    async def write(self, number: int) -> None:
        """Go on until so many writes are acknowledged."""
        while len(self.done) < number:
            method, path, body = self._draw()
            response = await self._node.admin(method, path, body)
            if response.is_success:
                request_id = response.headers["X-Gateway-Admin-Request-Id"]
                version = int(response.headers["X-Gateway-Config-Version"])
                self.done.append(Done(method, request_id, version))
            else:
                assert response.status_code in REFUSALS, f"{method} {path}: {response.text}"

    def _draw(self) -> Request:
        method, path, body = self._dice.choice(REQUESTS)
        drawn = {name: str(self._dice.randrange(8)) for name in "ab"}
        return method, _with(drawn, path), _with(drawn, body)


def _with(drawn: dict[str, str], value: Any) -> Any:
    match value:
        case str():
            return string.Template(value).safe_substitute(drawn)
        case list():
            return [_with(drawn, item) for item in value]
        case dict():
            return {key: _with(drawn, item) for key, item in value.items()}
        case _:
            return value


@pytest.mark.timeout(300)  # half a minute of computing, which other tests may be in the way of
async def test_a_thousand_writes_through_three_nodes_leave_all_nodes_alike(
    start_nodes: StartNodes, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))
    nodes = await start_nodes(3, snapshot_dir=tmp_path, poll_interval_s=0.1)
    clients = [
        Client(node, seed)
        for seed, node in zip(range(CLIENTS), itertools.cycle(nodes), strict=False)
    ]
    await asyncio.gather(*(client.write(WRITES // CLIENTS) for client in clients))
    newest = await newest_version(database_url)
    await all_reach(nodes, newest)
    await check_that_the_log_is_whole(database_url)
    await check_the_audit_log(database_url, clients)
    await asyncio.gather(*(node.copies(newest) for node in nodes))
    assert [await node.stop() for node in nodes] == [0, 0, 0]
    await check_that_they_hold_the_tables(tmp_path, nodes, database_url)


async def check_the_audit_log(database_url: str, clients: list[Client]) -> None:
    """Each write that made a version is there with that one version; nothing else is."""
    done = [write for client in clients for write in client.done]
    assert len(done) >= WRITES
    found = await rows(database_url, "SELECT DISTINCT request_id, version FROM audit")
    audited = dict(found)
    assert len(audited) == len(found)
    assert sorted(audited.values()) == list(range(1, await newest_version(database_url) + 1))
    for write in done:
        # What is not there may be deleted too: that makes no version.
        if write.request_id in audited or write.method != "DELETE":
            assert audited.pop(write.request_id) == write.version
    assert audited == {}


async def check_that_they_hold_the_tables(
    directory: Path, nodes: list[NodeProcess], database_url: str
) -> None:
    expected = await tables(database_url)
    assert all(expected.values()), "each kind of entity has been written"
    for node in nodes:
        file = DiskFile(directory / f"{node.name}-0.snapshot")
        file.open()
        held = {table: file.read(table, "")[0] for table in ENTITIES}
        file.close()
        assert held == expected


async def tables(database_url: str) -> dict[str, list[Row]]:
    store = Store(NodeSettings(database_url=database_url))
    await store.start()
    async with store.read() as transaction:
        found = {table: (await transaction.page(table, size=1000)).rows for table in ENTITIES}
    await store.stop()
    return found
