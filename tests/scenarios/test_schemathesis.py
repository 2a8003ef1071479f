"""The Admin API of a live node keeps to its OpenAPI document, whatever is sent to it.

schemathesis makes requests from the document, good and bad ones, and judges each answer: no server
error, and no status, header, type or body that the document does not tell of.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from gateway.admin.openapi import examples
from gateway.entities import ENTITIES

from .conftest import StartNodes
from .nodes import NodeProcess

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)

ONE_OF_EACH_KIND = (
    "^/(consumers|acls/{acls}|upstreams/{upstreams}/(targets|health)|upstreams/{upstreams}/targets/{targets}/healthy|clustering/.*|cluster|status|endpoints"
    "|tags.*|audit.*|schemas/.*)$"
)
"""Paths that stand for all others, as the same code answers them."""

CONFIG = "/config"

DEADLINE_S = 300
"""Many times what it takes where nothing else is done."""

pytestmark = pytest.mark.timeout(DEADLINE_S + 60)


@pytest.fixture
async def node(start_nodes: StartNodes, tmp_path: Path) -> NodeProcess:
    """A node that has the entities of which the document has examples."""
    (node,) = await start_nodes(1)
    for table in ("services", "routes", "upstreams", "consumers"):
        entity_type = ENTITIES[table]
        await node.write("POST", f"/{entity_type.collection}", examples.of(entity_type)[0])
    await node.write("POST", "/upstreams/orders-pool/targets", examples.GIVEN["targets"])
    return node


async def test_what_people_would_send_and_chains_of_it(node: NodeProcess, tmp_path: Path):
    phases = ("--phases", "examples,fuzzing,stateful", "--max-examples", "3")
    await tried(node, tmp_path, *phases, "--exclude-path", CONFIG)


async def test_declarative_files(node: NodeProcess, tmp_path: Path):
    """Less of it: each takes a process of its own."""
    phases = ("--phases", "examples,fuzzing", "--max-examples", "2")
    await tried(node, tmp_path, *phases, "--include-path", CONFIG)


async def test_what_is_at_the_edge_of_what_may_be_sent(node: NodeProcess, tmp_path: Path):
    await tried(node, tmp_path, "--phases", "coverage", "--include-path-regex", ONE_OF_EACH_KIND)


async def tried(node: NodeProcess, directory: Path, *options: str) -> None:
    """Let schemathesis try; what it finds is in its report."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run"),
        f"http://{node.addresses['admin']}/openapi.json",
        *("--checks", ",".join(CHECKS), "--seed", "1", "--generation-database", "none"),
        *("--suppress-health-check", "all", "--warnings", "off", "--no-color"),
        *options,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=directory,
        env=os.environ | {"HYPOTHESIS_STORAGE_DIRECTORY": str(directory)},
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0, told.decode()
