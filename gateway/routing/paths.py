"""Request paths: the normal form that routes are matched on, and the path that is sent upstream.

Source: ``router.md`` sections 5 (normalisation, re-escape) and 6 (upstream path), and RFC 3986
sections 5.2.4 and 6.2.2. Paths are bytes without the query string.
"""

from __future__ import annotations

import re
from string import ascii_letters, digits, hexdigits
from typing import Literal

PathHandling = Literal["v0", "v1"]

_STAYS_ENCODED = frozenset(b"!*'();:@&=+$,/?%#[]")
_SENT_AS_IS = (ascii_letters + digits + "!#$&'()*+,/:;=?@[]-_.~%").encode()
_HEX_DIGITS = frozenset(hexdigits.encode())

_TRIPLET = re.compile(rb"(%[0-9A-Fa-f]?)?%([0-9A-Fa-f]{2})")
_SLASHES = re.compile(rb"//+")
_MUST_BE_ESCAPED = re.compile(rb"[^" + re.escape(_SENT_AS_IS) + rb"]")


def normalize(raw: bytes) -> bytes:
    """Return the normal form of ``raw``, a path that starts with ``/`` (or is empty).

    Octets that need no encoding are decoded, dot segments are resolved, runs of slashes merged.
    Reserved characters stay encoded, so an encoded slash never becomes a separator.
    """
    if raw.find(b"%") < 0 and raw.find(b"/.") < 0 and raw.find(b"//") < 0:
        return raw  # not `in`: that costs three times as much with bytes
    path = _TRIPLET.sub(_decode_triplet, raw) if b"%" in raw else raw
    if b"/." in path:
        path = _remove_dot_segments(path)
    return _SLASHES.sub(b"/", path)


def escape(path: bytes) -> bytes:
    """Return a normalised path as it may stand in a request line: all else becomes ``%XX``."""
    if not path.strip(_SENT_AS_IS):
        return path
    return _MUST_BE_ESCAPED.sub(lambda found: b"%%%02X" % ord(found[0]), path)


def upstream_path(
    base: bytes,
    request_path: bytes,
    matched: bytes | None,
    *,
    strip: bool,
    handling: PathHandling,
) -> bytes:
    """Return the path for the upstream side, not yet escaped.

    ``base`` is the service's path, or ``/``; ``request_path`` is normalised; ``matched`` is the
    text that the route's path matched at its start, None if the route has no paths.
    """
    if strip and matched is not None:
        rest = request_path[len(matched) :]
        if handling == "v0" and rest.startswith(b"/"):
            return base.removesuffix(b"/") + rest  # most requests end here
        rest = _without_leading_dots(rest)
        if handling == "v1":
            return base + (rest[1:] if base.endswith(b"/") and rest.startswith(b"/") else rest)
        return _join_stripped_v0(base, request_path, rest)
    if handling == "v1" or base.endswith(b"/"):
        return base + request_path[1:]
    return base if request_path == b"/" else base + request_path


def forwarded_prefix(matched: bytes | None, *, strip: bool) -> bytes | None:
    """Return the value of X-Forwarded-Prefix, None if the header is not sent.

    Escaped, because the matched text may hold any byte that the client sent encoded.
    """
    if not strip or not matched or matched == b"/":
        return None
    return escape(matched)


def common_start(one: bytes, other: bytes) -> bytes:
    """Return the longest text that both start with."""
    for length, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return one[:length]
    return min(one, other, key=len)


def _decode_triplet(found: re.Match[bytes]) -> bytes:
    stray, hex_pair = found[1] or b"", found[2]
    octet = int(hex_pair, 16)
    # After a stray "%" or "%4", a decoded hex digit would forge a triplet nobody sent.
    if octet in _STAYS_ENCODED or (stray and octet in _HEX_DIGITS):
        return stray + b"%" + hex_pair.upper()
    return stray + bytes((octet,))


def _remove_dot_segments(path: bytes) -> bytes:
    first, *segments = path.split(b"/")
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in {b".", b".."}:
        kept.append(b"")
    return b"/".join((first, *kept)) if kept else first + b"/"


def _without_leading_dots(rest: bytes) -> bytes:
    """Stripping may lay dots bare (``/shop../x`` minus ``/shop``); they must not climb."""
    if rest in {b".", b".."}:
        return b""
    for dots in (b"./", b"../"):
        if rest.startswith(dots):
            return rest[len(dots) :]
    return rest


def _join_stripped_v0(base: bytes, request_path: bytes, rest: bytes) -> bytes:
    if rest:
        return base.removesuffix(b"/") + b"/" + rest
    ends_with_slash = request_path.endswith(b"/")
    if base.endswith(b"/"):
        return base if ends_with_slash or base == b"/" else base[:-1]
    return base + b"/" if ends_with_slash and len(request_path) > 1 else base
