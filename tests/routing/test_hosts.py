"""Which Host reaches which configured host, row by row of the reference table."""

from __future__ import annotations

import pytest

from .making import router, rule, winner

MATCHES = [  # configured, Host as received, under TLS, matches
    ("a.example", b"a.example", False, True),
    ("a.example", b"a.example:1", False, True),
    ("a.example", b"a.example:8443", True, True),
    ("a.example", b"A.example", False, False),
    ("a.example", b"b.a.example", False, False),
    ("a.example", b"a.example:", False, False),
    ("a.example", b"a.example:x", False, False),
    ("a.example", b"", False, False),
    ("a.example:8443", b"a.example:8443", False, True),
    ("a.example:8443", b"a.example", True, False),
    ("a.example:80", b"a.example", False, False),
    ("*.example", b"a.example", False, True),
    ("*.example", b"x.y.example", False, True),
    ("*.example", b"a.example:123", False, True),
    ("*.example", b".example", False, False),
    ("*.example", b"example", False, False),
    ("*.example", b"a.example.test", False, False),
    ("*.example", b"*.example", False, True),
    ("*.x.example", b"a.example", False, False),
    ("shop.*", b"shop.test", False, True),
    ("shop.*", b"shop.co.test:80", False, True),
    ("shop.*", b"shop.", False, False),
    ("shop.*", b"shop", False, False),
    ("shop.*", b"a.shop.test", False, False),
    ("shop.*:8080", b"shop.test:8080", False, True),
    ("shop.*:8080", b"shop.test", False, False),
    ("*.example:8443", b"a.example:8443", False, True),
    ("*.example:8443", b"a.example:8444", False, False),
    ("*.example:80", b"a.example", False, True),
    ("*.example:80", b"a.example", True, False),
    ("*.example:443", b"a.example", True, True),
    ("*.example:443", b"a.example", False, False),
    ("::1", b"::1", False, True),
    ("::1", b"[::1]", False, True),
    ("::1", b"[::1]:9000", False, True),
    ("[::1]:9000", b"[::1]:9000", False, True),
    ("[::1]:9000", b"[::1]:9001", False, False),
    ("[::1]:9000", b"[::1]", False, False),
    ("a.example:8443", b"[a.example:8443]:1", False, False),
]


@pytest.mark.parametrize(("configured", "host", "tls", "matches"), MATCHES)
def test_a_host_matches_as_the_reference_table_says(
    configured: str, host: bytes, tls: bool, matches: bool
) -> None:
    one = router(rule("A", hosts=[configured]))
    assert winner(one, host=host, tls=tls) == ("A" if matches else None)


@pytest.mark.parametrize("port_specific_is_older", [True, False])
def test_the_host_that_names_the_port_wins_over_the_one_that_takes_any(
    port_specific_is_older: bool,
) -> None:
    both = router(
        rule("any port", hosts=["a.example"], created_at=1),
        rule("8443", hosts=["a.example:8443"], created_at=0 if port_specific_is_older else 2),
    )
    assert winner(both, host=b"a.example:8443") == "8443"
    assert winner(both, host=b"a.example:9") == "any port"


def test_any_host_of_a_route_will_do() -> None:
    one = router(rule("A", hosts=["a.test", "*.example", "b.test:81"]))
    for host in (b"a.test", b"x.example", b"b.test:81"):
        assert winner(one, host=host) == "A"
    assert winner(one, host=b"b.test") is None


def test_a_host_beyond_the_longest_name_meets_no_wildcard() -> None:
    one = router(rule("A", hosts=["*.example"]))
    assert winner(one, host=b"a." * 120 + b"example") == "A"
    assert winner(one, host=b"a." * 4000 + b"example") is None
