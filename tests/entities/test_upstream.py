"""Upstreams: the whole health check record, and how algorithm and hash inputs go together."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.entities.upstream import UPSTREAMS

from .validating import accepted, refused

FAILED_ON_HASH_ON = "failed conditional validation given value of field 'hash_on'"


def test_a_name_is_enough():
    upstream = accepted(UPSTREAMS, {"name": "orders-pool"})
    healthchecks = upstream.pop("healthchecks")
    del upstream["id"], upstream["created_at"], upstream["updated_at"]
    assert upstream == {
        "name": "orders-pool",
        "algorithm": "round-robin",
        "hash_on": "none",
        "hash_fallback": "none",
        "hash_on_header": None,
        "hash_fallback_header": None,
        "hash_on_cookie": None,
        "hash_on_cookie_path": "/",
        "hash_on_query_arg": None,
        "hash_fallback_query_arg": None,
        "hash_on_uri_capture": None,
        "hash_fallback_uri_capture": None,
        "slots": 10000,
        "host_header": None,
        "client_certificate": None,
        "use_srv_name": False,
        "tags": None,
    }
    off = {"tcp_failures": 0, "timeouts": 0, "http_failures": 0}
    assert healthchecks == {
        "active": {
            "type": "http",
            "timeout": 1,
            "concurrency": 10,
            "http_path": "/",
            "https_sni": None,
            "https_verify_certificate": True,
            "headers": None,
            "healthy": {"interval": 0, "http_statuses": [200, 302], "successes": 0},
            "unhealthy": {
                "interval": 0,
                "http_statuses": [429, 404, 500, 501, 502, 503, 504, 505],
                **off,
            },
        },
        "passive": {
            "type": "http",
            "healthy": {
                "http_statuses": [*range(200, 209), 226, *range(300, 309)],
                "successes": 0,
            },
            "unhealthy": {"http_statuses": [429, 500, 503], **off},
        },
        "threshold": 0,
    }


@pytest.mark.parametrize(
    ("given", "algorithm", "hash_on"),
    [
        ({"hash_on": "ip"}, "consistent-hashing", "ip"),
        ({"hash_on": "none", "algorithm": "consistent-hashing"}, "round-robin", "none"),
        ({"hash_on": None}, "round-robin", "none"),
        ({"algorithm": "consistent-hashing"}, "consistent-hashing", "none"),
        ({"algorithm": "least-connections", "hash_on": "ip"}, "least-connections", "none"),
        ({"algorithm": "latency", "hash_on": "none"}, "latency", "none"),
    ],
)
def test_algorithm_and_hash_on_follow_each_other(
    given: dict[str, Any], algorithm: str, hash_on: str
):
    upstream = accepted(UPSTREAMS, {"name": "u", **given})
    assert (upstream["algorithm"], upstream["hash_on"]) == (algorithm, hash_on)


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        (
            {"hash_on": "header"},
            {"@entity": [FAILED_ON_HASH_ON], "hash_on_header": "required field missing"},
        ),
        (
            {"hash_on": "header", "hash_on_header": "X", "hash_fallback": "header"},
            {
                "@entity": [
                    "failed conditional validation given value of field 'hash_fallback'",
                ],
                "hash_fallback_header": "required field missing",
            },
        ),
        (
            {
                "hash_on": "header",
                "hash_on_header": "X",
                "hash_fallback": "header",
                "hash_fallback_header": "X",
            },
            {
                "@entity": [
                    "values of these fields must be distinct: "
                    "'hash_on_header', 'hash_fallback_header'"
                ]
            },
        ),
        (
            {"hash_fallback": "ip"},
            {"@entity": [FAILED_ON_HASH_ON], "hash_fallback": "expected one of: none"},
        ),
        (
            {"hash_on": "ip", "hash_fallback": "ip"},
            {
                "@entity": [FAILED_ON_HASH_ON],
                "hash_fallback": "expected one of: none, consumer, header, cookie, path, "
                "query_arg, uri_capture",
            },
        ),
        ({"slots": 9}, {"slots": "value should be between 10 and 65536"}),
        ({"name": "1.2.3.4"}, {"name": "Invalid name ('1.2.3.4'); no ip addresses allowed"}),
        ({"name": "a:80"}, {"name": "Invalid name ('a:80'); no port allowed"}),
        ({"name": "a b"}, {"name": "Invalid name ('a b'); must be a valid hostname"}),
        ({"name": None}, {"name": "required field missing"}),
        ({"healthchecks": {"nope": 1}}, {"healthchecks": {"nope": "unknown field"}}),
        (
            {"healthchecks": {"active": {"headers": {"X-A": ["1", "2\r\nX-B: 3"]}}}},
            {"healthchecks": {"active": {"headers": "must not contain a line break"}}},
        ),
        (
            {"healthchecks": {"active": {"healthy": {"http_statuses": [200, "x", 99]}}}},
            {
                "healthchecks": {
                    "active": {
                        "healthy": {
                            "http_statuses": [
                                None,
                                "expected an integer",
                                "value should be between 100 and 999",
                            ]
                        }
                    }
                }
            },
        ),
        (
            {"healthchecks": {"active": {"https_verify_certificate": None}}},
            {"healthchecks": {"active": {"https_verify_certificate": "required field missing"}}},
        ),
    ],
)
def test_bad_upstreams_are_refused(given: dict[str, Any], fields: dict[str, Any]):
    assert refused(UPSTREAMS, {"name": "u"} | given) == fields
