"""What HTTP's words for the cache do to a request, as its client sees it."""

import time
from typing import Any

import httpx
import pytest

from deployments.config import CacheSettings, ModelCacheSettings, ScriptedModel
from tests.unit.api.conftest import Service, running

PATH = "/v1/chat/completions"
GREEDY = {"temperature": 0}


def body(text: str = "hello world", **more: Any) -> dict[str, Any]:
    return {"model": "quick", "messages": [{"role": "user", "content": text}], **more}


async def ask(service: Service, control: str = "", **more: Any) -> httpx.Response:
    headers = {"cache-control": control} if control else {}
    return await service.http.post(PATH, json=body(**more), headers=headers)


def told(response: httpx.Response) -> tuple[str, str | None]:
    return response.headers["x-cache"], response.headers.get("x-cache-reason")


async def test_a_miss_and_a_bypass_say_why_and_a_hit_its_age(service: Service) -> None:
    assert told(await ask(service, **GREEDY)) == ("MISS", "nothing is stored for this request")
    hit = await ask(service, **GREEDY)
    assert told(hit) == ("HIT", None)
    assert hit.headers["age"] == "0"
    result, reason = told(await ask(service))
    assert (result, (reason or "").partition(":")[0]) == ("BYPASS", "the request is sampled")


async def test_no_store_neither_finds_nor_keeps(service: Service) -> None:
    assert told(await ask(service, "no-store", **GREEDY)) == ("BYPASS", "the request asked for no-store")
    assert told(await ask(service, **GREEDY))[0] == "MISS"
    assert told(await ask(service, "no-store", **GREEDY))[0] == "BYPASS"


async def test_no_cache_generates_anew_and_keeps(service: Service) -> None:
    assert told(await ask(service, "no-cache", **GREEDY)) == ("BYPASS", "the request asked for no-cache")
    first = await ask(service, **GREEDY)
    assert told(first)[0] == "HIT"
    assert told(await ask(service, "no-cache", **GREEDY))[0] == "BYPASS"


async def test_max_age_bounds_the_age_and_opts_a_sampled_request_in(service: Service) -> None:
    assert told(await ask(service, "max-age=60"))[0] == "MISS"
    assert told(await ask(service, "max-age=60"))[0] == "HIT"
    assert told(await ask(service, "max-age=0")) == ("MISS", "what is stored is older than the request's max-age")
    assert told(await ask(service))[0] == "BYPASS"


async def test_only_if_cached_is_a_hit_or_a_504(service: Service) -> None:
    refused = await ask(service, "only-if-cached", **GREEDY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (504, "not_cached")
    assert "nothing is stored" in refused.json()["error"]["message"]
    for control, more in (("only-if-cached", {}), ("only-if-cached, no-store", GREEDY)):
        assert (await ask(service, control, **more)).status_code == 504
    await ask(service, **GREEDY)
    assert told(await ask(service, "only-if-cached", **GREEDY))[0] == "HIT"
    streamed = await ask(service, "only-if-cached", **GREEDY, stream=True)
    assert told(streamed)[0] == "HIT"


async def test_other_endpoints_are_steered_as_well(service: Service) -> None:
    async def complete(control: str) -> httpx.Response:
        request = {"model": "quick", "prompt": "once", "temperature": 0}
        return await service.http.post("/v1/completions", json=request, headers={"cache-control": control})

    assert (await complete("only-if-cached")).status_code == 504
    assert told(await complete("no-transform"))[0] == "MISS"
    assert told(await complete("only-if-cached"))[0] == "HIT"


async def test_what_is_never_cached_says_why(service: Service) -> None:
    counted = await service.http.post("/v1/tokenize", json={"model": "quick", "prompt": "hello"})
    assert told(counted) == ("BYPASS", "only chats and completions are cached")
    throughout = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    result, reason = told(await ask(service, **GREEDY, **throughout))
    assert (result, reason) == ("BYPASS", "an answer that tells the usage in every event is not cached")


@pytest.mark.parametrize(("requests", "expected"), [("all", "HIT"), ("off", "BYPASS")])
async def test_a_model_caches_all_or_nothing(requests: Any, expected: str) -> None:
    cache = ModelCacheSettings(requests=requests)
    async with running(ScriptedModel(id="quick", kind="scripted", tokens=4, cache=cache)) as service:
        for more in (GREEDY, {"temperature": 1}):
            await ask(service, **more)
            assert told(await ask(service, **more))[0] == expected


async def test_a_stream_from_the_cache_can_be_paced() -> None:
    cache = CacheSettings(replay_ms=20)
    async with running(ScriptedModel(id="quick", kind="scripted", tokens=6), cache=cache) as service:
        original = await ask(service, **GREEDY, stream=True)
        began = time.perf_counter()
        hit = await ask(service, **GREEDY, stream=True)
        assert told(hit)[0] == "HIT"
        assert len(hit.text.split("\n\n")) == len(original.text.split("\n\n"))
        assert time.perf_counter() - began > 6 * 0.02
