"""Several gateways of one cluster in this process, each of which limits requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import time
from typing import Any
from uuid import UUID

from gateway.plugins.contract import NodeServices, Plugin
from gateway.plugins.counter_store import CounterStore
from gateway.plugins.rate_limiting import RateLimiting
from gateway.plugins.rate_limiting.common import CommonCounters
from gateway.plugins.rate_limiting.settler import Settler
from gateway.testing import DEADLINE_S, Serving


class Member(Serving):
    """A gateway that counts together with others; ``wrong_s`` is how much its clock is fast."""

    common: CommonCounters

    def __init__(
        self,
        counters: CounterStore | None = None,
        kind: type[Plugin] = RateLimiting,
        wrong_s: float = 0,
        **config: Any,
    ) -> None:
        class Counting(kind):  # type: ignore[misc, valid-type]
            @classmethod
            def share(cls, node: NodeServices) -> CommonCounters:
                self.common = CommonCounters(node, lambda: time() + wrong_s)
                return self.common

        super().__init__(Counting, enabled=False)
        self.counters = counters
        self.limit = self.use(Counting, **config)
        self.limit["id"] = UUID(int=1)

    def restore(self) -> None:
        """Take the limit back in that was removed."""
        self._tables["plugins"].append(self.limit)

    @property
    def settler(self) -> Settler:
        """The way to the common counters."""
        (settler,) = self.common._settlers.values()
        return settler

    async def statuses(self, number: int) -> list[int]:
        """Return what so many requests at the same time are answered."""
        answers = await asyncio.gather(*(self.ask("GET", "/") for _ in range(number)))
        return [answer.status_code for answer in answers]

    async def settled(self) -> None:
        """Wait until the others can know all that this one knows."""
        await eventually(lambda: not self.settler.ledger.untold and self.settler.knows_the_time)


@asynccontextmanager
async def cluster_of(members: Sequence[Member]) -> AsyncIterator[Sequence[Member]]:
    """Run them, in the knowledge of the time."""
    async with AsyncExitStack() as stack:
        for member in members:
            await stack.enter_async_context(member)
            await member.settled()
        yield members


async def eventually(is_so: Callable[[], object]) -> None:
    """Wait for what announces itself by no event."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.005)
