"""Passwords tried beside the event loop: few at a time, few waiting, and the same one only once.

To try a password takes about 20 ms of a processor, so that hashes that got lost are of little use.
Nobody who sends many of them may keep a node from its work: at most a quarter of its processors,
though at least one, tries passwords (``threads``); at most ``MOST_UNDER_WAY`` are being tried or
wait for it, ``MOST_OF_CLIENT`` of one client. Whoever comes then is told to come again.

Outcomes are kept for as long as there is room, under a digest that only this process can make.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from gateway.entities.password import KONG_PREFIX, is_password
from gateway.plugins.identity import Credential

MOST_UNDER_WAY = 64
MOST_OF_CLIENT = 8
MOST_RIGHT = 16_384
MOST_WRONG = 1024

_OF_NOBODY = (
    "$argon2id$v=19$m=19456,t=2,p=1$LjgvtwDmGcGxBkwi2+6SHA"
    "$reWJK9/45k6AfPqFp+PPUWz2VM4No1ymONj2gGGbtrY"
)
"""What passwords of unknown users are tried with, so that they take as long as others."""


class TooManyError(Exception):
    """No more passwords are tried for now; of this client, or ``of_all``."""

    def __init__(self, *, of_all: bool) -> None:
        super().__init__("too many passwords are being tried")
        self.of_all = of_all


class Attempt(NamedTuple):
    """A password, what is kept of the right one, and the digest of both."""

    password: str
    kept: str
    consumer_id: UUID
    digest: bytes


class PasswordChecks:
    """Tries passwords for all of a node."""

    def __init__(self) -> None:
        threads = max(1, (os.cpu_count() or 1) // 4)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._secret = os.urandom(32)
        self._right = _Recent(MOST_RIGHT)
        self._wrong = _Recent(MOST_WRONG)
        self._under_way: dict[bytes, asyncio.Future[bool]] = {}
        self._of_clients: Counter[str] = Counter()

    def attempt(self, username: str, credential: Credential | None, password: str) -> Attempt:
        """Return what is to be tried; with no credential it is wrong, as everybody's would be."""
        kept, owner = _OF_NOBODY, UUID(int=0)
        if credential is not None:
            kept, owner = credential.secret, credential.consumer_id
        digest = blake2b(key=self._secret, digest_size=32)
        for part in (username, kept, str(owner), password):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(b"%d:%b" % (len(data), data))
        return Attempt(password, kept, owner, digest.digest())

    def outcome(self, attempt: Attempt) -> bool | None:
        """Return whether a password is right, None when that takes a `check`."""
        if attempt.kept.startswith(KONG_PREFIX):
            return is_password(attempt.password, attempt.kept, attempt.consumer_id)
        if attempt.digest in self._right:
            return True
        return False if attempt.digest in self._wrong else None

    async def check(self, attempt: Attempt, client: str) -> bool:
        """Return whether a password is right, once it was tried. Raises TooManyError."""
        known = self.outcome(attempt)  # a try that was under way may have ended since it was asked
        if known is not None:
            return known
        under_way = self._under_way.get(attempt.digest)
        if under_way is None:
            under_way = self._begin(attempt, client)
        return await asyncio.shield(under_way)  # another client may wait for it as well

    def _begin(self, attempt: Attempt, client: str) -> asyncio.Future[bool]:
        if len(self._under_way) >= MOST_UNDER_WAY:
            raise TooManyError(of_all=True)
        if self._of_clients[client] >= MOST_OF_CLIENT:
            raise TooManyError(of_all=False)
        under_way = asyncio.get_running_loop().run_in_executor(
            self._pool, is_password, attempt.password, attempt.kept, attempt.consumer_id
        )
        self._under_way[attempt.digest] = under_way
        self._of_clients[client] += 1
        under_way.add_done_callback(partial(self._end, attempt.digest, client))
        return under_way

    def _end(self, digest: bytes, client: str, tried: asyncio.Future[bool]) -> None:
        del self._under_way[digest]
        self._of_clients[client] -= 1
        if not self._of_clients[client]:
            del self._of_clients[client]
        if not tried.cancelled() and tried.exception() is None:
            outcomes = self._right if tried.result() else self._wrong
            outcomes.add(digest)


class _Recent:
    """The digests that were asked for most recently."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        if digest not in self._digests:
            return False
        self._digests.move_to_end(digest)
        return True

    def add(self, digest: bytes) -> None:
        """Take a digest in, in place of the one that nobody has asked for the longest time."""
        self._digests[digest] = None
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)
