"""Sees to it that work ends: by itself in time, or else by cancelling it until it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

PATIENCE_S = 1.0
"""How long cancelled work may take to end before it is cancelled again."""

CANCELLATIONS = 3
"""How often, before it is named in the log."""

_log = structlog.get_logger(__name__)


class Overdue(Exception):  # noqa: N818 - a state of the work, like TimeoutError
    """Work was not done by its deadline, and has been cancelled."""


async def finish(
    work: Coroutine[Any, Any, T],
    name: str,
    timeout_s: float,
    sign_of_life: Callable[[], float] | None = None,
) -> T:
    """Return what the work returns, as a task of this name. Raises Overdue, and what it raises.

    ``sign_of_life`` tells when, by the monotonic clock, the work last showed that it does not hang:
    then it has ``timeout_s`` from there. Returns only when the work has ended, however it takes
    cancelling: two loads must never run side by side.
    """
    deadline = time.monotonic() + timeout_s
    task = asyncio.create_task(work, name=name)
    try:
        while not task.done():
            if sign_of_life is not None:
                deadline = max(deadline, sign_of_life() + timeout_s)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                _log.error("cancelling what hangs", task=name, waited_s=timeout_s)
                raise Overdue(f"{name} was not done within {timeout_s:g} s")
            await asyncio.wait({task}, timeout=left_s)
        return task.result()
    finally:
        while not await end(task):
            pass


async def end(task: asyncio.Task[Any]) -> bool:
    """Cancel a task, repeatedly if need be; return whether it has ended."""
    for _ in range(CANCELLATIONS):
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=PATIENCE_S)
    if not task.done():
        _log.error("a task does not end though cancelled", task=task.get_name())
    elif not task.cancelled():
        task.exception()  # else asyncio complains that nobody asked
    return task.done()
