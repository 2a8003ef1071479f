"""How passwords are kept: as hashes that are slow to try, or as the ones that Kong made.

A hash that we made may be written again, so that what was read can be restored as it was. Kong's
form, a SHA-1 over password and consumer id, is kept with its name before it: a clear password of
forty hexadecimal digits is not mistaken for one. A hash that takes more than 100 MB or nine passes
to check is taken for a password: who tries one must not be able to stop a node with it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

KONG_PREFIX = "{kong-sha1}"

_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""OWASP's least for argon2id: about 20 ms and 19 MiB a password."""

_KEPT = re.compile(
    r"\$argon2id\$v=19\$m=[0-9]{1,5},t=[0-9],p=[0-9]"
    r"\$[A-Za-z0-9+/]{11,64}\$[A-Za-z0-9+/]{16,128}|" + re.escape(KONG_PREFIX) + "[0-9a-f]{40}"
)


def is_kept(text: str) -> bool:
    """Tell whether a text is what is kept for a password, and not a password."""
    return _KEPT.fullmatch(text) is not None


def hashed(password: str) -> str:
    """Return what is kept for a password; what is kept already stays as it is."""
    return password if is_kept(password) else _HASHER.hash(password)


def is_password(password: str, kept: str, consumer_id: UUID) -> bool:
    """Tell whether what is kept is kept for this password. Takes about 20 ms, as `hashed` does."""
    if kept.startswith(KONG_PREFIX):
        digest = hashlib.sha1(f"{password}{consumer_id}".encode(), usedforsecurity=False)
        return hmac.compare_digest(digest.hexdigest(), kept.removeprefix(KONG_PREFIX))
    try:
        return _HASHER.verify(kept, password)
    except (InvalidHashError, VerificationError):
        return False
