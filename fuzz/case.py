"""Cases: what a client and an upstream do, in order, as bytes that mutate well.

A case is a sequence of acts, each begun by the marker (the ASCII record separator) and a letter.
What follows up to the next marker is what is said, where the letter means that somebody speaks.
Bytes before the first marker are said by the client.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from random import Random
from typing import NamedTuple

MARKER = b"\x1e"

PIECE_LIMIT_BYTES = 65_536
"""No more is read at once: that much an event loop takes from a socket."""


class Deed(Enum):
    """What can be done, by its letter."""

    CLIENT_SAYS = b"c"
    CLIENT_ENDS = b"C"
    CLIENT_RESETS = b"x"
    CLIENT_STALLS = b"s"
    CLIENT_GOES_ON = b"g"
    NEXT_CLIENT = b"n"
    UPSTREAM_SAYS = b"u"
    UPSTREAM_ENDS = b"U"
    UPSTREAM_RESETS = b"X"
    UPSTREAM_STALLS = b"S"
    UPSTREAM_GOES_ON = b"G"
    UPSTREAM_REFUSES = b"r"
    TIME_PASSES = b"t"
    DEADLINES_PASS = b"T"
    SPLIT = b"p"  # what is said from here on comes in random pieces, by the seed that follows


_ACTS_LIMIT = 300
_DEEDS = {deed.value: deed for deed in Deed}
_SPOKEN = (Deed.CLIENT_SAYS, Deed.UPSTREAM_SAYS)


class Act(NamedTuple):
    """Something that somebody does; ``words`` are empty where nothing is said."""

    deed: Deed
    words: bytes = b""


def acts(case: bytes) -> Iterator[Act]:
    """Yield what happens in ``case``. Every sequence of bytes is a case, if it is not too long."""
    first, *others = case.split(MARKER, _ACTS_LIMIT)
    seed = b""
    for part in (Deed.CLIENT_SAYS.value + first, *others):
        deed = _DEEDS.get(part[:1])
        if deed is Deed.SPLIT:
            seed = part[1:]
        elif deed in _SPOKEN:
            yield from (Act(deed, piece) for piece in _pieces(part[1:], seed))
        elif deed is not None:
            yield Act(deed)


def _pieces(words: bytes, seed: bytes) -> Iterator[bytes]:
    """Yield ``words`` in pieces that the seed decides on; without one, in as few as may be."""
    chance = Random(seed) if seed else None  # noqa: S311 - not for secrets
    position = 0
    while position < len(words):
        size = PIECE_LIMIT_BYTES if chance is None else chance.choice((1, 2, 5, 40, 1000))
        yield words[position : position + size]
        position += size


def shown(case: bytes) -> str:
    """Return ``case`` as lines for people."""
    return "\n".join(f"{act.deed.name.lower()} {act.words!r}" for act in acts(case))
