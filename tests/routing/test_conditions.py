"""Headers and SNIs: what a candidate asks of a request after its path has matched."""

from __future__ import annotations

import pytest

from gateway.routing import RouteRule, select

from .making import router, rule, winner

HEADERS = [  # configured, request headers, matches
    ({"X-Version": ["v1"]}, [(b"x-version", b"v1")], True),
    ({"x-version": ["V1"]}, [(b"x-version", b"v1")], True),
    ({"x-version": ["v1"]}, [(b"x-version", b"V1")], True),
    ({"x-version": ["v1", "v2"]}, [(b"x-version", b"v2")], True),
    ({"x-version": ["v1"]}, [(b"x-version", b"v0"), (b"x-version", b"v1")], True),
    ({"x-version": ["v1"]}, [(b"x-version", b"v1, v2")], False),
    ({"x-version": ["v1"]}, [(b"other", b"v1")], False),
    ({"x-version": ["v1"]}, [], False),
    ({"x-a": ["1"], "x-b": ["2"]}, [(b"x-a", b"1"), (b"x-b", b"2")], True),
    ({"x-a": ["1"], "x-b": ["2"]}, [(b"x-a", b"1")], False),
    ({"x-version": ["~*v[0-9]$"]}, [(b"x-version", b"api-V2")], True),
    ({"x-version": ["~*v[0-9]$"]}, [(b"x-version", b"v2-api")], False),
    ({"x-version": ["~*V"]}, [(b"x-version", b"V")], False),  # the pattern is not lowered
    ({"x-version": ["~*v", "w"]}, [(b"x-version", b"v")], False),  # a regex stands alone
    ({"x-version": ["~*v", "w"]}, [(b"x-version", b"~*v")], True),
]


@pytest.mark.parametrize(("configured", "headers", "matches"), HEADERS)
def test_headers_match_by_name_and_any_value(
    configured: dict[str, list[str]], headers: list[tuple[bytes, bytes]], matches: bool
) -> None:
    one = router(rule("A", headers=configured))
    assert winner(one, headers=headers) == ("A" if matches else None)


SNIS = [  # configured, under TLS, SNI, matches
    ("s.test", True, b"s.test", True),
    ("s.test.", True, b"s.test", True),
    ("s.test", True, b"S.test", False),
    ("s.test", True, None, False),
    ("s.test", False, None, True),
]


@pytest.mark.parametrize(("configured", "tls", "sni", "matches"), SNIS)
def test_snis_match_exactly_under_tls_and_always_on_plain_http(
    configured: str, tls: bool, sni: bytes | None, matches: bool
) -> None:
    one = router(rule("A", snis=[configured]))
    assert winner(one, tls=tls, sni=sni) == ("A" if matches else None)


def test_headers_and_snis_must_both_hold() -> None:
    one = router(rule("A", headers={"x": ["1"]}, snis=["s.test"]))
    header = [(b"x", b"1")]
    assert winner(one, tls=True, sni=b"s.test", headers=header) == "A"
    assert winner(one, tls=True, sni=b"s.test") is None
    assert winner(one, tls=True, sni=b"t.test", headers=header) is None
    assert winner(one, headers=header) == "A"


def version_routes(count: int) -> list[RouteRule]:
    return [rule(f"v{n}", paths=["/"], headers={"x-version": [f"v{n}"]}) for n in range(count)]


def test_a_request_falls_through_conditions_to_the_route_that_asks_for_nothing() -> None:
    versions = router(*version_routes(20), rule("rest", paths=["/"]))
    assert winner(versions, headers=[(b"x-version", b"v7")]) == "v7"
    assert winner(versions, headers=[(b"x-version", b"v99")]) == "rest"


def test_headers_are_not_read_when_the_first_candidate_has_no_conditions() -> None:
    candidates = router(rule("A", paths=["/"])).candidates(False, b"GET", b"", b"/")
    unread = iter([(b"x", b"1")])
    assert select(candidates, unread, None) is candidates[0]
    assert next(unread) == (b"x", b"1")
