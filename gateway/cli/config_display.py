"""Differences between a file and a running configuration, for people: coloured, then counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}
_DONE = {"create": "created", "update": "updated", "delete": "deleted"}


def show_differences(found: Mapping[str, Any]) -> None:
    """Print each difference that the answer has; without colours where there is no terminal."""
    console = Console(soft_wrap=True, highlight=False)
    for difference in found["differences"]:
        for line in _lines(difference):
            console.print(line)
    untold = found["differences_total"] - len(found["differences"])
    if untold:
        console.print(f"… and {untold} more")


def counted(found: Mapping[str, Any]) -> str:
    """Return the numbers of what is, or would be, done."""
    counts = found["counts"]
    words = {name: f"to {name}" for name in _DONE} if found["dry_run"] else _DONE
    changes = ", ".join(f"{counts[name]} {word}" for name, word in words.items())
    return f"{changes}, {counts['unchanged']} unchanged"


def _lines(difference: Mapping[str, Any]) -> Iterator[Text]:
    sign, colour = _SIGNS[difference["operation"]]
    name = difference.get("name") or difference["id"]
    owner = f" of {difference['of']}" if "of" in difference else ""
    yield Text(f"{sign} {difference['entity']} {name}{owner}", style=colour)
    for field, values in difference["fields"].items():
        before = f"{_value(values['from'])} → " if "from" in values else ""
        yield Text(f"    {field}: {before}{_value(values['to'])}")


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
