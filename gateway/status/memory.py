"""How much memory the process has, in the words of Kong's clients.

They read it where Kong tells of its Lua VMs, one for each worker; a node is one process. There are
no dictionaries shared between processes. Sheet: admin-api.md, section 8 (``/status``).
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

DEFAULT_UNIT = "m"
DEFAULT_SCALE = 2
LARGEST_SCALE = 20

_UNITS = {"k": (2**10, "KiB"), "m": (2**20, "MiB"), "g": (2**30, "GiB")}


def memory(unit: str = DEFAULT_UNIT, scale: int = DEFAULT_SCALE) -> dict[str, Any]:
    """Return what the process holds, in a unit with so many decimals.

    Raises ValueError for a unit or a scale that there is not.
    """
    size = in_unit(resident_bytes(), unit, scale)
    return {
        "lua_shared_dicts": {},
        "workers_lua_vms": [{"pid": os.getpid(), "http_allocated_gc": size}],
    }


def in_unit(size_bytes: int, unit: str, scale: int) -> str | int:
    """Return a size as a text with its unit; that of ``b`` is a number. Raises ValueError."""
    if unit.lower() in ("", "b"):
        return size_bytes
    if not 0 <= scale <= LARGEST_SCALE:
        raise ValueError(f"invalid scale '{scale}' (expected 0 to {LARGEST_SCALE})")
    if unit.lower() not in _UNITS:
        raise ValueError(f"invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')")
    factor, name = _UNITS[unit.lower()]
    return f"{size_bytes / factor:.{scale}f} {name}"


def resident_bytes() -> int:
    """Return the memory that the process has now; where the system does not say, its maximum."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()
