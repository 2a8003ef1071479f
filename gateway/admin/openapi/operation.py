"""What is told of one method of one path.

What has a ``component`` is told once in the document, under that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.admin.body import JSON
from gateway.admin.form_body import FORM, MULTIPART
from gateway.admin.openapi.json_schema import TEXT, Schema

EVERY_TYPE = (JSON, FORM, MULTIPART)
"""The types of bodies that entities are read from."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of the URL, or a header of the request."""

    name: str
    where: Literal["path", "query", "header"]
    doc: str
    schema: Schema = field(default_factory=lambda: TEXT)
    example: Any = None
    component: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """A header of an answer; one that is not ``always`` there only tells of what is special."""

    doc: str
    schema: Schema = field(default_factory=lambda: TEXT)
    always: bool = False
    component: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One status that the operation answers with; without a schema it has no body."""

    doc: str
    schema: Schema | None = None
    headers: Mapping[str, Header] = field(default_factory=dict)
    example: Any = None
    media_type: str = JSON
    component: str = ""


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request; ``media_types`` are all that may carry it."""

    schema: Schema
    example: Any = None
    media_types: tuple[str, ...] = EVERY_TYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path; ``about`` is the chapter it stands in."""

    id: str
    method: str
    path: str
    about: str
    summary: str
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    doc: str = ""
    deprecated: bool = False
