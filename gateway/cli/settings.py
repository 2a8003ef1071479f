"""`gateway settings`: every setting, its option, its environment variable and its default.

`docs/settings.md` is this command's Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.cli.options import default_text, metavar
from gateway.settings import NodeSettings, UpSettings, environment_variable, option_name

_COMMANDS: dict[str, type[BaseSettings]] = {"up": UpSettings, "node": NodeSettings}
_INTRODUCTION = """\
# Settings

Each setting is an option of its command and an environment variable. The command line wins over
the environment, the environment over the default. `gateway up` hands its environment on to the
nodes it starts, so settings of `gateway node` can be given to it as variables too; names, ports,
database and `shutdown_timeout_s` it sets itself.

This page is made by `make docs` from `gateway/settings.py`.
"""


def settings(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page docs/settings.md.")
    ] = False,
) -> None:
    """List every setting with its environment variable, default and meaning."""
    if markdown:
        typer.echo(render_markdown(), nl=False)
        return
    for command, kind in _COMMANDS.items():
        Console().print(_table(command, kind))


def render_markdown() -> str:
    """Return the whole page of settings."""
    return _INTRODUCTION + "".join(_section(command, kind) for command, kind in _COMMANDS.items())


def _section(command: str, kind: type[BaseSettings]) -> str:
    head = (
        f"\n## gateway {command}\n\n| option | variable | default | meaning |\n|---|---|---|---|\n"
    )
    return head + "".join(
        f"| {_code(option)} | {_code(variable)} | {_code(default)} | {meaning} |\n"
        for option, variable, default, meaning in _rows(kind)
    )


def _code(text: str) -> str:
    """Return a table cell in code type; a bar would end the cell."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def _table(command: str, kind: type[BaseSettings]) -> Table:
    table = Table("option", "variable", "default", "meaning", title=f"gateway {command}")
    for row in _rows(kind):
        table.add_row(*map(escape, row))
    return table


def _rows(kind: type[BaseSettings]) -> Iterator[tuple[str, str, str, str]]:
    for name, field in kind.model_fields.items():
        is_flag = field.annotation is bool
        option = option_name(name)
        option += f" / --no-{option[2:]}" if is_flag else f" {metavar(field)}"
        yield option, environment_variable(name), default_text(field), field.description or ""
