"""The OpenAPI document, put together from operations and components."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway import KONG_ADMIN_API_VERSION, __version__
from gateway.admin.openapi import (
    audit,
    configuration,
    entities,
    errors,
    health,
    node,
    overview,
    proxy_cache,
)
from gateway.admin.openapi.json_schema import Schema
from gateway.admin.openapi.operation import Answer, Body, Header, Operation, Parameter

Document = dict[str, Any]

INTRODUCTION = f"""\
Entities are written here, and the cluster is looked at. Any node takes any request.

The API is that of Kong {KONG_ADMIN_API_VERSION}, and more. HEAD is answered wherever GET is,
OPTIONS on every path, and a slash at the end of a path changes nothing. Bodies may be JSON, or
forms whose names have dots and brackets: `service.id=…`, `paths[]=/a`.
"""

_CHAPTERS = {
    overview.TAGS: "Which entities have which tags.",
    proxy_cache.PROXY_CACHE: "The responses that proxy-cache keeps.",
    overview.FILTER_CHAINS: "WebAssembly, which there is none of here.",
    configuration.CONFIGURATION: "Everything at once, as one declarative file.",
    audit.AUDIT: "Who has changed what.",
    node.NODE: "The node that answers.",
    node.CLUSTER: "All nodes, and how far each has got.",
    node.SCHEMAS: "What entities and plugins are made of, in Kong's shape.",
    node.DOCUMENTS: "What this API is.",
}


def described(methods_by_path: Mapping[str, Iterable[str]]) -> list[Operation]:
    """Return what is told of the methods that there are."""
    every = [
        *entities.operations(),
        *health.operations(),
        *proxy_cache.operations(),
        *overview.operations(),
        *configuration.operations(),
        *audit.operations(),
        *node.operations(),
    ]
    return [it for it in every if it.method in methods_by_path.get(it.path, ())]


def document(operations: Sequence[Operation]) -> Document:
    """Return the OpenAPI document that tells of these operations."""
    writer = _Writer()
    paths: Document = {}
    for operation in operations:
        told = writer.operation(operation)
        paths.setdefault(operation.path, {})[operation.method.lower()] = told
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gateway Admin API",
            "version": __version__,
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The node that answered."}],
        "security": [{"Token": []}, {"Bearer": []}, {}],
        "tags": [{"name": name, "description": doc} for name, doc in chapters(operations)],
        "paths": dict(sorted(paths.items())),
        "components": {
            **writer.components,
            "securitySchemes": _SECURITY,
            "schemas": {**entities.schemas(), **configuration.SCHEMAS, **errors.SCHEMAS},
        },
    }


def chapters(operations: Iterable[Operation]) -> list[tuple[str, str]]:
    """Return what the operations are about, with a sentence each."""
    used = {operation.about for operation in operations}
    return [it for it in (*entities.chapters(), *_CHAPTERS.items()) if it[0] in used]


_SECURITY = {
    "Token": {
        "type": "apiKey",
        "in": "header",
        "name": "Kong-Admin-Token",
        "description": "A token from `gateway admin token create`.",
    },
    "Bearer": {"type": "http", "scheme": "bearer", "description": "The same token."},
}


class _Writer:
    """Writes operations; what has a name of its own goes among the components."""

    def __init__(self) -> None:
        self.components: dict[str, Document] = {"parameters": {}, "headers": {}, "responses": {}}

    def operation(self, operation: Operation) -> Document:
        """Return what the document tells of an operation."""
        told: Document = {
            "operationId": operation.id,
            "tags": [operation.about],
            "summary": operation.summary,
            "responses": {
                str(status): self._answer(answer)
                for status, answer in sorted({**errors.OF_ALL, **operation.answers}.items())
            },
        }
        if operation.doc:
            told["description"] = operation.doc
        if operation.parameters:
            told["parameters"] = [self._parameter(parameter) for parameter in operation.parameters]
        if operation.body:
            told["requestBody"] = _body(operation.body)
        if operation.deprecated:
            told["deprecated"] = True
        return told

    def _parameter(self, parameter: Parameter) -> Document:
        told = {
            "name": parameter.name,
            "in": parameter.where,
            "description": parameter.doc,
            "required": parameter.where == "path",
            "schema": parameter.schema,
        }
        if parameter.example is not None:
            told["example"] = parameter.example
        return self._named("parameters", parameter.component, told)

    def _answer(self, answer: Answer) -> Document:
        told: Document = {"description": answer.doc}
        if answer.headers:
            told["headers"] = {name: self._header(it) for name, it in answer.headers.items()}
        if answer.schema is not None:
            told["content"] = {answer.media_type: _content(answer.schema, answer.example)}
        return self._named("responses", answer.component, told)

    def _header(self, header: Header) -> Document:
        told = {"description": header.doc, "required": header.always, "schema": header.schema}
        return self._named("headers", header.component, told)

    def _named(self, section: str, name: str, told: Document) -> Document:
        if not name:
            return told
        self.components[section][name] = told
        return {"$ref": f"#/components/{section}/{name}"}


def _body(body: Body) -> Document:
    return {"content": {media: _content(body.schema, body.example) for media in body.media_types}}


def _content(schema: Schema, example: Any) -> Document:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}
