"""Names: by which records they are looked up, how long answers last, and what if there are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import dns.rcode
import pytest

from gateway.proxy import resolver as resolver_module
from gateway.proxy.name_lookup import Address
from gateway.proxy.resolver import Name, Resolver
from gateway.settings import NodeSettings, SettingError, name_servers, read_settings

from .name_server import NameServer
from .peers import DEADLINE_S, eventually

HOST = "a.test"
AT_ONCE = {"dns_ttl_min_s": 0.001, "dns_ttl_max_s": 0.001, "dns_not_found_ttl_s": 0.001}
"""Answers are outdated as soon as they are there."""

MakeResolver = Callable[..., Resolver]


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    server = NameServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def make(server: NameServer) -> AsyncIterator[MakeResolver]:
    made: list[Resolver] = []

    def make(**settings: Any) -> Resolver:
        made.append(Resolver(NodeSettings(**(server.settings | settings))))
        return made[-1]

    yield make
    for resolver in made:
        await resolver.stop()


@pytest.fixture
def resolver(make: MakeResolver) -> Resolver:
    return make()


async def looked_up(resolver: Resolver, host: str = HOST) -> Name:
    """The name, after a lookup."""
    ended = asyncio.Event()
    name = resolver.name(host)
    resolver.look_up(name, ended.set)
    await ended.wait()
    return name


def known(name: Name) -> list[str]:
    return [address.address for address in name.addresses(perf_counter())]


async def addresses(resolver: Resolver, host: str = HOST) -> list[str]:
    return known(await looked_up(resolver, host))


# -- records


async def test_all_addresses_of_a_name_once_each(resolver: Resolver, server: NameServer):
    server.records[HOST] = {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": ["2001:db8::1"]}
    assert sorted(await addresses(resolver)) == ["192.0.2.1", "192.0.2.2"]
    assert set(server.asked) == {(HOST, "A"), (HOST, "AAAA"), (HOST, "SRV")}


async def test_ipv6_where_there_is_nothing_else(resolver: Resolver, server: NameServer):
    server.records[HOST] = {"AAAA": ["2001:db8::1"]}
    assert await addresses(resolver) == ["2001:db8::1"]


async def test_the_order_of_record_types_is_a_setting(make: MakeResolver, server: NameServer):
    server.records[HOST] = {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]}
    assert await addresses(make(dns_order="AAAA, a")) == ["2001:db8::1"]
    assert server.questions("SRV") == 0


async def test_srv_records_give_ports_weights_and_names(resolver: Resolver, server: NameServer):
    server.records[HOST] = {
        "SRV": ["1 20 8080 one.test.", "1 0 0 two.test.", "2 99 99 spare.test."],
        "A": ["192.0.2.9"],
    }
    server.records["one.test"] = {"A": ["192.0.2.1", "192.0.2.2"]}
    server.records["two.test"] = {"AAAA": ["2001:db8::1"]}
    server.records["spare.test"] = {"A": ["192.0.2.8"]}
    name = await looked_up(resolver)
    assert set(name.addresses(0.0)) == {
        Address("192.0.2.1", 8080, 20, "one.test"),
        Address("192.0.2.2", 8080, 20, "one.test"),
        Address("2001:db8::1", None, 1, "two.test"),
    }
    assert ("spare.test", "A") not in server.asked


async def test_srv_records_that_lead_nowhere_leave_it_to_the_others(
    resolver: Resolver, server: NameServer
):
    server.records[HOST] = {"SRV": ["1 1 1 gone.test."], "A": ["192.0.2.1"]}
    assert await addresses(resolver) == ["192.0.2.1"]


async def test_the_type_that_had_an_answer_is_asked_for_alone_until_it_has_none(
    resolver: Resolver, server: NameServer
):
    server.records[HOST] = {"A": ["192.0.2.1"]}
    await addresses(resolver)
    server.asked.clear()
    await addresses(resolver)
    assert server.asked == [(HOST, "A")]
    server.records[HOST] = {"AAAA": ["2001:db8::1"]}
    assert await addresses(resolver) == ["2001:db8::1"]


async def test_aliases_are_followed(resolver: Resolver, server: NameServer):
    server.records[HOST] = {"CNAME": ["b.test."]}
    server.records["b.test"] = {"A": ["192.0.2.1"]}
    assert await addresses(resolver) == ["192.0.2.1"]


async def test_what_is_too_long_for_udp_is_asked_for_by_tcp(resolver: Resolver, server: NameServer):
    server.truncates = True
    server.records[HOST] = {"A": [f"192.0.2.{n}" for n in range(200)]}
    assert len(await addresses(resolver)) == 200
    assert server.asked_by_tcp == 3


async def test_addresses_beyond_a_limit_are_not_used(resolver: Resolver, server: NameServer):
    server.truncates = True
    server.records[HOST] = {"A": [f"10.0.{n // 250}.{n % 250}" for n in range(2000)]}
    assert len(await addresses(resolver)) == 256


# -- the hosts file


class Hosts:
    """A hosts file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def say(self, text: str) -> None:
        self.path.write_text(text)


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path / "hosts")


