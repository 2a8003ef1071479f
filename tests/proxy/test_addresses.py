"""Addresses are read strictly, written in one way, and found in networks by what they mean."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.addresses import Networks, canonical, canonical_text, read_address
from gateway.settings import networks

ADDRESSES = st.ip_addresses().filter(lambda address: getattr(address, "ipv4_mapped", None) is None)


@pytest.mark.parametrize(
    ("token", "address"),
    [
        (b"192.0.2.1", b"192.0.2.1"),
        (b"192.0.2.1:80", b"192.0.2.1"),
        (b"2001:DB8::0:1", b"2001:db8::1"),
        (b"[2001:db8::1]", b"2001:db8::1"),
        (b"[2001:db8::1]:443", b"2001:db8::1"),
        (b"::ffff:192.0.2.1", b"192.0.2.1"),
        (b"::", b"::"),
        (b"", None),
        (b"unknown", None),
        (b"_hidden", None),
        (b"a.test", None),
        (b"192.0.2", None),
        (b"192.0.2.256", None),
        (b"192.0.2.01", None),  # octal to some
        (b"192.0.2.1:", None),
        (b"192.0.2.1:123456", None),
        (b"192.0.2.1 ", None),
        (b"192.0.2.0/24", None),
        (b"[192.0.2.1]", None),
        (b"[2001:db8::1", None),
        (b"2001:db8::1]", None),
        (b"[2001:db8::1]443", None),
        (b"fe80::1%eth0", None),
        (b"\xd9\xa1.0.0.1", None),
        (b'"[2001:db8::1]"', None),
        (b"1" * 1000, None),
    ],
)
def test_only_an_address_is_read_as_one(token: bytes, address: bytes | None):
    assert read_address(token) == address


@given(ADDRESSES, st.integers(0, 65535))
def test_every_address_is_read_in_every_form(address: IPv4Address | IPv6Address, port: int):
    written = str(address).encode()
    bracketed = b"[%b]" % written if address.version == 6 else written
    for token in (written, bracketed, b"%b:%d" % (bracketed, port)):
        assert read_address(token) == written
    assert canonical(address) == canonical_text(str(address)) == written


@given(st.binary(max_size=50))
def test_whatever_is_read_is_an_address(token: bytes):
    address = read_address(token)
    assert address is None or canonical(ip_address(address.decode())) == address


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("192.0.2.1", b"192.0.2.1"),
        ("::ffff:192.0.2.1", b"192.0.2.1"),
        ("fe80::1%eth0", b"fe80::1"),
    ],
)
def test_a_sockets_address_is_written_without_what_is_of_the_socket(name: str, address: bytes):
    assert canonical_text(name) == address


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        (b"127.0.0.1", True),
        (b"::1", True),
        (b"10.1.2.3", True),
        (b"192.0.2.9", True),
        (b"11.0.0.1", False),
        (b"::2", False),
        (b"unknown", False),
        (b"unix:", False),
    ],
)
def test_networks_are_matched_by_address(address: bytes, inside: bool):
    text = "127.0.0.0/8, ::1, 10.1.2.3/8, ::ffff:192.0.2.0/120"
    assert (address in Networks(networks(text))) is inside


def test_all_addresses_are_two_networks():
    both, v6 = Networks(networks("0.0.0.0/0,::/0")), Networks(networks("::/0"))
    assert [b"192.0.2.1" in both, b"2001:db8::1" in both] == [True, True]
    assert [b"192.0.2.1" in v6, b"2001:db8::1" in v6] == [False, True]


def test_nothing_is_in_no_network():
    assert b"127.0.0.1" not in Networks([])
