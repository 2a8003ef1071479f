"""Which protocols a client may change to, and whether a 101 is what was asked for.

A 101 ends HTTP on both connections (RFC 9110 section 7.8), so an upstream is only asked for
protocols that can be tunnelled as they are. Another HTTP would have it read requests that nobody
here has seen, and TLS ends here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_TUNNELLED = re.compile(rb"(?i)(?!http|h2|h3|tls)[\w!#$%&'*+.^`|~-]+(?:/[\w!#$%&'*+.^`|~-]+)?")

_OFFERS_LIMIT = 16
"""Protocols of one request that are looked at."""


def offered_protocols(special: Mapping[bytes, bytes], minor: bytes) -> tuple[bytes, ...]:
    """Return the protocols that an upstream may be asked to change to, as the client wrote them.

    There are none in HTTP/1.0, which knows no upgrades, and none that `Connection` does not
    announce.

    :param special: the request's headers that mean something to a proxy, by lower-case name.
    """
    upgrade = special.get(b"upgrade")
    if upgrade is None or minor == b"0" or not _is_announced(special):
        return ()
    offers = upgrade.split(b",", _OFFERS_LIMIT)[:_OFFERS_LIMIT]
    names = (offer.strip(b" \t") for offer in offers)
    return tuple(name for name in names if _TUNNELLED.fullmatch(name))


def chosen_protocol(special: Mapping[bytes, bytes], offered: Sequence[bytes]) -> bytes | None:
    """Return the protocol that a 101 changes to, None unless it is one of those offered.

    :param special: the response's headers that mean something to a proxy, by lower-case name.
    """
    chosen = special.get(b"upgrade", b"")
    if _is_announced(special) and chosen.lower() in map(bytes.lower, offered):
        return chosen
    return None


def _is_announced(special: Mapping[bytes, bytes]) -> bool:
    return b"upgrade" in _members(special.get(b"connection", b"").lower())


def _members(value: bytes) -> list[bytes]:
    return [member.strip(b" \t") for member in value.split(b",")]
