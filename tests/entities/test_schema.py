"""What a declaration tells as data, and that its defaults are those the server stores."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from gateway.entities import ENTITIES, EntityType
from gateway.entities.entity import ForeignKey, Record, Reference, Secret, Unique
from gateway.entities.plugin import PLUGINS
from gateway.entities.rules import AtLeast, Between, OneOf, Unrepeated
from gateway.entities.schema import Field as Told
from gateway.entities.schema import Kind, fields_of
from gateway.entities.types import PreciseTimestamp, UuidText, WholeNumber
from tests.proxy.certificates import Authority

from .validating import accepted


class Part(Record):
    """A record within another one."""

    size: WholeNumber = Field(default=3, description="How large.")


class Everything(Record):
    """One field of each kind."""

    text: Annotated[str, AtLeast(2), Unique(), Secret()] = Field(description="A text.")
    choice: Literal["a", "b"] = Field(default="a", description="A choice.")
    number: Annotated[float, Between(0, 1)] | None = Field(default=None, description="A number.")
    words: Annotated[list[Annotated[str, OneOf("x", "y")]], Unrepeated()] = Field(
        default=["x"], description="A set."
    )
    listed: list[UuidText] = Field(default_factory=list, description="A list.")
    mapped: dict[str, list[int]] | None = Field(default=None, description="A map.")
    part: Part | None = Field(default=Part(), description="A record.")
    other: Annotated[Reference | None, ForeignKey("others")] = Field(
        default=None, description="A reference."
    )
    moment: PreciseTimestamp = Field(
        default_factory=lambda: datetime.now(UTC), description="A moment."
    )
    anything: int | str | None = Field(default=None, description="Something.")


FIELDS = {field.name: field for field in fields_of(Everything)}


@pytest.mark.parametrize(
    ("name", "kind", "nullable"),
    [
        ("text", Kind.STRING, False),
        ("choice", Kind.STRING, False),
        ("number", Kind.NUMBER, True),
        ("words", Kind.SET, False),
        ("listed", Kind.ARRAY, False),
        ("mapped", Kind.MAP, True),
        ("part", Kind.RECORD, True),
        ("other", Kind.FOREIGN, True),
        ("moment", Kind.NUMBER, False),
        ("anything", Kind.JSON, True),
    ],
)
def test_a_field_tells_what_it_may_be(name: str, kind: Kind, nullable: bool):
    assert (FIELDS[name].value.kind, FIELDS[name].value.nullable) == (kind, nullable)


def test_a_field_tells_its_rules():
    assert FIELDS["text"].value.rules == (AtLeast(2),)
    assert FIELDS["number"].value.rules == (Between(0, 1),)
    assert FIELDS["choice"].value.rules == (OneOf("a", "b"),)


def test_a_field_tells_what_is_below_it():
    words, listed, mapped = (FIELDS[name].value for name in ("words", "listed", "mapped"))
    assert words.element is not None
    assert words.element.rules == (OneOf("x", "y"),)
    assert listed.element is not None
    assert listed.element.is_uuid
    assert mapped.key is not None
    assert mapped.key.kind is Kind.STRING
    assert mapped.element is not None
    assert mapped.element.kind is Kind.ARRAY
    assert [field.name for field in FIELDS["part"].value.fields] == ["size"]


def test_a_field_tells_its_default():
    defaults = {name: field.default for name, field in FIELDS.items()}
    assert defaults["choice"] == "a"
    assert defaults["listed"] == []
    assert defaults["part"] == {"size": 3}
    assert defaults["text"] is None


def test_a_field_tells_what_is_special_about_it():
    def names(mark: Any) -> list[str]:
        return [name for name, field in FIELDS.items() if mark(field)]

    assert names(lambda field: field.unique) == ["text"]
    assert names(lambda field: field.secret) == ["text"]
    assert names(lambda field: field.auto) == ["moment"]
    assert names(lambda field: field.required) == ["text", "choice", "words", "listed"]
    assert names(lambda field: field.must_be_given) == ["text"]


# -- the declared entities

ID = "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f"
CA = Authority()
PAIR = CA.issue("a.example")
NEEDED: dict[str, dict[str, Any]] = {
    "certificates": {"cert": PAIR.cert_pem, "key": PAIR.key_pem},
    "snis": {"name": "a.example", "certificate": {"id": ID}},
    "ca_certificates": {"cert": CA.pem},
    "services": {"host": "a"},
    "routes": {"paths": ["/"]},
    "upstreams": {"name": "a"},
    "targets": {"target": "a:1", "upstream": {"id": ID}},
    "consumers": {"username": "bob"},
    "keyauth_credentials": {"consumer": {"id": ID}},
    "basicauth_credentials": {"username": "bob", "password": "x", "consumer": {"id": ID}},
    "jwt_secrets": {"consumer": {"id": ID}},
    "hmacauth_credentials": {"username": "bob", "consumer": {"id": ID}},
    "acls": {"group": "readers", "consumer": {"id": ID}},
}
"""The least that each kind of entity takes; plugins need one that is present."""


@pytest.mark.parametrize("entity_type", [ENTITIES[table] for table in NEEDED], ids=NEEDED)
def test_what_is_absent_is_stored_as_its_default(entity_type: EntityType):
    needed = NEEDED[entity_type.table]
    stored = accepted(entity_type, needed)
    chosen = {"cert_digest", *needed}
    told = [it for it in fields_of(entity_type.model) if it.name in stored]
    assert {it.name: stored[it.name] for it in told if not it.auto and it.name not in chosen} == {
        it.name: it.default for it in told if not it.auto and it.name not in chosen
    }


@pytest.mark.parametrize("entity_type", [ENTITIES[table] for table in NEEDED], ids=NEEDED)
def test_only_what_must_be_given_is_missed(entity_type: EntityType):
    must: list[Told] = [it for it in fields_of(entity_type.model) if it.must_be_given]
    assert {it.name for it in must} <= NEEDED[entity_type.table].keys()


def test_each_kind_of_entity_is_looked_at():
    assert ENTITIES.keys() - NEEDED.keys() == {PLUGINS.table}


@pytest.mark.parametrize("entity_type", ENTITIES.values(), ids=ENTITIES)
def test_both_tell_the_same_of_a_field(entity_type: EntityType):
    """The tree for schemas, and the list from which the table follows."""
    for told in fields_of(entity_type.model):
        kept = entity_type.fields.get(told.name)
        if kept is not None:
            assert (told.unique, told.secret) == (kept.unique, kept.secret)
            assert told.value.nullable == kept.nullable
            assert told.doc == kept.doc
