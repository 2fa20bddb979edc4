"""A response that its client waits for: asked as a chat completion, answered as a response."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import orjson

from deployments.chat.call import Answer, ChatCall
from deployments.chat.ports import Models
from deployments.chat.service import ChatService
from deployments.chat.summary import Summary
from deployments.errors import BadRequest, ChatLLMError, Conflict, ContextTooLong, HistoryUnavailable, NotFound
from deployments.history.store import HistoryStore
from deployments.history.types import ROOT, Context, Cut, NewItem, new_id
from deployments.history.writer import HistoryWriter
from deployments.models.assembly import payloads
from deployments.responses.events import Translator, frame
from deployments.responses.objects import response_object
from deployments.responses.references import resolved
from deployments.responses.request import ResponseCall, prompt_fields
from deployments.responses.store import ResponseStore
from deployments.responses.tools import Toolbox
from deployments.responses.turn import (
    REASONS,
    Place,
    ResponseTurn,
    Unkept,
    begun,
    ended,
    ending_of,
    messages_for,
    readable,
)
from deployments.responses.types import UNFINISHED, Ending, NewResponse, Status, StoredResponse

SETTLED_AT_ONCE_S = 1.0
SETTLE_TIMEOUT_S = 5.0
"""How long a response waits for the writing of the one that it continues, on the same replica."""


class Responses:
    """Answers requests for responses. One instance serves all requests of an ingress replica."""

    def __init__(
        self,
        chat: ChatService,
        models: Models,
        store: ResponseStore,
        history: HistoryStore,
        writer: HistoryWriter,
        max_context_bytes: int,
    ) -> None:
        self._chat = chat
        self._models = models
        self._store = store
        self._history = history
        self._writer = writer
        self._max_context_bytes = max_context_bytes
        self._unsettled: dict[str, str] = {}  # responses whose writing took long, and their conversations

    async def answer(self, tenant: str, key_id: str, requested: ResponseCall, summary: Summary) -> Answer:
        """Return an answer that has begun, as `ChatService.chat` does.

        A failure after the first event is an event `response.failed`; the stream then ends.
        """
        new, place = await self.opened(tenant, key_id, requested)
        store = self._store if requested.is_stored else None
        messages = await messages_for(new.request, place, new.input)
        turn = ResponseTurn(messages, requested.trims, new, store, self._writer)
        response = begun(new, place.is_hidden)
        call = chat_call(response, requested, requested.streams)
        answer = await self._chat.answer(call, turn, summary)
        if answer.frames is not None:
            frames = self._streamed(answer.frames, response.answered_by(summary.model), turn, summary)
            return Answer(frames=frames, waits_for=answer.waits_for)
        return Answer(await self._whole(answer.body, response.answered_by(summary.model), turn))

    async def opened(
        self, tenant: str, key_id: str, requested: ResponseCall, runner: str | None = None
    ) -> tuple[NewResponse, Place]:
        """Return the response that a request begins and what was said before; reads once, writes nothing.

        Raises NotFound for what it continues or refers to, Conflict if that has not ended, ContextTooLong
        if more was said than may be read and nothing may be left out, BadRequest if there is nothing to answer.
        """
        model, place, items = await self._read(tenant, requested)
        if not items and not place.context.items:
            raise BadRequest("There is nothing to answer: the conversation is empty, and 'input' is missing.", "input")
        new = NewResponse(
            id=new_id("resp"),
            tenant=tenant,
            key_id=key_id,
            conversation_id=place.conversation_id,
            has_own_conversation=place.has_own_conversation,
            previous_id=requested.previous_id,
            request={**requested.request, "model": model},
            created_at=datetime.now(UTC),
            input=place.chained(items),
            parent_id=place.leaf,
            status="queued" if runner else "in_progress",
            runner=runner,
            is_shown=runner is not None and requested.streams,
        )
        return new, place

    async def input_tokens(self, tenant: str, requested: ResponseCall, summary: Summary) -> int:
        """Return how many tokens the model would read for a response; raises what `opened` raises."""
        model, place, items = await self._read(tenant, requested)
        messages = await readable(requested.request, place, items)
        if not messages:
            summary.model = model
            return 0
        request = {**prompt_fields(requested.chat), "model": model, "messages": messages}
        call = ChatCall(secrets.token_hex(16), tenant, request, "tokenize", wait_s=requested.wait_s)
        answer = await self._chat.answer(call, Unkept(messages, requested.trims), summary)
        return int(orjson.loads(answer.body)["count"])

    async def context_of(self, response: StoredResponse) -> Context:
        """Return what was said up to a response's last item, for running it again."""
        limit = self._models.policy(str(response.request["model"])).max_prompt_messages
        found = await self._store.continuation(response.tenant, response.id, limit, self._max_context_bytes)
        return found.context

    async def settle(self, response: StoredResponse) -> bool:
        """Wait, a second at most, until the next response would find this one; tell whether that is so.

        If not, who continues it on this replica waits for it.
        """
        if await self._writer.settled(response.tenant, response.conversation_id, SETTLED_AT_ONCE_S):
            return True
        if not self._writer.pending:
            self._unsettled.clear()
        self._unsettled[response.id] = response.conversation_id
        return False

    async def _read(self, tenant: str, requested: ResponseCall) -> tuple[str, Place, tuple[NewItem, ...]]:
        """Return a request's model, what was said before, and the items that the request adds."""
        model = self._models.resolve(requested.request.get("model"))
        place = await self._place(tenant, requested, self._models.policy(model).max_prompt_messages)
        items = await resolved(self._store, tenant, requested.input, place.context, self._max_context_bytes)
        return model, place, items

    async def _place(self, tenant: str, requested: ResponseCall, limit: int) -> Place:
        if requested.previous_id:
            await self._until_settled(tenant, requested.previous_id)
            try:
                found = await self._store.continuation(tenant, requested.previous_id, limit, self._max_context_bytes)
            except NotFound as error:
                raise NotFound(error.message, "previous_response_id") from None
            if found.status in UNFINISHED:
                raise Conflict("The previous response has not ended yet.", "previous_response_id")
            place = Place(found.conversation_id, False, found.is_hidden, found.context)
        elif requested.conversation_id:
            parent = requested.parent
            at_most = 1 if parent == ROOT else limit
            context = await self._history.context(
                tenant, requested.conversation_id, parent or None, at_most, self._max_context_bytes
            )
            if parent == ROOT:
                context = Context((), None)
            place = Place(requested.conversation_id, False, False, context)
        else:
            return Place(new_id("conv"), True, True)
        if not requested.trims and place.context.cut:
            raise self._too_long(place.context, place.context.cut, limit)
        return place

    async def _until_settled(self, tenant: str, response_id: str) -> None:
        conversation = self._unsettled.get(response_id)
        if conversation is None:
            return
        if not await self._writer.settled(tenant, conversation, SETTLE_TIMEOUT_S):
            raise HistoryUnavailable("The previous response is still being written.", None, 1.0)
        self._unsettled.pop(response_id, None)

    def _too_long(self, context: Context, cut: Cut, limit: int) -> ContextTooLong:
        """Return the error for a context that was not read to its beginning, where nothing may be left out."""
        if len(context.items) >= limit:
            reason = f"The conversation has more than {limit} items, the most that are read as context."
        else:
            reason = (
                f"The item '{cut.item_id}' ({cut.size_bytes:,} bytes) and what follows it are larger than "
                f"{self._max_context_bytes:,} bytes, the most that is read as context."
            )
        return ContextTooLong(f"{reason} With 'truncation': 'auto' the oldest items are left out.", "truncation")

    async def _whole(self, body: bytes, response: StoredResponse, turn: ResponseTurn) -> bytes:
        translator = translator_of(response)
        translator.add_whole(orjson.loads(body))
        translator.close(is_whole=translator.finish_reason not in REASONS)
        ending = ending_of(translator, response, None)
        turn.end(ending)
        await self.settle(response)
        return orjson.dumps(response_object(ended(response, ending)))

    async def _streamed(
        self, frames: AsyncGenerator[bytes], response: StoredResponse, turn: ResponseTurn, summary: Summary
    ) -> AsyncGenerator[bytes]:
        """Yield the events of an answer; what there is of one that is cut off is kept as incomplete."""
        translator = translator_of(response)
        is_over = False
        try:
            begun = response_object(response)
            yield frame(translator.created(begun)) + frame(translator.answering(begun, summary.cache))
            async with aclosing(frames):
                async for data in frames:
                    events = [event for chunk in payloads(data) for event in translator.add(chunk)]
                    if events:
                        yield b"".join(map(frame, events))
            is_over = True
            closing, last = closed(translator, response)
            turn.end(last)
            await self.settle(response)
            yield b"".join(closing)
        except ChatLLMError as error:
            is_over = True
            summary.failure = error
            closing, last = closed(translator, response, error)
            turn.end(last)
            yield b"".join(closing)
        finally:
            if not is_over:
                translator.close(is_whole=False)
                turn.end(ending_of(translator, response, "incomplete"))


