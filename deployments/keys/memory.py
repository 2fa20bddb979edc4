"""API keys in memory, with the promises of store.py but for durability: for tests and trials."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from deployments.errors import HistoryUnavailable
from deployments.history.encoding import clean
from deployments.history.types import new_id
from deployments.keys.store import name_taken, no_key
from deployments.keys.types import Key, hash_of, new_secret


class MemoryKeys:
    """The key store as a dictionary; while `is_away` is set every call is `HistoryUnavailable`."""

    def __init__(self) -> None:
        self.is_away = False
        self._keys: dict[bytes, Key] = {}

    async def create(self, name: str) -> tuple[Key, str]:
        """Return a new key and its secret, which cannot be read again; Conflict if a valid key has the name."""
        self._check()
        name = clean(name)
        if any(key.name == name and key.revoked_at is None for key in self._keys.values()):
            raise name_taken(name)
        secret, key_id = new_secret(), new_id("key")
        key = Key(key_id, name, secret[-4:], tenant=key_id, created_at=datetime.now(UTC))
        self._keys[hash_of(secret)] = key
        return key, secret

    async def list(self) -> Sequence[Key]:
        """Return all keys, revoked ones too, oldest first."""
        self._check()
        return list(self._keys.values())

    async def revoke(self, id_or_name: str) -> Key:
        """Revoke a key by its id (again, if need be) or a valid one by its name; NotFound if there is none."""
        self._check()
        for hash_, key in self._keys.items():
            if key.id == id_or_name or (key.name == id_or_name and key.revoked_at is None):
                revoked = replace(key, revoked_at=key.revoked_at or datetime.now(UTC))
                self._keys[hash_] = revoked
                return revoked
        raise no_key(id_or_name)

    async def find(self, hash_: bytes) -> Key | None:
        """Return the key with this hash, revoked or not."""
        self._check()
        return self._keys.get(hash_)

    def _check(self) -> None:
        if self.is_away:
            raise HistoryUnavailable(retry_after_s=1.0)
