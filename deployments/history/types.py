"""What the conversation store takes and gives."""

import itertools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Generic, Literal, Self, TypeVar

import orjson

T = TypeVar("T")

Status = Literal["completed", "incomplete"]
Order = Literal["asc", "desc"]

# As a NewItem's parent: the item starts the conversation anew, beside its first item.
ROOT = ""


PAGE_BYTES = 4 * 1024 * 1024
"""Bytes of what a page lists, as it is stored; a page has at least one entry, however large it is."""


def new_id(prefix: str) -> str:
    """Return an id that cannot be guessed: the prefix and 160 random bits in hex."""
    return f"{prefix}_{secrets.token_hex(20)}"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its items; `updated_at` is the time of its last item."""

    id: str
    tenant: str
    metadata: dict[str, Any]
    title: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def version(self) -> str:
        """A name for its metadata and title as they are now."""
        return sha256(orjson.dumps([self.metadata, self.title], option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to append.

    `id`, made here unless given, makes the append idempotent.
    `parent_id` is the item that this one answers: None for the newest item of
    the conversation (or the one before it in the same call), ROOT for none.
    """

    payload: dict[str, Any]
    id: str = field(default_factory=lambda: new_id("msg"))
    parent_id: str | None = None
    type: str = "message"
    role: str | None = None
    status: Status = "completed"

    @classmethod
    def message(cls, role: str, text: str, *, status: Status = "completed") -> Self:
        """Return a text message in OpenAI's shape of a conversation item."""
        part = "output_text" if role == "assistant" else "input_text"
        return cls({"content": [{"type": part, "text": text}]}, role=role, status=status)

    def after(self, parent_id: str | None) -> Self:
        """Return the same item with another parent."""
        return replace(self, parent_id=parent_id)

    def document(self) -> dict[str, Any]:
        """Return the whole item in OpenAI's shape, as it is stored."""
        role = {} if self.role is None else {"role": self.role}
        return {**self.payload, "type": self.type, "id": self.id, "status": self.status, **role}


@dataclass(frozen=True, slots=True)
class Item:
    """A stored item; `payload` is the whole of it in OpenAI's shape."""

    id: str
    conversation_id: str
    parent_id: str | None
    type: str
    role: str | None
    status: str
    payload: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list; `last_id` is the cursor for the next part."""

    data: list[T] = field(default_factory=list[T])
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None

    @classmethod
    def of(cls, rows: list[T], limit: int, found: int | None = None) -> "Page[T]":
        """Return the first `limit` of up to `limit + 1` rows, each of which has an `id`.

        `found`: how many there were before some were left out for their size (`PAGE_BYTES`).
        """
        data = rows[:limit]
        ids: list[str] = [getattr(row, "id") for row in data]  # noqa: B009 - T has an id
        has_more = (len(rows) if found is None else found) > len(data)
        return Page(data, has_more, ids[0] if ids else None, ids[-1] if ids else None)


def fitting(rows: Sequence[T], size_of: Callable[[T], int]) -> list[T]:
    """Return the first rows up to `PAGE_BYTES` in total, at least one: what a page may hold."""
    totals = itertools.accumulate(map(size_of, rows))
    return [row for at, (row, total) in enumerate(zip(rows, totals, strict=True)) if total <= PAGE_BYTES or at == 0]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the reading of a context stopped: at this item, which is not in it, of so many bytes."""

    item_id: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Context:
    """The branch that ends in `leaf`, oldest item first; `leaf` is None in an empty conversation.

    `cut` says that there is more before its first item.
    """

    items: tuple[Item, ...]
    leaf: str | None
    cut: Cut | None = None
