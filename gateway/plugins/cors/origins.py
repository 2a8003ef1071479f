"""Which origins are allowed, and what is said to each (plugins.md section 5.11)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from gateway.routing.patterns import ValueRegex

ANY = "*"

_PLAIN = re.compile(r"[A-Za-z0-9.:/-]+")
_ORIGIN = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(\[[^\]]*\]|[^:/]*)(:[0-9]+)?/?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def is_regex(entry: str) -> bool:
    """Tell whether an entry of ``origins`` is a regex rather than an origin."""
    return entry != ANY and _PLAIN.fullmatch(entry) is None


class Origin(NamedTuple):
    """An origin without its port if that is the usual one, and the host in it."""

    text: str
    host: str


def read_origin(text: str) -> Origin:
    """Return an origin as it is compared; what is none stays as it is."""
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return Origin(text, text)
    scheme, host, port = found.groups()
    if scheme is None:
        return Origin(host + (port or ""), host)
    if port is None or port == _DEFAULT_PORTS.get(scheme):
        port = ""
    return Origin(f"{scheme}://{host}{port}", host)


class Origins:
    """What ``origins`` of a config says; ``are_any`` if that is: whoever asks."""

    def __init__(self, entries: Sequence[str]) -> None:
        self.are_any = not entries or list(entries) == [ANY]
        self._fixed = entries[0] if len(entries) == 1 and not is_regex(entries[0]) else None
        self._has_any = ANY in entries
        self._plain = {read_origin(entry).text for entry in entries if not is_regex(entry)}
        regexes = [(":" in entry, _anchored(entry)) for entry in entries if is_regex(entry)]
        self._of_hosts = [regex for is_whole, regex in regexes if not is_whole]
        self._of_origins = [regex for is_whole, regex in regexes if is_whole]

    def allowed_for(self, asked: str | None) -> str | None:
        """Return the origin that is allowed where ``asked`` asks; None if it is not."""
        if self.are_any:
            return ANY
        if self._fixed is not None or asked is None:
            return self._fixed
        if self._has_any:
            return ANY
        origin = read_origin(asked)
        return origin.text if self._matches(origin) else None

    def _matches(self, origin: Origin) -> bool:
        if origin.text in self._plain:
            return True
        text, host = origin.text.encode("latin-1"), origin.host.encode("latin-1")
        return any(regex.found_in(text) for regex in self._of_origins) or any(
            regex.found_in(host) for regex in self._of_hosts
        )


def _anchored(entry: str) -> ValueRegex:
    return ValueRegex(f"^(?:{entry})$")
