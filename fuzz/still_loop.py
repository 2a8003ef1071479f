"""An event loop without sockets and threads, whose clock stands still unless it is moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_TURNS_LIMIT = 100_000


class _NoSelector:
    def select(self, _timeout_s: float | None) -> list[Any]:
        return []


class StillLoop(asyncio.BaseEventLoop):
    """Runs what is ready and nothing else. What goes wrong in callbacks is in ``errors``."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[dict[str, Any]] = []
        self.open_connection: Callable[[asyncio.Protocol], None] = _refuse
        self._now = 0.0
        self._selector = _NoSelector()

    def time(self) -> float:
        """Return what the clock shows, in seconds."""
        return self._now

    def settle(self) -> None:
        """Run until nothing is left to do at this time."""
        for _ in range(_TURNS_LIMIT):
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready:  # type: ignore[attr-defined]
                return
        self.errors.append({"message": f"still busy after {_TURNS_LIMIT} turns of the event loop"})

    def pass_time(self, seconds: float) -> None:
        """Move the clock on, and run what is due."""
        self._now += seconds
        self.settle()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody has caught."""
        self.errors.append(context)

    async def create_connection(  # type: ignore[override]
        self, factory: Any, *_: Any, **__: Any
    ) -> Any:
        """Connect to wherever `open_connection` leads. Raises OSError if that does."""
        protocol = factory()
        self.open_connection(protocol)
        return None, protocol

    def run_in_executor(  # type: ignore[override]
        self, _executor: Any, work: Any, *arguments: Any
    ) -> Any:
        """Do the work at once."""
        done = self.create_future()
        try:
            done.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001 - it is for whoever waits
            done.set_exception(error)
        return done

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def _refuse(_protocol: asyncio.Protocol) -> None:
    raise ConnectionRefusedError("nobody is there")
