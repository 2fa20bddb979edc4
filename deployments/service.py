"""The story of a chat request, with no framework in it.

1. The ingress says who asks and that the request is well formed.
2. What was said before comes from the conversation store  (`Conversations`).
3. If it has been answered, the cache replays it            (`Reuse`).
4. If not, a model generates it, streaming                  (`Models`);
   identical requests in flight share that.
5. The answer is remembered: conversation, cache, usage.

The stores and machines are Protocols (`ports.py`, and `Cache` in reuse.py);
`deployments/app.py` decides what stands behind them.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from typing import Any

import orjson

from deployments.cache.entry import EVENT_END, CacheEntry
from deployments.cache.key import cache_key
from deployments.cache.prefix import SALTED, cache_salt
from deployments.cache.replay import fresh_body, fresh_frames, usage_frame
from deployments.cache.steering import reason_against
from deployments.call import GENERATING, Answer, ChatCall
from deployments.errors import ChatLLMError, ModelFailed, ModelLoading, Overloaded, ProviderBusy, ProviderFailed
from deployments.flights.flights import Flights
from deployments.limits.estimate import prompt_tokens
from deployments.models.assembly import DONE, assemble, payloads
from deployments.models.bounds import check_bounds
from deployments.models.media import check_media
from deployments.models.protocol import Failed, Frames, Generation, Message, Reply
from deployments.ports import Conversations, Models, NoTurn, Turn
from deployments.reuse import Cache, Reuse, Wish
from deployments.summary import Summary
from deployments.threads import run_sized

OWN_FIELDS = ("conversation", "parent", "stream_options", "store", "metadata")
"""Fields of a request that this service answers for itself; a model never sees them."""

CANNOT_NOW = (ModelLoading, ModelFailed, Overloaded, ProviderBusy, ProviderFailed)
"""What another model may answer instead: none of it is due to the request."""


class ChatService:
    """Answers chat calls. One instance serves all requests of an ingress replica."""

    def __init__(
        self,
        conversations: Conversations,
        cache: Cache,
        models: Models,
        cache_is_shared: bool = False,
        flights: Flights | None = None,
        replay_ms: float = 0.0,
    ) -> None:
        """`cache_is_shared` lets one tenant be answered with what another's request brought.

        `flights` are the generations that requests share, of this instance alone
        if not given; `replay_ms` is the pause between the events of a stored stream.
        """
        self._conversations = conversations
        self._cache = cache
        self._reuse = Reuse(cache, flights or Flights(cache))
        self._cache_is_shared = cache_is_shared
        self._replay_s = replay_ms / 1000
        self._models = models

    async def chat(self, call: ChatCall, summary: Summary) -> Answer:
        """Return an answer that has begun, and fill in `summary` until it has ended.

        Cancelling, or closing the answer's frames, stops the engine's work.

        Raises a ChatLLMError as long as nothing has been sent. A failure after the
        first frame is raised by the frames' iterator.
        """
        model = summary.model = self._models.resolve(call.request.get("model"))
        turn = await self._conversations.open(call, self._models.max_prompt_messages(model))
        summary.timing.lap("history")
        return await self.answer(call, turn, summary)

    async def ask(self, call: ChatCall, summary: Summary) -> Answer:
        """Do what `chat` does for a request that belongs to no conversation: completions, embeddings, tokens."""
        return await self.answer(call, NoTurn(), summary)

    async def answer(self, call: ChatCall, turn: Turn, summary: Summary) -> Answer:
        """Do what `chat` does with a turn that is open already: from the cache, else from a model.

        A model that cannot answer now is replaced by the first of its `fallback` that can.
        """
        model = self._models.resolve(call.request.get("model"))
        try:
            return await self._answer_of(model, call, turn, summary)
        except CANNOT_NOW as error:
            refusal = error
        for other in self._models.fallback(model) if call.endpoint in GENERATING else ():
            # Whatever this one lacks is not what the client asked about: it hears why its own model did not answer.
            with suppress(ChatLLMError):
                return await self._answer_of(other, call, turn, summary)
        summary.model = model
        raise refusal

    async def _answer_of(self, model: str, call: ChatCall, turn: Turn, summary: Summary) -> Answer:
        """Return the answer of one model, kept and shared under its own identity; raises before it has begun."""
        summary.model = model
        request = {k: v for k, v in call.request.items() if k not in OWN_FIELDS}
        request |= {"model": model, "messages": turn.messages} if call.endpoint == "chat" else {"model": model}
        check_bounds(call.endpoint, request)
        if call.endpoint == "chat":
            check_media(turn.messages, self._models.allowed_media_domains(model))
        sent = dict(request)
        if call.endpoint in SALTED:
            sent["cache_salt"] = self._salt(call, model)
        if call.wants_usage_throughout:
            sent["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        # Together, so that what answers is what the cache takes it for: an adapter's weights may change at any await.
        adapter, identity = self._models.adapter(model), self._models.identity(model)
        generation = Generation(call.id, orjson.dumps(sent), call.streams, turn.is_stored, call.endpoint, adapter)
        wish = await run_sized(len(generation.body), self._wish, call, request, identity, turn.is_stored)
        summary.cache_key = wish.key or ""
        summary.prompt_estimate = prompt_tokens(len(generation.body))
        found = await self._reuse.find(wish, generation, lambda: self._models.generate(model, generation))
        summary.timing.lap("cache")
        summary.cache, summary.cache_reason = found.result, found.reason
        if isinstance(found.answer, CacheEntry):
            return await self._replay(found.answer, call, turn, summary)
        answer = self._kept(found.answer, turn, summary, generation)
        if not call.streams:
            return Answer(await _whole(answer))
        return Answer(frames=_started(await anext(answer), answer, call.wants_usage))

    def _wish(self, call: ChatCall, request: Mapping[str, Any], identity: str, is_trimmed: bool) -> Wish:
        """Return where the answer is kept, or why it is not: made by chance, no text, full of figures, unwanted."""
        if not self._cache.is_on:
            reason = "off"
        elif call.endpoint not in GENERATING:
            reason = "endpoint"
        elif call.wants_usage_throughout:
            reason = "usage"
        else:
            reason = reason_against(request, self._models.cached_requests(request["model"]), call.cache_control)
        tenant = "" if self._cache_is_shared else call.tenant
        endpoint = f"{call.endpoint}, trimmed" if is_trimmed else call.endpoint
        key = None if reason else cache_key(tenant, identity, request, endpoint)
        return Wish(key, reason, call.cache_control, call.reply_id)

    def _salt(self, call: ChatCall, model: str) -> str:
        """Return what keeps the prompt's blocks in vLLM's prefix cache apart from those of other tenants."""
        shares = self._models.shares_prefixes(model)
        is_shared = self._cache_is_shared if shares is None else shares
        return cache_salt("" if is_shared else call.tenant, call.request.get("cache_salt"))

    async def _replay(self, entry: CacheEntry, call: ChatCall, turn: Turn, summary: Summary) -> Answer:
        now = time.time()
        summary.age_s = max(0, int(now - entry.created_at)) if entry.created_at else None
        summary.first_token_s = time.perf_counter() - summary.began
        body = fresh_body(entry, call.reply_id, int(now))
        completion = orjson.loads(body)
        summary.note(completion)
        turn.accept()
        await turn.complete(completion)
        summary.timing.lap("history")
        if not call.streams:
            return Answer(body)
        frames = fresh_frames(entry, call.reply_id, int(now), call.wants_usage) + DONE
        return Answer(frames=_paced(frames, self._replay_s) if self._replay_s else _once(frames))

    async def _kept(
        self, messages: AsyncGenerator[Message], turn: Turn, summary: Summary, generation: Generation
    ) -> AsyncGenerator[Frames | Reply]:
        """Pass `messages` on and remember them; what was sent of an interrupted answer is kept as incomplete.

        One that is not streamed has used by then what was `spent`. Only a chat's answer is
        decoded: those of other endpoints can be of many megabytes.
        """
        is_whole = False
        sent: list[bytes] = []
        try:
            async with aclosing(messages):
                async for message in messages:
                    match message:
                        case Frames(data):
                            if not sent:
                                summary.timing.lap("first-frame")
                                summary.first_token_s = time.perf_counter() - summary.began
                                summary.prompt_tokens = generation.spent.prompt_tokens
                                turn.accept()
                            sent.append(data)
                            yield message
                        case Reply(body):
                            summary.timing.lap("decode" if sent else "first-frame")
                            summary.timing.tell("first-frame", message.times)
                            summary.note_reply(message)
                            if not sent:
                                turn.accept()
                            sent.clear()
                            is_whole = True
                            if generation.endpoint == "chat":
                                await turn.complete(orjson.loads(body))
                            summary.timing.lap("history")
                            yield message
                        case Failed(error):
                            raise error
        finally:
            if sent:
                summary.timing.lap("decode")
                chunks = payloads(b"".join(sent))
                summary.completion_tokens = _tokens_sent(chunks)
                turn.interrupt(assemble(chunks))
            elif not is_whole:
                spent = generation.spent
                summary.prompt_tokens, summary.completion_tokens = spent.prompt_tokens, spent.completion_tokens


def _tokens_sent(chunks: Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens an answer cut short has cost: an event carries one, or a few."""
    choices = (choice for chunk in chunks for choice in chunk.get("choices", ()))
    return sum(bool(choice.get("delta") or choice.get("text")) for choice in choices)


async def _whole(messages: AsyncGenerator[Frames | Reply]) -> bytes:
    async with aclosing(messages):
        async for message in messages:
            if isinstance(message, Reply):
                return message.body
    raise ChatLLMError("The model ended without an answer.")


async def _started(
    first: Frames | Reply, rest: AsyncGenerator[Frames | Reply], wants_usage: bool
) -> AsyncGenerator[bytes]:
    """Yield the bytes of an answer whose first message is known already."""
    async with aclosing(rest):
        message: Frames | Reply | None = first
        while isinstance(message, Frames):
            yield message.data
            message = await anext(rest, None)
        if message is None:
            raise ChatLLMError("The model ended without an answer.")
        yield usage_frame(message.body) + DONE if wants_usage else DONE


async def _once(frames: bytes) -> AsyncGenerator[bytes]:
    yield frames


async def _paced(frames: bytes, pause_s: float) -> AsyncGenerator[bytes]:
    for event in frames.split(EVENT_END)[:-1]:
        yield event + EVENT_END
        await asyncio.sleep(pause_s)
