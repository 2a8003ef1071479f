"""``healthchecks`` of an upstream entity, compiled (balancer.md section 6.1)."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.balancing.health import Limits, Report
from gateway.balancing.health_checks import HealthChecks
from gateway.snapshot.health_checks import compile_health_checks

from .rows import upstream


def compiled(given: Any, host_header: str | None = None) -> HealthChecks:
    checks = compile_health_checks(given, host_header)
    assert checks is not None
    return checks


@pytest.mark.parametrize(
    ("given", "is_on"),
    [
        ({}, False),
        (None, False),
        ({"threshold": 50}, False),
        ({"active": {"healthy": {"interval": 1}}}, True),
        ({"active": {"unhealthy": {"interval": 0.5}}}, True),
        ({"passive": {"unhealthy": {"tcp_failures": 1}}}, True),
        ({"passive": {"unhealthy": {"timeouts": 1}}}, True),
        ({"passive": {"unhealthy": {"http_failures": 1}}}, True),
        ({"passive": {"healthy": {"successes": 1}}}, False),
        ({"active": {"healthy": {"successes": 1}, "unhealthy": {"tcp_failures": 1}}}, False),
    ],
)
def test_checks_are_on_where_something_could_make_a_target_unhealthy_or_it_is_probed(
    given: Any, is_on: bool
) -> None:
    assert (compile_health_checks(given, None) is not None) is is_on


def test_the_defaults() -> None:
    checks = compiled({"active": {"healthy": {"interval": 5}}})
    probes = checks.probes
    assert probes is not None
    assert (probes.healthy_interval_s, probes.unhealthy_interval_s) == (5, 0)
    assert (probes.timeout_s, probes.concurrency, probes.path) == (1, 10, "/")
    assert (probes.tls, probes.server_name, probes.verify) == (False, None, True)
    assert (probes.headers, probes.host) == ("", None)
    assert probes.criteria.limits == Limits()
    assert checks.traffic.limits == Limits()


def test_what_statuses_say_by_default() -> None:
    limits = {"healthy": {"successes": 1}, "unhealthy": {"http_failures": 1}}
    checks = compiled({"active": limits | {"healthy": {"successes": 1, "interval": 1}}})
    assert checks.probes is not None
    of = checks.probes.criteria.of_status
    assert {code for code in range(100, 1000) if of(code) is Report.SUCCESS} == {200, 302}
    bad = {429, 404, 500, 501, 502, 503, 504, 505}
    assert {code for code in range(100, 1000) if of(code) is Report.HTTP_FAILURE} == bad
    of = compiled({"passive": limits}).traffic.of_status
    good = {*range(200, 209), 226, *range(300, 309)}
    assert {code for code in range(100, 1000) if of(code) is Report.SUCCESS} == good
    assert {code for code in range(100, 1000) if of(code) is Report.HTTP_FAILURE} == {429, 500, 503}


def test_every_field_has_its_place() -> None:
    probes = compiled(
        {
            "active": {
                "type": "https",
                "timeout": 2.5,
                "concurrency": 3,
                "http_path": "/health",
                "https_sni": "sni.example",
                "https_verify_certificate": False,
                "headers": {"X-A": ["1", "2"], "host": ["probe.example"]},
                "healthy": {"interval": 10, "http_statuses": [204], "successes": 4},
                "unhealthy": {
                    "interval": 20,
                    "http_statuses": [418],
                    "http_failures": 5,
                    "tcp_failures": 6,
                    "timeouts": 7,
                },
            }
        },
        "shop.example",
    ).probes
    assert probes is not None
    assert (probes.tls, probes.server_name, probes.verify) == (True, "sni.example", False)
    assert (probes.timeout_s, probes.concurrency, probes.path) == (2.5, 3, "/health")
    assert (probes.headers, probes.host) == ("\r\nX-A: 1\r\nX-A: 2", "probe.example")
    assert (probes.interval_s(available=True), probes.interval_s(available=False)) == (10, 20)
    assert probes.criteria.limits == Limits(4, 5, 6, 7)
    assert probes.criteria.reports == {204: Report.SUCCESS, 418: Report.HTTP_FAILURE}


@pytest.mark.parametrize(
    ("kind", "tls", "asks"),
    [
        ("http", False, True),
        ("https", True, True),
        ("tcp", False, False),
        ("grpc", False, False),
        ("grpcs", True, False),
    ],
)
def test_the_type_says_what_a_probe_is(kind: str, tls: bool, asks: bool) -> None:
    probes = compiled({"active": {"type": kind, "healthy": {"interval": 1}}}).probes
    assert probes is not None
    assert (probes.tls, probes.path is not None) == (tls, asks)


def test_nulls_stand_for_defaults_and_what_is_unknown_for_nothing() -> None:
    given = {
        "active": {
            "type": None,
            "timeout": None,
            "concurrency": None,
            "http_path": None,
            "headers": None,
            "healthy": {"interval": 1, "http_statuses": None, "successes": None},
            "unhealthy": None,
            "of_a_later_version": 1,
        },
        "passive": None,
        "threshold": None,
    }
    assert compiled(given) == compiled({"active": {"healthy": {"interval": 1}}})


def test_nothing_is_waited_for_without_end() -> None:
    probes = compiled({"active": {"timeout": 0, "healthy": {"interval": 1}}}).probes
    assert probes is not None
    assert probes.timeout_s == 60


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"active": {"type": "smtp"}}, "healthchecks.active.type: expected one of"),
        ({"active": {"healthy": {"interval": "1"}}}, "healthchecks.active.healthy.interval: "),
        ({"passive": 3}, "healthchecks.passive: "),
        (["active"], "healthchecks: "),
        (
            {"active": {"headers": {"X-A": ["1\n2"]}, "healthy": {"interval": 1}}},
            "healthchecks.active.headers: must not contain a line break",
        ),
    ],
)
def test_what_cannot_be_read_is_named(given: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        compile_health_checks(given, None)


def test_what_is_compiled_twice_is_equal() -> None:
    checks = {"active": {"healthy": {"interval": 1}, "headers": {"X-A": ["1"]}}}
    one, two = (compiled(upstream("pool", healthchecks=checks)["healthchecks"]) for _ in range(2))
    assert one == two
    assert one is not two
