"""Over generated conversations: a hit has the original's events, and what was interrupted leaves nothing."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.cache.client import CacheClient, NoCache
from deployments.cache.lookup import CacheLookup
from deployments.cache.store import MemoryStore
from deployments.chat.call import Answer, ChatCall
from deployments.chat.ports import NoTurn
from deployments.chat.service import ChatService
from deployments.chat.summary import Summary
from deployments.config import CacheSettings, ScriptedModel
from deployments.models.assembly import payloads
from deployments.models.in_process import InProcessModels
from tests.budgets import examples

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
texts = st.text(min_size=1, max_size=30) | st.sampled_from(["call weather", "two words", 'a "id":"x", quote'])
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": texts}), min_size=1, max_size=5
)
requests = st.fixed_dictionaries(
    {"messages": messages, "temperature": st.just(0)},
    optional={
        "n": st.integers(1, 3),
        "max_tokens": st.integers(1, 12),
        "tools": st.just(TOOLS),
        "logprobs": st.just(True),
        "reasoning_effort": st.just("low"),
        "stream_options": st.just({"include_usage": True}),
    },
)


class OneRequest(NoTurn):
    """A turn whose messages are those of its request."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._messages = request["messages"]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self._messages


def chats(token_ms: float = 0) -> tuple[ChatService, CacheClient]:
    cache = CacheClient(CacheLookup(CacheSettings(), MemoryStore()), CacheSettings())
    models = InProcessModels(ScriptedModel(id="m", kind="scripted", tokens=9, token_ms=token_ms))
    return ChatService(None, cache, models), cache  # type: ignore[arg-type]


async def ask(chat: ChatService, request: dict[str, Any], number: int, stream: bool = True) -> tuple[Answer, str]:
    summary = Summary()
    answer = await chat.answer(ChatCall(f"{number}", "t", {**request, "stream": stream}), OneRequest(request), summary)
    return answer, summary.cache


async def events_of(answer: Answer) -> list[dict[str, Any]]:
    assert answer.frames
    return payloads(b"".join([frame async for frame in answer.frames]))


@settings(max_examples=examples(40), deadline=None)
@given(requests)
def test_a_hit_has_the_originals_events_under_an_id_of_its_own(request: dict[str, Any]) -> None:
    async def main() -> None:
        chat, cache = chats()
        original, first = await ask(chat, request, 1)
        events = await events_of(original)
        replayed, second = await ask(chat, request, 2)
        again = await events_of(replayed)
        assert (first, second) == ("MISS", "HIT")
        assert {event["id"] for event in again} == {"chatcmpl-2"}
        assert [e | {"id": "", "created": 0} for e in again] == [e | {"id": "", "created": 0} for e in events]
        await cache.aclose()

    asyncio.run(main())


async def test_a_cache_that_is_switched_off_is_told_as_such() -> None:
    chat = ChatService(None, NoCache(), InProcessModels(ScriptedModel(id="m", kind="scripted")))  # type: ignore[arg-type]
    for number in range(2):
        summary = Summary()
        request = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0}
        await chat.answer(ChatCall(f"{number}", "t", request), OneRequest(request), summary)
        assert (summary.cache, summary.cache_reason) == ("BYPASS", "off")


@settings(max_examples=examples(40), deadline=None)
@given(requests, st.integers(1, 3))
def test_what_is_interrupted_leaves_nothing(request: dict[str, Any], readers: int) -> None:
    async def main() -> None:
        chat, cache = chats(token_ms=5)
        answers = [(await ask(chat, request, number))[0] for number in range(readers)]
        for answer in answers:
            assert answer.frames
            await anext(answer.frames)
        for answer in answers:
            assert answer.frames
            await answer.frames.aclose()
        again, result = await ask(chat, request, 9)
        assert result == "MISS"
        assert again.frames
        await again.frames.aclose()
        await cache.aclose()
        assert cache.stored == 0

    asyncio.run(main())
