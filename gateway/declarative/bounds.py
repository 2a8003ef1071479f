"""How large a declarative file may be, and how one is refused that cannot be read."""

from __future__ import annotations

MOST_CHARACTERS = 64 * 1024 * 1024
MOST_VALUES = 5_000_000
"""Scalars and collections, each alias counted with all that it stands for."""
MOST_LEVELS = 100
MOST_INTEGER_DIGITS = 30


class ReadError(Exception):
    """The text is no document; the message says where and why, in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"failed parsing declarative configuration: {reason}")


def too_deep() -> ReadError:
    """Return the refusal of a text with too many levels."""
    return ReadError(f"nested more than {MOST_LEVELS} levels deep")


def too_large() -> ReadError:
    """Return the refusal of a text that stands for too much."""
    return ReadError(f"more than {MOST_VALUES} values, aliases counted each time")
