"""What all entities share: no input breaks validation, and what is accepted stays accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.entities import ENTITIES, EntityType, FieldKind, SchemaViolationError
from gateway.entities.certificate import CERTIFICATES
from gateway.entities.password import hashed
from gateway.entities.route import ROUTES
from gateway.entities.service import SERVICES
from gateway.entities.upstream import UPSTREAMS
from tests.proxy.certificates import Authority, new_rsa_key

from .validating import accepted

HOSTILE = ["", "\x00", "\ud800", "a\ud800", "%", "~/(", "~/a", "/", "//", "*", "::1", "http", "é"]
ANY_TEXT = st.sampled_from(HOSTILE) | st.text(st.characters(codec=None), max_size=8)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.just(10**400),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(ANY_TEXT, below, max_size=3),
    max_leaves=6,
)


def any_given(entity_type: EntityType) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from([*entity_type.fields, "url"]) | ANY_TEXT, ANY_JSON)


@pytest.mark.parametrize("entity_type", ENTITIES.values(), ids=ENTITIES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_json_is_accepted_or_refused_in_words(entity_type: EntityType, data: st.DataObject):
    try:
        result = accepted(entity_type, data.draw(any_given(entity_type)))
    except SchemaViolationError as refusal:
        result = {"message": str(refusal), "fields": refusal.fields}
    json.dumps(result, allow_nan=False, ensure_ascii=False).encode()


ID = "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f"
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
WORDS = st.lists(NAMES, max_size=3) | st.none()
CA = Authority()
PAIR = CA.issue("a.example")
RSA_PAIR = CA.issue("a.example", key=new_rsa_key())
HASH = hashed("secret")
CONFIGS = st.fixed_dictionaries(
    {"unit": NAMES},
    optional={
        "minute": st.integers(0, 60) | st.none(),
        "limits": st.lists(st.fixed_dictionaries({"requests": st.integers(0, 9)}), max_size=2),
        "alarm": st.fixed_dictionaries({}, optional={"after_s": st.floats(0, 9), "url": NAMES}),
        "by_path": st.dictionaries(NAMES.map("/{}".format), st.integers(0, 9), max_size=2),
        "headers": st.dictionaries(NAMES, st.lists(NAMES), max_size=2) | st.none(),
        "groups": WORDS,
        "since": st.integers(1, 2_000_000_000),
        "account": st.uuids().map(str),
        "notes": st.dictionaries(NAMES, st.none() | NAMES | st.integers(0, 9), max_size=2),
    },
)


def of_consumer(
    needed: dict[str, Any] | None = None, optional: dict[str, Any] | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    fields = {"consumer": st.just({"id": ID}), **(needed or {})}
    return st.fixed_dictionaries(fields, optional=optional)


VALID: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "certificates": st.fixed_dictionaries(
        {"cert": st.just(PAIR.cert_pem), "key": st.just(PAIR.key_pem)},
        optional={"snis": st.lists(NAMES, max_size=3, unique=True) | st.none(), "tags": WORDS},
    )
    | st.just(
        {
            "cert_alt": RSA_PAIR.cert_pem,
            "key_alt": RSA_PAIR.key_pem,
            "cert": PAIR.cert_pem,
            "key": PAIR.key_pem,
        }
    ),
    "snis": st.fixed_dictionaries({"name": NAMES, "certificate": st.just({"id": ID})}),
    "ca_certificates": st.fixed_dictionaries({"cert": st.just(CA.pem)}, optional={"tags": WORDS}),
    "services": st.fixed_dictionaries(
        {"host": NAMES},
        optional={"name": NAMES, "port": st.integers(0, 65535), "tags": WORDS},
    ),
    "routes": st.fixed_dictionaries(
        {"hosts": st.lists(NAMES, min_size=1, max_size=3)},
        optional={
            "methods": st.lists(st.sampled_from(["GET", "PUT"])),
            "regex_priority": st.integers(-(2**63), 2**63 - 1),
            "headers": st.dictionaries(NAMES, st.lists(NAMES), max_size=2) | st.none(),
            "service": st.just({"id": ID}) | st.none(),
        },
    ),
    "upstreams": st.fixed_dictionaries(
        {"name": NAMES},
        optional={
            "hash_on": st.sampled_from(["ip", "path", None]),
            "healthchecks": st.fixed_dictionaries(
                {"threshold": st.floats(0, 100)}, optional={"active": st.none()}
            ),
        },
    ),
    "targets": st.fixed_dictionaries(
        {"target": NAMES, "upstream": st.just({"id": ID})},
        optional={"weight": st.integers(0, 65535), "created_at": st.floats(1, 2e9)},
    ),
    "consumers": st.fixed_dictionaries(
        {"username": NAMES}, optional={"custom_id": NAMES | st.none(), "tags": WORDS}
    ),
    "keyauth_credentials": of_consumer(optional={"key": NAMES, "ttl": st.none() | st.just(0)}),
    "basicauth_credentials": of_consumer({"username": NAMES, "password": st.just(HASH)}),
    "jwt_secrets": of_consumer(
        optional={"key": NAMES, "secret": NAMES, "algorithm": st.sampled_from(["HS256", "ES256"])}
    ),
    "hmacauth_credentials": of_consumer({"username": NAMES}, optional={"secret": NAMES}),
    "acls": of_consumer({"group": NAMES}, optional={"tags": WORDS}),
    "plugins": st.fixed_dictionaries(
        {"name": st.just("quota"), "config": CONFIGS},
        optional={
            "instance_name": NAMES | st.none(),
            "route": st.just({"id": ID}) | st.none(),
            "consumer": st.just({"id": ID}) | st.none(),
            "protocols": st.lists(st.sampled_from(["http", "tcp"]), min_size=1),
            "enabled": st.booleans(),
        },
    ),
}


@pytest.mark.parametrize("entity_type", ENTITIES.values(), ids=ENTITIES)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_what_the_api_writes_it_also_reads(entity_type: EntityType, data: st.DataObject):
    written = accepted(entity_type, data.draw(VALID[entity_type.table]))
    read = accepted(entity_type, json.loads(json.dumps(written)))
    assert read | {"updated_at": 0} == written | {"updated_at": 0}


def test_a_merge_goes_into_records_but_replaces_maps_and_lists():
    stored = accepted(
        UPSTREAMS,
        {"name": "u", "healthchecks": {"active": {"headers": {"a": ["1"]}, "timeout": 2}}},
    )
    merged = UPSTREAMS.merge(
        stored,
        {"healthchecks": {"active": {"headers": {"b": ["2"]}, "healthy": {"interval": 5}}}},
    )
    active = merged["healthchecks"]["active"]
    assert active["headers"] == {"b": ["2"]}
    assert active["timeout"] == 2
    assert active["healthy"] == {"interval": 5, "http_statuses": [200, 302], "successes": 0}
    assert merged["healthchecks"]["threshold"] == 0


def test_a_merge_takes_a_null_record_as_it_is():
    stored = accepted(UPSTREAMS, {"name": "u"})
    assert UPSTREAMS.merge(stored, {"healthchecks": None})["healthchecks"] is None


def test_parents_are_declared_before_their_children():
    seen: set[str] = set()
    for entity_type in ENTITIES.values():
        seen.add(entity_type.table)
        parents = {key.table for key in entity_type.foreign_keys.values()}
        assert parents <= seen


@pytest.mark.parametrize(
    ("entity_type", "name", "kind", "column"),
    [
        (SERVICES, "id", FieldKind.UUID, "id"),
        (SERVICES, "host", FieldKind.TEXT, "host"),
        (SERVICES, "port", FieldKind.INTEGER, "port"),
        (SERVICES, "enabled", FieldKind.BOOLEAN, "enabled"),
        (SERVICES, "created_at", FieldKind.TIMESTAMP, "created_at"),
        (SERVICES, "tags", FieldKind.TEXTS, "tags"),
        (SERVICES, "client_certificate", FieldKind.REFERENCE, "client_certificate_id"),
        (CERTIFICATES, "key_alt", FieldKind.TEXT, "key_alt"),
        (ROUTES, "headers", FieldKind.JSON, "headers"),
        (ROUTES, "sources", FieldKind.JSON, "sources"),
        (UPSTREAMS, "healthchecks", FieldKind.JSON, "healthchecks"),
    ],
)
def test_a_column_follows_from_the_declaration(
    entity_type: EntityType, name: str, kind: FieldKind, column: str
):
    assert (entity_type.fields[name].kind, entity_type.fields[name].column) == (kind, column)


def test_what_is_kept_elsewhere_is_no_column():
    assert "snis" in CERTIFICATES.model.model_fields
    assert "snis" not in CERTIFICATES.fields


def test_every_field_says_what_it_is():
    assert [
        f"{entity_type.table}.{field.name}"
        for entity_type in ENTITIES.values()
        for field in entity_type.fields.values()
        if not field.doc
    ] == []
