"""What a user sees: a table on a terminal, lines anywhere else."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from gateway.up.display import LineDisplay, TableDisplay, open_display
from gateway.up.watch import NodeView

CURL = ["curl one", "curl two", "curl three"]
PORTS = {"proxy": 8000, "admin": 8001, "status": 8100}
NODE = NodeView("node-1", PORTS, "ready", 7, 2, 1234.4, restarts=1)


def console(*, terminal: bool, width: int = 100) -> tuple[Console, io.StringIO]:
    screen = io.StringIO()
    return Console(file=screen, force_terminal=terminal, width=width, color_system=None), screen


def test_a_terminal_gets_a_table_with_lines_to_try_and_events() -> None:
    output, screen = console(terminal=True)
    display = open_display(output, CURL)
    assert isinstance(display, TableDisplay)
    display.tell("node-1 was killed by SIGKILL")
    display.show([NODE])
    display.close()
    last = screen.getvalue().rpartition("node ")[2]
    for part in ("8000", "8001", "8100", "ready", "7", "2", "1,234", *CURL, "killed by SIGKILL"):
        assert part in last


def test_without_a_terminal_a_node_has_a_line_when_its_state_changes() -> None:
    output, screen = console(terminal=False)
    display = open_display(output, CURL)
    assert isinstance(display, LineDisplay)
    for node in (NODE, replace(NODE, requests_per_s=3), replace(NODE, state="not answering")):
        display.show([node])
    display.close()
    first, second = screen.getvalue().splitlines()
    assert first.endswith("node-1 is ready (proxy 8000, admin 8001, status 8100)")
    assert "node-1 is not answering" in second


def test_a_tls_listener_is_shown_beside_the_plain_one() -> None:
    node = replace(NODE, ports={"proxy": 8000, "proxy_tls": 8443, "admin": 8001, "status": 8100})
    output, screen = console(terminal=False)
    LineDisplay(output).show([node])
    assert "(proxy 8000, proxy tls 8443, admin 8001, status 8100)" in screen.getvalue()


def test_what_is_not_known_yet_is_a_dash() -> None:
    output, screen = console(terminal=True)
    display = TableDisplay(output, CURL)
    display.show([NodeView("node-1", PORTS, "starting")])
    display.close()
    row = next(line for line in screen.getvalue().splitlines() if "starting" in line)
    assert row.count(" - ") == 3


def test_numbers_and_headings_are_whole_on_a_narrow_terminal() -> None:
    output, screen = console(terminal=True, width=80)
    display = TableDisplay(output, CURL)
    ports = {"proxy": 18000, "proxy_tls": 18443, "admin": 18001, "status": 18100}
    busy = replace(NODE, ports=ports, state="ready, database unavailable")
    display.show([replace(busy, applied_version=1_234_567, requests_per_s=12_345.0)])
    display.close()
    for part in ("version", "requests/s", "restarts", "18443", "18100", "1234567", "12,345"):
        assert part in screen.getvalue()
