"""What pages about plugins have from the code: tables of config fields, and the list of plugins.

A table stands below the line that asks for it, ``<!-- config: NAME -->`` in the page of a plugin
and ``<!-- plugins -->`` in the page that lists them, and ends with ``<!-- /config -->`` or
``<!-- /plugins -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from gateway.entities.schema import Field, Kind, Value, fields_of
from gateway.entities.words import sentences
from gateway.plugins.contract import Plugin

Plugins = Mapping[str, type[Plugin]]

INDEX = "README.md"

_TABLE = r"(?:\n(?:\|.*\n)+\n<!-- /{} -->\n)?"
_CONFIG = re.compile(r"<!-- config: (\S+) -->\n" + _TABLE.format("config"))
_PLUGINS = re.compile(r"<!-- plugins -->\n" + _TABLE.format("plugins"))
_FIRST_SENTENCE = re.compile(r"# [^\n]+\n\n(.+?\.)(?=\s)", re.DOTALL)


def up_to_date(directory: Path, plugins: Plugins) -> dict[Path, str]:
    """Return each page of the directory as it has to be. Raises KeyError: no such plugin."""
    pages = {path: path.read_text() for path in sorted(directory.glob("*.md"))}
    new = {path: _with_configs(page, plugins) for path, page in pages.items()}
    index = directory / INDEX
    if index in new:
        lines = {path.stem: _first_sentence(page) for path, page in pages.items()}
        new[index] = _with_list(new[index], lines, plugins)
    return new


def _with_configs(page: str, plugins: Plugins) -> str:
    def table(line: re.Match[str]) -> str:
        name = line[1]
        rows = _rows(fields_of(plugins[name].Config))
        head = ("field", "type", "default", "what it is")
        return f"<!-- config: {name} -->\n\n{_table(head, rows)}\n<!-- /config -->\n"

    return _CONFIG.sub(table, page)


def _with_list(page: str, lines: Mapping[str, str], plugins: Plugins) -> str:
    """Return a page with the list of those plugins that have a page, hence a line."""
    listed = sorted((plugins[name] for name in lines.keys() & plugins), key=_turn)
    rows = ((f"[{it.name}]({it.name}.md)", str(it.priority), lines[it.name]) for it in listed)
    table = _table(("plugin", "priority", "what it does"), rows)
    return _PLUGINS.sub(lambda _: f"<!-- plugins -->\n\n{table}\n<!-- /plugins -->\n", page)


def _turn(plugin: type[Plugin]) -> tuple[int, str]:
    return -plugin.priority, plugin.name


def _first_sentence(page: str) -> str:
    found = _FIRST_SENTENCE.match(page)
    return " ".join(found[1].split()) if found else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return f"{_line(head)}|{'---|' * len(head)}\n{''.join(map(_line, rows))}"


def _line(cells: tuple[str, ...]) -> str:
    """Return a line of a table; a bar would end a cell."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |\n"


def _rows(fields: Iterable[Field], above: str = "") -> Iterator[tuple[str, ...]]:
    for field in fields:
        name = f"{above}{field.name}"
        necessity = ", required" if field.must_be_given else ""
        what = " ".join((field.doc, *sentences(field)))
        yield f"`{name}`", f"{_type(field.value)}{necessity}", _default(field), what
        yield from _rows(field.value.fields, f"{name}.")
        if field.value.element is not None:
            yield from _rows(field.value.element.fields, f"{name}[].")


def _type(value: Value) -> str:
    if value.element is not None:
        outside = "map" if value.key is not None else str(value.kind)
        return f"{outside} of {_type(value.element)}"
    return "uuid" if value.is_uuid else str(value.kind)


def _default(field: Field) -> str:
    """Return the default; that of a record is told by its fields."""
    if field.default is None or field.value.kind is Kind.RECORD:
        return ""
    return f"`{json.dumps(field.default, ensure_ascii=False)}`"
