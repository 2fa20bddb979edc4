"""What conversations and their items look like; for their description, not for making them."""

from typing import Any, Literal

import msgspec


class Conversation(msgspec.Struct):
    """A conversation without its items; `updated_at` (Unix seconds) is the time of its last item."""

    id: str
    object: Literal["conversation"]
    created_at: int
    updated_at: int
    metadata: dict[str, Any]
    title: str | None


class DeletedConversation(msgspec.Struct):
    """A deleted conversation."""

    id: str
    object: Literal["conversation.deleted"]
    deleted: bool


class Item(msgspec.Struct):
    """A conversation's item; `parent_id` is the one that it follows."""

    id: str
    type: str
    status: str
    parent_id: str | None
    created_at: int
    role: str | None = None
    content: list[dict[str, Any]] | None = None


class ConversationPage(msgspec.Struct):
    """A page of conversations; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[Conversation]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ItemPage(msgspec.Struct):
    """A page of items; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool
