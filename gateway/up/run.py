"""Starts, watches and stops the cluster of `gateway up`."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack

import httpx
from pydantic import SecretStr
from rich.console import Console

from gateway.settings import NodeSettings, UpSettings, named
from gateway.store import migrate
from gateway.up import crew
from gateway.up.display import Display, open_display
from gateway.up.errors import StartError
from gateway.up.plan import listeners, node_settings
from gateway.up.preflight import check_ports, check_strategy, prepare_data_dir
from gateway.up.process import Child
from gateway.up.seed import PATH as DEMO_PATH
from gateway.up.seed import TOKEN_VARIABLE, seed_demo
from gateway.up.watch import base_url, watch

# Together below 5 s, the promise of Ctrl-C.
NODE_STOP_TIMEOUT_S = 2.0
DEMO_STOP_TIMEOUT_S = 0.3
POSTGRES_STOP_TIMEOUT_S = 2.5


def run_up(settings: UpSettings) -> int:
    """Run the cluster until SIGINT, SIGTERM or SIGHUP; return the exit code.

    Raises `StartError`, with nothing left running, if something that it needs is missing.
    """
    nodes = node_settings(settings, settings.database_url)
    check_strategy(nodes[0])
    check_ports(listeners(settings, nodes))
    prepare_data_dir(settings.data_dir)
    display = open_display(Console(), curl_lines(settings, nodes))
    try:
        return asyncio.run(_until_stopped(settings, display))
    finally:
        display.close()


def curl_lines(settings: UpSettings, nodes: Sequence[NodeSettings]) -> list[str]:
    """Return some lines to try on the running cluster."""
    first, last = nodes[0], nodes[-1]
    proxy = base_url(last.proxy_host, last.proxy_port)
    admin = base_url(first.admin_host, first.admin_port)
    lines = [
        f"curl -i {proxy}{DEMO_PATH}" if settings.demo else f"curl -s {admin}/services",
        f"curl -s {admin}/cluster",
        f"curl -s {base_url(first.status_host, first.status_port)}/metrics",
    ]
    if settings.demo and last.proxy_tls_port is not None:
        proxy_tls = base_url(last.proxy_tls_host, last.proxy_tls_port, "https")
        lines.insert(1, f"curl -ik {proxy_tls}{DEMO_PATH}")
    return lines


async def _until_stopped(settings: UpSettings, display: Display) -> int:
    stopped = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopped.set)
    cluster = asyncio.create_task(_run_cluster(settings, display), name="cluster")
    stop = asyncio.create_task(stopped.wait(), name="stop")
    await asyncio.wait({cluster, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if stopped.is_set():
        display.tell("stopping")
        cluster.cancel()
    try:
        await cluster
    except asyncio.CancelledError:
        display.tell("stopped")
    return 0


async def _run_cluster(settings: UpSettings, display: Display) -> None:
    """Start everything in order and watch it; on cancellation stop it in reverse order."""
    data_dir, tell = settings.data_dir, display.tell
    async with AsyncExitStack() as stack:
        # Only this machine is asked: a proxy named in the environment has no part in it.
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        url = settings.database_url
        if not url.get_secret_value():
            tell(f"starting PostgreSQL in {data_dir}")
            postgres = crew.postgres(data_dir, tell)
            (announced,) = await _start([postgres], POSTGRES_STOP_TIMEOUT_S, stack)
            url = SecretStr(announced)
        nodes = node_settings(settings, url)
        tell(await _migrate(url))
        if settings.demo:
            demo = crew.demo(settings.demo_port, data_dir, tell)
            await _start([demo], DEMO_STOP_TIMEOUT_S, stack)
        children = [crew.node(node, data_dir, tell) for node in nodes]
        await _start(children, NODE_STOP_TIMEOUT_S, stack)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch(nodes, children, client, display.show), name="watch")
            if settings.demo:
                token = os.environ.get(TOKEN_VARIABLE, "")
                seeding = seed_demo(nodes, settings.demo_port, data_dir, client, tell, token=token)
                tasks.create_task(seeding, name="seed-demo")


async def _migrate(url: SecretStr) -> str:
    """Bring the schema up to date and say how it stands."""
    try:
        return (await asyncio.to_thread(migrate.upgrade, url.get_secret_value())).message
    except migrate.MigrationError as error:
        raise StartError(f"{named('database_url')}: {error}") from None


async def _start(
    children: Sequence[Child], stop_timeout_s: float, stack: AsyncExitStack
) -> list[str]:
    """Start the children, to be stopped when the stack unwinds; return what they announce."""
    stack.push_async_callback(_stop, children, stop_timeout_s)
    return await asyncio.gather(*(child.start() for child in children))


async def _stop(children: Sequence[Child], timeout_s: float) -> None:
    await asyncio.gather(*(child.stop(timeout_s) for child in children))
