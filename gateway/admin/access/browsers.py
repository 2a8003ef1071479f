"""What web pages may do: a browser sends to this machine whatever any page tells it to.

Where a login is needed, that is the guard: a page does not have the token. Where none is, the
browser's own words decide. ``Origin`` says which page asks. ``Host`` says which name it used: one
that is not ours may have been pointed at us by its owner (DNS rebinding), which makes the page and
us one origin. Clients that are no browsers send no origin.
"""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from gateway.admin.access.rules import is_loopback
from gateway.admin.errors import plain
from gateway.settings import NodeSettings, SettingError, named

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s,]+")


class Browsers:
    """What `admin_origins` allows. Raises SettingError for what is no origin."""

    def __init__(self, settings: NodeSettings) -> None:
        names = filter(None, map(str.strip, settings.admin_origins.split(",")))
        self._origins = [name.lower().removesuffix("/") for name in names]
        self._own_names = {"localhost", socket.gethostname().lower(), settings.admin_host.lower()}
        for origin in self._origins:
            if not _ORIGIN.fullmatch(origin):
                raise SettingError(
                    f"{named('admin_origins')}: '{origin}' is not of the form https://host"
                )

    def allowed_origin(self, origin: str | None) -> str:
        """Return who may read an answer (admin-api.md section 1, as of `admin_gui_url`)."""
        if not self._origins:
            return origin or "*"
        return origin if origin and origin.lower() in self._origins else self._origins[0]

    def check_origin(self, headers: Headers) -> None:
        """Refuse a page that is neither of this machine, nor ours, nor named in the setting."""
        origin = headers.get("origin")
        if origin is None or origin.lower() in self._origins:
            return
        host = _host_of(origin.partition("://")[2])
        is_ours = origin.partition("://")[2].lower() == headers.get("host", "").lower()
        if not host or not (is_ours or is_loopback(host)):
            raise plain(
                403,
                f"without a login, web pages of {origin} may not use the Admin API: list it in "
                f"{named('admin_origins')}, or make a token with `gateway admin token create`",
            )

    def check_host(self, headers: Headers) -> None:
        """Refuse a name that anybody may have pointed at us."""
        authority = headers.get("host")
        if authority is None:
            return
        host = _host_of(authority)
        if not (_is_address(host) or host in self._own_names):
            raise plain(
                403,
                f"without a login, the Admin API does not answer to the name '{host}': use an "
                "address or localhost, or make a token with `gateway admin token create`",
            )


def _host_of(authority: str) -> str:
    """Return the host of ``host:port`` in lower case, nothing if that makes no sense."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