async def test_the_hosts_file_goes_first(make: MakeResolver, server: NameServer, hosts: Hosts):
    server.records[HOST] = {"A": ["192.0.2.1"]}
    hosts.say("# names\n::1 A.test b.test # both\n192.0.2.7 x a.test\nnonsense a.test\n\n")
    resolver = make(dns_hosts_file=str(hosts.path))
    assert await addresses(resolver) == ["192.0.2.7"]
    assert await addresses(resolver, "b.test") == ["::1"]
    assert server.asked == []


async def test_the_hosts_file_is_read_again_when_it_changes(
    make: MakeResolver, server: NameServer, hosts: Hosts
):
    resolver = make(dns_hosts_file=str(hosts.path))
    for address in ("192.0.2.7", "192.0.2.77"):
        hosts.say(f"{address} a.test\n")
        assert await addresses(resolver) == [address]
    hosts.say("")
    server.records[HOST] = {"A": ["192.0.2.1"]}
    assert await addresses(resolver) == ["192.0.2.1"]


async def test_localhost_needs_no_server(resolver: Resolver, server: NameServer):
    assert await addresses(resolver, "localhost") == ["127.0.0.1"]
    assert await addresses(resolver, "a.localhost") == ["127.0.0.1"]
    assert server.asked == []


# -- how long an answer lasts


@pytest.mark.parametrize(("ttl_s", "lasts_s"), [(0, 2), (7, 7), (86_400, 50)])
async def test_a_ttl_counts_within_bounds(
    make: MakeResolver, server: NameServer, ttl_s: int, lasts_s: float
):
    server.records[HOST] = {"A": ["192.0.2.1"]}
    server.ttl_s = ttl_s
    before = perf_counter()
    name = await looked_up(make(dns_ttl_min_s=2, dns_ttl_max_s=50))
    after = perf_counter()
    assert before + lasts_s <= name.fresh_until <= after + lasts_s


async def test_many_who_ask_share_one_lookup(resolver: Resolver, server: NameServer):
    server.records[HOST] = {"A": ["192.0.2.1"]}
    names = await asyncio.gather(*(looked_up(resolver) for _ in range(5)))
    assert len(set(names)) == 1
    assert server.questions("A") == 1


async def test_an_outdated_answer_is_used_for_a_while_only(
    resolver: Resolver, server: NameServer, monkeypatch: pytest.MonkeyPatch
):
    server.records[HOST] = {"A": ["192.0.2.1"]}
    name = await looked_up(resolver)
    assert name.addresses(name.fresh_until + 29)
    assert not name.addresses(name.fresh_until + 31)


# -- no answer


@pytest.mark.parametrize("records", [None, {}, {"TXT": ["hello"]}], ids=["NXDOMAIN", "empty", "-"])
async def test_a_name_that_leads_nowhere(
    resolver: Resolver, server: NameServer, records: dict[str, list[str]] | None
):
    if records is not None:
        server.records[HOST] = records
    name = await looked_up(resolver)
    assert (known(name), name.is_denied) == ([], True)
    assert name.failure == "a.test has no address"


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "a..test", "\u00e9" * 300, "."])
async def test_what_is_no_name(resolver: Resolver, server: NameServer, host: str):
    name = await looked_up(resolver, host)
    assert (known(name), bool(name.failure)) == ([], True)


async def test_a_server_that_fails(resolver: Resolver, server: NameServer):
    server.failures[HOST] = dns.rcode.SERVFAIL
    name = await looked_up(resolver)
    assert (known(name), name.is_denied, name.failure) == ([], False, "SERVFAIL")


async def test_a_server_that_says_nothing_is_waited_for_so_long(
    make: MakeResolver, server: NameServer
):
    server.answering.clear()
    name = await looked_up(make(dns_timeout_s=0.05))
    assert (known(name), name.is_denied, name.failure) == ([], False, "timed out")


