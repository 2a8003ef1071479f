"""The contract of all balancing algorithms."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Balancer(Protocol[T_co]):
    """Chooses among the targets it was made for; state belongs to this node alone."""

    def pick(self, exclude: Collection[object] = ()) -> T_co | None:
        """Return the target for the next try, None if none may have traffic.

        Targets in ``exclude`` (those that failed this request) are passed over while another is
        left; when all have failed, each may come again.
        """
        ...
