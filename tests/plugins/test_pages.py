"""Each plugin that comes with the gateway has a page, whose table is what the code declares."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pydantic import Field
from typer.testing import CliRunner

from gateway.cli.plugin import app
from gateway.entities.entity import Record
from gateway.entities.types import Text
from gateway.plugins import page, registry
from gateway.plugins.contract import Plugin

PAGES = Path(__file__).parents[2] / "docs" / "plugins"


def bundled() -> set[str]:
    points = entry_points(group=registry.GROUP)
    return {it.name for it in points if it.dist and it.dist.name == "gateway-cluster"}


def test_each_bundled_plugin_has_a_page_and_each_page_a_plugin() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == bundled()


@pytest.mark.parametrize("name", sorted(bundled()))
def test_a_page_has_what_readers_look_for(name: str) -> None:
    lines = (PAGES / f"{name}.md").read_text().splitlines()
    assert lines[0] == f"# {name}"
    for wanted in (f"<!-- config: {name} -->", "## Example", "```console"):
        assert wanted in lines


def test_nothing_that_is_there_is_told_to_be_missing() -> None:
    told = (PAGES / "README.md").read_text().partition("## What is not there yet")[2]
    assert bundled().isdisjoint(re.findall(r"[a-z0-9-]+", told))


def test_the_tables_are_up_to_date() -> None:
    for path, content in page.up_to_date(PAGES, registry.present()).items():
        assert path.read_text() == content, f"{path}: run `make docs`"


class Word(Plugin):
    """A plugin whose fields are of many kinds."""

    name = "word"
    priority = 7

    class Config(Record):
        """What it takes."""

        class Language(Record):
            """A language."""

            code: Text = Field(default="en|gb", description="Its code.")

        word: Text = Field(description="What is told.")
        languages: list[Language] = Field(default_factory=list, description="In which.")
        main: Language = Field(default_factory=Language, description="The main one.")


def test_a_table_goes_below_the_line_that_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "word.md"
    path.write_text("# word\n\nTells a\nword. Not two.\n\n<!-- config: word -->\n\nMore.\n")
    index = tmp_path / "README.md"
    index.write_text("# All\n\n<!-- plugins -->\n")
    plugins = {"word": Word}
    first = page.up_to_date(tmp_path, plugins)
    assert first[path].split("<!-- config: word -->\n")[1] == (
        "\n"
        "| field | type | default | what it is |\n"
        "|---|---|---|---|\n"
        "| `word` | string, required |  | What is told. |\n"
        "| `languages` | array of record | `[]` | In which. |\n"
        '| `languages[].code` | string | `"en\\|gb"` | Its code. |\n'
        "| `main` | record |  | The main one. |\n"
        '| `main.code` | string | `"en\\|gb"` | Its code. |\n'
        "\n"
        "<!-- /config -->\n"
        "\n"
        "More.\n"
    )
    assert "| [word](word.md) | 7 | Tells a word. |\n" in first[index]
    for each, content in first.items():
        each.write_text(content)
    assert page.up_to_date(tmp_path, plugins) == first


def test_a_page_of_a_plugin_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("<!-- config: no-such -->\n")
    answer = CliRunner().invoke(app, ["pages", str(tmp_path)])
    assert "no-such" in str(answer.exception)
