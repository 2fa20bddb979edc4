"""One exchange: what a model reads of a stored conversation, and what is kept of its answer."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from deployments.chat.call import ChatCall
from deployments.chat.ports import Turn
from deployments.errors import BadRequest, NotFound
from deployments.history.store import HistoryStore
from deployments.history.types import ROOT, Context, NewItem
from deployments.history.wire import answer_of, item_of_message, messages_of_context, reading_size
from deployments.history.writer import HistoryWriter
from deployments.infra.threads import run_sized

SETTLE_TIMEOUT_S = 1.0


@dataclass(slots=True)
class StatelessTurn:
    """A request outside of any conversation: nothing is read, nothing is kept."""

    messages: list[dict[str, Any]]
    may_trim: bool = field(default=False, init=False)
    keeps_answer: bool = field(default=False, init=False)

    def accept(self) -> None:
        """Let go of the messages: the model has them."""
        self.messages = []

    async def complete(self, completion: Mapping[str, Any]) -> None: ...

    def interrupt(self, completion: Mapping[str, Any]) -> None: ...


@dataclass(slots=True)
class StoredTurn:
    """A request that continues a conversation, after the item `leaf`."""

    writer: HistoryWriter
    tenant: str
    conversation: str
    leaf: str | None
    new_messages: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    call_id: str
    may_trim: bool = field(default=True, init=False)
    keeps_answer: bool = field(default=True, init=False)
    _appended: int = field(default=0, init=False)

    def accept(self) -> None:
        """Write the request's own messages behind; raises HistoryUnavailable if too many writes wait.

        All messages are released: the model has them, and an answer can take long.
        """
        self.writer.ensure_room()
        for message in self.new_messages:
            self._append(item_of_message(message, "completed"))
        self.messages, self.new_messages = [], []

    async def complete(self, completion: Mapping[str, Any]) -> None:
        """Write the answer, so that the next turn reads it, on whichever replica; after a second, behind."""
        self._append(item_of_message(answer_of(completion), "completed"))
        await self.writer.settled(self.tenant, self.conversation, SETTLE_TIMEOUT_S)

    def interrupt(self, completion: Mapping[str, Any]) -> None:
        """Write what there is of the answer behind."""
        self._append(item_of_message(answer_of(completion), "incomplete"))

    def _append(self, item: NewItem) -> None:
        item = replace(item, id=_item_id(self.call_id, self._appended), parent_id=self.leaf or ROOT)
        self._appended += 1
        self.writer.submit(self.tenant, self.conversation, [item], is_promised=True)
        self.leaf = item.id


class StoredConversations:
    """Opens turns on the conversation store."""

    def __init__(self, store: HistoryStore, writer: HistoryWriter, max_context_bytes: int) -> None:
        self._store = store
        self._writer = writer
        self._max_context_bytes = max_context_bytes

    async def open(self, call: ChatCall, max_messages: int) -> Turn:
        """Return the turn that `call` begins; one round trip if it names a conversation, none otherwise."""
        new_messages = list(call.request["messages"])
        named = call.request.get("conversation")
        if not named:
            return StatelessTurn(new_messages)
        if (call.request.get("n") or 1) > 1:
            raise BadRequest("'n' must be 1 in a conversation: it keeps one answer.", "n")
        conversation = named if isinstance(named, str) else str(named["id"])
        parent = await self._parent(call, conversation)
        limit = 1 if parent == ROOT else max_messages
        context = await self._store.context(call.tenant, conversation, parent or None, limit, self._max_context_bytes)
        if parent == ROOT:
            context = Context((), None)
        earlier = await run_sized(reading_size(context.items), messages_of_context, context)
        return StoredTurn(
            self._writer, call.tenant, conversation, context.leaf, new_messages, [*earlier, *new_messages], call.id
        )

    async def _parent(self, call: ChatCall, conversation: str) -> str | None:
        """Return what the turn follows: for a call that was answered before, what it followed then, if that is kept."""
        if call.is_repeated:
            with suppress(NotFound):
                first = await self._store.item(call.tenant, conversation, _item_id(call.id, 0))
                return first.parent_id or ROOT
        return call.request.get("parent")


def _item_id(call_id: str, number: int) -> str:
    """Return the id of an item of a turn, the same whenever its call is answered: so that no item is there twice."""
    return f"msg_{hashlib.sha256(f'{call_id}:{number}'.encode()).hexdigest()[:40]}"
