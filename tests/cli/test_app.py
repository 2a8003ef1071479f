"""The `gateway` command as a process: every expected failure is one line and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg
import pytest

from gateway import __version__

CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}


def gateway(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=CLEAN | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_tells_its_version() -> None:
    ran = gateway("--version")
    assert (ran.returncode, ran.stdout) == (0, f"gateway {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "environment", "exit_code", "line"),
    [
        (["up", "--nodes", "0"], {}, 2, "gateway: --nodes (GATEWAY_NODES): input should be"),
        (["node"], {}, 2, "gateway: --database-url (GATEWAY_DATABASE_URL) is required"),
        (
            ["node", "--database-url", "postgresql://h/d"],
            {"GATEWAY_ADMIN_PORT": "x"},
            2,
            "gateway: --admin-port (GATEWAY_ADMIN_PORT): input should be",
        ),
        (["db", "upgrade"], {}, 2, "gateway: --database-url (GATEWAY_DATABASE_URL) is required"),
        (
            ["db", "check"],
            {"GATEWAY_DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/d"},
            1,
            "gateway: --database-url (GATEWAY_DATABASE_URL): ",
        ),
        (
            ["cluster", "status", "--admin-url", "http://127.0.0.1:1"],
            {},
            1,
            "gateway: no answer from http://127.0.0.1:1/cluster: ",
        ),
    ],
)
def test_a_failure_is_one_line_that_names_the_setting(
    arguments: list[str], environment: dict[str, str], exit_code: int, line: str
) -> None:
    ran = gateway(*arguments, **environment)
    assert ran.returncode == exit_code
    assert ran.stderr.startswith(line)
    assert ran.stderr.count("\n") == 1
    assert "hunter2" not in ran.stderr


def test_db_commands_follow_a_database_from_empty_to_unknown(empty_database_url: str) -> None:
    url = {"GATEWAY_DATABASE_URL": empty_database_url}
    assert gateway("db", "current", **url).stdout == "none\n"
    before = gateway("db", "check", **url)
    assert before.returncode == 1
    assert "run `gateway db upgrade`" in before.stderr
    assert gateway("db", "upgrade", **url).returncode == 0
    assert "up to date" in gateway("db", "check", **url).stdout
    assert gateway("db", "current", **url).stdout != "none\n"

    with psycopg.connect(empty_database_url) as connection:
        connection.execute("UPDATE gateway_schema SET version_num = '9999'")
    after = gateway("db", "upgrade", **url)
    assert after.returncode == 1
    assert "9999, which this software" in after.stderr
