"""The process may open as many files as the system allows, and says when they are too few."""

from __future__ import annotations

import subprocess
import sys

import pytest

HARD = 2048

STARTING = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, {HARD}))
from gateway.open_files import allow_as_many_as_possible
from gateway.settings import NodeSettings, Role
settings = NodeSettings(max_connections=%d, role=Role("%s"), admin_max_connections=100)
allow_as_many_as_possible(settings)
print("limit", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def said_at_start(max_connections: int, role: str = "traditional") -> str:
    """What a process says that may open few files, and then its soft limit."""
    script = STARTING % (max_connections, role)
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    said, limit, number = run.stdout.rpartition("limit")
    assert (limit, int(number)) == ("limit", HARD)
    return said


@pytest.mark.parametrize(("connections", "role"), [(824, "traditional"), (9000, "control-plane")])
def test_the_soft_limit_is_raised(connections: int, role: str):
    assert said_at_start(connections, role) == ""


def test_who_allows_more_connections_than_files_is_told():
    said = said_at_start(825)
    assert "fewer files may be open than connections are allowed" in said
    assert f"open_files={HARD}" in said
    assert "connections=1025" in said
    assert "--max-connections (GATEWAY_MAX_CONNECTIONS)" in said
    assert "--admin-max-connections (GATEWAY_ADMIN_MAX_CONNECTIONS)" in said