def translator_of(response: StoredResponse) -> Translator:
    """Return what follows the answer to a response, from its beginning."""
    return Translator(response.id, tools=Toolbox.of(response.request).by_name())


def chat_call(response: StoredResponse, requested: ResponseCall, streams: bool) -> ChatCall:
    """Return the chat call that a response comes to."""
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if streams else {}
    request = {**requested.chat, "model": response.request["model"], **options}
    id_, control = response.id.removeprefix("resp_"), requested.cache_control
    return ChatCall(id_, response.tenant, request, cache_control=control, wait_s=requested.wait_s)


def closed(
    translator: Translator, response: StoredResponse, error: ChatLLMError | None = None, status: Status | None = None
) -> tuple[list[bytes], Ending]:
    """Return the last frames of a stream, and how the response ended; `status` None: as the error or the model says.

    OpenAI has no event for a cancelled response: its stream ends as an incomplete one does.
    """
    status = status or ("failed" if error else None)
    events = translator.close(is_whole=status is None and translator.finish_reason not in REASONS)
    ending = ending_of(translator, response, status, error)
    whole = response_object(ended(response, ending))
    kind = "incomplete" if ending.status == "cancelled" else ending.status
    events.append(translator.event(f"response.{kind}", response=whole))
    return [frame(event) for event in events], ending
