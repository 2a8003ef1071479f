"""How `gateway up` shows the cluster: a live table on a terminal, log lines anywhere else."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gateway.up.watch import NodeView

EVENTS_SHOWN = 8


class Display(Protocol):
    """Where events and the state of the nodes go."""

    def tell(self, event: str) -> None:
        """Show one event, a sentence."""
        ...

    def show(self, nodes: Sequence[NodeView]) -> None:
        """Show how the nodes are now."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def open_display(console: Console, curl_lines: Sequence[str]) -> Display:
    """Return the display that fits the console."""
    if console.is_terminal:
        return TableDisplay(console, curl_lines)
    return LineDisplay(console)


class LineDisplay:
    """One line per event; a node's line when its state changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, str] = {}

    def tell(self, event: str) -> None:
        """Print the event with the time."""
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        self._console.print(f"{now} {event}", markup=False, highlight=False, soft_wrap=True)

    def show(self, nodes: Sequence[NodeView]) -> None:
        """Print each node whose state is another than last time."""
        for node in nodes:
            if self._states.get(node.name) != node.state:
                self._states[node.name] = node.state
                ports = ", ".join(f"{_title(name)} {port}" for name, port in node.ports.items())
                self.tell(f"{node.name} is {node.state} ({ports})")

    def close(self) -> None:
        """Nothing to restore."""


class TableDisplay:
    """A table that is redrawn in place, the last events, and some lines to try."""

    def __init__(self, console: Console, curl_lines: Sequence[str]) -> None:
        self._curl_lines = curl_lines
        self._events: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._nodes: Sequence[NodeView] = ()
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=False)
        self._live.start()

    def tell(self, event: str) -> None:
        """Add the event below the table."""
        self._events.append(f"{datetime.now().astimezone():%H:%M:%S} {event}")
        self._redraw()

    def show(self, nodes: Sequence[NodeView]) -> None:
        """Redraw the table."""
        self._nodes = nodes
        self._redraw()

    def close(self) -> None:
        """Leave the last table on the screen."""
        self._live.stop()

    def _redraw(self) -> None:
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._nodes:
            tries = [Text(f"  {line}", style="cyan") for line in self._curl_lines]
            parts += [_table(self._nodes), Text("Try:"), *tries]
        parts += [Text(event, style="dim") for event in self._events]
        return Group(*parts, Text("Ctrl-C stops everything.", style="dim"))


def _table(nodes: Sequence[NodeView]) -> Table:
    listeners = map(_title, nodes[0].ports)
    table = Table("node", *listeners, "state", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("version", "lag", "requests/s", "restarts"):
        table.add_column(heading, justify="right", no_wrap=True)
    for node in nodes:
        color = "green" if node.state == "ready" else "yellow"
        table.add_row(
            escape(node.name),
            *map(str, node.ports.values()),
            f"[{color}]{escape(node.state)}[/]",
            _number(node.applied_version),
            _number(node.lag),
            "-" if node.requests_per_s is None else f"{node.requests_per_s:,.0f}",
            str(node.restarts or ""),
        )
    return table


def _title(listener: str) -> str:
    return listener.replace("_", " ")


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
