"""The settings ``headers`` and ``headers_upstream``: what the gateway adds to messages.

Each header goes by a neutral name here, by the name it has on the wire, or by Kong's name for it
(proxying.md section 3); two tokens stand for several at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Added(StrEnum):
    """A header that the gateway may add."""

    SERVER = "server"
    VIA = "via"
    PROXY_LATENCY = "proxy_latency"
    UPSTREAM_LATENCY = "upstream_latency"
    RESPONSE_LATENCY = "response_latency"
    ADMIN_LATENCY = "admin_latency"  # of the Admin API, which always has it
    REQUEST_ID = "request_id"
    UPSTREAM_STATUS = "upstream_status"


Choices = Mapping[str, frozenset[Added]]

_OFF = "off"
_PREFIXES = ("x_gateway_", "x_kong_")
_TO_RESPONSES: Choices = {
    "server_tokens": frozenset({Added.SERVER, Added.VIA}),
    "latency_tokens": frozenset(header for header in Added if header.endswith("_latency")),
} | {header.value: frozenset({header}) for header in Added}
_TO_REQUESTS: Choices = {Added.REQUEST_ID.value: frozenset({Added.REQUEST_ID})}


def added_to_responses(text: str) -> frozenset[Added]:
    """Return what the setting ``headers`` asks for. Raises ValueError naming what is wrong."""
    return _chosen(text, _TO_RESPONSES)


def added_to_requests(text: str) -> frozenset[Added]:
    """Return what ``headers_upstream`` asks for. Raises ValueError naming what is wrong."""
    return _chosen(text, _TO_REQUESTS)


def _chosen(text: str, choices: Choices) -> frozenset[Added]:
    names = [name for name in map(str.strip, text.split(",")) if name]
    if [name.lower() for name in names] == [_OFF]:
        return frozenset()
    return frozenset().union(*(_one(name, choices) for name in names))


def _one(name: str, choices: Choices) -> frozenset[Added]:
    key = name.lower().replace("-", "_")
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    if key == _OFF:
        raise ValueError("off stands alone")
    if key not in choices:
        known = ", ".join(choices)
        raise ValueError(f"'{name}' is no header that can be chosen here: take {known}, or off")
    return choices[key]
