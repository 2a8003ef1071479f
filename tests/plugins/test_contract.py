"""What a plugin must say of itself, and what its configuration may be made of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel

from gateway.entities import types
from gateway.entities.entity import Record, Secret
from gateway.entities.plugin import PLUGINS
from gateway.plugins import registry
from gateway.plugins.contract import ContractError, Plugin, checked


def plugin(**attributes: Any) -> type[Plugin]:
    """A plugin that has all it needs, and some attributes besides."""
    return type("Some", (Plugin,), {"name": "some", "priority": 1} | attributes)


def config(annotation: Any) -> type[Record]:
    return type("Config", (Record,), {"__annotations__": {"field": annotation}})


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"name": "a1-b_2"},
        {"priority": -5},
        {"scopes": []},
        {"scopes": {"consumer"}},
        {"protocols": ["tcp", "udp"]},
        {"version": "0.1.dev1"},
    ],
)
def test_what_will_do(attributes: dict[str, Any]):
    some = plugin(**attributes)
    assert checked(some) is some


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"name": None}, "name must be"),
        ({"name": ""}, "name must be"),
        ({"name": "Key-Auth"}, "name must be"),
        ({"name": "-a"}, "name must be"),
        ({"name": "a--b"}, "name must be"),
        ({"name": "a/b"}, "name must be"),
        ({"name": "a\n"}, "name must be"),
        ({"name": "ä"}, "name must be"),
        ({"priority": None}, "priority must be an integer, not None"),
        ({"priority": "1"}, "priority must be an integer, not '1'"),
        ({"priority": True}, "priority must be an integer, not True"),
        ({"version": 1}, "version must be a string, not 1"),
        ({"scopes": ["global"]}, "scopes must be some of consumer, route, service, not ['global']"),
        ({"scopes": "route"}, "scopes must be some of"),
        ({"protocols": ()}, "protocols must be some of grpc, grpcs, http, https, tcp, tls,"),
        ({"protocols": ["ftp"]}, "protocols must be some of"),
        ({"protocols": "http"}, "protocols must be some of"),
        ({"Config": dict}, "Config must be a subclass of gateway.entities.entity.Record"),
        ({"Config": BaseModel}, "Config must be a subclass of gateway.entities.entity.Record"),
        ({"Config": None}, "Config must be a subclass of gateway.entities.entity.Record"),
    ],
)
def test_what_will_not_do(attributes: dict[str, Any], problem: str):
    with pytest.raises(ContractError) as refusal:
        checked(plugin(**attributes))
    assert problem in str(refusal.value)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ContractError) as refusal:
        checked(type("Empty", (Plugin,), {}))
    assert str(refusal.value).startswith("name must be")
    assert "; priority must be" in str(refusal.value)


@pytest.mark.parametrize("found", [None, Plugin, plugin()(None, None), Record, "key-auth"])
def test_it_must_be_a_class_of_its_own(found: object):
    with pytest.raises(ContractError):
        checked(found)


# -- configurations


class Below(Record):
    number: int | None = None


class Endless(Record):
    below: Endless | None = None


FIELD_TYPES = [
    getattr(types, name)
    for name in (
        *("Text", "Id", "UuidText", "WholeNumber", "Integer", "Number", "Timestamp"),
        *("PreciseTimestamp", "PortNumber", "Utf8Name", "Tag", "Tags", "Protocol", "HttpMethod"),
        *("HeaderName", "CookieName", "Path", "HostText", "HostWithOptionalPort", "ServerName"),
        *("WildcardHost", "AddressOrNetwork", "HeaderValues", "Headers"),
    )
]


@pytest.mark.parametrize(
    "annotation",
    [
        *FIELD_TYPES,
        *(bool, Any, datetime, Literal["a", 1], int | str | None, list[Below], list[list[int]]),
        *(dict[str, Below | None], dict[types.HeaderName, Any], Annotated[str | None, Secret()]),
    ],
)
def test_a_config_may_be_made_of(annotation: Any):
    checked(plugin(Config=config(annotation)))


@pytest.mark.parametrize(
    "annotation",
    [
        *(bytes, set[str], tuple[int, int], list, dict, dict[int, str], BaseModel, Endless),
        *(list[bytes], dict[str, set[int]], str | bytes, Annotated[bytes, Secret()]),
    ],
)
def test_a_config_may_not_be_made_of(annotation: Any):
    with pytest.raises(ContractError, match="cannot be written as JSON"):
        checked(plugin(Config=config(annotation)))


def test_every_type_of_field_is_among_them():
    """A type that entities begin to use must be one for plugins as well."""
    declared = {
        name
        for name, value in vars(types).items()
        if hasattr(value, "__metadata__") or value in FIELD_TYPES
    }
    assert {name for name in declared if getattr(types, name) not in FIELD_TYPES} == set()


def test_the_plugins_of_the_tests_keep_the_contract():
    for name in registry.present():
        assert issubclass(PLUGINS.model_of({"name": name}), PLUGINS.model)
