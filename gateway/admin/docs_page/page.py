"""The page: chapters of fields and operations, with its style and script inside."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gateway import __version__
from gateway.admin.docs_page.fields import checks_list, fields_table
from gateway.admin.docs_page.html import Html, element, joined, prose, table
from gateway.admin.openapi.document import INTRODUCTION, chapters
from gateway.admin.openapi.errors import CODES
from gateway.admin.openapi.operation import Operation
from gateway.entities import ENTITIES

_HERE = Path(__file__).parent
_STYLE = Html((_HERE / "page.css").read_text())
_SCRIPT = Html((_HERE / "page.js").read_text())
_ADDRESS = "http://127.0.0.1:8001"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Allows the page its own style and script, and nothing else."""


def page(operations: Sequence[Operation]) -> str:
    """Return the page that tells of these operations."""
    by_chapter: dict[str, list[Operation]] = {}
    for operation in operations:
        by_chapter.setdefault(operation.about, []).append(operation)
    told = chapters(operations)
    body = element(
        "body",
        element(
            "header",
            element("strong", "Gateway Admin API"),
            Html('<input type="search" placeholder="Search ( / )" aria-label="Search">'),
            element("a", "openapi.json", href="openapi.json"),
        ),
        element(
            "div",
            element("nav", *(element("a", name, href=f"#{name}") for name, _ in (*told, _ERRORS))),
            element(
                "main",
                element("h1", f"Gateway Admin API {__version__}"),
                *(element("p", prose(part)) for part in INTRODUCTION.split("\n\n")),
                *(_chapter(name, doc, by_chapter[name]) for name, doc in told),
                _errors(),
            ),
            class_="columns",
        ),
        element("script", _SCRIPT),
    )
    return f'<!doctype html><html lang="en">{_head()}{body}</html>'


def _head() -> Html:
    return element(
        "head",
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", "Gateway Admin API"),
        element("style", _STYLE),
    )


def _chapter(name: str, doc: str, operations: Iterable[Operation]) -> Html:
    return element(
        "section",
        element("h2", name, id=name),
        element("p", prose(doc)),
        *_fields(name),
        element("h3", "Requests"),
        *map(_operation, operations),
    )


def _fields(name: str) -> Iterator[Html]:
    entity_type = ENTITIES.get(name)
    if entity_type is not None:
        yield element("h3", "Fields")
        yield element("div", fields_table(entity_type), class_="scroll")
        yield checks_list(entity_type)


def _operation(operation: Operation) -> Html:
    parts = [
        element(
            "summary",
            element("b", operation.method, class_=operation.method.lower()),
            element("code", operation.path),
            element("span", operation.summary),
        )
    ]
    if operation.doc:
        parts.append(element("p", prose(operation.doc)))
    if operation.parameters:
        rows = ((element("code", it.name), it.where, prose(it.doc)) for it in operation.parameters)
        parts.append(table(*rows, head=("Parameter", "In", "What it is")))
    answers = (
        (str(status), prose(answer.doc), _headers(answer.headers))
        for status, answer in sorted(operation.answers.items())
    )
    parts.append(table(*answers, head=("Answer", "When", "Headers")))
    parts.append(element("pre", element("code", _curl(operation))))
    return element(
        "details",
        *parts,
        id=operation.id,
        class_="deprecated" if operation.deprecated else "current",
    )


def _headers(names: Iterable[str]) -> Html:
    return joined(*(joined(element("code", name), " ") for name in names))


def _curl(operation: Operation) -> str:
    """Return a command that can be pasted."""
    path = operation.path
    for parameter in operation.parameters:
        if parameter.where == "path":
            path = path.replace(f"{{{parameter.name}}}", str(parameter.example or parameter.name))
    lines = [f"curl -X {operation.method} {_ADDRESS}{path}"]
    if operation.body is not None:
        text = json.dumps(operation.body.example or {}, ensure_ascii=False)
        quoted = text.replace("'", "'\\''")
        lines += ["  -H 'Content-Type: application/json'", f"  -d '{quoted}'"]
    return " \\\n".join(lines)


_ERRORS = ("errors", "How what is wrong is told.")


def _errors() -> Html:
    name, doc = _ERRORS
    return element(
        "section",
        element("h2", name, id=name),
        element("p", doc),
        element(
            "p",
            prose(
                "An error is `message` alone, or `code`, `name`, `message` and `fields`, a tree "
                "like the entity with a text for each bad field and `@entity` for what concerns "
                "several; for query parameters `options` in place of `fields`."
            ),
        ),
        table(*((str(code), text) for code, text in CODES.items()), head=("Code", "Name")),
    )
