"""Routes: what may stand in hosts, paths and headers, and what each protocol asks for."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.entities.route import ROUTES

from .validating import accepted, refused

ID = "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f"


def test_a_path_is_enough():
    route = accepted(ROUTES, {"paths": ["/orders"]})
    del route["id"], route["created_at"], route["updated_at"]
    assert route == {
        "name": None,
        "service": None,
        "protocols": ["http", "https"],
        "methods": None,
        "hosts": None,
        "paths": ["/orders"],
        "headers": None,
        "snis": None,
        "sources": None,
        "destinations": None,
        "https_redirect_status_code": 426,
        "regex_priority": 0,
        "strip_path": True,
        "path_handling": "v0",
        "preserve_host": False,
        "request_buffering": True,
        "response_buffering": True,
        "tags": None,
    }


@pytest.mark.parametrize(
    "path", ["/", "/a/", "/a b", "/ü", "/a%2Fb", "~/a(?<id>\\d+)$", "~/[a-z]+", "/a.b/(c)"]
)
def test_good_paths(path: str):
    assert accepted(ROUTES, {"paths": [path]})["paths"] == [path]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a", "should start with: / (fixed path) or ~/ (regex path)"),
        ("~a", "should start with: / (fixed path) or ~/ (regex path)"),
        ("/a//b", "must not have empty segments"),
        ("/a%zz", "invalid url-encoded value: '%zz'"),
        ("~/a%zz", "invalid url-encoded value: '%zz'"),
        ("/a%20b", "non-normalized path, consider use '/a b' instead"),
        ("/a%2fb", "non-normalized path, consider use '/a%2Fb' instead"),
        ("/a/./b", "non-normalized path, consider use '/a/b' instead"),
        ("/%ff", "invalid path: '/%ff' (it stands for bytes that are no UTF-8)"),
        ("~/(", "invalid regex: '/(' (missing ): /()"),
        ("~/a(?=b)", "invalid regex: '/a(?=b)' (invalid perl operator: (?=)"),
        (
            "~/(a?){1000}",
            "invalid regex: '/(a?){1000}' (pattern too large: 4005 steps, the limit is 2000)",
        ),
        ("~/(a)\\1", "invalid regex: '/(a)\\1' (invalid escape sequence: \\1)"),
    ],
)
def test_bad_paths(path: str, text: str):
    assert refused(ROUTES, {"paths": ["/ok", path]}) == {"paths": [None, text]}


@pytest.mark.parametrize(
    "host", ["a.com", "a.com:80", "*.a.com", "*.a.com:80", "a.*", "a.*:80", "1.2.3.4", "[::1]:80"]
)
def test_good_hosts(host: str):
    assert accepted(ROUTES, {"hosts": [host]})["hosts"] == [host]


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("*.a.*", "invalid wildcard: must have at most one wildcard"),
        ("*a.com", "invalid wildcard: must be placed at leftmost or rightmost label"),
        ("a.*.com", "invalid wildcard: must be placed at leftmost or rightmost label"),
        ("*", "invalid wildcard: must be placed at leftmost or rightmost label"),
        ("a b", "invalid hostname: a b"),
        ("*.a:99999", "invalid port number"),
    ],
)
def test_bad_hosts(host: str, text: str):
    assert refused(ROUTES, {"hosts": [host]}) == {"hosts": [text]}


@pytest.mark.parametrize("path", ["~/a{1000}", "~/(?<id>\\d+)$", "~/中+"])
def test_good_regex_paths(path: str):
    assert accepted(ROUTES, {"paths": [path]})["paths"] == [path]


def test_a_header_regex_must_compile_too():
    assert accepted(ROUTES, {"headers": {"x-tier": ["~*^go+ld$"]}})
    assert refused(ROUTES, {"headers": {"x-tier": ["~*("]}}) == {
        "headers": "invalid regex: '(' (missing ): ()"
    }
    assert refused(ROUTES, {"headers": {"x-tier": ["~*.{2000}"]}}) == {
        "headers": "invalid regex: '.{2000}' (invalid repetition size: {2000})"
    }


MUST_BE_STREAM = "when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'"


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        (
            {},
            {
                "@entity": [
                    "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' "
                    "when 'protocols' is 'https'"
                ]
            },
        ),
        (
            {"protocols": ["http"], "hosts": []},
            {
                "@entity": [
                    "must set one of 'methods', 'hosts', 'headers', 'paths' "
                    "when 'protocols' is 'http'"
                ]
            },
        ),
        (
            {"protocols": ["grpc", "grpcs"]},
            {
                "@entity": [
                    "must set one of 'hosts', 'headers', 'paths', 'snis' "
                    "when 'protocols' is 'grpcs'"
                ]
            },
        ),
        (
            {"protocols": ["grpc"]},
            {"@entity": ["must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc'"]},
        ),
        (
            {"protocols": ["udp"]},
            {
                "@entity": [
                    "must set one of 'sources', 'destinations', 'snis' "
                    "when 'protocols' is 'tcp', 'tls' or 'udp'"
                ]
            },
        ),
        (
            {"protocols": ["tls_passthrough"]},
            {"@entity": ["must set snis when 'protocols' is 'tls_passthrough'"]},
        ),
        (
            {"paths": ["/"], "sources": [{"port": 1}]},
            {"sources": "cannot set 'sources' when 'protocols' is 'http' or 'https'"},
        ),
        (
            {"protocols": ["grpc"], "paths": ["/"], "methods": ["GET"], "strip_path": True},
            {
                "methods": "cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs'",
                "strip_path": "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'",
            },
        ),
        (
            {"protocols": ["tcp"], "sources": [{"port": 1}], "paths": ["/"], "hosts": ["a"]},
            {
                "hosts": f"cannot set 'hosts' {MUST_BE_STREAM}",
                "paths": f"cannot set 'paths' {MUST_BE_STREAM}",
            },
        ),
        (
            {"protocols": ["http"], "paths": ["/"], "snis": ["a.com"]},
            {
                "@entity": [
                    "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or "
                    "'tls_passthrough'"
                ],
                "snis": "length must be 0",
            },
        ),
        (
            {"protocols": ["http", "tcp"]},
            {
                "protocols": "these sets are mutually exclusive: ('http', 'https'), "
                "('tcp', 'tls', 'udp')"
            },
        ),
        ({"protocols": []}, {"protocols": "length must be at least 1"}),
        (
            {"protocols": ["tcp"], "sources": [{"ip": "10.0.0.0/8"}, {}]},
            {
                "sources": [
                    None,
                    {"@entity": ["at least one of these fields must be non-empty: 'ip', 'port'"]},
                ]
            },
        ),
        (
            {"paths": ["/"], "https_redirect_status_code": 303},
            {"https_redirect_status_code": "expected one of: 426, 301, 302, 307, 308"},
        ),
        ({"paths": ["/"], "expression": "x"}, {"expression": "unknown field"}),
        (
            {"paths": ["x"], "snis": "y"},
            {
                "paths": ["should start with: / (fixed path) or ~/ (regex path)"],
                "snis": "expected a set",
            },
        ),
    ],
)
def test_bad_routes_are_refused(given: dict[str, Any], fields: dict[str, Any]):
    assert refused(ROUTES, given) == fields


def test_a_new_grpc_route_keeps_its_path():
    given = {"protocols": ["grpc"], "paths": ["/"]}
    assert accepted(ROUTES, given)["strip_path"] is False
    assert refused(ROUTES, given, "update").keys() == {"strip_path"}


def test_sets_lose_their_duplicates_and_keep_their_order():
    route = accepted(
        ROUTES,
        {
            "protocols": ["tcp"],
            "sources": [{"port": 2}, {"ip": "::1"}, {"port": 2.0}],
            "tags": ["b", "a", "b"],
        },
    )
    assert route["sources"] == [{"ip": None, "port": 2}, {"ip": "::1", "port": None}]
    assert route["tags"] == ["b", "a"]


def test_a_service_is_named_by_id_whatever_else_is_said_of_it():
    route = accepted(ROUTES, {"paths": ["/"], "service": {"id": ID, "name": "x", "host": "y"}})
    assert route["service"] == {"id": ID}


def test_a_field_called_as_the_list_of_entity_errors_is_one_of_them():
    fields = refused(ROUTES, {"@entity": 1, "protocols": ["http"]})
    assert fields["@entity"][0] == "unknown field"
    assert len(fields["@entity"]) == 2
