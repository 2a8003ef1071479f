"""Certificates given to the Admin API of one node are shown by all, and by data planes."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from gateway.hybrid.certificates import make_pair
from gateway.snapshot import KeyPair
from tests.proxy.certificates import Authority, any_server, name_of, shown_by

from .conftest import StartNodes
from .nodes import DEADLINE_S, NodeProcess, all_reach

CA = Authority()


def certificate(pair: KeyPair, *names: str) -> dict[str, object]:
    return {"cert": pair.cert_pem, "key": pair.key_pem, "snis": names}


async def shown(node: NodeProcess, server_name: str) -> str:
    """The common name of the certificate that a client asking for a server name is shown."""
    async with asyncio.timeout(DEADLINE_S):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", node.port("proxy_tls"), ssl=any_server(), server_hostname=server_name
        )
    name = name_of(shown_by(writer.get_extra_info("ssl_object")))
    writer.transport.abort()
    return name


async def test_every_node_shows_what_any_of_them_was_given(start_nodes: StartNodes) -> None:
    one, two = await start_nodes(2, proxy_tls_port=0)
    default = await shown(one, "a.example")
    first = certificate(CA.issue("first"), "a.example", "*.a.example")
    await all_reach([one, two], await one.write("PUT", "/certificates/a.example", first))
    for node in (one, two):
        assert await shown(node, "a.example") == "first"
        assert await shown(node, "www.a.example") == "first"
        assert await shown(node, "b.example") == default

    renewed = certificate(CA.issue("renewed"), "a.example", "b.example")
    await all_reach([one, two], await two.write("PATCH", "/certificates/a.example", renewed))
    for node in (one, two):
        assert await shown(node, "b.example") == "renewed"
        assert await shown(node, "www.a.example") == default

    await all_reach([one, two], await one.write("DELETE", "/certificates/b.example"))
    for node in (one, two):
        assert await shown(node, "a.example") == default


async def test_a_data_plane_shows_certificates_even_after_a_start_on_its_own(
    start_nodes: StartNodes, tmp_path: Path
) -> None:
    pair = make_pair(tmp_path / "pair", days=90)
    shared = {"cluster_cert": pair.certificate_path, "cluster_cert_key": pair.key_path}
    (control_plane,) = await start_nodes(1, role="control-plane", cluster_port=0, **shared)
    of_edge = {
        **shared,
        "role": "data-plane",
        "database_url": "",
        "control_planes": control_plane.addresses["cluster"],
        "node_name": "edge",
        "snapshot_dir": tmp_path / "copies",
        "proxy_tls_port": 0,
    }
    (edge,) = await start_nodes(1, **of_edge)
    given = certificate(CA.issue("given"), "a.example")
    version = await control_plane.write("POST", "/certificates", given)
    await all_reach([edge], version)
    assert await shown(edge, "a.example") == "given"

    await edge.copies(version)
    copies = list((tmp_path / "copies").iterdir())
    assert copies
    assert {stat.S_IMODE(copy.stat().st_mode) for copy in copies} == {0o600}
    await control_plane.kill()
    await edge.kill()
    (again,) = await start_nodes(1, **of_edge)
    assert await shown(again, "a.example") == "given"
