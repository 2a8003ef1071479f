"""Host texts are classified, checked and normalised as entities.md, section 2 says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.entities.hosts import Host, HostError, HostKind, is_address_or_network, parse_host

LOOPBACK = "0000:0000:0000:0000:0000:0000:0000:0001"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.com", Host(HostKind.NAME, "example.com", None)),
        ("Example.com:80", Host(HostKind.NAME, "Example.com", 80)),
        ("example.com.", Host(HostKind.NAME, "example.com.", None)),
        ("-a_b.c", Host(HostKind.NAME, "-a_b.c", None)),
        ("10.0.0.1", Host(HostKind.IPV4, "10.0.0.1", None)),
        ("010.000.0.01:65535", Host(HostKind.IPV4, "10.0.0.1", 65535)),
        ("::1", Host(HostKind.IPV6, LOOPBACK, None)),
        ("[::1]:8000", Host(HostKind.IPV6, LOOPBACK, 8000)),
        ("[::1]", Host(HostKind.IPV6, LOOPBACK, None)),
    ],
)
def test_a_host_is_taken_apart(text: str, host: Host):
    assert parse_host(text) == host


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid hostname: "),
        ("a b", "invalid hostname: a b"),
        ("a..b", "invalid hostname: a..b"),
        ("a-.b", "invalid hostname: a-.b"),
        ("a:", "invalid hostname: a:"),
        ("a:x", "invalid hostname: a:x"),
        ("a:65536", "invalid port number"),
        ("a:99999999999999", "invalid port number"),
        ("1.2.3", "invalid ipv4 address: 1.2.3"),
        ("1.2.3.256", "invalid ipv4 address: 1.2.3.256"),
        ("1.2.3.4:", "invalid port number"),
        (":::", "invalid ipv6 address: :::"),
        ("::1%eth0", "invalid ipv6 address: ::1%eth0"),
        ("[::1]:", "invalid ipv6 address: [::1]:"),
        ("[::1]:99999", "invalid port number"),
    ],
)
def test_what_is_no_host_is_refused_with_the_reason(text: str, reason: str):
    with pytest.raises(HostError) as error:
        parse_host(text)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", "a:8000"), ("a:1", "a:1"), ("::1", f"[{LOOPBACK}]:8000"), ("01.2.3.4", "1.2.3.4:8000")],
)
def test_a_missing_port_is_filled_in(text: str, expected: str):
    assert parse_host(text).with_port(8000) == expected


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("10.0.0.0/8", True),
        ("10.0.0.1", True),
        ("::/0", True),
        ("10.0.0.0/33", False),
        ("10.0.0.0/255.0.0.0", False),
        ("10.0.0.0/", False),
        ("fe80::1%eth0", False),
        ("example.com", False),
    ],
)
def test_addresses_and_networks_are_told_from_the_rest(text: str, is_one: bool):
    assert is_address_or_network(text) is is_one


@given(st.text(alphabet="a1.:-[]_ é") | st.text())
def test_any_text_is_a_host_or_refused(text: str):
    try:
        host = parse_host(text)
    except HostError:
        return
    assert parse_host(host.with_port(8000)).with_port(1) == host.with_port(8000)
