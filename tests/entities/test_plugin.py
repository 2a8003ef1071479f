"""Plugins: an entity is judged by the model of the plugin that it names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.entities import SchemaViolationError
from gateway.entities.plugin import PLUGINS
from gateway.plugins import registry

from .test_entity_type import ANY_JSON
from .validating import accepted, refused

ID = "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f"
HTTP = ["grpc", "grpcs", "http", "https"]
PRESENT = ", ".join(sorted(registry.present()))


def quota(**config: Any) -> dict[str, Any]:
    return {"name": "quota", "config": {"unit": "requests"} | config}


def test_a_config_is_complete_whatever_was_given():
    written = accepted(PLUGINS, {"name": "gate-key", "config": {"anonymous": "guest"}})
    assert written["config"] == {
        "key_names": ["apikey"],
        "hide_credentials": False,
        "anonymous": "guest",
    }
    for fields in ({"name": "gate-key"}, {"name": "gate-key", "config": None}):
        assert accepted(PLUGINS, fields)["config"]["key_names"] == ["apikey"]


def test_the_other_fields_have_their_defaults():
    written = accepted(PLUGINS, {"name": "gate-key"})
    del written["id"], written["created_at"], written["updated_at"], written["config"]
    assert written == {
        "name": "gate-key",
        "instance_name": None,
        "route": None,
        "service": None,
        "consumer": None,
        "protocols": HTTP,
        "enabled": True,
        "tags": None,
    }


def test_a_config_of_every_shape_is_written_as_it_is_read():
    config = {
        "unit": "requests",
        "minute": 5,
        "limits": [{"requests": 1, "window": "day"}, {"requests": 2, "window": 60}],
        "alarm": {"url": "http://a", "token": "hush", "after_s": 0.5},
        "by_path": {"/a": 1},
        "headers": {"x-a": ["b"]},
        "groups": ["a"],
        "since": 1718000000,
        "account": ID,
        "ca_certificates": [ID],
        "notes": {"any": [{"thing": None}]},
    }
    assert accepted(PLUGINS, quota(**config))["config"] == config


def test_whole_numbers_have_no_decimals():
    written = accepted(PLUGINS, quota(minute=5.0, alarm={"after_s": 3.0}))["config"]
    assert json.dumps([written["minute"], written["alarm"]["after_s"]]) == "[5, 3]"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, {"name": "required field missing"}),
        ({"name": None, "nonsense": 1}, {"name": "required field missing"}),
        ({"name": 7, "nonsense": 1}, {"name": "expected a string"}),
        ({"name": "", "nonsense": 1}, {"name": "length must be at least 1"}),
        (
            {"name": "nope", "nonsense": 1},
            {"name": f"plugin 'nope' not enabled; plugins present on this node: {PRESENT}"},
        ),
    ],
)
def test_without_a_plugin_that_is_present_nothing_else_is_judged(
    fields: dict[str, Any], found: dict[str, Any]
):
    assert refused(PLUGINS, fields) == found


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"name": "quota"}, {"config": {"unit": "required field missing"}}),
        ({"name": "quota", "config": []}, {"config": "expected a record"}),
        (quota(nope=1), {"config": {"nope": "unknown field"}}),
        (quota(minute="5"), {"config": {"minute": "expected an integer"}}),
        (quota(minute=61), {"config": {"minute": "value should be between 0 and 60"}}),
        (quota(alarm=None), {"config": {"alarm": "required field missing"}}),
        (quota(alarm={"nope": 1}), {"config": {"alarm": {"nope": "unknown field"}}}),
        (
            quota(limits=[{"requests": 1}, {}]),
            {"config": {"limits": [None, {"requests": "required field missing"}]}},
        ),
        (quota(unit="nothing"), {"@entity": ["'config.unit' must be something"]}),
        (
            quota(unit="nothing") | {"enabled": 1},
            {"@entity": ["'config.unit' must be something"], "enabled": "expected a boolean"},
        ),
        (
            quota(minute=61) | {"enabled": 1, "nope": 1},
            {
                "config": {"minute": "value should be between 0 and 60"},
                "enabled": "expected a boolean",
                "nope": "unknown field",
            },
        ),
    ],
)
def test_what_the_model_refuses_is_told_where_it_stands(
    fields: dict[str, Any], found: dict[str, Any]
):
    assert refused(PLUGINS, fields) == found


def test_the_message_goes_into_the_config():
    with pytest.raises(SchemaViolationError) as refusal:
        PLUGINS.validate(quota(minute=61))
    text = "config.minute: value should be between 0 and 60"
    assert str(refusal.value) == f"schema violation ({text})"


def test_a_plugin_may_forbid_a_scope():
    for scope in ("route", "service"):
        assert accepted(PLUGINS, {"name": "gate-key", scope: {"id": ID}})[scope] == {"id": ID}
    assert refused(PLUGINS, {"name": "gate-key", "consumer": {"id": ID}}) == {
        "consumer": "value must be null"
    }
    assert accepted(PLUGINS, quota() | {"consumer": {"id": ID}})["consumer"] == {"id": ID}


def test_a_plugin_may_be_for_some_protocols_only():
    assert accepted(PLUGINS, quota())["protocols"] == ["http", "https"]
    assert accepted(PLUGINS, quota() | {"protocols": ["tcp", "tcp"]})["protocols"] == ["tcp"]
    for protocols, found in (
        (["http", "udp"], [None, "expected one of: http, https, tcp"]),
        ([], "length must be at least 1"),
        ("http", "expected a set"),
        (None, "required field missing"),
    ):
        assert refused(PLUGINS, quota() | {"protocols": protocols}) == {"protocols": found}


def test_a_merge_goes_into_the_records_of_a_config_but_replaces_maps_and_lists():
    stored = accepted(
        PLUGINS, quota(alarm={"url": "http://a"}, by_path={"/a": 1}, groups=["a"], notes={"a": 1})
    )
    changes = {"alarm": {"after_s": 9}, "by_path": {"/b": 2}, "groups": ["b"], "notes": {"b": 2}}
    merged = PLUGINS.merge(stored, {"config": changes})["config"]
    assert merged["alarm"] == {"url": "http://a", "token": None, "after_s": 9}
    assert merged["by_path"] == {"/b": 2}
    assert merged["groups"] == ["b"]
    assert merged["notes"] == {"b": 2}
    assert merged["unit"] == "requests"


@settings(max_examples=200, deadline=None)
@given(
    config=ANY_JSON
    | st.dictionaries(
        st.sampled_from(["unit", "limits", "alarm", "by_path", "since", "account", "notes"]),
        ANY_JSON,
    )
)
def test_any_config_is_accepted_or_refused_in_words(config: Any):
    try:
        result = accepted(PLUGINS, {"name": "quota", "config": config})
    except SchemaViolationError as refusal:
        result = {"message": str(refusal), "fields": refusal.fields}
    json.dumps(result, allow_nan=False, ensure_ascii=False).encode()
