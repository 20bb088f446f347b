"""Passwords of operators: argon2id (RFC 9106), off the loop, a few at a time."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from admit.errors import InvalidRequest, Unavailable

CHARACTERS_MIN = 12
BYTES_MAX = 256
AT_ONCE_MAX = 2
WAITING_MAX = 20
MEMORY_KIB = 32 * 1_024
ROUNDS = 3
LANES = 1

TOO_SHORT = f"A password has at least {CHARACTERS_MIN} characters. A sentence of four words is good."
TOO_LONG = f"A password has at most {BYTES_MAX} bytes."
BUSY = "Many people are signing in at this moment. Try again in a few seconds."


T = TypeVar("T")


def check_password(password: str) -> str:
    """Returns `password` where it may be one. Raises InvalidRequest."""
    if len(password.encode()) > BYTES_MAX:
        raise InvalidRequest(TOO_LONG)
    if len(password) < CHARACTERS_MIN:
        raise InvalidRequest(TOO_SHORT)
    return password


class Passwords:
    """Makes and checks digests of passwords. Each takes tens of milliseconds and MEMORY_KIB."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=ROUNDS, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._places = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0
        self._nobodys = ""

    async def digest(self, password: str) -> str:
        """What is kept of `password`. Raises InvalidRequest and Unavailable."""
        return await self._run(partial(self._hasher.hash, check_password(password)))

    async def matches(self, digest: str, password: str) -> bool:
        """Whether `digest` was made of `password`. "" is nobody's, and takes as long. Raises Unavailable."""
        if len(password.encode()) > BYTES_MAX:
            return False
        if not self._nobodys:
            self._nobodys = await self._run(partial(self._hasher.hash, "nobody's password"))
        return await self._run(partial(self._verify, digest or self._nobodys, password)) and digest != ""

    def is_old(self, digest: str) -> bool:
        """Whether `digest` was made at less cost than today's are."""
        return self._hasher.check_needs_rehash(digest)

    def _verify(self, digest: str, password: str) -> bool:
        try:
            return self._hasher.verify(digest, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise Unavailable(BUSY, retry_after_seconds=5)
        self._waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1
