"""Rows compiled to what a request needs, and rows that hand-made SQL has made unusable."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.balancing import Balancing, HashInput, HashOn
from gateway.snapshot.compiled import (
    Target,
    compile_route,
    compile_service,
    compile_upstream,
    host_headers,
    parse_target,
    split_target,
)
from tests.snapshot.rows import route, service, target, upstream

POOL = upstream("pool")


def test_a_service_is_kept_in_seconds_and_bytes():
    row = service(path="/api", connect_timeout=1500, read_timeout=250, retries=0, name="orders")
    compiled = compile_service(row)
    assert (compiled.path, compiled.retries, compiled.label) == (b"/api", 0, "orders")
    assert (compiled.connect_timeout_s, compiled.read_timeout_s) == (1.5, 0.25)
    assert compiled.direct == Target.of("127.0.0.1", 80)


def test_what_is_null_has_its_default():
    row = service() | dict.fromkeys(
        ("name", "path", "retries", "connect_timeout", "write_timeout", "read_timeout")
    )
    compiled = compile_service(row)
    assert (compiled.label, compiled.path, compiled.retries) == ("127.0.0.1", b"/", 5)
    assert compiled.connect_timeout_s == compiled.write_timeout_s == compiled.read_timeout_s == 60


@pytest.mark.parametrize(
    ("host", "port", "http", "https"),
    [
        ("a.test", 80, b"a.test", b"a.test:80"),
        ("a.test", 443, b"a.test:443", b"a.test"),
        ("a.test", 8080, b"a.test:8080", b"a.test:8080"),
        ("127.0.0.1", 80, b"127.0.0.1", b"127.0.0.1:80"),
        ("::1", 8080, b"[::1]:8080", b"[::1]:8080"),
        ("[::1]", 80, b"[::1]", b"[::1]:80"),
        ("a.test:99", 8080, b"a.test:99", b"a.test:99"),
        ("[::1]:99", 80, b"[::1]:99", b"[::1]:99"),
    ],
)
def test_the_host_header_of_a_target(host: str, port: int, http: bytes, https: bytes):
    assert host_headers(host, port) == {"http": http, "https": https}


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("localhost", None)]
)
def test_only_a_name_needs_resolving(host: str, address: str | None):
    assert Target.of(host, 80).address == address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.test:80", ("a.test", 80)),
        ("127.0.0.1:65535", ("127.0.0.1", 65535)),
        ("[::1]:80", ("[::1]", 80)),
    ],
)
def test_targets_are_split_into_host_and_port(text: str, expected: tuple[str, int]):
    assert split_target(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a.test", ":80", "a.test:", "a.test:x", "a.test:65536", "a.test:-1", "a\r\nb:80"]
)
def test_what_is_no_target(text: str):
    with pytest.raises(ValueError, match=r"target|port|host"):
        split_target(text)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"protocol": "gopher"}, "protocol 'gopher' is not served"),
        ({"protocol": "grpc"}, "protocol 'grpc' is not served"),
        ({"port": 65_536}, "port 65536 is not between 0 and 65535"),
        ({"port": -1}, "port -1 is not between"),
        ({"host": "a\r\nX-Evil: 1"}, "is not a name or an address"),
        ({"host": ""}, "is not a name or an address"),
    ],
)
def test_a_service_that_cannot_be_served(columns: dict[str, Any], reason: str):
    with pytest.raises(ValueError, match=reason):
        compile_service(service() | columns)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"protocols": ["tcp", "tls"]}, "are not served by this version"),
        ({"protocols": []}, "are not served by this version"),
        ({"https_redirect_status_code": 303}, "https_redirect_status_code 303"),
    ],
)
def test_a_route_that_cannot_be_served(columns: dict[str, Any], reason: str):
    with pytest.raises(ValueError, match=reason):
        compile_route(route(None, paths=["/"]) | columns)


def test_a_negative_weight_is_no_weight():
    row = target(POOL, "a.test:80")
    assert parse_target(row | {"weight": None}) == Target("a.test", 80, 100, None)
    with pytest.raises(ValueError, match="weight -1 is not between"):
        parse_target(row | {"weight": -1})


HASHING = {"algorithm": "consistent-hashing", "hash_on": "cookie", "hash_on_cookie": "session"}


def test_how_an_upstream_wants_its_requests_spread():
    plain = compile_upstream(POOL, {})
    assert plain.balancing == Balancing("round-robin", None, 10_000, 0)
    columns = {"hash_on": "header", "hash_on_header": "X-User", "hash_fallback": "ip", "slots": 50}
    hashing = compile_upstream(POOL | HASHING | columns, {}).balancing
    inputs = (HashInput("header", "X-User"), HashInput("ip"))
    assert hashing == Balancing("consistent-hashing", HashOn(inputs), 50, 0)


def test_only_consistent_hashing_hashes():
    assert compile_upstream(POOL | HASHING | {"algorithm": "latency"}, {}).balancing.hash_on is None
    assert compile_upstream(POOL | HASHING | {"hash_on": None}, {}).balancing.hash_on is None


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"algorithm": "random"}, "algorithm 'random' is not served"),
        ({"hash_on": "moon"}, "hash_on 'moon' is not served"),
        ({"hash_on": "header", "hash_on_header": None}, "hash_on_header None is no name"),
        ({"hash_on": "header", "hash_on_header": "a\r\nb"}, "hash_on_header .* is no name"),
        ({"hash_on_cookie": "a=b; Domain"}, "hash_on_cookie .* is no name"),
        ({"hash_on_cookie_path": "/\r\nX: 1"}, "hash_on_cookie_path .* cannot stand in a cookie"),
        ({"slots": 0}, "slots 0 is not between 10 and 65536"),
    ],
)
def test_an_upstream_that_cannot_be_served(columns: dict[str, Any], reason: str):
    with pytest.raises(ValueError, match=reason):
        compile_upstream(POOL | HASHING | columns, {})


def test_a_host_header_must_stay_on_its_line():
    with pytest.raises(ValueError, match="is not a name or an address"):
        compile_upstream(POOL | {"host_header": "a\r\nX-Evil: 1"}, {})


@pytest.mark.parametrize(
    ("protocols", "only"),
    [
        (["http"], None),
        (["http", "https"], None),
        (["https"], "https"),
        (["grpc"], "grpc"),
        (["grpcs"], "grpc"),
        (["grpc", "grpcs"], "grpc"),
    ],
)
def test_a_route_may_be_for_one_protocol_only(protocols: list[str], only: str | None):
    compiled = compile_route(route(None, paths=["/"], protocols=protocols))
    assert compiled.payload.only == only


@pytest.mark.parametrize("of_request", [True, False])
@pytest.mark.parametrize("of_response", [True, False])
def test_a_route_says_whose_bodies_are_kept(of_request: bool, of_response: bool):
    rule = compile_route(
        route(None, paths=["/"], request_buffering=of_request, response_buffering=of_response)
    )
    assert rule.payload.request_buffering is of_request
    assert rule.payload.response_buffering is of_response
