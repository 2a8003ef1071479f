"""Finds sync strategies by name, ours and those of other packages."""

from __future__ import annotations

from importlib.metadata import entry_points

from gateway.settings import NodeSettings
from gateway.sync.strategy import SyncStrategy

GROUP = "gateway.sync_strategies"


class StrategyError(Exception):
    """A strategy cannot be had; the message is one line that says what to do."""


def strategy_names() -> list[str]:
    """Return the names of all installed strategies."""
    return sorted({entry_point.name for entry_point in entry_points(group=GROUP)})


def create_strategy(settings: NodeSettings) -> SyncStrategy:
    """Make the strategy that the settings name. Raises StrategyError."""
    name = settings.strategy
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        raise StrategyError(
            f"there is no sync strategy '{name}': choose one of {', '.join(strategy_names())}"
        )
    try:
        strategy: SyncStrategy = found.load()(settings)
        _ = strategy.run, strategy.promises_wake, strategy.source
    except Exception as error:
        raise StrategyError(
            f"the sync strategy '{name}' ({found.value}) cannot be used: {error}"
        ) from error
    return strategy
