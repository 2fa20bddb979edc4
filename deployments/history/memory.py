"""Conversations in memory, with the promises of store.py but for durability: for tests and trials."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from deployments.errors import Conflict, HistoryUnavailable, NotFound, PreconditionFailed
from deployments.history.search import Match
from deployments.history.store import no_conversation, no_cursor, no_item
from deployments.history.types import ROOT, Context, Conversation, Cut, Item, NewItem, Order, Page, fitting, new_id
from deployments.history.words import Wanted, wanted_of, words_of
from deployments.infra.postgres.encoding import clean, encode


@dataclass(slots=True)
class _Shelf:
    """A conversation with its items in the order they came, and the ids of those deleted."""

    conversation: Conversation
    moved: int
    items: dict[str, Item] = field(default_factory=dict[str, Item])
    deleted: set[str] = field(default_factory=set[str])


class MemoryHistory:
    """The conversation store as a dictionary; while `is_away` is set every call is `HistoryUnavailable`."""

    def __init__(self) -> None:
        self.is_away = False
        self._shelves: dict[str, _Shelf] = {}
        self._moves = 0

    async def create_conversation(
        self, tenant: str, metadata: dict[str, Any], items: Sequence[NewItem] = ()
    ) -> Conversation:
        """Create a conversation together with its first items, or neither."""
        self.check()
        now = datetime.now(UTC)
        conversation = Conversation(new_id("conv"), tenant, orjson.loads(encode(metadata)), None, now, now)
        shelf = _Shelf(conversation, self._next_move())
        _add(shelf, items)
        self._shelves[conversation.id] = shelf
        return shelf.conversation

    async def conversation(self, tenant: str, conversation_id: str) -> Conversation:
        """Return one conversation."""
        return self._shelf(tenant, conversation_id).conversation

    async def conversations(self, tenant: str, after: str | None = None, limit: int = 20) -> Page[Conversation]:
        """Return a page of the tenant's conversations, the one with the newest item first."""
        self.check()
        mine = [shelf for shelf in self._shelves.values() if shelf.conversation.tenant == tenant]
        mine.sort(key=lambda shelf: shelf.moved, reverse=True)
        return Page.of(_after([shelf.conversation for shelf in mine], after)[: limit + 1], limit)

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
        shelf = self._shelf(tenant, conversation_id)
        if version not in (None, shelf.conversation.version):
            raise PreconditionFailed
        if metadata is not None:
            shelf.conversation = replace(shelf.conversation, metadata=orjson.loads(encode(metadata)))
        if title is not None:
            shelf.conversation = replace(shelf.conversation, title=clean(title) or None)
        return shelf.conversation

    async def delete_conversation(self, tenant: str, conversation_id: str) -> None:
        """Delete a conversation and all its items permanently."""
        self._shelf(tenant, conversation_id)
        del self._shelves[conversation_id]

    async def search(self, tenant: str, typed: str, after: str | None = None, limit: int = 20) -> Page[Match]:
        """Return a page of the conversations with a message that holds every word of `typed`, the best match first."""
        self.check()
        wanted = wanted_of(clean(typed))
        mine = [shelf for shelf in self._shelves.values() if shelf.conversation.tenant == tenant]
        best = [match for shelf in mine if wanted and (match := _best_match(shelf, wanted))]
        best.sort(key=lambda match: match.score, reverse=True)
        return Page.of(_after(best, after)[: limit + 1], limit)

    async def append(self, tenant: str, conversation_id: str, items: Sequence[NewItem]) -> list[Item]:
        """Append items, idempotent by their ids; return them as stored."""
        shelf = self._shelf(tenant, conversation_id)
        before = len(shelf.items)
        stored = _add(shelf, items)
        if len(shelf.items) > before:
            shelf.moved = self._next_move()
        return stored

    async def items(
        self, tenant: str, conversation_id: str, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Item]:
        """Return a page of a conversation's items over all branches, in the order they were appended."""
        shelf = self._shelf(tenant, conversation_id)
        in_order = list(shelf.items.values())[:: -1 if order == "desc" else 1]
        living = [item for item in _after(in_order, after) if item.id not in shelf.deleted]
        listed = living[: limit + 1]
        return Page.of(fitting(listed, _size), limit, len(listed))

    async def item(self, tenant: str, conversation_id: str, item_id: str) -> Item:
        """Return one item."""
        shelf = self._shelf(tenant, conversation_id, no_item(item_id))
        if item_id not in shelf.items or item_id in shelf.deleted:
            raise no_item(item_id)
        return shelf.items[item_id]

    def items_by_id(self, tenant: str, ids: Collection[str]) -> dict[str, Item]:
        """Return those of a tenant's items that have these ids, whatever their conversation."""
        mine = [shelf for shelf in self._shelves.values() if shelf.conversation.tenant == tenant]
        return {id_: shelf.items[id_] for shelf in mine for id_ in ids if id_ in shelf.items.keys() - shelf.deleted}

    async def delete_item(self, tenant: str, conversation_id: str, item_id: str) -> None:
        """Erase an item's content; its children keep their way to the root."""
        item = await self.item(tenant, conversation_id, item_id)
        shelf = self._shelves[conversation_id]
        shelf.items[item_id] = replace(item, payload={})
        shelf.deleted.add(item_id)

    async def context(
        self, tenant: str, conversation_id: str, leaf: str | None, max_items: int, max_bytes: int
    ) -> Context:
        """Return the branch that ends in `leaf` (None: the newest item), cut at the old end."""
        shelf = self._shelf(tenant, conversation_id)
        start = leaf if leaf is not None else next(reversed(shelf.items), None)
        if start is not None and start not in shelf.items:
            raise no_item(start)
        branch: list[Item] = []
        size = 0
        step = start
        while step is not None and len(branch) < max_items:
            item = shelf.items[step]
            size += _size(item)
            if size > max_bytes and step != start:
                break
            if step not in shelf.deleted:
                branch.append(item)
            step = item.parent_id
        cut = None if step is None else Cut(step, _size(shelf.items[step]))
        return Context(tuple(reversed(branch)), start, cut)

    async def stored_bytes(self, tenant: str) -> int:
        """Return how many bytes a tenant's items have."""
        self.check()
        mine = (shelf for shelf in self._shelves.values() if shelf.conversation.tenant == tenant)
        return sum(_size(item) for shelf in mine for item in shelf.items.values())

    def check(self) -> None:
        """Raise HistoryUnavailable while the store is away."""
        if self.is_away:
            raise HistoryUnavailable(retry_after_s=1.0)

    def _next_move(self) -> int:
        self._moves += 1
        return self._moves

    def _shelf(self, tenant: str, conversation_id: str, missing: NotFound | None = None) -> _Shelf:
        self.check()
        shelf = self._shelves.get(conversation_id)
        if shelf is None or shelf.conversation.tenant != tenant:
            raise missing or no_conversation(conversation_id)
        return shelf


