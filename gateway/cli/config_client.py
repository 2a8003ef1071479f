"""`/config` of a running node, as the commands use it: errors told in one line, progress shown."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.errors import CommandError

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 600.0
"""The node has a deadline of its own (admin_timeout_s), and may wait for the cluster after it."""
POLL_S = 0.25

_STEPS = {
    "start": "starting",
    "read": "reading",
    "check": "checking",
    "passwords": "hashing passwords",
    "compare": "comparing",
    "write": "writing",
    "commit": "committing",
}


@dataclass(frozen=True, slots=True)
class Server:
    """An Admin API, and how to be let in there."""

    url: str
    token: str | None
    ca_cert: str | None
    skip_verify: bool

    def get(self, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return the configuration as `/config` gives it. Raises CommandError."""
        return asyncio.run(self._ask("GET", query, None))

    def post(self, document: Mapping[str, Any], query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return the answer to a document, and its headers. Raises CommandError or typer.Exit."""
        return asyncio.run(self._ask("POST", query, document))

    async def _ask(
        self, method: str, query: Sequence[tuple[str, str]], document: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        headers = {"Kong-Admin-Token": self.token} if self.token else {}
        url = f"{self.url.rstrip('/')}/config"
        try:
            async with httpx.AsyncClient(
                headers=headers, timeout=timeout, verify=self._trust(), trust_env=False
            ) as client:
                asking = client.request(method, url, params=list(query), json=document)
                with _progress_bar() as show:
                    answer = await _followed(client, url, asyncio.ensure_future(asking), show)
                return _content(answer)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise CommandError(
                f"no answer from {url}: {error or type(error).__name__}; name a node's Admin API "
                "with --admin-url (GATEWAY_ADMIN_URL)"
            ) from None

    def _trust(self) -> ssl.SSLContext | bool:
        if self.skip_verify:
            return False
        if self.ca_cert is None:
            return True
        try:
            return ssl.create_default_context(cafile=self.ca_cert)
        except OSError as error:
            raise CommandError(f"--ca-cert {self.ca_cert}: {error.strerror or error}") from None


def _content(answer: httpx.Response) -> dict[str, Any]:
    try:
        body: dict[str, Any] = answer.json()
    except ValueError:
        body = {}
    if answer.is_success and body:
        return body | {"headers": dict(answer.headers)}
    if "text" in body:  # the problems of a file, a line each
        typer.echo(f"the file is refused by {answer.url.host}:\n{body['text']}", err=True)
        raise typer.Exit(1)
    reason = body.get("message") or answer.reason_phrase
    hint = "; give a token with --token (GATEWAY_ADMIN_TOKEN)" if answer.status_code == 401 else ""
    raise CommandError(f"{answer.url} answers {answer.status_code}: {reason}{hint}")


# -- progress


async def _followed(
    client: httpx.AsyncClient,
    url: str,
    asking: asyncio.Future[httpx.Response],
    show: Callable[[Mapping[str, Any]], None],
) -> httpx.Response:
    """Return the answer; while it does not come, show how far the node is."""
    try:
        while not (await asyncio.wait({asking}, timeout=POLL_S))[0]:
            show(await _progress(client, url))
        return await asking
    finally:
        asking.cancel()


async def _progress(client: httpx.AsyncClient, url: str) -> Mapping[str, Any]:
    """Return what the node tells of its progress; nothing if another one answers, or none."""
    try:
        answer = await client.get(f"{url}/progress", timeout=CONNECT_TIMEOUT_S)
        return (answer.json() or {}).get("progress") or {}
    except (httpx.HTTPError, ValueError, AttributeError):
        return {}


@contextmanager
def _progress_bar() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Give a function that shows progress on a terminal; the bar goes when all is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("waiting", total=None)

        def show(told: Mapping[str, Any]) -> None:
            if told:
                description = _STEPS.get(told["step"], told["step"])
                total = told["total"] or None
                progress.update(task, description=description, completed=told["done"], total=total)

        yield show
