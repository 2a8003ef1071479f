"""A place for one value, where a newer one takes the place of the one before."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Hands the latest value from who never waits to one who does."""

    def __init__(self) -> None:
        self._value: T | None = None
        self._is_there = asyncio.Event()

    def put(self, value: T) -> None:
        """Leave a value."""
        self._value = value
        self._is_there.set()

    async def take(self) -> T:
        """Wait for a value and take it."""
        await self._is_there.wait()
        self._is_there.clear()
        value, self._value = self._value, None
        assert value is not None  # noqa: S101 - the event says so
        return value
