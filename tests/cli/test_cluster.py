"""`gateway cluster status`: the cluster as a table, and what is unhealthy in it."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from gateway.cli.cluster import _table, _unhealthy


def node(name: str, *down: str, **facts: Any) -> dict[str, Any]:
    """A node as `/cluster` tells of it, with these addresses unhealthy to it."""
    addresses = [{"upstream": "orders", "target": "a", "address": it} for it in down]
    return {
        "name": name,
        "applied_version": 7,
        "lag": 0,
        "last_seen_age_s": 0.5,
        "alive": True,
        "role": "traditional",
        "strategy": "notify",
        "software_version": "0.1.0",
        "proxy_address": "127.0.0.1:8000",
        "admin_address": "127.0.0.1:8001",
        "status_address": "127.0.0.1:8100",
        "health": {"checked": 3, "unhealthy": len(down), "addresses": addresses},
        **facts,
    }


def cluster(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"config_version": 7, "nodes": list(nodes)}


def test_each_node_tells_how_much_of_what_it_checks_is_unhealthy() -> None:
    text = io.StringIO()
    nodes = node("node-a", "10.0.0.1:80"), node("node-b", health=None)
    Console(file=text, width=160).print(_table(cluster(*nodes)))
    first, second = (line for line in text.getvalue().splitlines() if "node-" in line)
    assert "1 of 3" in first
    assert " of " not in second


def test_an_address_is_named_once_with_the_nodes_that_it_is_unhealthy_to() -> None:
    nodes = node("node-a", "10.0.0.1:80", "10.0.0.2:80"), node("node-b", "10.0.0.1:80"), node("c")
    assert list(_unhealthy(cluster(*nodes))) == [
        "unhealthy: 10.0.0.1:80 of orders (a), on node-a, node-b",
        "unhealthy: 10.0.0.2:80 of orders (a), on node-a",
    ]


def test_a_cluster_of_an_older_release_tells_nothing_of_health() -> None:
    before = node("node-a")
    del before["health"]
    assert list(_unhealthy(cluster(before))) == []
