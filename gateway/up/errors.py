"""Why a cluster could not be started."""

from __future__ import annotations


class StartError(Exception):
    """Something the cluster needs is missing; the message is one line and says what to do."""
