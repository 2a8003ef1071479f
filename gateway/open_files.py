"""How many files the process may open: every connection is one."""

from __future__ import annotations

import resource
import sys

import structlog

from gateway.settings import NodeSettings, named

_OTHER_FILES = 1024
"""Files beside the clients' connections: listeners, database, logs, pooled upstream connections."""

log = structlog.get_logger(__name__)


def allow_as_many_as_possible(settings: NodeSettings) -> None:
    """Raise the soft limit to the hard one; warn if `max_connections` does not fit in that."""
    limit = _raise_limit()
    if "proxy" in settings.listener_names() and settings.max_connections + _OTHER_FILES > limit:
        log.warning(
            "fewer files may be open than connections are allowed",
            open_files=limit,
            max_connections=settings.max_connections,
            next_step=f"raise the limit (ulimit -Hn, LimitNOFILE) or lower "
            f"{named('max_connections')}",
        )


def _raise_limit() -> int:
    """Return the limit as it is then; systems differ in what they take for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
