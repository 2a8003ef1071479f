"""Refusals are told in the shape and with the message of admin-api.md, section 7.2."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.entities.errors import SchemaViolationError, lua_dump


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": "required field missing"}, "schema violation (host: required field missing)"),
        ({"b": "x", "a": "y"}, "2 schema violations (a: y; b: x)"),
        ({"a": "y", "@entity": ["one", "two"]}, "3 schema violations (one; two; a: y)"),
        ({"service": {"id": "bad"}}, "schema violation (service.id: bad)"),
        ({"paths": [None, "bad", None]}, "schema violation (paths.2: bad)"),
        ({"paths": ["b", "a"]}, "2 schema violations (paths.1: b; paths.2: a)"),
        ({"h": {"active": {"timeout": "bad"}}}, 'schema violation (h.active: {timeout="bad"})'),
        ({"h": {"a": {"s": [None, "bad"]}}}, 'schema violation (h.a: {s={[2]="bad"}})'),
        ({"s": [{"@entity": ["bad"]}]}, 'schema violation (s.1: {["@entity"]={"bad"}})'),
    ],
)
def test_the_message_lists_the_tree(fields: dict[str, Any], message: str):
    assert str(SchemaViolationError(fields)) == message


@pytest.mark.parametrize(
    ("value", "dumped"),
    [
        ({"name": "x"}, '{name="x"}'),
        ({"service": {"id": "i"}, "route": None, "n": 1}, '{n=1,route=null,service={id="i"}}'),
        ({"@by": True, "a": [1, False]}, '{["@by"]=true,a={1,false}}'),
    ],
)
def test_values_are_dumped_as_lua_tables(value: Any, dumped: str):
    assert lua_dump(value) == dumped
