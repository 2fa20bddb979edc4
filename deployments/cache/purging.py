"""Answers that can be taken back at once, a tenant's or a model's or all, without looking for them.

Every stored value is stamped with the marks of the scopes that its key belongs to:

    all answers, a tenant's, a model's, a tenant's by a model

A purge gives its scope a new random mark. What was stored before then bears a stamp
that no longer fits: it is a miss for everyone from that moment, and lies in the store
until it has expired. What began to be generated before a purge and is stored after
it is dropped. The marks are kept or lost all together, and without the mark
of the first scope nothing fits: a store that loses them has lost the answers as well,
never only the purge. Each purge also changes the `VERSION`, which travels with every
look-up: replicas drop what they hold in memory when they see another one.

A LangChain cache that is plugged in (similar/) cannot be searched for what is to go.
There the marks are part of what is asked, so that a purge leaves what was kept before
out of reach; the purge of one key does so for all answers of its tenant and model,
since what was given under it may have been the answer to another question.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from deployments.cache.claims import Claim
from deployments.cache.store import CacheStore

VERSION: Final = "version"
ALL: Final = "::"
STAMPED: Final = b"\x02"
STAMP_BYTES: Final = 8
# Past that many purged tenants and models, the next purge is one of all.
MAX_MARKS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Purge:
    """What is to go: the answer under `key`, or those of a tenant, of a model, of both, of all (neither is named).

    `tenant` and `model` are the hashes that stand in the keys.
    """

    key: str = ""
    tenant: str = ""
    model: str = ""


class PurgeableAnswers:
    """Values under the keys of `key.py`, in a store. Every method raises `StoreError` and nothing else."""

    def __init__(self, store: CacheStore) -> None:
        self._store = store

    async def lookup(self, keys: Sequence[str]) -> tuple[list[bytes | None], str]:
        """Return the values in the order of the keys, and the version at that moment, in one round trip.

        What bears no stamp is returned as an empty value, which is no answer.
        """
        values, version, _ = await self.lookup_or_claim(keys, ())
        return values, version

    async def lookup_or_claim(
        self, keys: Sequence[str], claims: Sequence[Claim | None]
    ) -> tuple[list[bytes | None], str, list[bytes | None]]:
        """Do what `lookup` does, and what `CacheStore.read_or_claim` does with the claims."""
        scopes = {key: _scopes(key) for key in keys}
        names = {VERSION, ALL}.union(*scopes.values())
        values, marks, owners = await self._store.read_or_claim(keys, sorted(names), claims)
        found = [_opened(value, _stamp(scopes[key], marks)) for key, value in zip(keys, values, strict=True)]
        return found, _version(marks), owners

    async def store(self, entries: Sequence[tuple[str, bytes, float]], versions: Sequence[str | None] = ()) -> None:
        """Keep each (key, value, seconds to live); one that is purged meanwhile may be lost, never found.

        `versions` tell, in the same order, at which version each began to be generated: with another one
        now it is dropped, whatever was purged. None asks for no such care.
        """
        scopes = {key: _scopes(key) for key, _, _ in entries}
        _, marks = await self._store.read([], sorted({VERSION, ALL}.union(*scopes.values())))
        if marks[ALL] is None:
            marks[ALL] = await self._store.add_mark(ALL, _new_mark())
        version = _version(marks)
        began = versions or [None] * len(entries)
        stamped = [
            (key, STAMPED + (_stamp(scopes[key], marks) or b"") + value, ttl_s)
            for (key, value, ttl_s), at in zip(entries, began, strict=True)
            if at in (None, version)
        ]
        if not stamped:
            return
        await self._store.set_many(stamped)
        # The purge of one key leaves its stamp as it was: if it came in between, the key has to go once more.
        _, marks = await self._store.read([], [VERSION])
        if _version(marks) != version:
            for key, _, _ in stamped:
                await self._store.delete(key)

    async def mark_of_similar(self, key: str, version: str | None = None) -> str | None:
        """Return what is another text after each purge that concerns the answers to questions similar to a key's.

        None if there has been any purge since `version`.
        """
        scopes = (*_scopes(key), _scope_of_similar(key))
        _, marks = await self._store.read([], (VERSION, *scopes))
        if version not in (None, _version(marks)):
            return None
        if marks[ALL] is None:
            marks[ALL] = await self._store.add_mark(ALL, _new_mark())
        return (_stamp(scopes, marks) or b"").hex()

    async def purge(self, purge: Purge) -> None:
        """Take answers back; from its return on no look-up finds them."""
        if purge.key:  # before the version moves: what is found at the new one may be kept in memory
            await self._store.delete(purge.key)
        scope = _scope_of_similar(purge.key) if purge.key else f":{purge.tenant}:{purge.model}"
        if scope == ALL or await self._store.set_marks({scope: _new_mark(), VERSION: _new_mark()}) > MAX_MARKS:
            await self._store.set_marks({ALL: _new_mark(), VERSION: _new_mark()}, alone=True)
        if purge.key:  # and after: whoever stored it in between either comes before this, or sees the new version
            await self._store.delete(purge.key)


def _version(marks: Mapping[str, bytes | None]) -> str:
    return (marks[VERSION] or b"").decode(errors="replace")


def _scopes(key: str) -> tuple[str, ...]:
    """Return the names of the marks that a key's stamp is made of."""
    _, tenant, model, _ = (*key.split(":", 3), "", "", "")[:4]
    return ALL, f":{tenant}:", f"::{model}", f":{tenant}:{model}"


def _scope_of_similar(key: str) -> str:
    return f"similar{_scopes(key)[-1]}"


def _stamp(scopes: Sequence[str], marks: Mapping[str, bytes | None]) -> bytes | None:
    if marks[ALL] is None:
        return None
    return hashlib.blake2b(b"\n".join(marks[scope] or b"" for scope in scopes), digest_size=STAMP_BYTES).digest()


def _opened(value: bytes | None, stamp: bytes | None) -> bytes | None:
    if value is None:
        return None
    if not value.startswith(STAMPED):
        return b""
    return value[1 + STAMP_BYTES :] if value[1 : 1 + STAMP_BYTES] == stamp else None


def _new_mark() -> bytes:
    return secrets.token_hex(8).encode()
