"""The interface of the conversation store."""

from collections.abc import Sequence
from typing import Any, Protocol

from deployments.errors import NotFound
from deployments.history.search import Match
from deployments.history.types import Context, Conversation, Item, NewItem, Order, Page


class HistoryStore(Protocol):
    """Conversations and their items, each of one tenant.

    Everywhere: an id of another tenant is `NotFound`, as is one that does not
    exist. `HistoryUnavailable` means that the store could not be reached within
    `HistorySettings.timeout_s`; whether a write happened is then unknown, and
    only `append` may be repeated as it is. `BadRequest` means that the store can
    never hold what was given. Cancellation leaves a write done whole or not at all.
    """

    async def create_conversation(
        self, tenant: str, metadata: dict[str, Any], items: Sequence[NewItem] = ()
    ) -> Conversation:
        """Create a conversation together with its first items, or neither."""
        ...

    async def conversation(self, tenant: str, conversation_id: str) -> Conversation:
        """Return one conversation."""
        ...

    async def conversations(self, tenant: str, after: str | None = None, limit: int = 20) -> Page[Conversation]:
        """Return a page of the tenant's conversations, the one with the newest item first.

        `after` is the last id of the page before; a conversation that gets an
        item between two pages moves to the front.
        """
        ...

    async def update_conversation(
        self,
        tenant: str,
        conversation_id: str,
        metadata: dict[str, Any] | None = None,
        title: str | None = None,
        version: str | None = None,
    ) -> Conversation:
        """Replace the metadata, the title, or both; None leaves them, an empty title removes it.

        Raises PreconditionFailed where `version` is given and is no longer that of the conversation.
        """
        ...

    async def delete_conversation(self, tenant: str, conversation_id: str) -> None:
        """Delete a conversation and all its items permanently."""
        ...

    async def search(self, tenant: str, typed: str, after: str | None = None, limit: int = 20) -> Page[Match]:
        """Return a page of the conversations with a message that holds every word of `typed`, the best match first.

        The last word may be the beginning of one. Only the newest matches are
        ranked (`MAX_MATCHES`); nothing to look for finds nothing.
        """
        ...

    async def append(self, tenant: str, conversation_id: str, items: Sequence[NewItem]) -> list[Item]:
        """Append items, each the child of the one before it unless it names its parent; return them as stored.

        An item whose id the conversation already holds is left as it is, so that
        the call may be repeated after an unknown outcome. `Conflict` means that
        a named parent is not (yet) there. The cost does not depend on the
        conversation's length.
        """
        ...

    async def items(
        self, tenant: str, conversation_id: str, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Item]:
        """Return a page of a conversation's items over all branches, in the order they were appended."""
        ...

    async def item(self, tenant: str, conversation_id: str, item_id: str) -> Item:
        """Return one item."""
        ...

    async def delete_item(self, tenant: str, conversation_id: str, item_id: str) -> None:
        """Erase an item's content; a mark stays in its place, so that its children keep their way to the root."""
        ...

    async def context(
        self, tenant: str, conversation_id: str, leaf: str | None, max_items: int, max_bytes: int
    ) -> Context:
        """Return the branch that ends in `leaf` (None: the newest item), cut at the old end by count and bytes.

        The leaf itself is always included, however large it is. One round trip.
        """
        ...

    async def stored_bytes(self, tenant: str) -> int:
        """Return how many bytes a tenant stores: its items, requests for responses and stored completions."""
        ...


def no_conversation(conversation_id: str) -> NotFound:
    """Return the error for a conversation that is not there, or not this tenant's."""
    return NotFound(f"Conversation with id '{conversation_id}' not found.")


def no_item(item_id: str) -> NotFound:
    """Return the error for an item that is not there."""
    return NotFound(f"Item with id '{item_id}' not found.")


def no_cursor(after: str | None) -> NotFound:
    """Return the error for a page that starts after nothing known."""
    return NotFound(f"Nothing with id '{after}' found to start after.", "after")
