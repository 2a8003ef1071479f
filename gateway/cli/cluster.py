"""`gateway cluster`: what the nodes of a running cluster know of each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.cli.errors import CommandError

TIMEOUT_S = 5.0
FILE_WIDTH = 160

app = typer.Typer(help="The running cluster.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Keep `status` a sub-command although it is the only one."""


@app.command()
def status(
    admin_url: Annotated[
        str,
        typer.Option(metavar="URL", envvar="GATEWAY_ADMIN_URL", help="The Admin API of any node."),
    ] = "http://127.0.0.1:8001",
    token: Annotated[
        str,
        typer.Option(
            metavar="TOKEN",
            envvar="GATEWAY_ADMIN_TOKEN",
            help="A token of the Admin API, if it asks for one; other users of this machine see "
            "options, but not variables.",
        ),
    ] = "",
) -> None:
    """Show every node: versions, lag, when it was last seen, how many targets are unhealthy."""
    cluster = _fetch(f"{admin_url.rstrip('/')}/cluster", token)
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(_table(cluster))
    for line in _unhealthy(cluster):
        console.print(escape(line), highlight=False)


def _fetch(url: str, token: str) -> dict[str, Any]:
    headers = {"Kong-Admin-Token": token} if token else {}
    try:
        answer = httpx.get(url, headers=headers, timeout=TIMEOUT_S, trust_env=False)
        if answer.status_code == 401:
            raise CommandError(
                f"{url} asks for a token: {'this one does not count' if token else 'give one'} "
                "(--token, GATEWAY_ADMIN_TOKEN)"
            )
        document: dict[str, Any] = answer.raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise CommandError(
            f"no answer from {url}: {error}; name a node's Admin API with --admin-url "
            "(GATEWAY_ADMIN_URL)"
        ) from None
    return document


def _table(cluster: dict[str, Any]) -> Table:
    table = Table(title=f"config version {cluster['config_version']}", box=box.SIMPLE_HEAD)
    for heading in (
        "node",
        "version",
        "lag",
        "last seen",
        "unhealthy",
        "role",
        "strategy",
        "software",
    ):
        table.add_column(heading, no_wrap=True)
    table.add_column("proxy, admin, status")
    for node in cluster["nodes"]:
        table.add_row(*map(escape, _row(node)), style="" if node["alive"] else "red")
    return table


def _row(node: dict[str, Any]) -> Iterator[str]:
    yield node["name"]
    yield from ("-" if node[key] is None else str(node[key]) for key in ("applied_version", "lag"))
    yield f"{node['last_seen_age_s']:.1f} s ago{'' if node['alive'] else ', gone'}"
    yield _health(node)
    yield from (node[key] for key in ("role", "strategy", "software_version"))
    yield _addresses([node[f"{listener}_address"] for listener in ("proxy", "admin", "status")])


def _health(node: dict[str, Any]) -> str:
    """Return how many of the addresses that the node checks are unhealthy to it."""
    health = node.get("health")  # the node that answers may be of an older release
    return f"{health['unhealthy']} of {health['checked']}" if health else "-"


def _unhealthy(cluster: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each unhealthy address, with the nodes that it is so to."""
    nodes_of: dict[tuple[str, str, str], list[str]] = {}
    for node in cluster["nodes"]:
        for it in (node.get("health") or {}).get("addresses", ()):
            place = it["upstream"], it["target"], it["address"]
            nodes_of.setdefault(place, []).append(node["name"])
    for (upstream, target, address), names in sorted(nodes_of.items()):
        yield f"unhealthy: {address} of {upstream} ({target}), on {', '.join(names)}"


def _addresses(addresses: list[str]) -> str:
    """Return the addresses, their host only once if it is the same for all.

    A control plane has no proxy listener: there is a dash in its place.
    """
    hosts = {address.rpartition(":")[0] for address in addresses if address}
    if len(hosts) != 1:
        return ", ".join(address or "-" for address in addresses)
    ports = ", ".join(address.rpartition(":")[2] or "-" for address in addresses)
    return f"{hosts.pop()}: {ports}"
