"""How passwords are kept: as hashes that are slow to try, or as the ones that Kong made.

A hash that we made may be written again, so that what was read can be restored as it was. Kong's
form, an unsalted-looking SHA-1 over password and consumer id, is kept with its name before it: a
clear password of forty hexadecimal digits is not mistaken for one.
"""

from __future__ import annotations

import re

from argon2 import PasswordHasher

KONG_PREFIX = "{kong-sha1}"

_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""OWASP's least for argon2id: about 20 ms and 19 MiB a password."""

_KEPT = re.compile(
    r"\$argon2id\$v=19\$m=[0-9]{1,6},t=[0-9]{1,2},p=[0-9]{1,2}"
    r"\$[A-Za-z0-9+/]{11,64}\$[A-Za-z0-9+/]{16,128}|" + re.escape(KONG_PREFIX) + "[0-9a-f]{40}"
)


def hashed(password: str) -> str:
    """Return what is kept for a password; what is kept already stays as it is."""
    return password if _KEPT.fullmatch(password) else _HASHER.hash(password)
