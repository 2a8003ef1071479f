"""Passwords in a file: clear ones, which are hashed as late as possible, and stored ones.

To hash a password or to try one costs 20 ms, so each is worked on once, several at the same time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from gateway.declarative.flat import Item
from gateway.entities import Given, Row, SchemaViolationError
from gateway.entities.credentials import MOST_PASSWORD_CHARACTERS
from gateway.entities.password import KONG_PREFIX, hashed, is_kept, is_password
from gateway.entities.rules import AtMost
from gateway.entities.types import Text

_PLACEHOLDER = KONG_PREFIX + "0" * 40
"""Stands in a row for a clear password until it is settled."""

_KONG_HASH = re.compile("[0-9a-f]{40}")
_PASSWORD: TypeAdapter[str] = TypeAdapter(Annotated[Text, AtMost(MOST_PASSWORD_CHARACTERS)])


def put_aside(given: Given, *, transform: bool) -> tuple[Given, str | None]:
    """Return the fields with their password in stored form, and the clear one if it was that.

    ``transform`` is false for a file whose values are in stored form. Raises SchemaViolationError.
    """
    password: Any = given.get("password")
    if not _is_valid(password) or is_kept(password):
        return given, None
    if transform:
        return given | {"password": _PLACEHOLDER}, password
    if _KONG_HASH.fullmatch(password):
        return given | {"password": KONG_PREFIX + password}, None
    text = "'_transform' is false: expected a stored password, such as 40 hexadecimal digits"
    raise SchemaViolationError({"password": text})


def settle(items: Iterable[Item], stored: Mapping[str, Row]) -> None:
    """Put into each row what is to be kept for its clear password.

    ``stored`` are the rows of the database by username: what they keep stays if it is the same
    password.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = [item for item in items if item.clear_password is not None]
        kept = pool.map(lambda item: _kept(item, stored), waiting)
        for item, password in zip(waiting, kept, strict=True):
            item.checked_row["password"] = password


def _kept(item: Item, stored: Mapping[str, Row]) -> str:
    password, row = item.clear_password or "", stored.get(item.checked_row["username"])
    if row is not None and is_password(password, row["password"], row["consumer_id"]):
        return str(row["password"])
    return hashed(password)


def _is_valid(value: Any) -> bool:
    try:
        _PASSWORD.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True
