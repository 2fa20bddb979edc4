"""A LangChain cache that is plugged in, seen over HTTP: what it finds, for whom, and what its failures cost."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from deployments.app import build_app
from deployments.cache.similar.plugged import loaded
from deployments.config import CacheSettings, ModelCacheSettings, ScriptedModel, Settings
from deployments.infra.redis.errors import StoreError
from tests import langchain_caches
from tests.langchain_caches import PATH, Blocking, SameWords
from tests.unit.api.conftest import Service, running
from tests.unit.api.test_joining import counted

CHAT = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
APPROXIMATE = "approximate: the LangChain cache found the answer to a similar request"
MODELS = (
    ScriptedModel(id="quick", kind="scripted", tokens=8),
    ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20),
    ScriptedModel(id="brief", kind="scripted", tokens=8, cache=ModelCacheSettings(ttl_s=2)),
)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> SameWords:
    cache = SameWords()
    monkeypatch.setattr(langchain_caches, "plugged", cache)
    return cache


@pytest.fixture
async def service(cache: SameWords) -> AsyncGenerator[Service]:
    async with running(*MODELS, cache=plugged(10)) as service:
        yield service


def plugged(timeout_s: float) -> CacheSettings:
    """Return settings with the cache under test; a busy machine is late with what is at once."""
    return CacheSettings(langchain=PATH, langchain_timeout_s=timeout_s, lookup_timeout_s=2)


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "quick", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


async def ask(service: Service, text: str, control: str = "", key: str = "", **more: Any) -> httpx.Response:
    headers = {"cache-control": control} | ({"authorization": f"Bearer {key}"} if key else {})
    return await service.http.post(CHAT, json=body(text, **more), headers=headers)


def told(response: httpx.Response) -> tuple[str, str]:
    assert response.status_code == 200, response.text
    return response.headers["x-cache"], response.headers.get("x-cache-reason", "")


async def taught(service: Service, text: str, **more: Any) -> httpx.Response:
    """Ask for what is new and wait until the LangChain cache has taken the answer."""
    similar_client = service.cache.similar_client
    assert similar_client
    before = similar_client.taught
    response = await ask(service, text, **more)
    assert told(response)[0] == "MISS"
    async with asyncio.timeout(5):
        while similar_client.taught == before:
            await asyncio.sleep(0.005)
    return response


def events(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) | {"id": "", "created": 0} for line in lines[:-1]]


def content(response: httpx.Response) -> Any:
    return response.json()["choices"][0]["message"]["content"]


async def test_a_similar_request_is_answered_and_told_so(service: Service) -> None:
    original = await taught(service, "hello big world")
    hit = await ask(service, "world hello big")
    assert told(hit) == ("HIT", APPROXIMATE)
    assert hit.headers["age"] == "0"
    assert hit.headers["x-cache-key"] != original.headers["x-cache-key"]
    assert hit.json() | {"id": "", "created": 0} == original.json() | {"id": "", "created": 0}
    assert hit.json()["id"] != original.json()["id"]


async def test_what_is_similar_never_passes_for_exact_later(service: Service) -> None:
    await taught(service, "hello big world")
    for _ in range(2):
        assert told(await ask(service, "world hello big")) == ("HIT", APPROXIMATE)
    assert told(await ask(service, "hello big world")) == ("HIT", "")


async def test_what_is_stored_exactly_is_never_asked_for(service: Service, cache: SameWords) -> None:
    await taught(service, "hello big world")
    asked = cache.lookups
    assert told(await ask(service, "hello big world")) == ("HIT", "")
    service.cache.memory.clear()
    assert told(await ask(service, "hello big world")) == ("HIT", "")
    assert cache.lookups == asked == 1


async def test_the_very_request_is_an_exact_hit_wherever_it_is_kept(service: Service) -> None:
    original = await taught(service, "hello big world")
    await service.lookup._store.clear("v")
    service.cache.memory.clear()
    assert told(hit := await ask(service, "hello big world")) == ("HIT", "")
    assert content(hit) == content(original)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, "stop"),
        ({"tools": TOOLS}, "tool_calls"),
        ({"n": 2, "max_tokens": 3}, "length"),
        ({"logprobs": True, "stream_options": {"include_usage": True}}, "stop"),
    ],
)
async def test_a_similar_stream_has_the_originals_frames(service: Service, more: dict[str, Any], reason: str) -> None:
    original = events(await taught(service, "call weather please", stream=True, **more))
    hit = await ask(service, "please call weather", stream=True, **more)
    assert told(hit) == ("HIT", APPROXIMATE)
    assert events(hit) == original
    assert {choice["finish_reason"] for event in original for choice in event["choices"]} - {None} == {reason}


@pytest.mark.parametrize("first_streams", [True, False])
async def test_one_entry_serves_streams_and_plain_requests(service: Service, first_streams: bool) -> None:
    await taught(service, "call weather please", stream=first_streams, tools=TOOLS)
    plain = await ask(service, "please call weather", tools=TOOLS)
    streamed = await ask(service, "weather please call", tools=TOOLS, stream=True)
    assert told(plain) == told(streamed) == ("HIT", APPROXIMATE)
    (call,) = plain.json()["choices"][0]["message"]["tool_calls"]
    deltas = [choice["delta"] for event in events(streamed) for choice in event["choices"]]
    assert (
        "".join(c["function"].get("arguments", "") for d in deltas for c in d.get("tool_calls") or [])
        == (call["function"]["arguments"])
    )
    assert plain.json()["usage"]["completion_tokens"] > 0


async def test_only_cacheable_requests_are_asked_or_taught(service: Service, cache: SameWords) -> None:
    for control, more in (("no-store", {}), ("", {"temperature": 1}), ("no-store, only-if-cached", {})):
        await ask(service, "hello big world", control, **more)
    assert (cache.lookups, cache.kept) == (0, {})
    await ask(service, "hello big world", "no-cache")  # generated anew, and kept
    assert cache.lookups == 0
    await service.cache.similar_client._teacher.aclose()  # type: ignore[union-attr]
    assert len(cache.kept) == 1


async def test_cache_control_bounds_what_is_similar(service: Service) -> None:
    assert (await ask(service, "hello big world", "only-if-cached")).status_code == 504
    await taught(service, "hello big world")
    assert told(await ask(service, "world hello big", "only-if-cached")) == ("HIT", APPROXIMATE)
    assert told(await ask(service, "world hello big", "max-age=60")) == ("HIT", APPROXIMATE)
    await asyncio.sleep(0.01)
    assert told(await ask(service, "world hello big", "max-age=0"))[0] == "MISS"


@pytest.mark.parametrize("is_careless", [False, True])
async def test_tenants_models_and_fields_stay_apart(service: Service, cache: SameWords, is_careless: bool) -> None:
    """Also with a cache that does not heed `llm_string`: the answer itself tells whom it was given to."""
    cache.is_careless = is_careless
    await taught(service, "hello big world")
    _, stranger = await service.keys.create("stranger")
    reason = "given to another key or model" if is_careless else "nothing is stored"
    for more in (
        {"key": stranger},
        {"model": "brief"},
        {"max_tokens": 3},
        {"seed": 7},
        {"tools": TOOLS},
        {"stop": "x"},
    ):
        result, why = told(await ask(service, "world hello big", "no-transform", **more))
        assert (result, reason in why) == ("MISS", True), more
        if is_careless:  # which keeps the last one
            await service.cache.similar_client._teacher.aclose()  # type: ignore[union-attr]
            cache.kept.clear()
            await taught(service, f"hello big world {secrets.token_hex(2)}")
            (place,) = cache.kept
            cache.kept = {(place[0], langchain_caches.words("human world hello big")): cache.kept[place]}


async def test_an_answer_is_given_for_its_models_time(service: Service) -> None:
    await taught(service, "hello big world", model="brief")
    assert told(await ask(service, "world hello big", model="brief")) == ("HIT", APPROXIMATE)
    await asyncio.sleep(2.1)
    assert told(await ask(service, "world hello big", model="brief"))[0] == "MISS"


@pytest.mark.parametrize("is_careless", [False, True])
@pytest.mark.parametrize("scope", ["all", "tenant", "model", "similar key", "original key"])
async def test_a_purge_is_never_without_effect(
    service: Service, cache: SameWords, scope: str, is_careless: bool
) -> None:
    cache.is_careless = is_careless
    original = await taught(service, "hello big world")
    hit = await ask(service, "world hello big")
    _, secret = await service.keys.create("admin", {"is_admin": True})
    _, stranger = await service.keys.create("stranger")
    if not is_careless:
        await taught(service, "hello big world", key=stranger)
    tenant = (await service.keys.list())[0].tenant if scope == "tenant" else ""
    params = {
        "all": {"all": "true"},
        "tenant": {"tenant": tenant},
        "model": {"model": "quick"},
        "similar key": {"key": hit.headers["x-cache-key"]},
        "original key": {"key": original.headers["x-cache-key"]},
    }[scope]
    purged = await service.http.delete("/v1/admin/cache", params=params, headers={"authorization": f"Bearer {secret}"})
    assert purged.status_code == 200, purged.text
    assert told(await ask(service, "big world hello"))[0] == "MISS"
    if not is_careless:
        others = told(await ask(service, "big world hello", key=stranger))[0]
        assert others == ("MISS" if scope in ("all", "model") else "HIT")


async def test_what_another_program_kept_is_answered_with_what_it_says(service: Service, cache: SameWords) -> None:
    await taught(service, "hello big world")
    (place,) = cache.kept
    cache.kept[place] = [Generation(text="As another program said.")]
    plain, streamed = await ask(service, "world hello big"), await ask(service, "world hello big", stream=True)
    for answer in (plain, streamed):
        assert told(answer) == ("HIT", APPROXIMATE)
        assert "age" not in answer.headers
    assert content(plain) == "As another program said."
    deltas = [choice["delta"] for event in events(streamed) for choice in event["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "As another program said."
    assert events(streamed)[-1]["choices"][0]["finish_reason"] == "stop"
    assert told(await ask(service, "world big hello", "max-age=60"))[0] == "MISS"  # of unknown age


async def test_what_another_program_called_is_called(service: Service, cache: SameWords) -> None:
    await taught(service, "call weather please", tools=TOOLS)
    (place,) = cache.kept
    calls = [{"name": "weather", "args": {"town": "Bonn"}, "id": "call_7", "type": "tool_call"}]
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    cache.kept[place] = [ChatGeneration(message=AIMessage("", tool_calls=calls, usage_metadata=usage))]
    answer = (await ask(service, "please call weather", tools=TOOLS)).json()
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert (call["id"], json.loads(call["function"]["arguments"])) == ("call_7", {"town": "Bonn"})
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


async def test_what_this_service_keeps_other_programs_can_read(service: Service, cache: SameWords) -> None:
    answer = (await taught(service, "call weather please", tools=TOOLS)).json()
    ((generation,),) = cache.kept.values()
    assert isinstance(generation, ChatGeneration)
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert generation.message.tool_calls[0]["name"] == call["function"]["name"]  # type: ignore[attr-defined]
    assert generation.message.usage_metadata["output_tokens"] == answer["usage"]["completion_tokens"]  # type: ignore[attr-defined]
    text = content(await taught(service, "hello"))
    assert text in {generations[0].text for generations in cache.kept.values()}


async def test_completions_are_asked_with_their_text(service: Service, cache: SameWords) -> None:
    async def complete(prompt: Any, **more: Any) -> httpx.Response:
        request = {"model": "quick", "prompt": prompt, "temperature": 0, **more}
        return await service.http.post("/v1/completions", json=request)

    original = await complete("once upon")
    await service.cache.similar_client._teacher.aclose()  # type: ignore[union-attr]
    assert frozenset({"once", "upon"}) in {place[1] for place in cache.kept}
    hit = await complete("upon once")
    assert told(hit) == ("HIT", APPROXIMATE)
    assert hit.json()["choices"] == original.json()["choices"]
    (place,) = cache.kept
    cache.kept[place] = [Generation(text=" a time", generation_info={"finish_reason": "length"})]
    (choice,) = (await complete("upon once")).json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == (" a time", "length")
    assert "has no form" in told(await complete([1, 2, 3]))[1]


@pytest.mark.parametrize(
    "nonsense",
    [
        "text",
        [],
        [1],
        {"a": 1},
        [Generation(text="")],
        [Generation(text="one"), Generation(text="too many")],
        [Generation(text="x", generation_info={"finish_reason": ["stop"]})],
        [ChatGeneration(message=AIMessage("x", tool_calls=[{"name": "a", "args": {"b": {1}}, "id": "1"}]))],
        [Generation(text="x", generation_info={"chatllm": "x"})],
        [Generation(text="x", generation_info={"chatllm": {"key": "x"}})],
        [
            Generation(
                text="x",
                generation_info={"chatllm": {"key": "x", "scope": "x", "expires_at": 9e9, "entry": "%"}},
            )
        ],
    ],
    ids=str,
)
async def test_garbage_is_a_counted_miss(service: Service, cache: SameWords, nonsense: Any) -> None:
    cache.nonsense = nonsense
    assert told(await ask(service, "hello"))[0] == "MISS"
    assert service.cache.misses == {"absent": 1} | {"langchain_garbage": 1}
    assert service.lookup.failures == {"langchain_garbage": 1}


async def test_a_failing_cache_is_a_counted_miss_and_is_left_alone(service: Service, cache: SameWords) -> None:
    cache.error = RuntimeError("no embedding today")
    for number in range(20):
        assert told(await ask(service, f"hello {number}"))[1] == "nothing is stored, and the LangChain cache failed"
    misses = service.cache.misses
    assert (misses["absent"], misses["langchain_failed"] + misses["langchain_breaker_open"]) == (20, 20)
    assert misses["langchain_failed"] == cache.lookups >= 5
    assert misses["langchain_breaker_open"] >= 5
    await service.cache.similar_client._teacher.aclose()  # type: ignore[union-attr]
    assert service.cache.drops.keys() == {"langchain_failed", "langchain_breaker_open"}
    cache.error = None
    async with asyncio.timeout(5):
        while "failed" in told(await ask(service, secrets.token_hex(4)))[1]:
            await asyncio.sleep(0.05)
    words: list[str] = []
    taught: list[str] = []
    async with asyncio.timeout(10):  # the breaker of teaching closes when it has tried again
        while not taught:
            words.append(secrets.token_hex(4))
            assert told(await ask(service, f"{words[-1]} big world"))[0] == "MISS"
            await asyncio.sleep(0.05)
            taught = [word for word in words if any({word, "big", "world"} <= said for _, said in cache.kept)]
    assert told(await ask(service, f"world {taught[0]} big")) == ("HIT", APPROXIMATE)


@pytest.mark.parametrize("kind", [SameWords, Blocking])
async def test_a_hanging_cache_is_a_miss_in_time_and_blocks_no_exact_look_up(
    kind: type[SameWords], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = kind()
    monkeypatch.setattr(langchain_caches, "plugged", cache)
    async with running(*MODELS, cache=plugged(2)) as service:
        await ask(service, "stored before")
        cache.takes_s = 6.0
        began = time.perf_counter()
        waiting = [asyncio.create_task(ask(service, f"hello {number}")) for number in range(20)]
        await asyncio.sleep(0.05)
        for _ in range(3):
            service.cache.memory.clear()
            assert told(await ask(service, "stored before"))[0] == "HIT"
        assert not any(task.done() for task in waiting)
        reasons = {told(answer)[1] for answer in await asyncio.gather(*waiting)}
        assert time.perf_counter() - began < cache.takes_s
        assert reasons == {"nothing is stored, and the LangChain cache did not answer in time"}
        assert service.lookup.failures["langchain_timeout"] >= 5
        cache.takes_s = 0.0


async def test_without_its_marks_nothing_is_asked(
    service: Service, cache: SameWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis keeps what tells of purges: while it is away, the other cache could answer with what was taken back."""

    async def read(*_: object) -> None:
        raise StoreError("connection")

    monkeypatch.setattr(service.lookup._store, "read", read)
    assert told(await ask(service, "hello")) == ("MISS", "the cache cannot be reached")
    assert (cache.lookups, service.cache.misses) == (0, {"redis_connection": 1})


