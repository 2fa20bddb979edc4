"""What the model reads for a response, and what is kept: before, while and after it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from deployments.chat.ports import NoTurn
from deployments.errors import BadRequest, ChatLLMError
from deployments.history.types import ROOT, Context, NewItem
from deployments.history.wire import messages_of_context, reading_size
from deployments.history.writer import HistoryWriter, size_bytes
from deployments.infra.threads import run_sized
from deployments.responses.events import Translator
from deployments.responses.objects import error_object, usage_object
from deployments.responses.store import ResponseStore
from deployments.responses.types import Ending, NewResponse, Status, StoredResponse

REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a response stands: its conversation, and what was said there before."""

    conversation_id: str
    has_own_conversation: bool
    is_hidden: bool
    context: Context = field(default=Context((), None))

    @property
    def leaf(self) -> str:
        """The item that the response continues."""
        return self.context.leaf or ROOT

    def chained(self, items: Sequence[NewItem]) -> list[NewItem]:
        """Return `items` each after the one before it, the first after what was said before."""
        chain: list[NewItem] = []
        parent = self.leaf
        for item in items:
            chain.append(item.after(parent))
            parent = item.id
        return chain


async def messages_for(request: Mapping[str, Any], place: Place, items: Sequence[NewItem]) -> list[dict[str, Any]]:
    """Return what the model is to read; raises BadRequest where there is nothing, such as for reasoning alone."""
    messages = await readable(request, place, items)
    if not messages:
        raise BadRequest("The input holds no message, function call or output that a model could read.", "input")
    return messages


async def readable(request: Mapping[str, Any], place: Place, items: Sequence[NewItem]) -> list[dict[str, Any]]:
    """Return the messages that the model reads; instructions apply to one response only."""
    size = reading_size([*place.context.items, *items])
    instructions = request.get("instructions")
    head = [{"role": "system", "content": instructions}] if instructions else []
    return [*head, *await run_sized(size, messages_of_context, place.context, items)]


def begun(new: NewResponse, is_hidden: bool) -> StoredResponse:
    """Return a response as it is stored once it has begun."""
    return StoredResponse(
        id=new.id,
        tenant=new.tenant,
        key_id=new.key_id,
        conversation_id=new.conversation_id,
        is_hidden=is_hidden,
        previous_id=new.previous_id,
        leaf_id=new.leaf_id,
        status=new.status,
        request=new.request,
        usage=None,
        error=None,
        incomplete_reason=None,
        created_at=new.created_at,
        completed_at=None,
    )


def ending_of(
    translator: Translator, response: StoredResponse, status: Status | None, error: ChatLLMError | None = None
) -> Ending:
    """Return how a response ended, whose items the translator has closed.

    `status` None: as the model says, complete or cut off.
    """
    reason = REASONS.get(translator.finish_reason or "") if status is None else None
    return Ending(
        status=status or ("incomplete" if reason else "completed"),
        output=translator.new_items(response.leaf_id, reason),
        completed_at=datetime.now(UTC),
        usage=usage_object(translator.usage),
        error=error_object(error) if error else None,
        incomplete_reason=reason,
        answered_by=response.fallback,
    )


def ended(response: StoredResponse, ending: Ending) -> StoredResponse:
    """Return a response as it is stored once it has ended."""
    return replace(
        response,
        status=ending.status,
        usage=ending.usage,
        error=ending.error,
        incomplete_reason=ending.incomplete_reason,
        completed_at=ending.completed_at,
        output=tuple(item.document() for item in ending.output),
    )


class Unkept(NoTurn):
    """What a model reads where the turn itself keeps nothing: a runner in the background does, or nobody."""

    def __init__(self, messages: list[dict[str, Any]], trims: bool) -> None:
        self._messages = messages
        self.may_trim = trims

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self._messages


class ResponseTurn:
    """The turn of a response that its client waits for; `ChatService` says when it has begun.

    How it ends is told by `end`, which knows the output as it was streamed.
    """

    keeps_answer = False  # it is kept by `end`, item by item

    def __init__(
        self,
        messages: list[dict[str, Any]],
        trims: bool,
        new: NewResponse,
        store: ResponseStore | None,
        writer: HistoryWriter,
    ) -> None:
        """`store` None: nothing is kept."""
        self.messages = messages
        self.may_trim = trims
        self._new = new
        self._store = store
        self._writer = writer
        self._has_begun = False

    def accept(self) -> None:
        """Write the response and its input behind; raises HistoryUnavailable if too many writes wait."""
        if self._store is None or self._has_begun:
            return
        self._writer.ensure_room()
        weight = size_bytes(self._new.input) + len(orjson.dumps(self._new.request))
        self._defer(partial(self._store.begin, self._new), weight)
        self._has_begun = True

    async def complete(self, completion: Mapping[str, Any]) -> None: ...

    def interrupt(self, completion: Mapping[str, Any]) -> None: ...

    def end(self, ending: Ending) -> None:
        """Write the end behind, if the beginning was; returns at once."""
        if self._store is None or not self._has_begun:
            return
        write = partial(self._store.end, self._new.tenant, self._new.id, None, ending)
        self._defer(write, size_bytes(ending.output))

    def _defer(self, write: Any, weight: int) -> None:
        new = self._new
        self._writer.defer(new.tenant, new.conversation_id, write, (new.id,), weight, is_promised=True)
