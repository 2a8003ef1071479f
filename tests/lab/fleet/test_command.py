"""`gateway lab fleet` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.cli.errors import CommandError


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--sizes", "many"], "--sizes"),
        (["--strategies", "poll:soon"], "--strategies"),
        (["--restart-postgres", "--database-url", "postgresql://h/d"], "--restart-postgres"),
    ],
)
def test_a_bad_option_is_named_before_anything_starts(options: list[str], named: str) -> None:
    failure = CliRunner().invoke(app, ["lab", "fleet", *options]).exception
    assert isinstance(failure, CommandError)
    assert named in str(failure)


def test_a_run_ends_with_tables_and_files(tmp_path: Path, database_url: str) -> None:
    options = ["--sizes", "2", "--strategies", "poll:100ms", "--seconds", "1", "--changes", "1"]
    output = tmp_path / "out"
    answer = CliRunner().invoke(
        app,
        ["lab", "fleet", *options, "--database-url", database_url, "--output", str(output)],
        catch_exceptions=False,
    )
    assert answer.exit_code == 0
    assert "measured: poll:100ms with 2 nodes" in answer.output
    assert "Stale window" in answer.output
    assert {"result.json", "result.csv", "result.md"} <= {path.name for path in output.iterdir()}
