"""In which state each address of a target is, in the words of metrics.md section 4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.status.health import AddressHealth, UpstreamHealth, host_and_port

_OFF, _HEALTHY, _UNHEALTHY, _DNS_ERROR = "healthchecks_off", "healthy", "unhealthy", "dns_error"
TARGET_STATES = (_OFF, _HEALTHY, _UNHEALTHY, _DNS_ERROR)


def target_states(upstreams: Iterable[UpstreamHealth]) -> Iterator[tuple[str, str, str, str]]:
    """Yield upstream, target, address and state; a name that leads nowhere has no address.

    One that nobody has asked for yet is in no state.
    """
    for upstream in upstreams:
        for target in upstream.targets:
            name = host_and_port(target.host, target.port)
            if target.dns_error:
                yield upstream.name, name, "", _DNS_ERROR
            for address in target.addresses:
                yield upstream.name, name, host_and_port(address.ip, address.port), _state(address)


def _state(address: AddressHealth) -> str:
    if address.state is None:
        return _OFF
    return _HEALTHY if address.available else _UNHEALTHY
