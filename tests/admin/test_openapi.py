"""The OpenAPI document: complete, sound, and true to what is answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from gateway.admin.app import create_app
from gateway.admin.openapi import (
    audit,
    configuration,
    entities,
    examples,
    health,
    node,
    overview,
    proxy_cache,
)
from gateway.admin.openapi.document import described, document
from gateway.entities import ENTITIES, SchemaViolationError
from gateway.settings import NodeSettings
from gateway.store.store import Store

from .conftest import StandingNode

Client = httpx.AsyncClient
Document = dict[str, Any]

BY_HAND = [
    *health.operations(),
    *proxy_cache.operations(),
    *overview.operations(),
    *configuration.operations(),
    *audit.operations(),
    *node.operations(),
]
ALL = [*entities.operations(), *BY_HAND]


@pytest.fixture
async def openapi(client: Client) -> Document:
    response = await client.get("/openapi.json")
    assert response.status_code == 200
    return response.json()


@pytest.fixture
def whole() -> Document:
    """The document of everything that may be there."""
    methods: dict[str, set[str]] = {}
    for operation in ALL:
        methods.setdefault(operation.path, set()).add(operation.method)
    return document(described(methods))


# -- complete


async def test_every_method_of_every_path_is_described(
    openapi: Document, store: Store, settings: NodeSettings
):
    there = {
        f"{method} {route.path}"
        for route in create_app(store, StandingNode(settings)).routes
        for method in route.endpoint.handlers
    }
    told = {
        f"{method.upper()} {path}"
        for path, methods in openapi["paths"].items()
        for method in methods
    }
    undescribed = sorted(there - told)
    assert undescribed == [], "add an Operation for each to gateway/admin/openapi"
    assert told <= there


async def test_what_is_described_by_hand_is_there(openapi: Document):
    told = {f"{method} {path}" for path, methods in openapi["paths"].items() for method in methods}
    assert {f"{it.method.lower()} {it.path}" for it in BY_HAND} - told == set()


def test_every_entity_has_an_example():
    assert examples.GIVEN.keys() == ENTITIES.keys()


# -- sound


def test_names_are_given_once(whole: Document):
    ids = [operation.id for operation in ALL]
    assert len(set(ids)) == len(ids)
    assert len({(operation.method, operation.path) for operation in ALL}) == len(ids)


def test_every_parameter_of_a_path_is_described():
    for operation in ALL:
        named = [it.name for it in operation.parameters if it.where == "path"]
        assert "".join(f"{{{name}}}" for name in named) == "".join(
            f"{{{part.partition('}')[0]}}}" for part in operation.path.split("{")[1:]
        )


def test_every_reference_leads_somewhere(whole: Document):
    for reference in references(whole):
        place: Any = whole
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(tree.get("$ref"), str):
            yield tree["$ref"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for below in tree:
            yield from references(below)


def test_every_tag_is_explained(whole: Document):
    explained = {tag["name"] for tag in whole["tags"] if tag["description"]}
    assert {operation.about for operation in ALL} == explained


def test_every_schema_is_one(whole: Document):
    for schema in whole["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )


# -- true


def validator(whole: Document, schema: Document) -> Any:
    """A validator of the schema, which may refer to components."""
    return jsonschema_rs.Draft202012Validator({**schema, "components": whole["components"]})


def test_the_examples_are_what_they_are_examples_of(whole: Document):
    schemas = whole["components"]["schemas"]
    for name, schema in schemas.items():
        for example in schema.get("examples", ()):
            assert list(validator(whole, schema).iter_errors(example)) == [], name


IN_URL = {"keyauth_credentials", "basicauth_credentials", "jwt_secrets", "hmacauth_credentials"}
NOT_WHOLE = {*IN_URL, "acls", "targets", "certificates", "ca_certificates", "plugins"}
"""Examples for below a parent, of keys that are none, and of plugins that may not be present."""


@pytest.mark.parametrize("table", sorted(ENTITIES.keys() - NOT_WHOLE))
def test_the_example_of_an_entity_is_accepted(table: str):
    entity_type = ENTITIES[table]
    given, answered = examples.of(entity_type)
    stored = entity_type.validate(entity_type.expand(given, "create"))
    assert answered.keys() == {*entity_type.fields}
    for name, value in answered.items():
        if name not in ("id", "created_at", "updated_at") and name not in entity_type.foreign_keys:
            assert value == entity_type.to_api(entity_type.to_row(stored))[name]


@pytest.mark.parametrize(
    ("table", "given"),
    [
        ("services", {}),
        ("services", {"host": "a", "nope": 1}),
        ("services", {"host": "a", "port": 65536}),
        ("services", {"host": "a", "path": "a"}),
        ("services", {"host": "a", "path": "/a//b"}),
        ("services", {"host": "a", "name": "a b"}),
        ("services", {"host": None}),
        ("services", {"host": "a", "protocol": "ftp"}),
        ("routes", {"methods": ["get"]}),
        ("routes", {"headers": {"a b": ["c"]}}),
        ("upstreams", {"name": "a", "healthchecks": {"active": {"timeout": -1}}}),
        ("upstreams", {"name": "a", "healthchecks": {"active": {"nope": 1}}}),
        ("snis", {"name": "a"}),
    ],
)
def test_a_schema_refuses_what_the_api_refuses(whole: Document, table: str, given: Document):
    content = whole["paths"][f"/{table}"]["post"]["requestBody"]["content"]
    assert not validator(whole, content["application/json"]["schema"]).is_valid(given)
    with pytest.raises(SchemaViolationError):
        ENTITIES[table].validate(ENTITIES[table].expand(given, "create"))


@pytest.mark.parametrize(
    ("path", "method", "required"),
    [
        ("/services", "post", ["host"]),
        ("/services/{services}", "put", ["host"]),
        ("/services/{services}", "patch", None),
        ("/upstreams/{upstreams}", "put", None),
        ("/upstreams/{upstreams}/targets", "post", ["target"]),
        ("/upstreams/{upstreams}/targets/{targets}", "put", None),
        ("/consumers/{consumers}/acls", "post", ["group"]),
        ("/acls", "post", ["consumer", "group"]),
    ],
)
def test_what_the_url_gives_need_not_be_in_the_body(
    whole: Document, path: str, method: str, required: list[str] | None
):
    body = whole["paths"][path][method]["requestBody"]["content"]["application/json"]
    assert body["schema"].get("required") == required


def test_what_the_server_fills_in_is_told_as_default(whole: Document):
    fields = whole["components"]["schemas"]["ServiceFields"]["properties"]
    assert (fields["retries"]["default"], fields["protocol"]["default"]) == (5, "http")
    assert "default" not in fields["path"]
