"""What the nodes say about themselves: their status listeners, asked once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.settings import NodeSettings
from gateway.up.process import Child

LOOK_INTERVAL_S = 1.0
REQUEST_TIMEOUT_S = 1.0
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class NodeView:
    """One line of the table."""

    name: str
    ports: Mapping[str, int]  # by listener
    state: str
    applied_version: int | None = None
    lag: int | None = None
    requests_per_s: float | None = None
    restarts: int = 0


@dataclass(slots=True)
class _Sample:
    at_s: float
    total_requests: int


async def watch(
    nodes: Sequence[NodeSettings],
    children: Sequence[Child],
    client: httpx.AsyncClient,
    show: Callable[[list[NodeView]], None],
) -> None:
    """Show how the nodes are, again and again."""
    watcher = _Watcher(nodes, children, client)
    while True:
        show(await watcher.look())
        await asyncio.sleep(LOOK_INTERVAL_S)


class _Watcher:
    """Asks the nodes; keeps from one look to the next only what a rate needs."""

    def __init__(
        self, nodes: Sequence[NodeSettings], children: Sequence[Child], client: httpx.AsyncClient
    ) -> None:
        self._nodes = nodes
        self._children = children
        self._client = client
        self._samples: dict[str, _Sample] = {}
        self._answered: set[int | None] = set()

    async def look(self) -> list[NodeView]:
        """Return how every node is now."""
        answers = await asyncio.gather(*(self._status(node) for node in self._nodes))
        newest = max((_seen_version(answer) for answer in answers), default=0)
        return [
            self._view(node, child, answer, newest)
            for node, child, answer in zip(self._nodes, self._children, answers, strict=True)
        ]

    async def _status(self, node: NodeSettings) -> dict[str, Any]:
        """Return the node's `/status`, with its readiness under "ready"; empty if unreachable."""
        base = base_url(node.status_host, node.status_port)
        try:
            ready = await self._client.get(f"{base}/status/ready", timeout=REQUEST_TIMEOUT_S)
            status = await self._client.get(f"{base}/status", timeout=REQUEST_TIMEOUT_S)
            return {"ready": ready.status_code == 200, **status.raise_for_status().json()}
        except (httpx.HTTPError, ValueError):
            return {}

    def _view(
        self, node: NodeSettings, child: Child, answer: dict[str, Any], newest: int
    ) -> NodeView:
        applied = answer.get("sync", {}).get("applied_version")
        return NodeView(
            name=node.node_name,
            ports={name: getattr(node, f"{name}_port") for name in node.listener_names()},
            state=self._state(child, answer),
            applied_version=applied,
            lag=None if applied is None else newest - applied,
            requests_per_s=self._rate(node.node_name, answer),
            restarts=child.restarts,
        )

    def _state(self, child: Child, answer: dict[str, Any]) -> str:
        if child.restart_in_s is not None:
            return f"down, starts again in {child.restart_in_s:g} s"
        if not answer:
            return "not answering" if child.pid in self._answered else "starting"
        self._answered.add(child.pid)
        if not answer["ready"]:
            return "not ready"
        sync = answer["sync"]["state"]
        return "ready" if sync == "synced" else f"ready, {sync}"

    def _rate(self, name: str, answer: dict[str, Any]) -> float | None:
        if not answer:
            self._samples.pop(name, None)
            return None
        now = _Sample(asyncio.get_running_loop().time(), answer["server"]["total_requests"])
        before, self._samples[name] = self._samples.get(name), now
        if before is None or now.total_requests < before.total_requests:
            return None
        return (now.total_requests - before.total_requests) / (now.at_s - before.at_s)


def base_url(host: str, port: int, scheme: str = "http") -> str:
    """Return where this machine reaches a listener; a wildcard address is reached by loopback."""
    reached = _WILDCARDS.get(host, host)
    return f"{scheme}://[{reached}]:{port}" if ":" in reached else f"{scheme}://{reached}:{port}"


def _seen_version(answer: dict[str, Any]) -> int:
    return answer.get("sync", {}).get("seen_version") or 0
