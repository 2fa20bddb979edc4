"""One contract for whatever LangChain cache is plugged in: what it was taught comes back whole, and to nobody else."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from langchain_core.caches import BaseCache, InMemoryCache

from deployments.cache.entry import CacheEntry, encode
from deployments.cache.key import cache_key
from deployments.cache.langchain_store import RedisCache
from deployments.cache.purging import Purge, PurgeableAnswers
from deployments.cache.remote import SimilarQuery, SimilarReply
from deployments.cache.similar.answers import SimilarAnswers
from deployments.cache.similar.plugged import PluggedCache
from deployments.cache.store import MemoryStore, RedisStore
from tests.langchain_caches import SameWords

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"town":"Bonn"}'}}
MESSAGE = {"role": "assistant", "content": None, "reasoning": "Hm.", "tool_calls": [CALL]}
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 5,
    "model": "guide",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls", "stop_reason": None}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}
VALUE = encode(CacheEntry(orjson.dumps(REPLY), b'data: {"id":"chatcmpl-1"}\n\n' * 3, 5.0))


@pytest.fixture(params=["in memory", "same words", "redis"])
async def answers(request: pytest.FixtureRequest) -> AsyncGenerator[SimilarAnswers]:
    cache: BaseCache = {"in memory": InMemoryCache, "same words": SameWords}.get(request.param, lambda: None)()
    cache = cache or RedisCache(RedisStore(request.getfixturevalue("valkey_url"), "similar", read_timeout_s=5))
    cache.clear()
    answers = SimilarAnswers(PluggedCache(cache, 5), PurgeableAnswers(MemoryStore()))
    yield answers
    if isinstance(cache, RedisCache):
        cache.clear()
        cache.close()


def question(tenant: str = "ann", model: str = "m", **more: Any) -> SimilarQuery:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "the weather?"}], "name": "ann"},
        MESSAGE,
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    request = {"messages": messages, "temperature": 0, "model": "guide", "stream": True, **more}
    return SimilarQuery(cache_key(tenant, model, request), "chat", orjson.dumps(request))


async def test_what_was_taught_comes_back_whole(answers: SimilarAnswers) -> None:
    assert await answers.lookup_similar(question()) == SimilarReply(None)
    assert await answers.teach([(question(), VALUE, 60.0)]) == ""
    assert await answers.lookup_similar(question()) == SimilarReply(VALUE)
    assert await answers.lookup_similar(question(stream=False, user="someone")) == SimilarReply(
        VALUE
    )  # the same request


@pytest.mark.parametrize(
    "other",
    [
        question(tenant="bob"),
        question(model="other weights"),
        question(temperature=0.1),
        question(seed=1),
        question(tools=[{"type": "function", "function": {"name": "weather"}}]),
        question(a_field_of_next_year=1),
        replace(question(), is_trimmed=True),
        question(messages=[{"role": "user", "content": "another"}]),
    ],
    ids=range(8),
)
async def test_it_is_given_to_nothing_else(answers: SimilarAnswers, other: SimilarQuery) -> None:
    await answers.teach([(question(), VALUE, 60.0)])
    assert await answers.lookup_similar(other) == SimilarReply(None)


async def test_what_began_before_a_purge_is_not_taught_after_it(answers: SimilarAnswers) -> None:
    _, began = await answers._answers.lookup([])
    await answers._answers.purge(Purge(question(seed=5).key))
    assert await answers.teach([(replace(question(), version=began), VALUE, 60.0)]) == ""
    assert await answers.lookup_similar(question()) == SimilarReply(None)
    _, now = await answers._answers.lookup([])
    assert await answers.teach([(replace(question(), version=now), VALUE, 60.0)]) == ""
    assert await answers.lookup_similar(question()) == SimilarReply(VALUE)


@pytest.mark.parametrize("scope", ["key", "tenant", "model", "all"])
async def test_a_purge_takes_it_back(answers: SimilarAnswers, scope: str) -> None:
    _, tenant, model, _ = question().key.split(":")
    purge = {
        "key": Purge(question(seed=5).key),
        "tenant": Purge(tenant=tenant),
        "model": Purge(model=model),
        "all": Purge(),
    }[scope]
    await answers.teach([(question(), VALUE, 60.0), (question(tenant="bob"), VALUE, 60.0)])
    await answers._answers.purge(purge)
    assert await answers.lookup_similar(question()) == SimilarReply(None)
    kept = SimilarReply(None) if scope in ("model", "all") else SimilarReply(VALUE)
    assert await answers.lookup_similar(question(tenant="bob")) == kept
    await answers.teach([(question(), VALUE, 60.0)])
    assert await answers.lookup_similar(question()) == SimilarReply(VALUE)


async def test_marks_that_are_lost_take_it_back_as_well(answers: SimilarAnswers) -> None:
    await answers.teach([(question(), VALUE, 60.0)])
    await answers._answers._store.clear("")
    assert await answers.lookup_similar(question()) == SimilarReply(None)


async def test_its_time_is_kept(answers: SimilarAnswers) -> None:
    await answers.teach([(question(), VALUE, -1.0)])
    assert await answers.lookup_similar(question()) == SimilarReply(None)


@pytest.mark.parametrize(
    "messages", [[{"role": "nobody"}], [{"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}], None]
)
async def test_what_langchain_has_no_form_for_is_not_asked(answers: SimilarAnswers, messages: Any) -> None:
    odd = question(messages=messages)
    assert await answers.lookup_similar(odd) == SimilarReply(None, "prompt")
    assert await answers.teach([(odd, VALUE, 60.0)]) == "prompt"


async def test_an_answer_that_langchain_has_no_form_for_is_not_taught(answers: SimilarAnswers) -> None:
    broken = {**CALL, "function": {"name": "weather", "arguments": '{"town":"Bo'}}
    choice = {"index": 0, "message": {**MESSAGE, "tool_calls": [broken]}, "finish_reason": "length"}
    value = encode(CacheEntry(orjson.dumps({**REPLY, "choices": [choice]}), b"", 5.0))
    assert await answers.teach([(question(), value, 60.0)]) == "prompt"
    assert await answers.lookup_similar(question()) == SimilarReply(None)
