"""The plugins of one exchange: each phase in order, and what becomes of one that fails.

A plugin that raises costs its request and no other: before the response's head it is answered with
500, after it the response is cut. Which plugins take part turns out during ``access``; the phases
after it are for those, also when one of them answered the request itself (plugins.md section 2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gateway.plugins.reply import Replay, Reply
from gateway.plugins.request import Asked, Request
from gateway.plugins.response import Response, Watcher
from gateway.proxy.plugin_failures import PluginFailures

if TYPE_CHECKING:
    from gateway.access_log import Record
    from gateway.plugins.chain import Chain, RunningPlugin, Slot


class Served(Asked, Protocol):
    """The exchange that plugins run for."""

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the response any more."""
        ...

    def go_to_service(self) -> None:
        """Go on: all plugins have let the request pass."""
        ...

    def answer_with(self, reply: Reply) -> None:
        """End the exchange with a plugin's answer."""
        ...

    def replay(self, reply: Replay) -> None:
        """End the exchange with an earlier response of a service."""
        ...


_ANSWERS = (Reply, Replay)


class PluginError(Exception):
    """A plugin failed; it is named and counted already."""


class PluginRun:
    """Runs the plugins of ``chain`` for one exchange."""

    __slots__ = (
        "_chain",
        "_exchange",
        "_failures",
        "_is_settled",
        "_met",
        "_replayer",
        "_task",
        "filters_body",
        "request",
        "uses",
        "watchers",
    )

    def __init__(self, exchange: Served, chain: Chain, failures: PluginFailures) -> None:
        self._exchange = exchange
        self._chain = chain
        self._failures = failures
        self._task: asyncio.Task[None] | None = None
        self.request = Request(exchange, chain.directory)
        self._met: list[RunningPlugin] = []
        self._is_settled = chain.uses is not None
        self.uses: Sequence[RunningPlugin] = self._met if chain.uses is None else chain.uses
        self.filters_body = False
        self._replayer: RunningPlugin | None = None
        self.watchers: Sequence[tuple[RunningPlugin, Watcher]] = ()

    # -- on the way there

    def access(self, start: int = 0) -> None:
        """Let the plugins from a position on see the request, then let it go on."""
        request, slots = self.request, self._chain.slots
        for position in range(start, len(slots)):
            slot = slots[position]
            use = slot.anybodys if self._is_settled else self._next(slot)
            if use is None or use.access is None:
                continue
            try:
                outcome = use.access(request)
            except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
                self._answer(use, self._failed(use, error), position)
                return
            if outcome is None:
                continue
            if isinstance(outcome, _ANSWERS):
                self._answer(use, outcome, position)
            else:
                self._wait(use, outcome, position)
            return
        self._exchange.go_to_service()

    def collect(self, position: int = 0) -> None:
        """Take note of the plugins from ``position`` on, which see only the response."""
        if not self._is_settled:
            for slot in self._chain.slots[position:]:
                self._next(slot)

    def _next(self, slot: Slot) -> RunningPlugin | None:
        """Take note of whose turn it is, which the consumer decides, and return that."""
        consumer = self.request.consumer
        use = slot.anybodys if consumer is None else slot.choose(consumer.id)
        if use is not None:
            self._met.append(use)
        return use

    def _wait(self, use: RunningPlugin, access: Coroutine[Any, Any, Any], position: int) -> None:
        name = f"plugin-{use.plugin.name}"
        self._task = asyncio.create_task(self._waited(use, access, position), name=name)

    async def _waited(
        self, use: RunningPlugin, access: Coroutine[Any, Any, Any], position: int
    ) -> None:
        """Go on once a plugin has come to an end, one way or the other."""
        try:
            async with asyncio.timeout(self._failures.timeout_s):
                outcome = await access
        except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
            outcome = self._failed(use, error)
        self._task = None
        if self._exchange.is_over:
            return
        if outcome is None:
            self.access(position + 1)
        else:
            self._answer(use, outcome, position)

    def _answer(self, use: RunningPlugin, reply: Reply | Replay, position: int) -> None:
        self.collect(position + 1)
        if isinstance(reply, Replay):
            self._replayer = use
            self._exchange.replay(reply)
        else:
            self._exchange.answer_with(reply)

    # -- on the way back

    def filter_head(self, response: Response) -> None:
        """Let the plugins see and change the head of a response. Raises PluginError."""
        for use in self.uses:
            if use is self._replayer:
                continue
            if use.header_filter is not None:
                try:
                    use.header_filter(self.request, response)
                except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
                    self._failed(use, error)
                    raise PluginError from None
                if response.watcher is not None:
                    self.watchers = (*self.watchers, (use, response.watcher))
                    response.watcher = None
            if use.body_filter is not None:
                self.filters_body = True

    def watch_body(self, pieces: list[bytes], *, ended: bool) -> None:
        """Show some pieces to those who only watch; who fails sees no more."""
        data = b"".join(pieces)
        for use, watcher in self.watchers:
            try:
                watcher.take(data, ended)
            except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
                self._failed(use, error)
                self.watchers = tuple(it for it in self.watchers if it[1] is not watcher)
                watcher.drop()

    def filter_body(self, pieces: list[bytes], *, ended: bool) -> list[bytes]:
        """Return what goes to the client in place of some pieces. Raises PluginError."""
        data = b"".join(pieces)
        for use in self.uses:
            if use.body_filter is not None and use is not self._replayer:
                try:
                    data = use.body_filter(self.request, data, ended)
                except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
                    self._failed(use, error)
                    raise PluginError from None
        return [data] if data else []

    # -- in the end

    @property
    def filters(self) -> bool:
        """Whether some plugin may want to see the response."""
        chain, replayer = self._chain, self._replayer
        return chain.filters and (replayer is None or replayer is not chain.sole_filter)

    @property
    def logs(self) -> bool:
        """Whether some plugin may want to know how it ended."""
        return self._chain.logs

    def log(self, record: Record) -> None:
        """Tell the plugins how it ended."""
        for use in self.uses:
            if use.log is not None:
                try:
                    use.log(self.request, record)
                except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
                    self._failed(use, error)

    def stop(self) -> None:
        """Wait for no plugin any more, and show none any more."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        for _, watcher in self.watchers:
            watcher.drop()

    def _failed(self, use: RunningPlugin, error: Exception) -> Reply:
        return self._failures.note(use, error)
