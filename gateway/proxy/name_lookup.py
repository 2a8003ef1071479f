"""One lookup of a host name: in the hosts file, else by DNS (dnspython).

Source: ``balancer.md`` section 7. All record types are asked for at once; of those that have an
answer the first in the order of the setting ``dns_order`` counts. A name whose last answer had some
type is asked for that one alone, as long as it has any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dns.asyncbackend import get_backend
from dns.asyncresolver import Resolver as DnsResolver
from dns.exception import DNSException
from dns.name import root
from dns.nameserver import Do53Nameserver
from dns.resolver import NXDOMAIN, Answer, LifetimeTimeout, NoAnswer, NoNameservers
from dns.resolver import NoResolverConfiguration as NoConfiguration

from gateway.proxy.hosts_file import HostsFile
from gateway.settings import NodeSettings, name_servers, record_types

_HOSTS_TTL_S = 5.0
"""How long the hosts file is believed before it is looked at again."""

_TRY_S = 2.0
"""How long one name server is waited for before the next, or the same again."""

_ADDRESSES_LIMIT = 256
"""Most addresses of one name; further ones are not used."""

_RESOLV_CONF = Path("/etc/resolv.conf")
_NO_SERVER = "127.0.0.1"  # as resolv.conf(5) has it


class Address(NamedTuple):
    """Where a name leads. An SRV record also gives a port, a weight and a name of its own."""

    address: str
    port: int | None = None
    weight: int | None = None
    srv_name: str | None = None


class Found(NamedTuple):
    """What a name leads to, for how long, and the type of record that says so."""

    addresses: Sequence[Address]
    ttl_s: float
    record_type: str = ""


class NoSuchNameError(Exception):
    """The name does not exist, or has no address."""


class LookupFailedError(Exception):
    """Nobody could say."""


class NameLookup:
    """Looks names up; keeps nothing but how to ask."""

    def __init__(self, settings: NodeSettings) -> None:
        self._hosts = HostsFile(settings.dns_hosts_file)
        self._servers = name_servers(settings.dns_servers)
        self._order = record_types(settings.dns_order)
        self._timeout_s = settings.dns_timeout_s
        self._backend = get_backend("asyncio")
        self._dns: DnsResolver | None = None
        self._dns_mark = 0

    async def look_up(self, host: str, last_type: str = "") -> Found:
        """Return what ``host`` leads to; ``last_type`` is the type of record that last said so.

        :raises NoSuchNameError: when it leads nowhere.
        :raises LookupFailedError: when nobody could say in time.
        """
        in_file = self._hosts.addresses(host)
        if in_file:
            return Found([Address(address) for address in in_file], _HOSTS_TTL_S)
        try:
            async with asyncio.timeout(self._timeout_s):
                if last_type in self._order:
                    try:
                        return await self._by_type(host, last_type)
                    except NoSuchNameError:
                        pass  # its records may be of another type by now
                return await self._by_any_type(host, self._order)
        except TimeoutError:
            raise LookupFailedError("timed out") from None

    async def _by_any_type(self, host: str, types: Sequence[str]) -> Found:
        """Ask for all types at once, and return the first in their order that leads somewhere."""
        lookups = (self._by_type(host, record_type) for record_type in types)
        outcomes = await asyncio.gather(*lookups, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Found):
                return outcome
        failures = [e for e in outcomes if not isinstance(e, NoSuchNameError | Found)]
        raise failures[0] if failures else NoSuchNameError(f"{host} has no address")

    async def _by_type(self, host: str, record_type: str) -> Found:
        answer = await self._ask(host, record_type)
        ttl_s = answer.chaining_result.minimum_ttl
        if record_type == "SRV":
            return await self._behind(answer, ttl_s)
        found = dict.fromkeys(record.address for record in answer)
        addresses = [Address(address) for address in found][:_ADDRESSES_LIMIT]
        return Found(addresses, ttl_s, record_type)

    async def _behind(self, answer: Answer, ttl_s: float) -> Found:
        """Return where SRV records lead, those of the lowest priority number alone."""
        records: list[Any] = list(answer)
        lowest = min(record.priority for record in records)
        used = [record for record in records if record.priority == lowest][:_ADDRESSES_LIMIT]
        names = dict.fromkeys(record.target.to_text(omit_final_dot=True) for record in used)
        outcomes = await asyncio.gather(*map(self._plain, names), return_exceptions=True)
        places = dict(zip(names, outcomes, strict=True))
        found: dict[Address, None] = {}
        for record in used:
            name = record.target.to_text(omit_final_dot=True)
            place = places[name]
            if isinstance(place, Found):
                ttl_s = min(ttl_s, place.ttl_s)
                for address in place.addresses:
                    weight = record.weight or 1
                    found[Address(address.address, record.port or None, weight, name)] = None
        if not found:
            failures = (e for e in outcomes if isinstance(e, LookupFailedError))
            raise next(failures, NoSuchNameError("SRV records that lead nowhere"))
        return Found(list(found)[:_ADDRESSES_LIMIT], ttl_s, "SRV")

    async def _plain(self, host: str) -> Found:
        """Look a name up that an SRV record leads to."""
        in_file = self._hosts.addresses(host)
        if in_file:
            return Found([Address(address) for address in in_file], _HOSTS_TTL_S)
        types = [record_type for record_type in self._order if record_type != "SRV"]
        return await self._by_any_type(host, types or ["A"])

    async def _ask(self, host: str, record_type: str) -> Answer:
        try:
            return await self._resolver().resolve(
                host, record_type, lifetime=self._timeout_s, search=True, backend=self._backend
            )
        except (NXDOMAIN, NoAnswer):
            raise NoSuchNameError(f"{host} has no record of type {record_type}") from None
        except LifetimeTimeout:
            raise LookupFailedError("timed out") from None
        except NoNameservers as error:
            raise LookupFailedError(_reasons(error)) from None
        except (DNSException, UnicodeError, ValueError) as error:
            raise NoSuchNameError(f"{host} is no name: {error}") from None
        except OSError as error:
            raise LookupFailedError(str(error)) from None

    def _resolver(self) -> DnsResolver:
        """Return what asks the name servers; resolv.conf is read again when it has changed."""
        mark = 0 if self._servers else _changed_at(_RESOLV_CONF)
        if self._dns is None or mark != self._dns_mark:
            self._dns, self._dns_mark = self._make_resolver(), mark
        return self._dns

    def _make_resolver(self) -> DnsResolver:
        dns = DnsResolver(configure=False)
        dns.timeout = _TRY_S
        dns.domain = root  # names are searched only where resolv.conf says so
        if self._servers:
            dns.nameservers = [Do53Nameserver(address, port) for address, port in self._servers]
            return dns
        try:
            dns.read_resolv_conf(str(_RESOLV_CONF))
        except (NoConfiguration, OSError, ValueError):
            dns.nameservers = [_NO_SERVER]
        return dns


def _reasons(error: NoNameservers) -> str:
    """Say what each name server said, or what became of it."""
    reasons = (str(reason) for *_, reason, _ in error.kwargs["errors"])
    return "; ".join(dict.fromkeys(reasons)) or "no name server"


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
