"""The story of a chat request, with no framework in it.

1. The ingress says who asks and that the request is well formed.
2. What was said before comes from the conversation store  (`Conversations`).
3. If it has been answered, the cache replays it            (`AnswerLookup`).
4. If not, a model generates it, streaming                  (`Models`);
   identical requests in flight share one `Generation`.
5. The answer is remembered: conversation, cache, usage.

The stores and machines are Protocols (`ports.py`, and `Cache` in chat/lookup.py);
`deployments/app.py` decides what stands behind them.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import orjson

from deployments.cache.entry import EVENT_END, CacheEntry
from deployments.cache.replay import fresh_body, fresh_frames, usage_frame
from deployments.chat.call import GENERATING, Answer, ChatCall
from deployments.chat.coalescing import Coalescer
from deployments.chat.generation import Generation, Subscription
from deployments.chat.lookup import AnswerLookup, Cache
from deployments.chat.ports import Conversations, Models, NoTurn, Turn
from deployments.chat.prepared import asked, cache_query, model_request
from deployments.chat.summary import Summary
from deployments.chat.waiting import BEGUN, WAITING, first_frames, held_until, leave, notice
from deployments.errors import ChatLLMError, ModelFailed, ModelLoading, Overloaded, ProviderBusy, ProviderFailed
from deployments.infra.threads import run_sized
from deployments.limits.estimate import prompt_tokens
from deployments.models.assembly import DONE, assemble, payloads
from deployments.models.holding import Hold

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
        coalescer: Coalescer | None = None,
        replay_ms: float = 0.0,
        silence_s: float | None = None,
    ) -> None:
        """`cache_is_shared` lets one tenant be answered with what another's request brought.

        `coalescer` has the generations that requests share, of this instance alone
        if not given; `replay_ms` is the pause between the events of a stored stream.
        A stream begins after `silence_s` even if the model has sent nothing by then.
        """
        self._conversations = conversations
        self._cache = cache
        self._lookup = AnswerLookup(cache, coalescer or Coalescer(cache))
        self._models = models
        self.configure(cache_is_shared, replay_ms, silence_s)

    def configure(self, cache_is_shared: bool, replay_ms: float, silence_s: float | None) -> None:
        """Go by these from now on."""
        self._cache_is_shared = cache_is_shared
        self._replay_s = replay_ms / 1000
        self._silence_s = silence_s

    async def chat(self, call: ChatCall, summary: Summary) -> Answer:
        """Return an answer that has begun, and fill in `summary` until it has ended.

        Cancelling, or closing the answer's frames, stops the engine's work.

        Raises a ChatLLMError as long as nothing has been sent. A failure after the
        first frame is raised by the frames' iterator. A stream that is held until its
        model has a replica is returned before it has begun (`Answer.waits_for`).
        """
        model = summary.model = self._models.resolve(call.request.get("model"))
        turn = await self._conversations.open(call, self._models.policy(model).max_prompt_messages)
        summary.timing.mark("history")
        return await self.answer(call, turn, summary)

    async def ask(self, call: ChatCall, summary: Summary) -> Answer:
        """Do what `chat` does for a request that belongs to no conversation: completions, embeddings, tokens."""
        return await self.answer(call, NoTurn(), summary)

    async def answer(self, call: ChatCall, turn: Turn, summary: Summary) -> Answer:
        """Do what `chat` does with a turn that is open already: from the cache, else from a model.

        A model that cannot answer now is replaced by the first of its `fallback` that can. If none can, the request
        is held until its own model has a replica.
        """
        model = self._models.resolve(call.request.get("model"))
        may_fall_back = call.endpoint in GENERATING and not call.is_repeated  # another model says something else
        fallback = self._models.fallback(model) if may_fall_back else ()
        if not fallback:
            return await self._answer_of(model, call, turn, summary, call.wait_s)
        try:
            return await self._answer_of(model, call, turn, summary, 0.0)
        except CANNOT_NOW as error:
            refusal = error
        for other in fallback:
            # Whatever this one lacks is not what the client asked about: it hears why its own model did not answer.
            with suppress(ChatLLMError):
                return await self._answer_of(other, call, turn, summary, 0.0)
        if isinstance(refusal, ModelLoading) and call.wait_s != 0:
            return await self._answer_of(model, call, turn, summary, call.wait_s)
        summary.model = model
        raise refusal

    async def _answer_of(
        self, model: str, call: ChatCall, turn: Turn, summary: Summary, wait_s: float | None
    ) -> Answer:
        """Return the answer of one model, kept and shared under its own identity; raises before it has begun.

        It is held for `wait_s` at most while the model has no replica, None for as long as the model's settings say.
        """
        summary.model = model
        policy, is_shared = self._models.policy(model), self._cache_is_shared
        request = asked(call, turn, model, policy)
        sent = model_request(call, turn, request, self._models, is_shared)
        query = await run_sized(len(sent.body), cache_query, call, request, sent, policy, self._cache, is_shared)
        summary.cache_key = query.key or ""
        summary.prompt_estimate = prompt_tokens(len(sent.body))
        summary.job.size(summary.prompt_estimate)
        generate = partial(self._models.generate, model, sent, job=summary.job)
        found = await self._lookup.find(query, sent, generate)
        summary.timing.mark("cache")
        summary.cache, summary.cache_reason = found.result, found.reason
        if isinstance(found.answer, CacheEntry):
            return await self._replay(found.answer, call, turn, summary)
        hold = await self._held(found.answer, model, wait_s)
        summary.generation = _begun_for_it(found.answer)
        if not call.streams:
            return Answer(await self._whole(found.answer, hold, call, turn, summary))
        frames = self._streamed(found.answer, hold, call.wants_usage, turn, summary)
        # It has begun, or raises while the status can still be chosen; only one that waits long comes before that.
        has_begun = await anext(frames) == BEGUN
        waits_for = None if has_begun else partial(notice, hold, summary)
        return Answer(frames=frames, waits_for=waits_for, divert=found.answer.divert)

    async def _held(self, answer: Subscription, model: str, wait_s: float | None) -> Hold | None:
        """Return the request's place where it must wait for a replica; leaves the answer if it may not."""
        try:
            return await self._models.hold(model, wait_s)
        except BaseException:
            answer.close()
            raise

    async def _replay(self, entry: CacheEntry, call: ChatCall, turn: Turn, summary: Summary) -> Answer:
        now = time.time()
        summary.age_s = max(0, int(now - entry.created_at)) if entry.created_at else None
        summary.first_token_s = time.perf_counter() - summary.began
        body = fresh_body(entry, call.reply_id, int(now))
        summary.note(body)
        turn.accept()
        await _keep(turn, body)
        summary.timing.mark("history")
        if not call.streams:
            return Answer(body)
        frames = fresh_frames(entry, call.reply_id, int(now), call.wants_usage) + DONE
        return Answer(frames=_paced(frames, self._replay_s) if self._replay_s else _once(frames))

    async def _whole(
        self, answer: Subscription, hold: Hold | None, call: ChatCall, turn: Turn, summary: Summary
    ) -> bytes:
        """Return a whole answer, remembered."""
        try:
            reply = await held_until(answer.reply, hold)
        except BaseException:
            summary.note_usage(answer.usage)  # what an aborted answer has cost
            raise
        finally:
            leave(answer, hold, summary)
        summary.timing.mark("first-frame")
        summary.note_reply(reply)
        turn.accept()
        await _keep(turn, reply.body)
        summary.timing.mark("history")
        return reply.body

    async def _streamed(
        self, answer: Subscription, hold: Hold | None, wants_usage: bool, turn: Turn, summary: Summary
    ) -> AsyncGenerator[bytes]:
        """Yield BEGUN once the answer has begun, then its frames; one that is cut off is remembered as incomplete.

        WAITING comes before that where it is held, or takes long to begin.
        """
        is_accepted = is_whole = False
        try:
            try:
                frames = await first_frames(answer, hold, summary, self._silence_s)
            except TimeoutError:
                yield WAITING
                frames = await held_until(answer.next, hold)
            if hold:
                hold.close()
            summary.note_first(answer.usage)
            turn.accept()
            is_accepted = True
            yield BEGUN
            while frames is not None:
                yield frames
                frames = await answer.next()
            reply, is_whole = await answer.reply(), True
            summary.timing.mark("decode")
            summary.note_reply(reply)
            await _keep(turn, reply.body)
            summary.timing.mark("history")
            yield usage_frame(reply.body) + DONE if wants_usage else DONE
        finally:
            leave(answer, hold, summary)
            if not is_accepted:
                summary.note_usage(answer.usage)
            elif not is_whole and not summary.is_left:
                summary.timing.mark("decode")
                taken = answer.taken()
                summary.completion_tokens, completion = await run_sized(len(taken), _cut_short, taken)
                turn.interrupt(completion)


def _begun_for_it(answer: Subscription) -> Generation | None:
    return answer.generation if answer.is_first else None


async def _keep(turn: Turn, body: bytes) -> None:
    """Keep a whole answer where the turn does so, which only chats' do: other endpoints' can have many megabytes."""
    if turn.keeps_answer:
        await turn.complete(orjson.loads(body))


def _cut_short(frames: bytes) -> tuple[int, dict[str, Any]]:
    """Return about how many tokens an answer cut short has cost, and the answer."""
    chunks = payloads(frames)
    return _tokens_sent(chunks), assemble(chunks)


def _tokens_sent(chunks: Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens an answer cut short has cost: an event carries one, or a few."""
    choices = (choice for chunk in chunks for choice in chunk.get("choices", ()))
    return sum(bool(choice.get("delta") or choice.get("text")) for choice in choices)


async def _once(frames: bytes) -> AsyncGenerator[bytes]:
    yield frames


async def _paced(frames: bytes, pause_s: float) -> AsyncGenerator[bytes]:
    for event in frames.split(EVENT_END)[:-1]:
        yield event + EVENT_END
        await asyncio.sleep(pause_s)
