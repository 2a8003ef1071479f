"""The field ``healthchecks`` of an upstream entity, compiled (balancer.md section 6.1).

A null in it stands for the default of its field.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from gateway.balancing.health import Limits
from gateway.balancing.health_checks import Criteria, HealthChecks, Probes
from gateway.entities.upstream import (
    Active,
    ActiveHealthy,
    ActiveUnhealthy,
    Passive,
    PassiveHealthy,
    PassiveUnhealthy,
)
from gateway.entities.upstream import HealthChecks as Record

_NO_TIMEOUT_S = 60.0
"""What a timeout of 0 stands for: nothing is waited for without end."""


def compile_health_checks(given: Any, host_header: str | None) -> HealthChecks | None:
    """Compile the field; return None where health checks are off.

    ``host_header`` is what the upstream entity has instead of its targets' names. Raises
    ValueError.
    """
    try:
        record = Record.model_validate(_without_nulls(given or {}), extra="ignore")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, ("healthchecks", *first["loc"])))
        raise ValueError(f"{place}: {first['msg']}") from None
    probes = _probes(record.active or Active(), host_header)
    traffic = _traffic(record.passive or Passive())
    limits = traffic.limits
    counts_failures = limits.http_failures or limits.tcp_failures or limits.timeouts
    if probes is None and not counts_failures:
        return None
    return HealthChecks(traffic, probes)


def _probes(active: Active, host_header: str | None) -> Probes | None:
    """Return how endpoints are probed, None where none is."""
    healthy, unhealthy = active.healthy or ActiveHealthy(), active.unhealthy or ActiveUnhealthy()
    if not healthy.interval and not unhealthy.interval:
        return None
    asks = active.type in ("http", "https")
    headers = {} if active.headers is None else active.headers
    hosts = [values[0] for name, values in headers.items() if name.lower() == "host" and values]
    return Probes(
        criteria=_criteria(healthy, unhealthy, asks=asks),
        healthy_interval_s=healthy.interval or 0,
        unhealthy_interval_s=unhealthy.interval or 0,
        timeout_s=active.timeout or _NO_TIMEOUT_S,
        concurrency=active.concurrency or 1,
        tls=active.type in ("https", "grpcs"),
        server_name=active.https_sni,
        verify=active.https_verify_certificate,
        path=(active.http_path or "/") if asks else None,
        headers=_lines(headers) if asks else "",
        host=hosts[0] if hosts else host_header,
    )


def _traffic(passive: Passive) -> Criteria:
    healthy = passive.healthy or PassiveHealthy()
    unhealthy = passive.unhealthy or PassiveUnhealthy()
    return _criteria(healthy, unhealthy, asks=passive.type != "tcp")


def _criteria(
    healthy: ActiveHealthy | PassiveHealthy,
    unhealthy: ActiveUnhealthy | PassiveUnhealthy,
    *,
    asks: bool,
) -> Criteria:
    limits = Limits(
        successes=healthy.successes or 0,
        http_failures=unhealthy.http_failures or 0,
        tcp_failures=unhealthy.tcp_failures or 0,
        timeouts=unhealthy.timeouts or 0,
    )
    if not asks:
        return Criteria(limits)
    return Criteria.by_status(limits, healthy.http_statuses or (), unhealthy.http_statuses or ())


def _lines(headers: dict[str, list[str]]) -> str:
    """Return header lines, each led by CRLF; Host is none of them, as it has its own place."""
    others = ((name, values) for name, values in headers.items() if name.lower() != "host")
    return "".join(f"\r\n{name}: {value}" for name, values in others for value in values)


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_nulls(kept) for key, kept in value.items() if kept is not None}
