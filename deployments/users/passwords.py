"""Hashing passwords and verifying them, off the event loop and a few at once."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from deployments.errors import Unavailable

AT_ONCE = 2
MAX_WAITING = 32
# What OWASP recommends at least (Password Storage Cheat Sheet, Argon2id): 19 MiB, two passes, one lane.
MEMORY_KIB, PASSES, LANES = 19_456, 2, 1


T = TypeVar("T")


class Passwords:
    """Argon2id; each call takes about 40 ms of a core, in a thread. Past `MAX_WAITING` calls Unavailable is raised."""

    def __init__(self, memory_kib: int = MEMORY_KIB, passes: int = PASSES) -> None:
        """Less than the defaults is for tests."""
        self._hasher = argon2.PasswordHasher(passes, memory_kib, LANES)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """Return what is stored of a password."""
        return await self._in_turn(lambda: self._hasher.hash(password))

    async def verify(self, hash_: str | None, password: str) -> bool:
        """Whether `hash_` is that of the password. Without a hash it takes as long, and the answer is no."""
        return await self._in_turn(lambda: self._verify(hash_, password))

    def is_outdated(self, hash_: str) -> bool:
        """Whether a hash was made with other parameters than today's: hash the password anew when it is known."""
        return self._hasher.check_needs_rehash(hash_)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many people sign in right now.", None, 1.0)
        self._waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1

    def _verify(self, hash_: str | None, password: str) -> bool:
        if hash_ is None and self._nobodys is None:
            self._nobodys = self._hasher.hash("nobody's")
        try:
            return self._hasher.verify(hash_ or self._nobodys or "", password) and hash_ is not None
        except (VerificationError, InvalidHashError):
            return False
