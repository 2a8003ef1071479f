"""How many files the process may open: every connection is one."""

from __future__ import annotations

import resource
import sys

import structlog

from gateway.settings import NodeSettings, named

_OTHER_FILES = 1024
"""Files beside the clients' connections: listeners, database, logs, pooled upstream connections."""

_APP_LISTENERS = frozenset({"admin", "admin_tls", "status"})
"""Each of these may have `admin_max_connections`."""

log = structlog.get_logger(__name__)


def allow_as_many_as_possible(settings: NodeSettings) -> None:
    """Raise the soft limit to the hard one; warn if the connections allowed do not fit in that."""
    limit = _raise_limit()
    connections = _most_connections(settings)
    if connections + _OTHER_FILES > limit:
        log.warning(
            "fewer files may be open than connections are allowed",
            open_files=limit,
            connections=connections,
            next_step=f"raise the limit (ulimit -Hn, LimitNOFILE) or lower "
            f"{named('max_connections')} or {named('admin_max_connections')}",
        )


def _most_connections(settings: NodeSettings) -> int:
    """Return how many clients all listeners together may have at once."""
    names = settings.listener_names()
    of_apps = len(_APP_LISTENERS.intersection(names)) * settings.admin_max_connections
    return of_apps + (settings.max_connections if "proxy" in names else 0)


def _raise_limit() -> int:
    """Return the limit as it is then; systems differ in what they take for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
