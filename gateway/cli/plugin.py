"""`gateway plugin`: which plugins there are, tables for their pages, a skeleton for a new one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.cli.errors import CommandError
from gateway.cli.options import settings_options
from gateway.plugins import page, registry
from gateway.plugins.directories import file_of
from gateway.settings import SharedSettings

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

app = typer.Typer(help="Plugins.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
@settings_options(SharedSettings, only=["plugin_path", "plugin_priorities"])
def list_all(settings: SharedSettings) -> None:
    """Show the plugins that a node with these settings has, in the order they run."""
    registry.configure(settings)
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("plugin", "priority", "version"):
        table.add_column(heading, no_wrap=True)
    table.add_column("from", overflow="fold")
    for plugin in sorted(registry.present().values(), key=_rank, reverse=True):
        where = file_of(plugin) or f"{plugin.__module__}.{plugin.__qualname__}"
        table.add_row(plugin.name, str(plugin.priority), plugin.version, where)
    Console().print(table)


def _rank(plugin: registry.Plugin) -> tuple[int, str]:
    return plugin.priority, plugin.name


@app.command("pages")
def pages(
    directory: Annotated[Path, typer.Argument(help="Where the pages are.", metavar="DIR")],
) -> None:
    """Write the tables of fields into pages about plugins, as docs/plugins has them.

    Each stands below a line <!-- config: NAME -->; README.md has a list below <!-- plugins -->.
    """
    try:
        for path, content in page.up_to_date(directory, registry.present()).items():
            path.write_text(content)
    except KeyError as error:
        raise CommandError(f"a page asks for the config of {error}: no such plugin") from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Its name, in small letters with dashes.")],
    directory: Annotated[
        Path, typer.Option("--in", help="Where the package is made.", metavar="DIR")
    ] = Path(),
) -> None:
    """Write a package with a plugin that works, and its test."""
    if not _NAME.fullmatch(name):
        raise CommandError(f"'{name}' is no name of a plugin: use small letters, digits and dashes")
    files = _package(name)
    root = directory / f"gateway-plugin-{name}"
    if root.exists():
        raise CommandError(f"{root} is there already: choose another name or directory")
    try:
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content)
    except OSError as error:
        raise CommandError(f"{root} cannot be written: {error.strerror}") from None
    typer.echo(f"{root} is ready:\n\n  pip install -e {root}\n  pytest {root}\n\n", nl=False)
    typer.echo(
        f"Restart the nodes; then `gateway plugin list` and /schemas/plugins/{name} have it."
    )


def _package(name: str) -> dict[str, str]:
    """Return the files of a package, by path."""
    module = name.replace("-", "_")
    class_name = "".join(part.capitalize() for part in name.split("-"))
    values = {"name": name, "module": f"gateway_plugin_{module}", "class_name": class_name}
    return {
        "pyproject.toml": _PYPROJECT.format(**values),
        f"{values['module']}.py": _PLUGIN.format(**values),
        f"test_{module}.py": _TEST.format(**values),
    }


_PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "gateway-plugin-{name}"
version = "0.1.0"
dependencies = ["gateway-cluster"]

[project.entry-points."gateway.plugins"]
{name} = "{module}:{class_name}"

[tool.hatch.build]
dev-mode-dirs = ["."]

[tool.hatch.build.targets.wheel]
include = ["{module}.py"]

[tool.pytest.ini_options]
asyncio_mode = "auto"
"""

_PLUGIN = '''\
"""{name}: tells services and clients a word."""

from __future__ import annotations

from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.types import Text
from gateway.plugins.contract import Plugin
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request
from gateway.plugins.response import Response


class {class_name}(Plugin):
    """Adds a header on both ways, and refuses who brings the word already."""

    name = "{name}"
    priority = 500

    class Config(Record):
        """What users set."""

        word: Text = Field(default="hello", description="What is told.")

    config: Config

    def access(self, request: Request) -> Reply | None:
        """See the request before its service does."""
        if request.header("X-Word") == self.config.word:
            return refuse(403, "that word is ours")
        request.upstream.set_header("X-Word", self.config.word)
        return None

    def header_filter(self, request: Request, response: Response) -> None:
        """See the response before the client does."""
        response.set_header("X-Word", self.config.word)
'''

_TEST = '''\
"""{name}, tried through a whole gateway."""

from __future__ import annotations

from {module} import {class_name}

from gateway.testing import Serving


async def test_both_sides_are_told() -> None:
    async with Serving({class_name}, word="hi") as gateway:
        answer = await gateway.ask("GET", "/")
    assert answer.headers["X-Word"] == "hi"
    assert gateway.received[0].headers["X-Word"] == "hi"


async def test_who_knows_the_word_is_refused() -> None:
    async with Serving({class_name}, word="hi") as gateway:
        answer = await gateway.ask("GET", "/", headers={{"X-Word": "hi"}})
    assert answer.status_code == 403
    assert gateway.received == []
'''
