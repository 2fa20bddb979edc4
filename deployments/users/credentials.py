"""Who holds a secret, be it an API key or the token of a session."""

from deployments.keys.store import KeyStore
from deployments.keys.types import Key
from deployments.users.store import UserStore


class Credentials:
    """Looks up keys first: programs send more requests than browsers, and neither is found among the others."""

    def __init__(self, keys: KeyStore, users: UserStore) -> None:
        self._keys = keys
        self._users = users

    async def find(self, hash_: bytes) -> Key | None:
        """Return the key with this hash, or the account or key that a session's token stands for."""
        return await self._keys.find(hash_) or await self._users.find(hash_)
