"""Responses in memory, with the promises of store.py but for durability: for tests and trials."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import orjson

from deployments.errors import NotFound
from deployments.history.memory import MemoryHistory
from deployments.history.store import no_cursor
from deployments.history.types import Item, Order, Page, fitting
from deployments.infra.postgres.encoding import encode
from deployments.responses.store import LOST, no_response, too_many_bytes
from deployments.responses.types import (
    UNFINISHED,
    Batch,
    Claim,
    Continuation,
    Ending,
    Following,
    NewResponse,
    StoredResponse,
)

LONG_AGO_S = float("-inf")


@dataclass(slots=True)
class _Entry:
    """A response, the replica that runs it, and its events."""

    response: StoredResponse
    input: list[str]
    output: list[str] = field(default_factory=list[str])
    runner: str | None = None
    heartbeat_s: float = 0.0
    attempts: int = 1
    is_shown: bool = False
    batches: list[Batch] = field(default_factory=list[Batch])
    written_at: dict[int, float] = field(default_factory=dict[int, float])


class MemoryResponses:
    """The store of responses beside a `MemoryHistory`; it keeps the hidden conversations itself."""

    def __init__(self, history: MemoryHistory) -> None:
        self._history = history
        self._hidden = MemoryHistory()
        self._hidden_ids: dict[str, str] = {}  # of a conversation, as its owner calls it, to that in `_hidden`
        self._entries: dict[str, _Entry] = {}

    async def begin(self, new: NewResponse) -> None:
        """Keep a response that has begun, with its input."""
        self._check()
        if new.has_own_conversation and new.conversation_id not in self._hidden_ids:
            made = await self._hidden.create_conversation(new.tenant, {})
            self._hidden_ids[new.conversation_id] = made.id
        if new.id in self._entries:
            return
        history, conversation = self._place(new.conversation_id)
        await history.append(new.tenant, conversation, new.input)
        stored = StoredResponse(
            id=new.id,
            tenant=new.tenant,
            key_id=new.key_id,
            conversation_id=new.conversation_id,
            is_hidden=new.conversation_id in self._hidden_ids,
            previous_id=new.previous_id,
            leaf_id=new.leaf_id,
            status=new.status,
            request=orjson.loads(encode(new.request)),
            usage=None,
            error=None,
            incomplete_reason=None,
            created_at=new.created_at,
            completed_at=None,
        )
        ids = [item.id for item in new.input]
        self._entries[new.id] = _Entry(stored, ids, runner=new.runner, heartbeat_s=time.time(), is_shown=new.is_shown)

    async def end(self, tenant: str, response_id: str, runner: str | None, ending: Ending) -> bool:
        """Keep how a response ended, with its output."""
        self._check()
        entry = self._entries.get(response_id)
        if entry is None or entry.response.tenant != tenant or entry.runner != runner:
            return False
        was = entry.response
        if was.status not in UNFINISHED and not (was.status == "cancelled" and entry.runner):
            return False
        history, conversation = self._place(was.conversation_id)
        await history.append(tenant, conversation, ending.output)
        entry.output = [item.id for item in ending.output]
        entry.runner = None
        entry.response = replace(
            was.answered_by(ending.answered_by or was.model),
            status=was.status if was.status == "cancelled" else ending.status,
            usage=ending.usage,
            error=ending.error,
            incomplete_reason=ending.incomplete_reason,
            completed_at=was.completed_at or ending.completed_at,
            leaf_id=entry.output[-1] if entry.output else was.leaf_id,
        )
        if ending.frames is not None:
            _add(entry, Batch(ending.last_number, ending.frames))
        return True

    async def continuation(self, tenant: str, response_id: str, max_items: int, max_bytes: int) -> Continuation:
        """Return the branch that ends in a response's last item."""
        found = (await self._found(tenant, response_id)).response
        history, conversation = self._place(found.conversation_id)
        context = await history.context(tenant, conversation, found.leaf_id, max_items, max_bytes)
        return Continuation(found.conversation_id, found.is_hidden, found.status, context)

    async def response(self, tenant: str, response_id: str) -> StoredResponse:
        """Return one response with its output."""
        entry = await self._found(tenant, response_id)
        items = await self._items(entry, entry.output)
        return replace(entry.response, output=tuple(item.payload for item in items))

    async def input_items(
        self, tenant: str, response_id: str, after: str | None, limit: int, order: Order
    ) -> Page[Item]:
        """Return a page of the items that the response's own request brought."""
        entry = await self._found(tenant, response_id)
        ids = entry.input[:: -1 if order == "desc" else 1]
        if after is not None:
            if after not in ids:
                raise no_cursor(after)
            ids = ids[ids.index(after) + 1 :]
        listed = (await self._items(entry, ids))[: limit + 1]
        return Page.of(fitting(listed, lambda item: len(encode(item.payload).encode())), limit, len(listed))

    async def items(self, tenant: str, ids: Collection[str], max_bytes: int) -> dict[str, Item]:
        """Return those of the tenant's items, of any conversation, that have these ids."""
        self._check()
        found = self._history.items_by_id(tenant, ids) | self._hidden.items_by_id(tenant, ids)
        if sum(len(encode(item.payload)) for item in found.values()) > max_bytes:
            raise too_many_bytes(max_bytes)
        return found

    async def delete(self, tenant: str, response_id: str) -> None:
        """Delete a response."""
        entry = await self._found(tenant, response_id)
        del self._entries[response_id]
        conversation = entry.response.conversation_id
        if all(other.response.conversation_id != conversation for other in self._entries.values()):
            hidden = self._hidden_ids.pop(conversation, None)
            if hidden:
                await self._hidden.delete_conversation(tenant, hidden)

    async def cancel(self, tenant: str, response_id: str) -> StoredResponse:
        """Mark a background response as cancelled unless it has ended, and return it."""
        entry = await self._found(tenant, response_id)
        if entry.runner and entry.response.status in UNFINISHED:
            entry.response = replace(entry.response, status="cancelled", completed_at=datetime.now(UTC))
        return await self.response(tenant, response_id)

    async def running(self, tenant: str, conversation_id: str, limit: int) -> list[StoredResponse]:
        """Return the background responses of a conversation that have not ended."""
        self._check()
        await self._history.conversation(tenant, conversation_id)
        found = [
            entry.response
            for entry in self._entries.values()
            if entry.response.conversation_id == conversation_id
            and entry.runner
            and entry.response.status in UNFINISHED
        ]
        return found[::-1][:limit]

    async def add_events(self, runner: str, batches: Mapping[str, Batch | None]) -> set[str]:
        """Give a sign of life of each response, and keep what has been generated since the last one."""
        self._check()
        going_on: set[str] = set()
        for response_id, batch in batches.items():
            entry = self._entries.get(response_id)
            if entry is None or entry.runner != runner or entry.response.status not in UNFINISHED:
                continue
            going_on.add(response_id)
            entry.heartbeat_s = time.time()
            entry.response = replace(entry.response, status="in_progress")
            if batch:
                _add(entry, batch)
        return going_on

    async def show(self, tenant: str, response_id: str) -> StoredResponse:
        """Return one response, and note that its events are seen from now on."""
        (await self._found(tenant, response_id)).is_shown = True
        return await self.response(tenant, response_id)

    async def events(self, tenant: str, response_id: str, after: int, limit: int) -> Following:
        """Return the batches that hold events past the sequence number `after`."""
        entry = await self._found(tenant, response_id)
        later = [batch for batch in entry.batches if batch.last_number > after][:limit]
        is_over = entry.runner is None and entry.response.status not in UNFINISHED
        return Following(tuple(later), is_over and len(later) < limit)

    async def claim(self, runner: str, stale_s: float, limit: int) -> list[Claim]:
        """Take over background responses without a sign of life for `stale_s`."""
        self._check()
        stale = [e for e in self._entries.values() if e.runner and e.heartbeat_s < time.time() - stale_s][:limit]
        claims: list[Claim] = []
        for entry in stale:
            was_shown = entry.is_shown and bool(entry.batches)
            last_number = entry.batches[-1].last_number if entry.batches else -1
            if not was_shown:
                entry.batches.clear()
            entry.runner, entry.heartbeat_s, entry.attempts = runner, time.time(), entry.attempts + 1
            claims.append(Claim(entry.response, was_shown, last_number, entry.attempts))
        return claims

    async def release(self, runner: str) -> None:
        """Give up what a replica runs."""
        self._check()
        for entry in self._entries.values():
            if entry.runner == runner:
                entry.heartbeat_s, entry.attempts = LONG_AGO_S, entry.attempts - 1

    async def sweep(self, events_ttl_s: float, waiting_s: float) -> None:
        """Drop old events, and end what was abandoned."""
        self._check()
        now = datetime.now(UTC)
        for entry in self._entries.values():
            old = now.timestamp() - events_ttl_s
            entry.batches = [batch for batch in entry.batches if entry.written_at[batch.last_number] >= old]
            was = entry.response
            is_abandoned = not entry.runner and entry.heartbeat_s < now.timestamp() - waiting_s
            if is_abandoned and was.status == "in_progress":
                entry.response = replace(was, status="failed", error=LOST, completed_at=now)

    def _check(self) -> None:
        self._hidden.is_away = self._history.is_away
        self._history.check()

    def _place(self, conversation_id: str) -> tuple[MemoryHistory, str]:
        hidden = self._hidden_ids.get(conversation_id)
        return (self._hidden, hidden) if hidden else (self._history, conversation_id)

    async def _found(self, tenant: str, response_id: str) -> _Entry:
        self._check()
        entry = self._entries.get(response_id)
        if entry is None or entry.response.tenant != tenant:
            raise no_response(response_id)
        history, conversation = self._place(entry.response.conversation_id)
        try:
            await history.conversation(tenant, conversation)
        except NotFound:
            raise no_response(response_id) from None
        return entry

    async def _items(self, entry: _Entry, ids: Sequence[str]) -> list[Item]:
        history, conversation = self._place(entry.response.conversation_id)
        found: list[Item] = []
        for item_id in ids:
            try:
                found.append(await history.item(entry.response.tenant, conversation, item_id))
            except NotFound:
                continue
        return found


def _add(entry: _Entry, batch: Batch) -> None:
    if batch.last_number not in entry.written_at:
        entry.written_at[batch.last_number] = time.time()
        entry.batches.append(batch)
