"""Plugins run in another order where the nodes are set up so, in every phase."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach
from .upstream import Upstream

BOTH = """
    from gateway.plugins.contract import Plugin


    class _Signs(Plugin):
        def access(self, request):
            request.context.setdefault("order", []).append(self.name)

        def header_filter(self, request, response):
            request.context["order"].append(self.name)
            response.set_header("X-Order", " ".join(request.context["order"]))


    class First(_Signs):
        name = "first"
        priority = 200


    class Second(_Signs):
        name = "second"
        priority = 100
"""


async def order(node: NodeProcess) -> str:
    return (await node.proxy("/")).headers["X-Order"]


async def priorities(node: NodeProcess) -> dict[str, int]:
    """What a node says of the two."""
    available = (await node.admin("GET", "/")).json()["plugins"]["available_on_server"]
    return {name: available[name]["priority"] for name in ("first", "second")}


async def test_a_setting_decides_who_goes_first(
    start_nodes: StartNodes, upstream: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "both.py").write_text(dedent(BOTH))
    (usual,) = await start_nodes(1, plugin_path=tmp_path)
    (other,) = await start_nodes(
        1, plugin_path=tmp_path, plugin_priorities="second=201,of-tomorrow=7"
    )
    setting = "--plugin-priorities (GATEWAY_PLUGIN_PRIORITIES)"
    unknown = "no such plugins to give a priority to"
    assert other.lines_of(unknown, level="warning", plugins=["of-tomorrow"], setting=setting)
    assert not usual.lines_of(unknown)

    await usual.write("PUT", "/services/s", {"host": "127.0.0.1", "port": upstream.port})
    await usual.write("PUT", "/services/s/routes/r", {"paths": ["/"]})
    for name in ("first", "second"):
        version = await usual.write("POST", "/plugins", {"name": name})
    await all_reach([usual, other], version)
    assert await order(usual) == "first second first second"
    assert await order(other) == "second first second first"
    assert await priorities(usual) == {"first": 200, "second": 100}
    assert await priorities(other) == {"first": 200, "second": 201}
