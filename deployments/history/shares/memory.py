"""Shares in memory, with the promises of store.py but for durability: for tests and trials."""

from collections.abc import Sequence
from datetime import UTC, datetime

from deployments.errors import NotFound
from deployments.history.memory import MemoryHistory
from deployments.history.shares.store import (
    MAX_BYTES,
    MAX_ITEMS,
    MAX_SHARES,
    Share,
    Shared,
    no_share,
    no_shared,
    nothing_to_share,
    too_many_shares,
)
from deployments.history.types import new_id
from deployments.keys.store import KeyStore


class MemoryShares:
    """The store as a dictionary, over the conversations of `history`, whose owners have `keys`."""

    def __init__(self, history: MemoryHistory, keys: KeyStore) -> None:
        self._history = history
        self._keys = keys
        self._shares: dict[bytes, tuple[str, Share]] = {}  # by the token's hash, with the tenant

    async def create(
        self,
        tenant: str,
        conversation_id: str,
        token_hash: bytes,
        until: str | None = None,
        expires_at: datetime | None = None,
    ) -> Share:
        """Share a conversation up to `until` with anyone who has the token."""
        conversation = await self._history.conversation(tenant, conversation_id)
        if until is None:
            newest = (await self._history.items(tenant, conversation_id, limit=1)).data
            if not newest:
                raise nothing_to_share()
            until = newest[0].id
        until = (await self._history.item(tenant, conversation_id, until)).id
        if len(await self.shares(tenant, conversation_id)) >= MAX_SHARES:
            raise too_many_shares()
        made = Share(new_id("share"), conversation_id, until, conversation.title, datetime.now(UTC), expires_at)
        self._shares[token_hash] = (tenant, made)
        return made

    async def shares(self, tenant: str, conversation_id: str) -> Sequence[Share]:
        """Return a conversation's shares that have not expired, the newest first."""
        await self._history.conversation(tenant, conversation_id)
        mine = [share for _, share in self._shares.values() if share.conversation_id == conversation_id]
        return [share for share in reversed(mine) if not _has_expired(share)]

    async def revoke(self, tenant: str, conversation_id: str, share_id: str) -> None:
        """End a share permanently."""
        self._history.check()
        for hash_, (owner, share) in self._shares.items():
            if (owner, share.conversation_id, share.id) == (tenant, conversation_id, share_id):
                del self._shares[hash_]
                return
        raise no_share(share_id)

    async def read(self, token_hash: bytes) -> Shared:
        """Return what a token shows."""
        self._history.check()
        tenant, share = self._shares.get(token_hash, ("", None))
        if share is None or _has_expired(share) or not await self._is_valid(tenant):
            raise no_shared()
        try:
            context = await self._history.context(tenant, share.conversation_id, share.until, MAX_ITEMS, MAX_BYTES)
        except NotFound:  # deleted, with its conversation
            raise no_shared() from None
        messages = [
            item.payload for item in context.items if item.type == "message" and item.role in ("user", "assistant")
        ]
        is_cut = bool(context.items) and context.items[0].parent_id is not None
        return Shared(share.title, share.created_at, messages, is_cut)

    async def _is_valid(self, tenant: str) -> bool:
        """Whether a tenant's key, or user, is still let in."""
        try:
            return (await self._keys.retrieve(tenant)).is_valid()
        except NotFound:
            return True


def _has_expired(share: Share) -> bool:
    return share.expires_at is not None and share.expires_at <= datetime.now(UTC)
