"""Where the two flavors of the router differ, each difference by an example of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from gateway.routing import RouteRule
from gateway.routing.hosts import with_port

from .making import router, rule, winner


@dataclass
class Case:
    a: RouteRule
    b: RouteRule
    traditional: str
    compatible: str
    request: dict[str, Any] = field(default_factory=dict)


X = [(b"x", b"1")]

ORDERS = {
    "categories have no weights": Case(
        rule("A", hosts=["*.test"], methods=["GET"]),
        rule("B", paths=["/"], methods=["GET"]),
        traditional="A",
        compatible="B",
    ),
    "header names count, whatever else there is": Case(
        rule("A", hosts=["*.test"], paths=["/orders"]),
        rule("B", headers={"x": ["1"]}, methods=["GET"]),
        traditional="A",
        compatible="B",
        request={"headers": X, "path": b"/orders"},
    ),
    "plain hosts before header names": Case(
        rule("A", hosts=["any.test"], paths=["/"]),
        rule("B", headers={"x": ["1"], "y": ["1"]}, paths=["/"]),
        traditional="A",
        compatible="A",
        request={"headers": [*X, (b"y", b"1")]},
    ),
    "a wildcard host weighs nothing, with a port or without": Case(
        rule("A", hosts=["*.test:80"], paths=["/"]),
        rule("B", hosts=["*.test"], paths=["/orders"]),
        traditional="A",
        compatible="B",
        request={"path": b"/orders", "host": b"any.test:80"},
    ),
    "a host that names the port weighs as any other": Case(
        rule("A", hosts=["any.test:80"], paths=["/"]),
        rule("B", hosts=["any.test"], paths=["/orders"]),
        traditional="A",
        compatible="B",
        request={"path": b"/orders", "host": b"any.test:80"},
    ),
    "of equals, the larger id instead of the older route": Case(
        rule("A", paths=["/"], created_at=1, rule_id=UUID(int=1)),
        rule("B", paths=["/"], created_at=2, rule_id=UUID(int=2)),
        traditional="A",
        compatible="B",
    ),
    "the larger id, in full": Case(
        rule("A", paths=["/"], rule_id=UUID(int=(1 << 127) + 1)),
        rule("B", paths=["/"], rule_id=UUID(int=1 << 127)),
        traditional="B",
        compatible="A",
    ),
    "regex before prefix": Case(
        rule("A", paths=["/orders/items"]),
        rule("B", paths=[r"~/orders"]),
        traditional="B",
        compatible="B",
        request={"path": b"/orders/items"},
    ),
    "regex_priority": Case(
        rule("A", paths=["~/a"], regex_priority=3),
        rule("B", paths=["~/a."], regex_priority=5),
        traditional="B",
        compatible="B",
        request={"path": b"/ab"},
    ),
    "regex_priority is nothing to a plain path": Case(
        rule("A", paths=["/a"], regex_priority=100),
        rule("B", paths=["/ab"]),
        traditional="B",
        compatible="B",
        request={"path": b"/ab"},
    ),
    "snis count on plain HTTP too": Case(
        rule("A", paths=["/"], snis=["s.test"]),
        rule("B", paths=["/orders"]),
        traditional="B",
        compatible="A",
        request={"path": b"/orders"},
    ),
}


@pytest.mark.parametrize("case", ORDERS.values(), ids=ORDERS.keys())
def test_the_order_of_routes(case: Case) -> None:
    for first, second in ((case.a, case.b), (case.b, case.a)):
        assert winner(router(first, second), **case.request) == case.traditional
        assert winner(router(first, second, compatible=True), **case.request) == case.compatible


HOSTS = [  # configured, Host, listener's port, matches in traditional, in compatible
    ("a.test:8000", b"a.test", 8000, False, True),
    ("a.test:8000", b"a.test", 8443, False, False),
    ("a.test:8000", b"a.test:8000", 8443, True, True),
    ("a.test", b"a.test", 8000, True, True),
    ("a.test", b"a.test:1", 8000, True, True),
    ("*.test:8000", b"a.test", 8000, False, True),
    ("*.test:80", b"a.test", 8000, True, False),
    ("*.test", b".test", 8000, False, True),
    ("*.test:8000", b".test", 8000, False, True),
    ("a.*", b"a.", 8000, False, True),
    ("a.*:8000", b"a.", 8000, False, True),
    ("*.test", b"test", 8000, False, False),
    ("A.test", b"a.test", 8000, False, False),
    ("[::1]:9000", b"[::1]", 9000, False, True),
    ("::1", b"[::1]", 9000, True, True),
    ("a.test", b"", 8000, False, False),
]


@pytest.mark.parametrize(("configured", "host", "port", "traditional", "compatible"), HOSTS)
def test_hosts(
    configured: str, host: bytes, port: int, traditional: bool, compatible: bool
) -> None:
    one = rule("A", hosts=[configured])
    assert winner(router(one), host=host) == ("A" if traditional else None)
    as_seen = with_port(host, port)
    assert winner(router(one, compatible=True), host=as_seen) == ("A" if compatible else None)


HEADERS = [  # configured, value, matches in traditional, in compatible
    (["~*^v[0-9]$"], b"V2", True, True),
    (["~*^V[0-9]$"], b"V2", False, True),  # the pattern is lowered
    (["~*^v[0-9]$", "beta"], b"v2", False, True),  # any entry may be a regex
    (["~*^v[0-9]$", "beta"], b"Beta", True, True),
    (["beta", "~*^v[0-9]$"], b"v2", False, True),
    (["~*^v[0-9]$", "beta"], b"~*^v[0-9]$", True, False),
]


@pytest.mark.parametrize(("configured", "value", "traditional", "compatible"), HEADERS)
def test_header_regexes(
    configured: list[str], value: bytes, traditional: bool, compatible: bool
) -> None:
    one = rule("A", headers={"X-Version": configured})
    sent = [(b"x-version", value)]
    assert winner(router(one), headers=sent) == ("A" if traditional else None)
    assert winner(router(one, compatible=True), headers=sent) == ("A" if compatible else None)


@pytest.mark.parametrize(
    ("configured", "sni", "matches"),
    [
        ("*.test", b"a.test", True),
        ("*.test", b"a.b.test", True),
        ("*.test", b"a.test.example", False),
        ("*.test.", b"a.test", True),
        ("a.*", b"a.test", True),
        ("a.*", b"b.a.test", False),
        ("*.test", None, False),
    ],
)
def test_wildcards_in_snis(configured: str, sni: bytes | None, matches: bool) -> None:
    one = rule("A", snis=[configured])
    assert winner(router(one, compatible=True), tls=True, sni=sni) == ("A" if matches else None)
    with pytest.raises(ValueError, match=r"router_flavor is traditional_compatible"):
        router(one)


def test_a_header_regex_that_does_not_survive_being_lowered_is_refused_by_name() -> None:
    one = rule("A", headers={"X-Version": ["~*(?P<major>v1)"]})
    router(one)
    with pytest.raises(ValueError, match="header 'X-Version'"):
        router(one, compatible=True)


def test_the_number_of_the_compatible_flavor_has_bounds() -> None:
    """What does not fit its bits must not spill over into those of greater weight."""
    many = {f"x-{n}": ["1"] for n in range(300)}
    sent = [(name.encode(), b"1") for name in many]
    both = router(
        rule("A", headers=many, paths=["/"]),
        rule("B", hosts=["any.test"], headers={"x-1": ["1"]}),
        compatible=True,
    )
    assert winner(both, headers=sent) == "B"
    both = router(
        rule("A", paths=["~/a"], regex_priority=2**40),
        rule("B", paths=["~/a"], headers={"x-1": ["1"]}, regex_priority=-5),
        compatible=True,
    )
    assert winner(both, b"/a", headers=sent) == "B"