async def test_identical_requests_ask_once_and_are_one_generation(service: Service, cache: SameWords) -> None:
    cache.takes_s = 0.05
    asked = counted(service)
    answers = await asyncio.gather(*(ask(service, "hello", model="slow", max_tokens=5) for _ in range(30)))
    assert sorted(told(answer)[0] for answer in answers) == ["JOIN"] * 29 + ["MISS"]
    assert (asked["slow"], cache.lookups) == (1, 1)


async def test_what_is_interrupted_is_not_taught(service: Service, cache: SameWords) -> None:
    async with service.http.stream("POST", CHAT, json=body("hello", model="slow", stream=True)) as response:
        async for line in response.aiter_lines():
            if "hello" in line:
                break
    async with asyncio.timeout(5):
        while await service.models.running("slow"):
            await asyncio.sleep(0.01)
    await service.cache.similar_client._teacher.aclose()  # type: ignore[union-attr]
    assert cache.kept == {}


async def test_langchains_own_cache_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells whole prompts apart: what the exact store lost is found again, and nothing else."""
    async with running(*MODELS, cache=CacheSettings(langchain="langchain_core.caches:InMemoryCache")) as service:
        original = await taught(service, "hello big world", stream=True)
        await service.lookup._store.clear("v")
        service.cache.memory.clear()
        hit = await ask(service, "hello big world", stream=True)
        assert told(hit) == ("HIT", "")
        assert events(hit) == events(original)
        assert told(await ask(service, "world hello big"))[0] == "MISS"


async def test_it_is_off_unless_it_is_configured(cache: SameWords) -> None:
    async with running(*MODELS) as service:
        assert told(await ask(service, "hello big world"))[0] == "MISS"
        assert told(await ask(service, "world hello big"))[0] == "MISS"
    assert (cache.lookups, service.cache.similar_client) == (0, None)


async def test_administrators_see_what_it_does(service: Service, cache: SameWords) -> None:
    await taught(service, "hello big world")
    await ask(service, "world hello big")
    cache.error = ValueError()
    for number in range(5):
        await ask(service, f"hello {number}")
    _, secret = await service.keys.create("admin", {"is_admin": True})
    figures = (await service.http.get("/v1/admin/cache", headers={"authorization": f"Bearer {secret}"})).json()
    assert (figures["replica"]["similar_hits"], figures["replica"]["taught"]) == (1, 1)
    assert figures["replica"]["misses"]["langchain_failed"] == 5
    assert figures["lookup"]["langchain_is_stopped"] is True


def test_the_path_names_a_cache_or_nothing_is_deployed() -> None:
    assert isinstance(loaded("langchain_core.caches:InMemoryCache"), InMemoryCache)
    for wrong, why in (
        ("no.such.module:cache", "cannot be imported"),
        ("langchain_core.caches:Nothing", "cannot be imported"),
        ("json:dumps.__name__", "neither a LangChain cache"),
    ):
        with pytest.raises(ValueError, match=why):
            build_app(Settings(models=MODELS, cache=CacheSettings(langchain=wrong)))
    with pytest.raises(ValueError, match="makes no LangChain cache"):
        loaded("builtins:dict")
    for unreadable in ("json", "json:", ":cache", "json:a b"):
        with pytest.raises(ValueError):
            CacheSettings(langchain=unreadable)
