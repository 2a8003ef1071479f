"""Names are looked up once, refreshed behind the requests, and not asked for again when unknown."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.proxy.resolver import Resolver

from .peers import eventually


class NameServer:
    """Stands in for the system's resolver; each name waits until it is released."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.answering = asyncio.Event()
        self.answering.set()

    async def getaddrinfo(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        await self.answering.wait()
        found = self.addresses.get(host)
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(_family(address), socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    names = NameServer()
    loop_type = type(asyncio.get_running_loop())
    monkeypatch.setattr(loop_type, "getaddrinfo", names.getaddrinfo)
    return names


@pytest.fixture
async def resolver() -> AsyncIterator[Resolver]:
    resolver = Resolver(ttl_s=1000, timeout_s=5)
    yield resolver
    await resolver.stop()


@pytest.fixture
async def forgetful() -> AsyncIterator[Resolver]:
    """A resolver whose answers are outdated at once."""
    resolver = Resolver(ttl_s=-1, timeout_s=5)
    yield resolver
    await resolver.stop()


async def test_a_name_is_looked_up_once(resolver: Resolver, names: NameServer):
    names.addresses["a.test"] = ["192.0.2.1"]
    assert resolver.known("a.test") is None
    assert names.asked == []
    assert await resolver.resolve("a.test") == "192.0.2.1"
    assert await resolver.resolve("a.test") == "192.0.2.1"
    assert resolver.known("a.test") == "192.0.2.1"
    assert names.asked == ["a.test"]


async def test_many_who_wait_share_one_look_up(resolver: Resolver, names: NameServer):
    names.addresses["a.test"] = ["192.0.2.1"]
    found = await asyncio.gather(*(resolver.resolve("a.test") for _ in range(5)))
    assert found == ["192.0.2.1"] * 5
    assert names.asked == ["a.test"]


async def test_the_addresses_of_a_name_take_turns(resolver: Resolver, names: NameServer):
    names.addresses["a.test"] = ["192.0.2.1", "192.0.2.2", "192.0.2.1"]
    found = [await resolver.resolve("a.test") for _ in range(4)]
    assert sorted(found) == ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"]
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [(["::1", "127.0.0.1"], {"127.0.0.1"}), (["::1", "::2"], {"::1", "::2"})],
)
async def test_ipv4_is_used_where_there_is_any(
    resolver: Resolver, names: NameServer, addresses: list[str], expected: set[str]
):
    names.addresses["localhost"] = addresses
    assert {await resolver.resolve("localhost") for _ in range(4)} == expected


async def test_an_unknown_name_is_not_asked_for_again_at_once(
    resolver: Resolver, names: NameServer
):
    for _ in range(3):
        with pytest.raises(OSError, match=r"a\.test"):
            await resolver.resolve("a.test")
    assert names.asked == ["a.test"]
    assert resolver.known("a.test") is None


async def test_an_unknown_name_is_asked_for_again_later(
    resolver: Resolver, names: NameServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.proxy.resolver._FAILURE_TTL_S", 0.0)
    with pytest.raises(OSError, match="cannot resolve"):
        await resolver.resolve("a.test")
    names.addresses["a.test"] = ["192.0.2.1"]
    assert await resolver.resolve("a.test") == "192.0.2.1"


async def test_a_name_server_that_does_not_answer_is_waited_for_so_long(names: NameServer):
    names.answering.clear()
    resolver = Resolver(ttl_s=1000, timeout_s=0.01)
    with pytest.raises(OSError, match="timed out"):
        await resolver.resolve("a.test")


async def test_an_outdated_answer_is_used_while_it_is_asked_for_again(
    forgetful: Resolver, names: NameServer
):
    names.addresses["a.test"] = ["192.0.2.1"]
    assert await forgetful.resolve("a.test") == "192.0.2.1"
    names.answering.clear()
    names.addresses["a.test"] = ["192.0.2.2"]
    assert forgetful.known("a.test") == "192.0.2.1"
    await eventually(lambda: len(names.asked) == 2)
    assert forgetful.known("a.test") == "192.0.2.1"
    names.answering.set()
    await eventually(lambda: forgetful.known("a.test") == "192.0.2.2")


async def test_an_outdated_answer_is_kept_when_the_name_is_gone(
    forgetful: Resolver, names: NameServer
):
    names.addresses["a.test"] = ["192.0.2.1"]
    await forgetful.resolve("a.test")
    del names.addresses["a.test"]
    assert forgetful.known("a.test") == "192.0.2.1"
    await eventually(lambda: len(names.asked) >= 2)
    assert forgetful.known("a.test") == "192.0.2.1"


async def test_who_gives_up_does_not_end_the_look_up_of_others(
    resolver: Resolver, names: NameServer
):
    names.addresses["a.test"] = ["192.0.2.1"]
    names.answering.clear()
    impatient = asyncio.create_task(resolver.resolve("a.test"))
    patient = asyncio.create_task(resolver.resolve("a.test"))
    await eventually(lambda: names.asked)
    impatient.cancel()
    names.answering.set()
    assert await patient == "192.0.2.1"
    assert names.asked == ["a.test"]


async def test_a_stopped_resolver_leaves_no_look_up_behind(resolver: Resolver, names: NameServer):
    names.answering.clear()
    waiting = asyncio.create_task(resolver.resolve("a.test"))
    await eventually(lambda: names.asked)
    await resolver.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting
