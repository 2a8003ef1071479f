"""Entity tags: a client changes what it has seen, or is told that somebody else was faster.

``ETag`` names the state in which an entity is stored; what merely passes, as the rest of a ``ttl``,
is no part of it. Conditions in requests are those of RFC 9110, section 13; Kong has none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from starlette.requests import Request

from gateway.admin.errors import ApiError, plain
from gateway.entities import Row

_MEMBER = re.compile(r'[ \t]*(?:((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?(?:,|$)')
"""A member of a list of entity tags, with the comma behind it; it may be empty."""


def etag_of(row: Row) -> str:
    """Return the tag of an entity as it is stored, quoted as in a header."""
    text = json.dumps(row, default=str, sort_keys=True)
    return f'"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"'


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The tags in ``If-Match`` and ``If-None-Match``; None: the header is not there."""

    if_match: frozenset[str] | None
    if_none_match: frozenset[str] | None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return those of a request. Raises an answer for a header that cannot be read."""
        return cls(_tags(request, "If-Match"), _tags(request, "If-None-Match"))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self != _NONE

    def is_known(self, etag: str) -> bool:
        """Tell whether a reader has this state already."""
        return self.if_none_match is not None and _matches_weakly(self.if_none_match, etag)

    def check(self, stored: Row | None, singular: str) -> None:
        """Raise the answer to a change of the entity ``stored`` that its client does not want.

        To be called where nobody else can write; ``singular`` is what the entity is called.
        """
        etag = None if stored is None else etag_of(stored)
        if self.if_match is not None and not _matches(self.if_match, etag):
            raise _changed_since(singular) if etag else _gone(singular)
        if etag is not None and self.is_known(etag):
            raise _there_already(singular)


_NONE = Preconditions(None, None)


def _matches(tags: frozenset[str], etag: str | None) -> bool:
    """Compare strongly: a weak tag, with its ``W/``, is like none of ours."""
    return etag is not None and not tags.isdisjoint({"*", etag})


def _matches_weakly(tags: frozenset[str], etag: str) -> bool:
    return not tags.isdisjoint({"*", etag, f"W/{etag}"})


def _tags(request: Request, header: str) -> frozenset[str] | None:
    lines = request.headers.getlist(header)
    if not lines:
        return None
    text = ",".join(lines).strip(" \t")
    tags = frozenset({"*"} if text == "*" else _listed(header, text))
    if not tags:
        raise _unreadable(header)
    return tags


def _listed(header: str, text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        member = _MEMBER.match(text, position)
        if member is None:
            raise _unreadable(header)
        if member[1]:
            yield member[1]
        position = member.end()


# -- answers


def _unreadable(header: str) -> ApiError:
    return plain(400, f"{header}: expected * or tags in double quotes, as ETag gives them")


def _changed_since(singular: str) -> ApiError:
    return plain(
        412,
        f"the {singular} was changed since it had an ETag in If-Match: "
        "read it again, and send its new ETag",
    )


def _gone(singular: str) -> ApiError:
    return plain(
        412, f"the {singular} is not there (any more): leave out If-Match if that is no matter"
    )


def _there_already(singular: str) -> ApiError:
    return plain(
        412,
        f"the {singular} is there already: leave out If-None-Match to write it nevertheless, "
        "or send its ETag in If-Match",
    )
