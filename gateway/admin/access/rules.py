"""Who may do what, as pure functions: when a login is needed, and what each role may ask.

Kong OSS has none of this; the header ``Kong-Admin-Token`` is what clients of its paid edition send.
"""

from __future__ import annotations

from ipaddress import ip_address

from starlette.datastructures import Headers

from gateway.admin.errors import plain
from gateway.admin.query import parse_query
from gateway.settings import NodeSettings
from gateway.store.admin_tokens import Role

TOKEN_HEADER = "Kong-Admin-Token"  # noqa: S105 - the name of a header
READING = frozenset({"GET", "HEAD", "OPTIONS"})

_BEARER = "bearer "


def needs_login(settings: NodeSettings, *, tokens_exist: bool) -> bool:
    """Tell whether a request must bring a token.

    Tokens exist as soon as one was ever made: were those revoked and expired not counted, the end
    of the last one would open the door to everybody.
    """
    return not settings.admin_open and (tokens_exist or bool(exposed_hosts(settings)))


def exposed_hosts(settings: NodeSettings) -> list[str]:
    """Return those addresses of the Admin API that others than this machine may reach."""
    listeners = [name for name in ("admin", "admin_tls") if name in settings.listener_names()]
    hosts = (str(getattr(settings, f"{name}_host")) for name in listeners)
    return [host for host in hosts if not is_loopback(host)]


def is_loopback(host: str) -> bool:
    """Tell whether a name or address can only mean this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def permits(role: Role, method: str, path: str, query: bytes) -> bool:
    """Tell whether a role may make a request; ``path`` is settled, ``query`` as it was sent."""
    return role is Role.ADMIN or method in READING or _changes_nothing(method, path, query)


def _changes_nothing(method: str, path: str, query: bytes) -> bool:
    """Tell whether a request, despite its method, only asks what would be."""
    if method != "POST":
        return False
    if path == "/config":
        return parse_query(query).get("dry_run") in ("1", "true")
    return path.startswith("/schemas/") and path.endswith("/validate")


def presented_token(headers: Headers) -> str | None:
    """Return the token that a request brings, None if it brings none.

    Raises an answer if there are two that differ.
    """
    bearers = (value for value in headers.getlist("authorization") if _is_bearer(value))
    presented = [*headers.getlist(TOKEN_HEADER), *(value[len(_BEARER) :] for value in bearers)]
    tokens = {token.strip() for token in presented} - {""}
    if len(tokens) > 1:
        raise plain(400, f"{TOKEN_HEADER} and Authorization bring different tokens: send one")
    return tokens.pop() if tokens else None


def _is_bearer(authorization: str) -> bool:
    return authorization[: len(_BEARER)].lower() == _BEARER
