"""How an exchange ended, in short."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """What is known of an exchange in the end without any work.

    ``from_upstream`` is whether a service answered, or the gateway itself. Bytes are those that
    came and were sent, heads and all.
    """

    status: int
    from_upstream: bool
    request_bytes: int
    response_bytes: int
