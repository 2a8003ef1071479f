"""Paths of routes as format versions 1.1 and 2.1 write them, in the form of 3.0.

Before 3.0 a path was a regular expression if it had a character that a plain path has not, and
plain paths were not in normal form. Sheets: decl-config.md, A1; entities.md, section 6.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.entities import Given
from gateway.entities.route import REGEX_PATH
from gateway.routing.paths import normalize

_PLAIN = re.compile(r"[A-Za-z0-9._~/%-]*")


def modernised(route: Given) -> Given:
    """Return a route with its paths as 3.0 writes them; what is no path is left for validation."""
    paths = route.get("paths")
    if not isinstance(paths, list):
        return route
    return route | {"paths": [_modernised(path) for path in paths]}


def _modernised(path: Any) -> Any:
    if not isinstance(path, str) or not path.startswith("/"):
        return path
    if not _PLAIN.fullmatch(path):
        return REGEX_PATH + path
    try:
        return normalize(path.encode()).decode()
    except UnicodeDecodeError:
        return path
