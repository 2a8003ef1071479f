"""Names with dots and brackets lead to fields, and texts become what the fields hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from gateway.admin.forms import decode_form
from gateway.entities import ENTITIES
from gateway.entities.route import Route
from gateway.entities.service import Service
from gateway.entities.upstream import Upstream


def nested(names: str, **within: Any) -> dict[str, Any]:
    """Records in each other."""
    for name in reversed(names):
        within = {name: within}
    return within


@pytest.mark.parametrize(
    ("model", "pairs", "fields"),
    [
        (Service, [("port", "80")], {"port": 80}),
        (Service, [("port", "8x")], {"port": "8x"}),
        (Service, [("port", "1e2")], {"port": 100.0}),
        (Service, [("port", "80"), ("port", "81")], {"port": [80, 81]}),
        (
            Service,
            [("enabled", "true"), ("tls_verify", "false")],
            {"enabled": True, "tls_verify": False},
        ),
        (Service, [("enabled", "yes")], {"enabled": "yes"}),
        (Service, [("name", "")], {"name": None}),
        (Service, [("name", "80")], {"name": "80"}),
        (Service, [("url", "http://a")], {"url": "http://a"}),
        (Service, [("created_at", "1718000000")], {"created_at": 1718000000}),
        (Service, [("tags", "a")], {"tags": ["a"]}),
        (Service, [("tags", "")], {"tags": None}),
        (Service, [("tags", "a"), ("tags", "b")], {"tags": ["a", "b"]}),
        (Service, [("tags[]", "a"), ("tags[]", "b")], {"tags": ["a", "b"]}),
        (Service, [("tags[2]", "b"), ("tags[1]", "a")], {"tags": ["a", "b"]}),
        (Service, [("tags[x]", "a")], {"tags": {"x": "a"}}),
        (Service, [("tags[99999999999]", "a")], {"tags": {"99999999999": "a"}}),
        (Service, [("host.x", "a")], {"host": {"x": "a"}}),
        (Service, [("nope[1].x", "1")], {"nope": {"1": {"x": "1"}}}),
        (Service, [("..", "a")], {"..": "a"}),
        (Service, [("a." * 15 + "b", "1")], nested("a" * 15, b="1")),
        (Service, [("a." * 16 + "b", "1")], {"a." * 16 + "b": "1"}),
        (Service, [("a" + "[x]" * 300_000, "1")], {"a" + "[x]" * 300_000: "1"}),
        (Service, [("." * 1000, "1")], {"." * 1000: "1"}),
        (Service, [("tags[999999999]", "a")], {"tags": ["a"]}),
        (Service, [("client_certificate.id", "")], {"client_certificate": {"id": None}}),
        (Route, [("service.name", "a")], {"service": {"name": "a"}}),
        (Route, [("headers.x-tier[1]", "gold")], {"headers": {"x-tier": ["gold"]}}),
        (Route, [("headers[x-tier]", "gold")], {"headers": {"x-tier": ["gold"]}}),
        (Route, [("headers", "gold")], {"headers": "gold"}),
        (
            Route,
            [("sources[1].ip", "::1"), ("sources[2].port", "80")],
            {"sources": [{"ip": "::1"}, {"port": 80}]},
        ),
        (
            Upstream,
            [
                ("healthchecks.active.healthy.interval", "0.5"),
                ("healthchecks.active.healthy.http_statuses[1]", "200"),
                ("healthchecks.active.headers.x-a", "b"),
            ],
            {
                "healthchecks": {
                    "active": {
                        "healthy": {"interval": 0.5, "http_statuses": [200]},
                        "headers": {"x-a": ["b"]},
                    }
                }
            },
        ),
    ],
)
def test_a_form_is_decoded_by_the_declared_types(
    model: type[BaseModel], pairs: list[tuple[str, str]], fields: dict[str, Any]
):
    assert decode_form(model, pairs) == fields


FIELD_NAMES = [name for entity_type in ENTITIES.values() for name in entity_type.fields]
STEPS = st.sampled_from(["", ".x", "[]", "[1]", "[x]", ".active", ".", "[", "]", ".id", ".ip"])
NAMES = st.builds(
    lambda field, steps: field + "".join(steps),
    st.sampled_from(FIELD_NAMES),
    st.lists(STEPS, max_size=4),
)


@given(st.lists(st.tuples(NAMES | st.text(), st.text(max_size=5) | st.just("1")), max_size=8))
def test_any_form_can_be_decoded(pairs: list[tuple[str, str]]):
    for entity_type in ENTITIES.values():
        assert isinstance(decode_form(entity_type.model, pairs), dict)
