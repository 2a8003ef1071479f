"""A node with older code, or without a directory of plugins, beside one that has all."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach
from .upstream import Upstream

GUARD = """
    from gateway.plugins.contract import Plugin
    from gateway.plugins.reply import refuse


    class Guard(Plugin):
        name = "guard"
        priority = 1000

        def access(self, request):
            return None if request.header("X-Word") else refuse(401, "the word?")
"""
WARNING = (
    "requests are served without plugins that this node does not have, be it one that checks who "
    "comes in"
)


async def statuses(node: NodeProcess) -> list[int]:
    """What a guarded route answers without the word and with it, and another route."""
    return [
        (await node.proxy(path, headers=headers)).status_code
        for path, headers in (("/guarded", {}), ("/guarded", {"X-Word": "w"}), ("/open", {}))
    ]


async def left_out(node: NodeProcess) -> tuple[list[tuple[str, str]], list[float]]:
    """Why which plugins are left out, and how many of them the metric has."""
    bad = (await node.report())["bad_entities"]
    numbers = list((await node.metrics()).values("gateway_plugins_left_out", plugin="guard"))
    return [(entity["name"], entity["reason"]) for entity in bad], numbers


async def test_what_a_plugin_guards_stays_closed_where_it_is_missing(
    start_nodes: StartNodes, upstream: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "guard.py").write_text(dedent(GUARD))
    (newer,) = await start_nodes(1, plugin_path=tmp_path)
    (older,) = await start_nodes(1)
    (trusting,) = await start_nodes(1, missing_plugin_action="skip")
    assert trusting.lines_of(WARNING, level="warning")
    assert not older.lines_of(WARNING)

    assert (await newer.admin("GET", "/schemas/plugins/guard")).status_code == 200
    assert (await older.admin("GET", "/schemas/plugins/guard")).status_code == 404
    service = {"name": "orders", "host": "127.0.0.1", "port": upstream.port}
    await newer.write("POST", "/services", service)
    for name in ("guarded", "open"):
        route = {"name": name, "paths": [f"/{name}"]}
        await newer.write("POST", "/services/orders/routes", route)
    guard = {"name": "guard", "instance_name": "g"}
    version = await newer.write("POST", "/routes/guarded/plugins", guard)
    await all_reach([newer, older, trusting], version)

    missing = "plugin 'guard' is not present on this node: what it is for "
    assert await statuses(newer) == [401, 200, 200]
    assert await left_out(newer) == ([], [])
    assert await statuses(older) == [503, 503, 200]
    assert await left_out(older) == ([("guard", f"{missing}answers 503")], [1])
    assert await statuses(trusting) == [200, 200, 200]
    assert await left_out(trusting) == ([("guard", f"{missing}is served without it")], [1])

    refused = await older.admin("POST", "/plugins", {"name": "guard"})
    assert refused.status_code == 400
    document = (await newer.admin("GET", "/config?format=json")).json()["config"]
    assert (await newer.admin("POST", "/config", {"config": document})).is_success
    assert (await older.admin("POST", "/config", {"config": document})).status_code == 400

    version = await older.write("DELETE", "/plugins/g")
    await all_reach([newer, older, trusting], version)
    for node in (newer, older, trusting):
        assert await statuses(node) == [200, 200, 200]
        assert await left_out(node) == ([], [])