def _add(shelf: _Shelf, items: Sequence[NewItem]) -> list[Item]:
    """Add items to a shelf, all or none."""
    known = dict(shelf.items)
    before = next(reversed(known), None)
    ids: list[str] = []
    for new in items:
        parent = before if new.parent_id is None else new.parent_id if new.parent_id != ROOT else None
        before = new.id
        ids.append(before)
        if before not in known:
            known[before] = _item(shelf.conversation.id, new, parent)
    for item_id in ids:
        parent = known[item_id].parent_id
        if parent is not None and parent not in known:
            raise Conflict
    if len(known) > len(shelf.items):
        shelf.items = known
        shelf.conversation = replace(shelf.conversation, updated_at=datetime.now(UTC))
    return [known[item_id] for item_id in ids]


def _item(conversation_id: str, new: NewItem, parent: str | None) -> Item:
    return Item(
        id=new.id,
        conversation_id=conversation_id,
        parent_id=parent,
        type=new.type,
        role=new.role,
        status=new.status,
        payload=orjson.loads(encode(new.document())),
        created_at=datetime.now(UTC),
    )


def _size(item: Item) -> int:
    return len(encode(item.payload).encode()) if item.payload else 0


def _after(rows: list[Any], after: str | None) -> list[Any]:
    if after is None:
        return rows
    position = next((n for n, row in enumerate(rows) if row.id == after), None)
    if position is None:
        raise no_cursor(after)
    return rows[position + 1 :]


def _best_match(shelf: _Shelf, wanted: Sequence[Wanted]) -> Match | None:
    """Return the item with the most of what is wanted, if there is one with all of it."""
    found: list[Match] = []
    for item in shelf.items.values():
        if item.id in shelf.deleted or item.type != "message" or item.role not in ("user", "assistant"):
            continue
        parts = item.payload.get("content") or []
        text = " ".join(part["text"] for part in parts if part.get("type") in ("text", "input_text", "output_text"))
        words = words_of(text)
        counts = [sum(one.at(words, position) for position in range(len(words))) for one in wanted]
        if all(counts):
            found.append(Match(shelf.conversation, item.id, item.role, text, sum(counts) / (1 + math.log(len(words)))))
    return max(reversed(found), key=lambda match: match.score, default=None)
