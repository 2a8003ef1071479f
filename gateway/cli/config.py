"""`gateway config`: the configuration of a cluster as declarative files."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from typing import Annotated, Any

import typer

from gateway.cli.config_client import Server
from gateway.cli.config_display import counted, show_differences
from gateway.cli.config_files import STANDARD_STREAM, read_files, write_file
from gateway.cli.errors import CommandError
from gateway.declarative.checking import check
from gateway.declarative.nesting import nested_document
from gateway.declarative.problems import InvalidConfigError
from gateway.declarative.refusals import invalid_config
from gateway.declarative.text import as_text
from gateway.plugins import registry
from gateway.settings import SharedSettings, read_settings

DIFFERENT = 2
"""The exit code of `diff` that finds differences, as of other tools of this name it is not 0."""

app = typer.Typer(
    help="The configuration as declarative files.", no_args_is_help=True, rich_markup_mode=None
)


class FileFormat(StrEnum):
    """The formats that a file can be written in."""

    YAML = "yaml"
    JSON = "json"


Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="YAML or JSON; `-` is standard input; of a directory all .yaml, .yml, .json below it.",
        show_default=False,
    ),
]
SelectTags = Annotated[
    list[str] | None,
    typer.Option(
        "--select-tag",
        metavar="TAG",
        help="Only entities with this tag, and all others given so; repeatable.",
    ),
]
AdminUrl = Annotated[
    str,
    typer.Option(metavar="URL", envvar="GATEWAY_ADMIN_URL", help="The Admin API of any node."),
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN", envvar="GATEWAY_ADMIN_TOKEN", help="What lets us in at the Admin API."
    ),
]
CaCert = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="CA certificates in PEM that vouch for the Admin API."),
]
SkipVerify = Annotated[
    bool, typer.Option("--tls-skip-verify", help="Do not verify the Admin API's certificate.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

DEFAULT_ADMIN_URL = "http://127.0.0.1:8001"


@app.command()
def validate(files: Files, select_tag: SelectTags = None, as_json: AsJson = False) -> None:
    """Check files without a server: syntax, fields, names, references. Exit code 1 if not valid."""
    registry.configure(read_settings(SharedSettings))
    try:
        declaration = check(read_files(files), select_tag or ())
    except InvalidConfigError as error:
        if as_json:
            typer.echo(json.dumps(invalid_config(error, flatten=True), indent=2))
        else:
            typer.echo(f"not valid:\n{error}", err=True)
        raise typer.Exit(1) from None
    numbers = Counter(item.type.table for item in declaration.items)
    if as_json:
        typer.echo(json.dumps({"valid": True, "entities": numbers}, indent=2))
    else:
        typer.echo(f"valid: {', '.join(f'{n} {t}' for t, n in numbers.items()) or 'empty'}")


@app.command()
def diff(
    files: Files,
    *,
    select_tag: SelectTags = None,
    admin_url: AdminUrl = DEFAULT_ADMIN_URL,
    token: Token = None,
    ca_cert: CaCert = None,
    tls_skip_verify: SkipVerify = False,
    as_json: AsJson = False,
) -> None:
    """Show what `sync` would change. Exit code 0: nothing, 2: something, 1: an error."""
    server = Server(admin_url, token, ca_cert, tls_skip_verify)
    found = server.post(read_files(files), _query(select_tag, dry_run="1"))
    _show(found, as_json=as_json)
    if found["differences_total"]:
        raise typer.Exit(DIFFERENT)


@app.command()
def sync(
    files: Files,
    *,
    select_tag: SelectTags = None,
    admin_url: AdminUrl = DEFAULT_ADMIN_URL,
    token: Token = None,
    ca_cert: CaCert = None,
    tls_skip_verify: SkipVerify = False,
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: as `diff`.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until every live node serves it.")
    ] = False,
    wait_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=300, help="How long to wait at most.")
    ] = 30.0,
) -> None:
    """Make the running configuration what the files say: create, update and delete, all or nothing.

    With `--select-tag`, or `_info.select_tags` in a file, only entities that have all of these
    tags are touched, and those written get them.
    """
    if dry_run:
        diff(
            files,
            select_tag=select_tag,
            admin_url=admin_url,
            token=token,
            ca_cert=ca_cert,
            tls_skip_verify=tls_skip_verify,
            as_json=as_json,
        )
        return
    waiting = {"wait": "cluster", "timeout": f"{wait_timeout:g}s"} if wait else {}
    server = Server(admin_url, token, ca_cert, tls_skip_verify)
    found = server.post(read_files(files), _query(select_tag, **waiting))
    _show(found, as_json=as_json)
    if wait:
        _require_everywhere(found["headers"])


@app.command()
def dump(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="Where to; `-` is standard output.")
    ] = STANDARD_STREAM,
    *,
    select_tag: SelectTags = None,
    admin_url: AdminUrl = DEFAULT_ADMIN_URL,
    token: Token = None,
    ca_cert: CaCert = None,
    tls_skip_verify: SkipVerify = False,
    flat: Annotated[
        bool,
        typer.Option("--flat", help="As `kong config db_export`: all fields, ids and times."),
    ] = False,
    with_id: Annotated[
        bool, typer.Option("--with-id", help="Keep the ids of entities that have names.")
    ] = False,
    format: Annotated[  # noqa: A002 - the option's name
        FileFormat, typer.Option(help="What to write.")
    ] = FileFormat.YAML,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write the running configuration as a file, private keys and hashes of passwords included."""
    server = Server(admin_url, token, ca_cert, tls_skip_verify)
    document = json.loads(server.get(_query(select_tag, format="json"))["config"])
    if not flat:
        document = nested_document(document, select_tag or (), with_id=with_id)
    text = as_text(document, format.value)
    if file == STANDARD_STREAM:
        typer.echo(text, nl=False)
    else:
        write_file(file, text, force=force)


def _query(select_tags: list[str] | None, **further: str) -> list[tuple[str, str]]:
    return [*further.items(), *(("select_tag", tag) for tag in select_tags or ())]


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        told = {key: value for key, value in found.items() if key != "headers"}
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    show_differences(found)
    typer.echo(f"{counted(found)} (version {found['version']})")


def _require_everywhere(headers: dict[str, str]) -> None:
    """Raise CommandError if some live node does not serve what was written."""
    there = headers.get("x-gateway-propagation", "unknown")
    typer.echo(f"served by {there} nodes", err=True)
    done, _, of = there.partition("/")
    if done != of:
        behind = headers.get("x-gateway-propagation-behind", "unknown")
        raise CommandError(f"written, but not yet served by all nodes; behind: {behind}")
