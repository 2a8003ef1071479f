"""The PROXY header: what is one, whom it names, and where it ends."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.proxy_protocol import (
    LIMIT_BYTES,
    ProxyHeader,
    ProxyHeaderError,
    parse_proxy_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
ADDRESSES_4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 5000, 443)
ADDRESSES_6 = (
    IPv6Address("2001:db8::1").packed + IPv6Address("2001:db8::2").packed + b"\x13\x88\x01\xbb"
)
TLV = b"\x03\x00\x04\xde\xad\xbe\xef"


def binary(command: int = 0x21, family: int = 0x11, rest: bytes = ADDRESSES_4) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n", b"192.0.2.1"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", b"255.255.255.255"),
    (b"PROXY TCP6 2001:DB8:0::1 2001:db8::2 0 1\r\n", b"2001:db8::1"),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 5000 443\r\n", b"192.0.2.1"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None),
    (binary(), b"192.0.2.1"),
    (binary(rest=ADDRESSES_4 + TLV), b"192.0.2.1"),
    (binary(family=0x21, rest=ADDRESSES_6), b"2001:db8::1"),
    (binary(family=0x21, rest=ADDRESSES_6 + TLV * 100), b"2001:db8::1"),
    (binary(family=0x31, rest=bytes(216)), None),
    (binary(family=0x00, rest=b""), None),
    (binary(family=0x00, rest=TLV), None),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20), None),  # the balancer's own check: whatever addresses it gives
    (binary(0x20, 0xFF, TLV), None),
    (binary(rest=ADDRESSES_4 + bytes(LIMIT_BYTES - 28)), b"192.0.2.1"),
]


@pytest.mark.parametrize(("header", "client"), GOOD)
def test_a_header_names_the_client_and_ends_where_it_ends(header: bytes, client: bytes | None):
    assert parse_proxy_header(header) == ProxyHeader(len(header), client)
    assert parse_proxy_header(header + b"GET / HTTP/1.1\r\n\r\n") == (len(header), client)


@pytest.mark.parametrize("header", [header for header, _ in GOOD])
def test_a_part_of_a_header_is_none_yet(header: bytes):
    for end in range(len(header)):
        assert parse_proxy_header(header[:end]) is None


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "no PROXY protocol header"),
        (b"P\r", "no PROXY protocol header"),
        (b"proxy TCP4 ", "no PROXY protocol header"),
        (b"\x16\x03\x01", "no PROXY protocol header"),
        (SIGNATURE[:11] + b"\r", "no PROXY protocol header"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n", "malformed v1 header"),
        (b"PROXY TCP4  192.0.2.1 198.51.100.2 5000 443\r\n", "malformed v1 header"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443 \r\n", "malformed v1 header"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 05000 443\r\n", "malformed v1 header"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n", "malformed v1 header"),
        (b"PROXY TCP4 192.0.2.1\t198.51.100.2 5000 443\r\n", "malformed v1 header"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\n\r\n", "malformed v1 header"),
        (b"PROXY TCP5 192.0.2.1 198.51.100.2 5000 443\r\n", "malformed v1 header"),
        (b"PROXY UDP4 192.0.2.1 198.51.100.2 5000 443\r\n", "malformed v1 header"),
        (b"PROXY UNKNOWNS\r\n", "malformed v1 header"),
        (b"PROXY \r\n", "malformed v1 header"),
        (b"PROXY TCP4 a.test 198.51.100.2 5000 443\r\n", "malformed v1 header"),
        (b"PROXY TCP4 192.0.2.256 198.51.100.2 5000 443\r\n", "malformed address"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.02 5000 443\r\n", "malformed address"),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 5000 443\r\n", "malformed address"),
        (b"PROXY TCP6 192.0.2.1 198.51.100.2 5000 443\r\n", "malformed address"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", "malformed port"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 99999\r\n", "malformed port"),
        (b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n", "v1 header without an end"),
        (b"PROXY TCP4 " + b"1" * 96, "v1 header without an end"),
        (binary(0x11), "unknown version and command 0x11"),
        (binary(0x22), "unknown version and command 0x22"),
        (binary(0x00), "unknown version and command 0x00"),
        (binary(family=0x12), "unknown family and transport 0x12"),
        (binary(family=0x41), "unknown family and transport 0x41"),
        (binary(family=0x11, rest=ADDRESSES_4[:-1]), "too short for its addresses"),
        (binary(family=0x21, rest=ADDRESSES_4), "too short for its addresses"),
        (binary(family=0x31, rest=bytes(215)), "too short for its addresses"),
        (binary(rest=bytes(LIMIT_BYTES - 15)), "v2 header of 4097 bytes"),
        (binary(0x20, 0x00, bytes(60_000)), "v2 header of 60016 bytes"),
    ],
)
def test_anything_else_is_refused_with_a_reason(header: bytes, reason: str):
    with pytest.raises(ProxyHeaderError, match=reason):
        parse_proxy_header(header)


def test_a_header_that_is_too_long_is_refused_before_it_has_come():
    with pytest.raises(ProxyHeaderError):
        parse_proxy_header(binary(rest=bytes(LIMIT_BYTES))[:16])


PORTS = st.integers(0, 65535)


@given(
    st.ip_addresses(v=4), st.ip_addresses(v=4), PORTS, PORTS, st.binary(max_size=300), st.binary()
)
def test_both_versions_say_the_same(
    source: IPv4Address, target: IPv4Address, port: int, to: int, extra: bytes, after: bytes
):
    line = f"PROXY TCP4 {source} {target} {port} {to}\r\n".encode()
    packed = binary(rest=source.packed + target.packed + struct.pack("!HH", port, to) + extra)
    for header in (line, packed):
        assert parse_proxy_header(header + after) == (len(header), str(source).encode())


@given(st.one_of(st.binary(), st.sampled_from([b"PROXY ", SIGNATURE + b"!\x11"])), st.binary())
def test_whatever_comes_is_a_header_or_the_beginning_of_one_or_refused(begin: bytes, rest: bytes):
    data = begin + rest
    try:
        header = parse_proxy_header(data)
    except ProxyHeaderError:
        return
    if header is None:
        assert len(data) < LIMIT_BYTES
        for end in range(len(data)):
            assert parse_proxy_header(data[:end]) is None
    else:
        assert parse_proxy_header(data[: header.size]) == header
