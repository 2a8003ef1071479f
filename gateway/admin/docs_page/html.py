"""HTML built so that no text can be taken for markup."""

from __future__ import annotations

from html import escape


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str) -> Html:
    """Return an element; ``class_`` stands for ``class``."""
    told = "".join(f' {key.rstrip("_")}="{escape(text)}"' for key, text in attributes.items())
    return Html(f"<{name}{told}>{joined(*children)}</{name}>")


def joined(*children: str) -> Html:
    """Return what stands one after the other; what is no markup is escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def prose(text: str) -> Html:
    """Return a sentence whose parts between backticks are code."""
    parts = text.split("`")
    return joined(*(element("code", part) if i % 2 else part for i, part in enumerate(parts)))


def table(*rows: tuple[str, ...], head: tuple[str, ...]) -> Html:
    """Return a table; the first cell of a row is its heading."""
    return element(
        "table",
        element("thead", element("tr", *(element("th", cell, scope="col") for cell in head))),
        element("tbody", *map(_row, rows)),
    )


def _row(cells: tuple[str, ...]) -> Html:
    first, *rest = cells
    return element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
