"""Answers to similar questions, from the LangChain cache that is plugged in."""

import asyncio
from collections.abc import Sequence

from deployments.cache.purging import PurgeableAnswers
from deployments.cache.remote import SimilarQuery, SimilarReply
from deployments.cache.similar.generations import NoAnswer, generations_of, read
from deployments.cache.similar.plugged import PluggedCache, PluggedError
from deployments.cache.similar.prompt import Prompt, prompt_of

Lesson = tuple[SimilarQuery, bytes, float]
"""A query, the encoded answer to it, and for how many seconds it may be given."""


class SimilarAnswers:
    """What a plugged cache is asked and taught. Both raise StoreError where it is not known what was purged."""

    def __init__(self, cache: PluggedCache, answers: PurgeableAnswers) -> None:
        self._cache = cache
        self._answers = answers

    @property
    def is_stopped(self) -> bool:
        """Whether the cache is left alone right now."""
        return self._cache.is_stopped

    async def lookup_similar(self, query: SimilarQuery) -> SimilarReply:
        """Return what the cache finds for the question; whatever else it does is a miss with its reason."""
        prompt = await _prompt(query, await self._answers.mark_of_similar(query.key) or "")
        if prompt is None:
            return SimilarReply(None, "prompt")
        try:
            found = await self._cache.lookup(prompt.prompt, prompt.llm_string)
            answer = read(found, query.key, prompt) if found is not None else None
        except (PluggedError, NoAnswer) as error:
            return SimilarReply(None, error.kind)
        return SimilarReply(answer.value, "", answer.is_similar) if answer else SimilarReply(None)

    async def teach(self, lessons: Sequence[Lesson]) -> str:
        """Give the cache answers but for those since which was purged; return why one was not taken, or nothing."""
        failure = ""
        for query, value, ttl_s in lessons:
            mark = await self._answers.mark_of_similar(query.key, query.version)
            if mark is None:
                continue
            prompt = await _prompt(query, mark)
            if prompt is None:
                failure = "prompt"
                continue
            try:
                generations = generations_of(query.key, prompt, value, ttl_s)
                await self._cache.update(prompt.prompt, prompt.llm_string, generations)
            except (PluggedError, NoAnswer) as error:
                failure = error.kind
        return failure


async def _prompt(query: SimilarQuery, mark: str) -> Prompt | None:
    return await asyncio.to_thread(prompt_of, query, mark)  # a long conversation takes milliseconds
