"""Priority: the worked cases of the reference, and what a rule must have to be compiled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from gateway.routing import RouteRule, compile_rule

from .making import chosen, router, rule, winner


@dataclass
class Case:
    a: RouteRule
    b: RouteRule
    wins: str
    request: dict[str, Any] = field(default_factory=dict)


XY = [(b"x", b"1"), (b"y", b"1")]

WORKED_CASES = {
    "more attributes": Case(
        rule("A", hosts=["any.test"]), rule("B", paths=["/"], methods=["GET"]), "B"
    ),
    "hosts and paths over hosts and methods": Case(
        rule("A", hosts=["any.test"], paths=["/"]),
        rule("B", hosts=["any.test"], methods=["GET"]),
        "A",
    ),
    "headers over paths": Case(
        rule("A", headers={"x": ["1"]}), rule("B", paths=["/"]), "A", {"headers": XY}
    ),
    "hosts over headers": Case(
        rule("A", hosts=["any.test"]), rule("B", headers={"x": ["1"]}), "A", {"headers": XY}
    ),
    "paths over methods": Case(rule("A", paths=["/"]), rule("B", methods=["GET"]), "A"),
    "plain host over wildcard, whatever the paths": Case(
        rule("A", hosts=["api.test"], paths=["/"]),
        rule("B", hosts=["*.test"], paths=["/orders"]),
        "A",
        {"host": b"api.test", "path": b"/orders"},
    ),
    "wildcard with port over wildcard without, port implied": Case(
        rule("A", hosts=["*.test"]), rule("B", hosts=["*.test:80"]), "B", {"host": b"x.test"}
    ),
    "regex over prefix of any length": Case(
        rule("A", paths=["/orders/items"]),
        rule("B", paths=[r"~/orders/\w+"]),
        "B",
        {"path": b"/orders/items"},
    ),
    "larger regex_priority": Case(
        rule("A", paths=["~/a"]), rule("B", paths=["~/a."], regex_priority=5), "B", {"path": b"/ab"}
    ),
    "regex_priority is nothing to a plain path": Case(
        rule("A", paths=["/a"], regex_priority=100),
        rule("B", paths=["/ab"]),
        "B",
        {"path": b"/ab"},
    ),
    "longer path": Case(
        rule("A", paths=["/orders"]),
        rule("B", paths=["/orders/items"]),
        "B",
        {"path": b"/orders/items"},
    ),
    "more header names before longer path": Case(
        rule("A", headers={"x": ["1"], "y": ["1"]}, paths=["/"]),
        rule("B", headers={"x": ["1"]}, paths=["/very/long"]),
        "A",
        {"path": b"/very/long", "headers": XY},
    ),
    "older route": Case(
        rule("A", paths=["/"], created_at=1), rule("B", paths=["/"], created_at=2), "A"
    ),
    "smaller id among equally old": Case(
        rule("A", paths=["/"], rule_id=UUID(int=1)),
        rule("B", paths=["/"], rule_id=UUID(int=2)),
        "A",
    ),
    "two headers over a regex path": Case(
        rule("A", hosts=["any.test"], paths=["~/a"]),
        rule("B", hosts=["any.test"], headers={"x": ["1"], "y": ["1"]}),
        "B",
        {"path": b"/a", "headers": XY},
    ),
    "snis do not count on plain HTTP": Case(
        rule("A", paths=["/"], snis=["s.test"]), rule("B", paths=["/"]), "B"
    ),
    "snis count under TLS": Case(
        rule("A", paths=["/"], snis=["s.test"]),
        rule("B", paths=["/"]),
        "A",
        {"tls": True, "sni": b"s.test"},
    ),
    "snis must hold under TLS": Case(
        rule("A", paths=["/"], snis=["s.test"]),
        rule("B", paths=["/"]),
        "B",
        {"tls": True, "sni": b"other.test"},
    ),
}


@pytest.mark.parametrize("case", WORKED_CASES.values(), ids=WORKED_CASES.keys())
def test_worked_priority_cases(case: Case) -> None:
    assert winner(router(case.a, case.b), **case.request) == case.wins
    assert winner(router(case.b, case.a), **case.request) == case.wins


@pytest.mark.parametrize("case", WORKED_CASES.values(), ids=WORKED_CASES.keys())
def test_in_each_worked_case_the_loser_takes_the_request_once_it_is_alone(case: Case) -> None:
    both = router(case.a, case.b)
    by_name = {"A": case.a, "B": case.b}
    loser = {"A": "B", "B": "A"}[case.wins]
    alone = both.with_changes((), [by_name[case.wins].id])
    takes = None if case.request.get("sni") == b"other.test" else loser
    assert winner(alone, **case.request) == takes


def test_each_path_of_a_route_has_a_priority_of_its_own() -> None:
    both = router(rule("A", paths=["/", "/a/b/c"]), rule("B", paths=["/a"]))
    assert winner(both, b"/a/b/c/d") == "A"
    assert winner(both, b"/a/b") == "B"
    assert winner(both, b"/x") == "A"


@pytest.mark.parametrize(
    ("paths", "matched"), [(["~/ab", "~/a"], b"/ab"), (["~/a", "~/ab"], b"/a")]
)
def test_regexes_of_one_route_are_tried_in_their_order(paths: list[str], matched: bytes) -> None:
    candidate = chosen(router(rule("A", paths=paths)), b"/abc")
    assert candidate is not None
    assert candidate.matched == matched


@pytest.mark.parametrize("protocols", [["grpc"], ["http"], ["grpcs", "https"]])
def test_protocols_of_the_http_family_are_not_matched_on(protocols: list[str]) -> None:
    loaded = router(rule("A", paths=["/"], protocols=protocols))
    assert winner(loaded) == "A"
    assert winner(loaded, tls=True, sni=b"s.test") == "A"


@pytest.mark.parametrize("protocols", [["tcp", "tls"], ["tls_passthrough"]])
def test_routes_of_streams_are_not_loaded(protocols: list[str]) -> None:
    loaded = router(rule("A", snis=["s.test"], protocols=protocols))
    assert winner(loaded, tls=True, sni=b"s.test") is None
    assert len(loaded) == 0


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (rule("A", paths=["/ok", "~/a(b"]), r"path '~/a\(b'"),
        (rule("A", paths=["~/(?=a)"]), r"path '~/\(\?=a\)'"),
        (rule("A", paths=["~/(a?){1000}"]), r"path '~/\(a\?\)\{1000\}' .*4005 steps"),
        (rule("A", paths=["a"]), "path 'a'"),
        (rule("A", headers={"X-Version": ["~*["]}), "header 'X-Version'"),
        (rule("A", hosts=["*.a.*"]), r"host '\*\.a\.\*'"),
        (rule("A", hosts=["a*.test"]), r"host 'a\*\.test'"),
        (rule("A"), "none of hosts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rule_that_cannot_be_served_is_refused_by_name(bad: RouteRule, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        compile_rule(bad, compatible=False)
