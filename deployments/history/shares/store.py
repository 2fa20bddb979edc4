"""What a share is, and the interface of its store."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from deployments.errors import BadRequest, Conflict, LastingConflict, NotFound

MAX_SHARES = 50
"""Links of one conversation that are valid at once."""
MAX_ITEMS, MAX_BYTES = 1_000, 4_194_304
"""What is read of a share, the newest of it."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Share:
    """A link to a conversation up to its item `until`; `title` is what it was called then."""

    id: str
    conversation_id: str
    until: str
    title: str | None
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Shared:
    """What a link shows: stored messages of the user and the assistant, oldest first, as OpenAI's items."""

    title: str | None
    created_at: datetime
    messages: Sequence[dict[str, Any]]
    is_cut: bool


class ShareStore(Protocol):
    """Shares, each of a conversation of one tenant; deleted with it.

    Another tenant's id is `NotFound`; `HistoryUnavailable` means that the store could not
    be reached in time, and whether a write happened is unknown.
    """

    async def create(
        self,
        tenant: str,
        conversation_id: str,
        token_hash: bytes,
        until: str | None = None,
        expires_at: datetime | None = None,
    ) -> Share:
        """Share a conversation up to `until` (None: the newest item) with anyone who has the token.

        Raises NotFound for an item that is not there, BadRequest for a conversation without
        items, Conflict past `MAX_SHARES`.
        """
        ...

    async def shares(self, tenant: str, conversation_id: str) -> Sequence[Share]:
        """Return a conversation's shares that have not expired, the newest first."""
        ...

    async def revoke(self, tenant: str, conversation_id: str, share_id: str) -> None:
        """End a share permanently."""
        ...

    async def read(self, token_hash: bytes) -> Shared:
        """Return what a token shows; NotFound where it shows nothing any more, or never did."""
        ...


def new_token() -> str:
    """Return a token of 256 random bits."""
    return secrets.token_urlsafe(32)


def hash_of(token: str) -> bytes:
    """Return what is stored of a token; NotFound for what cannot be one."""
    if not _TOKEN.fullmatch(token):
        raise no_shared()
    return hashlib.sha256(token.encode()).digest()


def no_share(share_id: str) -> NotFound:
    """Return the error for a share that is not there, or not this tenant's."""
    return NotFound(f"Share with id '{share_id[:100]}' not found.")


def no_shared() -> NotFound:
    """Return the error for a token that shows nothing, in words that do not tell why."""
    return NotFound("This conversation is not shared, or is no longer shared.")


def nothing_to_share() -> BadRequest:
    """Return the error for a conversation without items."""
    return BadRequest("There is nothing in this conversation to share yet.")


def too_many_shares() -> Conflict:
    """Return the error for one share more than there may be."""
    return LastingConflict(f"A conversation may have {MAX_SHARES} shares at most: revoke one of them.")
