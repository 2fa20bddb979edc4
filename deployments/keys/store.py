"""The interface of the key store."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from deployments.errors import Conflict, LastingConflict, NotFound
from deployments.history.types import Page
from deployments.keys.types import Key, KeyChanges


class KeyStore(Protocol):
    """API keys by their hashes.

    Everywhere: `HistoryUnavailable` means that the store could not be reached
    within `HistorySettings.timeout_s`, and whether a change happened is unknown.
    A key is named by its id, or by its name as long as it is not revoked.
    """

    async def create(self, name: str, more: KeyChanges | None = None) -> tuple[Key, str]:
        """Return a new key and its secret, which cannot be read again.

        Raises Conflict if a key that is not revoked has the name, BadRequest for what cannot be.
        """
        ...

    async def list(self) -> Sequence[Key]:
        """Return all keys, revoked ones too, oldest first."""
        ...

    async def page(self, after: str | None, limit: int) -> Page[Key]:
        """Return `limit` keys in the order of `list`, from behind the one with the id `after`."""
        ...

    async def retrieve(self, id_or_name: str) -> Key:
        """Return a key; NotFound if there is none."""
        ...

    async def update(self, id_or_name: str, changes: KeyChanges) -> Key:
        """Change a key that is not revoked; NotFound if there is none, Conflict or BadRequest as `create`."""
        ...

    async def revoke(self, id_or_name: str) -> Key:
        """Revoke a key by its id (again, if need be) or a valid one by its name; NotFound if there is none."""
        ...

    async def names(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the names of the keys with these ids by their ids, revoked ones too; an unknown id is left out."""
        ...

    async def find(self, hash_: bytes) -> Key | None:
        """Return the key with this hash, whatever its state."""
        ...


def name_taken(name: str) -> Conflict:
    """Return the error for a name that a key which is not revoked has."""
    return LastingConflict(f"A key named '{name}' exists already: revoke it or choose another name.", "name")


def no_key(id_or_name: str) -> NotFound:
    """Return the error for a key that is not there."""
    return NotFound(f"There is no valid key with the id or name '{id_or_name[:100]}'.")
