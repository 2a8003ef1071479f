"""Numbers written into entities are the ones seen again: in tables, and in a proxied request."""

from __future__ import annotations

import pytest

from gateway.lab.faults.registers import (
    KINDS,
    ROUTE_NUMBERS,
    ROUTES,
    SERVICES,
    UPSTREAMS,
    echo,
    fields,
    register,
    request_path,
    seen,
    stored_value,
    value,
)

NUMBERS = [0, 1, 17, ROUTE_NUMBERS - 1, ROUTE_NUMBERS, 12_345]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_stored_is_what_was_written(kind: str, number: int) -> None:
    assert stored_value(kind, "k1", fields(kind, "k1", number)) == value(kind, number)
    assert stored_value(kind, "k1", None) is None


@pytest.mark.parametrize("service", NUMBERS)
@pytest.mark.parametrize("upstream", NUMBERS)
@pytest.mark.parametrize("route", NUMBERS)
@pytest.mark.parametrize("slash", ["/", ""])
def test_one_request_shows_all_three(service: int, upstream: int, route: int, slash: str) -> None:
    (matched,) = fields(ROUTES, "k1", route)["paths"]
    assert request_path("k1").startswith(matched)
    left = request_path("k1").removeprefix(matched)
    path = fields(SERVICES, "k1", service)["path"] + slash + left
    host = fields(UPSTREAMS, "k1", upstream)["host_header"] + ":8080"
    assert seen("k1", 200, echo(path, host)) == {
        register(SERVICES, "k1"): value(SERVICES, service),
        register(UPSTREAMS, "k1"): value(UPSTREAMS, upstream),
        register(ROUTES, "k1"): value(ROUTES, route),
    }


def test_not_found_shows_that_there_is_no_route() -> None:
    assert seen("k1", 404, "no Route matched") == {register(ROUTES, "k1"): None}


@pytest.mark.parametrize("status", [426, 500, 502, 503, 504])
def test_a_refusal_shows_nothing(status: int) -> None:
    assert seen("k1", status, "") == {}


def test_an_answer_that_no_configuration_gives_is_evidence_too() -> None:
    assert seen("k1", 200, "/s1/other h2.test") == {register(SERVICES, "k1"): "/s1/other h2.test"}
