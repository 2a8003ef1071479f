"""A proxy in this process and an upstream that follows a script, on uvloop or both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop

from .gateway import Gateway, Tables, one_route
from .peers import Upstream

StartGateway = Callable[..., Awaitable[Gateway]]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_loops: runs on asyncio's event loop as well")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories = {"uvloop": uvloop.new_event_loop}
    if item.get_closest_marker("both_loops"):
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def start_gateway() -> AsyncIterator[StartGateway]:
    """Starts a proxy: ``await start_gateway(tables, **settings)``."""
    async with AsyncExitStack() as stack:

        async def start(tables: Tables, **settings: Any) -> Gateway:
            gateway = Gateway(**settings)
            await gateway.start(tables)
            stack.push_async_callback(gateway.stop)
            return gateway

        yield start


@pytest.fixture
async def gateway(upstream: Upstream, start_gateway: StartGateway) -> Gateway:
    """A proxy that sends everything to ``upstream``."""
    return await start_gateway(one_route(upstream))


@pytest.fixture
async def streaming(upstream: Upstream, start_gateway: StartGateway) -> Gateway:
    """The same, but nothing of a body is kept."""
    return await start_gateway(
        one_route(upstream, request_buffering=False, response_buffering=False)
    )
