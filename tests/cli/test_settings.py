"""The table of settings in the docs is the code's."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.settings import NodeSettings, UpSettings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_committed_page_is_current() -> None:
    printed = CliRunner().invoke(app, ["settings", "--markdown"]).output
    assert printed == PAGE.read_text(), "run `make docs`"


def test_every_setting_is_listed_with_a_meaning() -> None:
    listed = CliRunner().invoke(app, ["settings"], env={"COLUMNS": "250"}).output
    for name, field in (NodeSettings.model_fields | UpSettings.model_fields).items():
        assert f"GATEWAY_{name.upper()} " in listed
        assert field.description
