"""API keys in memory, with the promises of store.py but for durability: for tests and trials."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from deployments.errors import HistoryUnavailable
from deployments.history.types import Page, new_id
from deployments.keys.store import name_taken, no_key
from deployments.keys.types import LIMIT_NAMES, Key, KeyChanges, checked, hash_of, new_secret


class MemoryKeys:
    """The key store as a dictionary; while `is_away` is set every call is `HistoryUnavailable`."""

    def __init__(self) -> None:
        self.is_away = False
        self._keys: dict[bytes, Key] = {}

    async def create(self, name: str, more: KeyChanges | None = None) -> tuple[Key, str]:
        self._check()
        changes = checked({**(more or {}), "name": name})
        self._claim(changes.get("name", name), None)
        secret, key_id = new_secret(), new_id("key")
        key = _changed(Key(key_id, "", secret[-4:], tenant=key_id, created_at=datetime.now(UTC)), changes)
        self._keys[hash_of(secret)] = key
        return key, secret

    async def list(self) -> Sequence[Key]:
        self._check()
        return [key for key in self._keys.values() if not key.is_user]

    async def page(self, after: str | None, limit: int) -> Page[Key]:
        keys = list(await self.list())
        if after is not None:
            keys = keys[next((at + 1 for at, key in enumerate(keys) if key.id == after), len(keys)) :]
        return Page[Key].of(keys[: limit + 1], limit)

    async def retrieve(self, id_or_name: str) -> Key:
        self._check()
        return self._keys[self._named(id_or_name)]

    async def update(self, id_or_name: str, changes: KeyChanges) -> Key:
        self._check()
        changes = checked(changes)
        hash_ = self._named(id_or_name)
        key = self._keys[hash_]
        if key.revoked_at is not None or key.is_user:
            raise no_key(id_or_name)
        if "name" in changes:
            self._claim(changes["name"], key)
        self._keys[hash_] = _changed(key, changes)
        return self._keys[hash_]

    async def revoke(self, id_or_name: str) -> Key:
        self._check()
        hash_ = self._named(id_or_name)
        key = self._keys[hash_]
        if key.is_user:
            raise no_key(id_or_name)
        self._keys[hash_] = replace(key, revoked_at=key.revoked_at or datetime.now(UTC))
        return self._keys[hash_]

    async def names(self, ids: Collection[str]) -> Mapping[str, str]:
        self._check()
        return {key.id: key.name for key in self._keys.values() if key.id in ids}

    async def find(self, hash_: bytes) -> Key | None:
        self._check()
        return self._keys.get(hash_)

    def put_account(self, hash_: bytes, account: Key, changes: KeyChanges) -> Key:
        """Keep a user's account, with changes."""
        self._check()
        self._keys[hash_] = _changed(account, checked(changes))
        return self._keys[hash_]

    def accounts(self) -> dict[bytes, Key]:
        """Return the users' accounts by their hashes."""
        self._check()
        return {hash_: key for hash_, key in self._keys.items() if key.is_user}

    def _named(self, id_or_name: str) -> bytes:
        for hash_, key in self._keys.items():
            if key.id == id_or_name or (key.name == id_or_name and key.revoked_at is None and not key.is_user):
                return hash_
        raise no_key(id_or_name)

    def _claim(self, name: str, owner: Key | None) -> None:
        rivals = (key for key in self._keys.values() if key.revoked_at is None and not key.is_user and key is not owner)
        if any(key.name == name for key in rivals):
            raise name_taken(name)

    def _check(self) -> None:
        if self.is_away:
            raise HistoryUnavailable(retry_after_s=1.0)


def _changed(key: Key, changes: KeyChanges) -> Key:
    limits = {name: value for name, value in changes.items() if name in LIMIT_NAMES}
    others = {name: value for name, value in changes.items() if name not in LIMIT_NAMES}
    return replace(key, limits=replace(key.limits, **limits), **others)  # type: ignore[arg-type]
