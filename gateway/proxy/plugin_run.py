"""The plugins of one exchange: each phase in order, and what becomes of one that fails.

A plugin that raises costs its request and no other: before the response's head it is answered with
500, after it the response is cut. Which plugins take part turns out during ``access``; the phases
after it are for those, also when one of them answered the request itself (plugins.md section 2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gateway.plugins.reply import Replay, Reply
from gateway.plugins.request import Asked, Request
from gateway.plugins.response import Response, Watcher
from gateway.proxy.plugin_failures import PluginFailures

if TYPE_CHECKING:
    from gateway.access_log import Record
    from gateway.plugins.chain import Access, Chain, RunningPlugin, Slot
    from gateway.plugins.outcome import Outcome


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
        "_coming",
        "_exchange",
        "_failures",
        "_filtering",
        "_logging",
        "_task",
        "filters",
        "filters_body",
        "logs",
        "request",
        "watchers",
    )

    _coming: Iterator[tuple[RunningPlugin, Access]]
    _filtering: Sequence[RunningPlugin]
    _logging: Sequence[RunningPlugin]
    _task: asyncio.Task[None] | None
    watchers: Sequence[tuple[RunningPlugin, Watcher]]

    def __init__(self, exchange: Served, chain: Chain, failures: PluginFailures) -> None:
        self._exchange = exchange
        self._failures = failures
        self._task = None
        self.request = Request(exchange, chain.directory)
        self.filters, self.logs = chain.filters, chain.logs
        self.filters_body = False
        self.watchers = ()
        if chain.slots is None:
            self._coming = iter(chain.accessing)
            self._filtering, self._logging = chain.filtering, chain.logging
        else:
            met: list[RunningPlugin] = []
            self._coming = self._meet(chain.slots, met)
            self._filtering = self._logging = met

    def _meet(
        self, slots: Sequence[Slot], met: list[RunningPlugin]
    ) -> Iterator[tuple[RunningPlugin, Access]]:
        """Take note of whose turn it is, slot by slot; yield those that see the request."""
        for slot in slots:
            consumer = self.request.consumer
            use = slot.anybodys if consumer is None else slot.choose(consumer.id)
            if use is not None:
                met.append(use)
                if use.access is not None:
                    yield use, use.access

    # -- on the way there

    def access(self) -> None:
        """Let the plugins whose turn is still to come see the request, then let it go on."""
        request = self.request
        for use, access in self._coming:
            try:
                outcome = access(request)
            except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
                self._answer(use, self._failed(use, error))
                return
            if outcome is not None:
                if isinstance(outcome, _ANSWERS):
                    self._answer(use, outcome)
                else:
                    self._wait(use, outcome)
                return
        self._exchange.go_to_service()

    def collect(self) -> None:
        """Take note of the plugins whose turn is still to come: they see only the response."""
        for _ in self._coming:
            pass

    def _wait(self, use: RunningPlugin, access: Coroutine[Any, Any, Any]) -> None:
        name = f"plugin-{use.plugin.name}"
        self._task = asyncio.create_task(self._waited(use, access), name=name)

    async def _waited(self, use: RunningPlugin, access: Coroutine[Any, Any, Any]) -> None:
        """Go on once a plugin has come to an end, one way or the other."""
        try:
            async with asyncio.timeout(self._failures.timeout_s):
                outcome = _checked(await access)
        except asyncio.CancelledError as error:
            if self._task is None or self._task.cancelling():
                raise
            outcome = self._failed(use, error)  # cancelled is what the plugin has waited for
        except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
            outcome = self._failed(use, error)
        finally:
            self._task = None
        if self._exchange.is_over:
            return
        if outcome is None:
            self.access()
        else:
            self._answer(use, outcome)

    def _answer(self, use: RunningPlugin, reply: Reply | Replay) -> None:
        self.collect()
        if isinstance(reply, Replay):
            self._filtering = [other for other in self._filtering if other is not use]
            self.filters = bool(self._filtering)
            self._exchange.replay(reply)
        else:
            self._exchange.answer_with(reply)

    # -- on the way back

    def filter_head(self, response: Response) -> None:
        """Let the plugins see and change the head of a response. Raises PluginError."""
        self.collect()  # it may have come while a plugin was waiting
        for use in self._filtering:
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
                self._drop(use, watcher)

    def filter_body(self, pieces: list[bytes], *, ended: bool) -> list[bytes]:
        """Return what goes to the client in place of some pieces. Raises PluginError."""
        data = b"".join(pieces)
        for use in self._filtering:
            if use.body_filter is not None:
                try:
                    data = use.body_filter(self.request, data, ended)
                except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
                    self._failed(use, error)
                    raise PluginError from None
        return [data] if data else []

    def stop_filtering(self) -> None:
        """Show plugins nothing more of the response: only how it ends."""
        self.filters = self.filters_body = False
        self.stop()

    # -- in the end

    def end(self, outcome: Outcome) -> list[RunningPlugin]:
        """Tell the plugins how it ended, in short; return those that want to know all of it."""
        self.collect()  # the client may have gone while a plugin was waiting
        curious = []
        for use in self._logging:
            try:
                if (use.ended is None or use.ended(self.request, outcome)) and use.log is not None:
                    curious.append(use)
            except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
                self._failed(use, error)
        return curious

    def log(self, curious: Sequence[RunningPlugin], record: Record) -> None:
        """Tell some plugins all of it."""
        for use in curious:
            if use.log is not None:
                try:
                    use.log(self.request, record)
                except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
                    self._failed(use, error)

    def stop(self) -> None:
        """Wait for no plugin any more, and show none any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        watchers, self.watchers = self.watchers, ()
        for use, watcher in watchers:
            self._drop(use, watcher)

    def _drop(self, use: RunningPlugin, watcher: Watcher) -> None:
        try:
            watcher.drop()
        except Exception as error:  # noqa: BLE001 - a plugin's, whatever it is
            self._failed(use, error)

    def _failed(self, use: RunningPlugin, error: BaseException) -> Reply:
        return self._failures.note(use, error)


def _checked(outcome: object) -> Reply | Replay | None:
    """Return what ``access`` has returned, if it may. Raises TypeError."""
    if outcome is None or isinstance(outcome, _ANSWERS):
        return outcome
    raise TypeError(f"access returned {outcome!r}, which is no Reply, Replay or None")
