"""Stored completions in memory, with the promises of store.py but for durability: for tests and trials."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from deployments.errors import HistoryUnavailable
from deployments.history.store import no_cursor
from deployments.history.stored.store import (
    NewCompletion,
    StoredCompletion,
    StoredMessage,
    message_id,
    no_completion,
    position_of,
)
from deployments.history.types import Order, Page, fitting
from deployments.infra.postgres.encoding import encode


class MemoryCompletions:
    """The store as a dictionary; while `is_away` is set every call is `HistoryUnavailable`."""

    def __init__(self) -> None:
        self.is_away = False
        self._stored: dict[tuple[str, str], tuple[StoredCompletion, list[StoredMessage]]] = {}

    async def append(self, tenant: str, completion_id: str, items: Sequence[NewCompletion]) -> None:
        """Add completions, idempotent by their ids."""
        self._check()
        for item in items:
            payload = orjson.loads(encode(item.payload))
            messages = [StoredMessage(message_id(item.id, at), entry) for at, entry in enumerate(payload["messages"])]
            stored = StoredCompletion(item.id, payload["completion"], payload["metadata"])
            self._stored.setdefault((tenant, item.id), (stored, messages))

    async def completions(
        self,
        tenant: str,
        after: str | None = None,
        limit: int = 20,
        order: Order = "asc",
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Page[StoredCompletion]:
        """Return a page in the order of storing."""
        self._check()
        mine = [stored for (owner, _), (stored, _) in self._stored.items() if owner == tenant]
        mine = mine[:: 1 if order == "asc" else -1]
        if after is not None:
            ids = [stored.id for stored in mine]
            if after not in ids:
                raise no_cursor(after)
            mine = mine[ids.index(after) + 1 :]
        found = [
            stored
            for stored in mine
            if model in (None, stored.completion.get("model")) and (metadata or {}).items() <= stored.metadata.items()
        ]
        listed = found[: limit + 1]
        return Page.of(fitting(listed, lambda stored: len(encode(stored.completion))), limit, len(listed))

    async def completion(self, tenant: str, completion_id: str) -> StoredCompletion:
        """Return one."""
        return self._both(tenant, completion_id)[0]

    async def update_metadata(self, tenant: str, completion_id: str, metadata: Mapping[str, str]) -> StoredCompletion:
        """Replace the metadata of one."""
        stored, messages = self._both(tenant, completion_id)
        changed = replace(stored, metadata=orjson.loads(encode(metadata)))
        self._stored[tenant, completion_id] = (changed, messages)
        return changed

    async def delete(self, tenant: str, completion_id: str) -> None:
        """Delete one permanently."""
        self._both(tenant, completion_id)
        del self._stored[tenant, completion_id]

    async def messages(
        self, tenant: str, completion_id: str, after: str | None = None, limit: int = 20, order: Order = "asc"
    ) -> Page[StoredMessage]:
        """Return a page of the messages that it answered."""
        start = None if after is None else position_of(completion_id, after)
        _, messages = self._both(tenant, completion_id)
        if order == "asc":
            found = messages[0 if start is None else start + 1 :]
        else:
            found = messages[: len(messages) if start is None else start][::-1]
        listed = found[: limit + 1]
        return Page.of(fitting(listed, lambda entry: len(encode(entry.message))), limit, len(listed))

    def _both(self, tenant: str, completion_id: str) -> tuple[StoredCompletion, list[StoredMessage]]:
        self._check()
        both = self._stored.get((tenant, completion_id))
        if both is None:
            raise no_completion(completion_id)
        return both

    def _check(self) -> None:
        if self.is_away:
            raise HistoryUnavailable(retry_after_s=1.0)