async def test_one_type_that_fails_does_not_hide_the_other(resolver: Resolver, server: NameServer):
    server.records[HOST] = {"SRV": ["1 1 1 b.test."], "A": ["192.0.2.1"]}
    server.failures["b.test"] = dns.rcode.SERVFAIL
    assert await addresses(resolver) == ["192.0.2.1"]


@pytest.mark.parametrize("failure", ["SERVFAIL", "silence", "REFUSED"])
async def test_the_last_good_answer_is_kept_while_servers_fail(
    make: MakeResolver, server: NameServer, failure: str
):
    server.records[HOST] = {"A": ["192.0.2.1"]}
    resolver = make(**AT_ONCE, dns_timeout_s=0.05)
    await looked_up(resolver)
    if failure == "silence":
        server.answering.clear()
    else:
        server.failures[HOST] = dns.rcode.from_text(failure)
    for _ in range(3):
        name = await looked_up(resolver)
        assert (known(name), bool(name.failure)) == (["192.0.2.1"], True)
    server.answering.set()
    server.failures.clear()
    server.records[HOST] = {"A": ["192.0.2.2"]}
    name = await looked_up(resolver)
    assert (known(name), name.failure) == (["192.0.2.2"], "")


async def test_it_is_not_kept_for_ever(make: MakeResolver, server: NameServer):
    server.records[HOST] = {"A": ["192.0.2.1"]}
    resolver = make(**AT_ONCE, dns_stale_s=0)
    await looked_up(resolver)
    server.failures[HOST] = dns.rcode.SERVFAIL
    async with asyncio.timeout(DEADLINE_S):
        while await addresses(resolver):
            pass


async def test_that_a_name_is_gone_has_to_be_said_twice(make: MakeResolver, server: NameServer):
    server.records[HOST] = {"A": ["192.0.2.1"]}
    resolver = make(**AT_ONCE)
    assert await addresses(resolver) == ["192.0.2.1"]
    del server.records[HOST]
    assert await addresses(resolver) == ["192.0.2.1"]
    server.records[HOST] = {"A": ["192.0.2.1"]}
    assert await addresses(resolver) == ["192.0.2.1"]
    server.records[HOST] = {}
    assert await addresses(resolver) == ["192.0.2.1"]
    assert await addresses(resolver) == []


async def test_an_error_nobody_thought_of_is_a_failure_like_others(
    resolver: Resolver, server: NameServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Address, "__new__", lambda *_: 1 / 0)
    server.records[HOST] = {"A": ["192.0.2.1"]}
    assert (await looked_up(resolver)).failure == "division by zero"


# -- bounds


async def test_names_beyond_a_limit_push_out_the_oldest(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resolver_module, "_NAMES_LIMIT", 3)
    names = [resolver.name(f"{n}.test") for n in range(4)]
    assert resolver.name("3.test") is names[3]
    assert resolver.name("0.test") is not names[0]


async def test_a_stopped_resolver_leaves_no_lookup_behind(resolver: Resolver, server: NameServer):
    server.answering.clear()
    told: list[None] = []
    resolver.look_up(resolver.name(HOST), lambda: told.append(None))
    await eventually(lambda: server.asked)
    await resolver.stop()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("resolve-")]
    assert told == []


# -- settings


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", []),
        ("192.0.2.1", [("192.0.2.1", 53)]),
        (" 192.0.2.1:5353, 2001:db8::1,[2001:db8::2]:54,[::1]", [
            ("192.0.2.1", 5353), ("2001:db8::1", 53), ("2001:db8::2", 54), ("::1", 53)
        ]),
    ],
)  # fmt: skip
def test_name_servers_are_addresses(text: str, servers: list[tuple[str, int]]):
    assert name_servers(text) == servers


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("dns_servers", "dns.test", "'dns.test' is no address of a name server"),
        ("dns_servers", "192.0.2.1:65536", "'192.0.2.1:65536' is no address"),
        ("dns_order", "A,MX", "must name SRV, A and AAAA"),
        ("dns_order", "A,A", "each once at most"),
        ("dns_order", "", "must name SRV, A and AAAA"),
    ],
)
def test_settings_that_make_no_sense(name: str, value: str, complaint: str):
    with pytest.raises(SettingError, match=complaint):
        read_settings(NodeSettings, **{name: value})
