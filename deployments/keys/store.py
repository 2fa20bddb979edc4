"""The interface of the key store."""

from collections.abc import Sequence
from typing import Protocol

from deployments.errors import Conflict, NotFound
from deployments.keys.types import Key


class KeyStore(Protocol):
    """API keys by their hashes.

    Everywhere: `HistoryUnavailable` means that the store could not be reached
    within `HistorySettings.timeout_s`, and whether a change happened is unknown.
    """

    async def create(self, name: str) -> tuple[Key, str]:
        """Return a new key and its secret, which cannot be read again; Conflict if a valid key has the name."""
        ...

    async def list(self) -> Sequence[Key]:
        """Return all keys, revoked ones too, oldest first."""
        ...

    async def revoke(self, id_or_name: str) -> Key:
        """Revoke a key by its id (again, if need be) or a valid one by its name; NotFound if there is none."""
        ...

    async def find(self, hash_: bytes) -> Key | None:
        """Return the key with this hash, revoked or not."""
        ...


def name_taken(name: str) -> Conflict:
    """Return the error for a name that a valid key has."""
    return Conflict(f"A key named '{name}' exists already: revoke it or choose another name.", "name")


def no_key(id_or_name: str) -> NotFound:
    """Return the error for a key that is not there."""
    return NotFound(f"There is no valid key with the id or name '{id_or_name}'.")
