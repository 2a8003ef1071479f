"""ip-restriction: who is let in, and what is said to the others."""

from __future__ import annotations

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.contract import Use
from gateway.plugins.identity import Directory
from gateway.plugins.ip_restriction import IpRestriction
from gateway.plugins.request import Request
from gateway.testing import Serving
from tests.plugins.configs import problems

NEITHER = "at least one of these fields must be non-empty: 'config.allow', 'config.deny'"


def refusal_of(address: bytes, **config: Any) -> str | None:
    """Return what is said to a client at this address; None if it is let in."""
    plugin = IpRestriction(IpRestriction.Config(**config), Use(uuid4(), "ip-restriction"))
    asked: Any = SimpleNamespace(client_address=address)
    reply = plugin.access(Request(asked, Directory()))
    return None if reply is None else reply.message


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"@entity": [NEITHER]}),
        ({"allow": [], "deny": None}, {"@entity": [NEITHER]}),
        ({"deny": ["10.0.0.0/33"]}, {"deny": ["invalid ip or cidr range: '10.0.0.0/33'"]}),
        (
            {"allow": ["::1", "nobody"]},
            {"allow": [None, "invalid ip or cidr range: 'nobody'"]},
        ),
        ({"deny": ["::1"], "status": 99}, {"status": "value should be between 200 and 599"}),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    assert problems(IpRestriction, config) == expected


@pytest.mark.parametrize(
    ("allow", "deny", "address", "is_let_in"),
    [
        (["192.0.2.1"], None, b"192.0.2.1", True),
        (["192.0.2.1"], None, b"192.0.2.2", False),
        (["192.0.2.0/24"], None, b"192.0.2.200", True),
        (["192.0.2.77/24"], None, b"192.0.2.200", True),  # what is beyond the prefix is nothing
        (None, ["192.0.2.0/24"], b"192.0.2.200", False),
        (None, ["192.0.2.0/24"], b"192.0.3.1", True),
        ([], ["192.0.2.0/24"], b"192.0.3.1", True),
        (["192.0.2.0/24"], ["192.0.2.1"], b"192.0.2.1", False),  # deny goes first
        (["192.0.2.0/24"], ["192.0.2.1"], b"192.0.2.2", True),
        (["2001:db8::/32"], None, b"2001:db8:1::1", True),
        (["2001:db8::/32"], None, b"2001:db9::1", False),
        (["2001:DB8:0:0::1"], None, b"2001:db8::1", True),
        (["::ffff:192.0.2.0/120"], None, b"192.0.2.9", True),  # IPv4 in IPv6 is IPv4
        (["::/0"], None, b"192.0.2.1", False),
        (["0.0.0.0/0"], None, b"2001:db8::1", False),
        (["0.0.0.0/0", "::/0"], None, b"2001:db8::1", True),
    ],
)
def test_who_is_let_in(
    allow: list[str] | None, deny: list[str] | None, address: bytes, *, is_let_in: bool
):
    said = None if is_let_in else f"IP address not allowed: {address.decode()}"
    assert refusal_of(address, allow=allow, deny=deny) == said


def test_a_socket_in_the_file_system_has_no_address():
    said = "Cannot identify the client IP address, unix domain sockets are not supported."
    assert refusal_of(b"unix:", deny=["192.0.2.1"]) == said


@given(
    st.lists(st.ip_addresses(v=4).flatmap(
        lambda a: st.integers(0, 32).map(lambda n: f"{a}/{n}")), min_size=1, max_size=20),
    st.ip_addresses(v=4),
)  # fmt: skip
def test_many_networks_are_as_good_as_each(texts: list[str], address: Any):
    networks = [ip_network(text, strict=False) for text in texts]
    is_let_in = any(address in network for network in networks)
    assert (refusal_of(str(address).encode(), allow=texts) is None) == is_let_in


async def test_a_refusal():
    async with Serving(IpRestriction, deny=["127.0.0.1"]) as gateway:
        answer = await gateway.ask("GET", "/", headers={"X-Real-IP": "192.0.2.1"})
    assert answer.status_code == 403
    assert answer.json()["message"] == "IP address not allowed: 127.0.0.1"
    assert gateway.received == []


async def test_a_refusal_of_ones_own():
    async with Serving(IpRestriction, deny=["127.0.0.1"], status=404, message="no") as gateway:
        answer = await gateway.ask("GET", "/")
    assert (answer.status_code, answer.json()["message"]) == (404, "no")


async def test_the_word_of_a_trusted_proxy_is_taken():
    config = {"allow": ["192.0.2.0/24"]}
    async with Serving(IpRestriction, {"trusted_ips": "127.0.0.1"}, **config) as gateway:
        inside = await gateway.ask("GET", "/", headers={"X-Real-IP": "::ffff:192.0.2.1"})
        outside = await gateway.ask("GET", "/", headers={"X-Real-IP": "198.51.100.1"})
    assert (inside.status_code, outside.status_code) == (200, 403)
