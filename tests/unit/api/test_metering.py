"""What a key's limits do to its requests over HTTP, and what is counted of them."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from deployments.config import CacheSettings, KeyLimitSettings, ResponseSettings, ScriptedModel
from deployments.keys.types import ANY_NUMBER, KeyChanges
from tests.unit.api.conftest import Service, running

PATH = "/v1/chat/completions"
RESPONSES = "/v1/responses"


def body(model: str = "quick", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello big world"}], **more}


async def key(service: Service, **settings: Any) -> dict[str, str]:
    """Return the headers of a new key."""
    changes: KeyChanges = settings  # type: ignore[assignment]
    _, secret = await service.keys.create(f"limited {datetime.now(UTC).timestamp()}", changes)
    return {"authorization": f"Bearer {secret}"}


async def used(service: Service, headers: dict[str, str]) -> dict[str, int]:
    """Return the usage of a key once all that has ended is written."""
    async with asyncio.timeout(3):
        while service.usage.pending or service.models.replicas["slow"]._running:
            await asyncio.sleep(0.01)
    return (await service.http.get("/v1/usage", headers=headers)).json()["total"]


def sums(requests: int, errors: int, prompt: int, completion: int, cached: int) -> dict[str, int]:
    names = ("requests", "errors", "prompt_tokens", "completion_tokens", "cached_tokens", "total_tokens")
    return dict(zip(names, (requests, errors, prompt, completion, cached, prompt + completion), strict=True))


def retry_after(response: httpx.Response) -> int:
    assert response.status_code == 429, response.text
    return int(response.headers["retry-after"])


async def test_a_key_without_limits_gets_no_headers(service: Service) -> None:
    for response in (await service.http.post(PATH, json=body()), await service.http.get("/v1/models")):
        assert response.status_code == 200
        assert not [name for name in response.headers if name.startswith("x-ratelimit")]


async def test_requests_per_minute(service: Service) -> None:
    headers = await key(service, requests_per_minute=3)
    for remaining in ("2", "1", "0"):
        response = await service.http.post(PATH, json=body(), headers=headers)
        assert response.headers["x-ratelimit-limit-requests"] == "3"
        assert response.headers["x-ratelimit-remaining-requests"] == remaining
        assert re.fullmatch(r"\d+(\.\d+)?s", response.headers["x-ratelimit-reset-requests"])
        assert "x-ratelimit-limit-tokens" not in response.headers
    listed = await service.http.get("/v1/models", headers=headers)
    assert (listed.status_code, listed.headers["x-ratelimit-remaining-requests"]) == (200, "0")
    for refused in (
        await service.http.post(PATH, json=body(), headers=headers),
        await service.http.post(PATH, json=body(stream=True), headers=headers),
    ):
        assert 1 <= retry_after(refused) <= 20
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        error = refused.json()["error"]
        assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
        assert "3 requests per minute" in error["message"]
    assert await used(service, await key(service)) == sums(0, 0, 0, 0, 0)


def title(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {**body(temperature=0, max_tokens=32), "messages": [{"role": "user", "content": text}], **more}


async def test_two_messages_a_minute_are_two_messages_with_all_that_a_page_does_around_them(service: Service) -> None:
    headers = await key(service, requests_per_minute=2)
    for number in (1, 2):
        for path in ("/v1/me", "/v1/models", "/v1/conversations", "/v1/usage", "/v1/conversations/search?q=a"):
            assert (await service.http.get(path, headers=headers)).status_code == 200, path
        made = await service.http.post("/v1/conversations", json={"title": "new"}, headers=headers)
        conversation = made.json()["id"]
        asked = {"model": "quick", "input": "hello", "conversation": conversation, "background": True, "stream": True}
        counted = await service.http.post("/v1/tokenize", json={"prompt": "a file"}, headers=headers)
        assert counted.status_code == 200
        answer = await service.http.post(RESPONSES, json=asked, headers=headers)
        assert (answer.status_code, answer.headers["x-ratelimit-remaining-requests"]) == (200, str(2 - number))
        purpose = {**headers, "X-ChatLLM-Purpose": "title"}
        named = await service.http.post(PATH, json=title(f"hello {number}"), headers=purpose)
        assert (named.status_code, named.headers["x-ratelimit-remaining-requests"]) == (200, str(2 - number))
        path = f"/v1/conversations/{conversation}"
        for change in (
            service.http.post(path, json={"title": "renamed"}, headers=headers),
            service.http.post(path, json={"metadata": {"a": "b"}}, headers=headers),
            service.http.get(f"{path}/items", headers=headers),
            service.http.get(f"{path}/responses?status=in_progress", headers=headers),
            service.http.post(f"{path}/shares", json={}, headers=headers),
        ):
            assert (changed := await change).status_code == 200, changed.text
            assert changed.headers["x-ratelimit-remaining-requests"] == str(2 - number)
    assert 1 <= retry_after(await service.http.post(RESPONSES, json=asked, headers=headers)) <= 30
    assert (await service.http.get("/v1/me", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "more", [{"max_tokens": 65}, {"n": 2}, {"max_tokens": None}], ids=["long", "several answers", "without a bound"]
)
async def test_what_is_no_title_counts_whatever_it_says(service: Service, more: dict[str, Any]) -> None:
    headers = await key(service, requests_per_minute=2) | {"X-ChatLLM-Purpose": "title"}
    answer = await service.http.post(PATH, json=title(**{**more, "temperature": 1}), headers=headers)
    assert answer.headers["x-ratelimit-remaining-requests"] == "1", answer.text


async def test_more_titles_than_messages_count_and_all_of_them_cost_tokens(service: Service) -> None:
    headers = await key(service, requests_per_minute=2, tokens_per_minute=5_000) | {"X-ChatLLM-Purpose": "title"}
    answers = [await service.http.post(PATH, json=title(f"hello {at}"), headers=headers) for at in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429]
    total = await used(service, headers)
    assert total["requests"] == 4 and total["total_tokens"] == 4 * (2 + 8)
    assert int(answers[-1].headers["x-ratelimit-remaining-tokens"]) < 5_000


async def test_reading_has_a_limit_of_its_own_for_each_key_without_limits_too() -> None:
    quick, slow = (ScriptedModel(id=name, kind="scripted") for name in ("quick", "slow"))
    async with running(quick, slow, key_limits=KeyLimitSettings(other_requests_per_minute=5)) as service:
        ours, theirs = await key(service), await key(service, requests_per_minute=9)
        for headers in (ours, theirs):
            answers = [await service.http.get("/v1/models", headers=headers) for _ in range(6)]
            assert [answer.status_code for answer in answers] == [200] * 5 + [429]
            assert 1 <= retry_after(answers[-1]) <= 12 and "generate nothing" in answers[-1].text
            assert (await service.http.post(PATH, json=body(), headers=headers)).status_code == 200
        assert answers[-1].headers["x-ratelimit-remaining-requests"] == "9"


async def test_every_answer_of_a_limited_key_tells_its_limits(service: Service) -> None:
    # Six a minute: the next one flows in after ten seconds only.
    headers = await key(service, requests_per_minute=6, tokens_per_minute=10_000)
    responses = [
        await service.http.get("/v1/models", headers=headers),
        await service.http.get("/v1/models/none", headers=headers),
        await service.http.post(PATH, json=body("none"), headers=headers),
        await service.http.post(PATH, json=body(), headers=headers),
        await service.http.post(PATH, json=body(stream=True), headers=headers),
        await service.http.get("/v1/conversations", headers=headers),
    ]
    assert [response.status_code for response in responses] == [200, 404, 404, 200, 200, 200]
    for left, response in zip((6, 6, 5, 4, 3, 3), responses, strict=True):
        assert response.headers["x-ratelimit-remaining-requests"] == str(left), response.url
        assert response.headers["x-ratelimit-limit-tokens"] == "10000"


async def test_tokens_per_minute_are_reserved_then_settled(service: Service) -> None:
    headers = await key(service, tokens_per_minute=1000)
    first = await service.http.post(PATH, json=body(max_tokens=500), headers=headers)
    assert 450 <= int(first.headers["x-ratelimit-remaining-tokens"]) < 500
    second = await service.http.post(PATH, json=body(max_tokens=500), headers=headers)
    assert 440 <= int(second.headers["x-ratelimit-remaining-tokens"]) < 500  # the first took 3 and 8
    assert await used(service, headers) == sums(2, 0, 6, 16, 0)


async def test_a_request_that_does_not_fit_waits_as_long_as_it_is_told(service: Service) -> None:
    headers = await key(service, tokens_per_minute=600)
    async with service.http.stream("POST", PATH, json=body("slow", stream=True, max_tokens=500), headers=headers):
        refused = await service.http.post(PATH, json=body(max_tokens=200), headers=headers)
    assert 10 <= retry_after(refused) <= 16
    assert "600 tokens per minute" in refused.json()["error"]["message"]


async def test_requests_at_once(service: Service) -> None:
    headers = await key(service, concurrent_requests=1)
    async with service.http.stream("POST", PATH, json=body("slow", stream=True), headers=headers) as response:
        await anext(response.aiter_lines())
        refused = await service.http.post(PATH, json=body(), headers=headers)
        assert retry_after(refused) == 1
        assert "1 requests at once" in refused.json()["error"]["message"]
        assert (await service.http.get("/v1/models", headers=headers)).status_code == 200
    async with asyncio.timeout(2):
        while (await service.http.post(PATH, json=body(), headers=headers)).status_code == 429:
            await asyncio.sleep(0.01)


def never(response: httpx.Response) -> str:
    """Return the message of a refusal that no waiting helps against."""
    assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limit_exceeded"), response.text
    assert response.headers["x-should-retry"] == "false" and "retry-after" not in response.headers
    return response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_each_answer_to_a_request_takes_one_of_the_places(service: Service, stream: bool) -> None:
    headers = await key(service, concurrent_requests=4)
    wide = body("slow", n=4, max_tokens=400, ignore_eos=True, stream=stream)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(service.http.post(PATH, json=wide, headers=headers))
        async with asyncio.timeout(5):
            while not service.models.replicas["slow"]._running:
                await asyncio.sleep(0.01)
        assert retry_after(await service.http.post(PATH, json=body(), headers=headers)) == 1
        running.cancel()
    async with asyncio.timeout(5):
        while (await service.http.post(PATH, json=body(n=4), headers=headers)).status_code == 429:
            await asyncio.sleep(0.01)


async def test_a_request_for_more_answers_than_its_key_may_ever_run_says_how_many(service: Service) -> None:
    headers = await key(service, concurrent_requests=1, requests_per_minute=5)
    refused = await service.http.post(PATH, json=body("slow", n=128, max_tokens=400), headers=headers)
    assert "128 answers" in never(refused) and "limit is 1" in never(refused)
    assert (refused.json()["error"]["param"], refused.headers["x-ratelimit-remaining-requests"]) == ("n", "5")
    many = {"model": "slow", "prompt": ["hello"] * 64, "n": 2, "max_tokens": 200}
    assert "64 prompts × n = 2" in never(await service.http.post("/v1/completions", json=many, headers=headers))
    assert not service.models.replicas["slow"]._running
    assert (await service.http.post(PATH, json=body(), headers=headers)).status_code == 200


async def test_the_tokens_of_all_answers_are_estimated(service: Service) -> None:
    headers = await key(service, tokens_per_minute=300)
    many = {"model": "quick", "prompt": ["hello"] * 128, "max_tokens": 200}
    message = never(await service.http.post("/v1/completions", json=many, headers=headers))
    assert re.search(r"about 25\d\d\d tokens \(128 prompts", message) and "300 tokens per minute" in message
    unbounded = await service.http.post(PATH, json=body(n=128), headers=headers)
    assert "tokens per minute" in never(unbounded)
    assert (await service.http.post(PATH, json=body(n=2, max_tokens=100), headers=headers)).status_code == 200
    total = await used(service, headers)
    assert total["total_tokens"] == 3 + 2 * 8


async def test_tokenizing_uses_no_tokens_and_embeddings_wait_until_all_places_are_free() -> None:
    quick = ScriptedModel(id="quick", kind="scripted", context_tokens=10**6, embedding_dimensions=2)
    async with running(quick, ScriptedModel(id="slow", kind="scripted", token_ms=20, tokens=500)) as service:
        headers = await key(service, tokens_per_minute=2_000, concurrent_requests=2)
        long = {"model": "quick", "prompt": "word " * 10_000}
        for _ in range(3):
            told = await service.http.post("/v1/tokenize", json=long, headers=headers)
            assert (told.status_code, told.headers["x-ratelimit-remaining-tokens"]) == (200, "2000"), told.text
        texts = {"model": "quick", "input": ["a"] * 500}
        assert (await service.http.post("/v1/embeddings", json=texts, headers=headers)).status_code == 200
        async with service.http.stream("POST", PATH, json=body("slow", stream=True, max_tokens=9), headers=headers):
            assert retry_after(await service.http.post("/v1/embeddings", json=texts, headers=headers)) == 1


async def test_a_key_without_limits_cannot_fill_an_engine_unless_it_is_allowed_to() -> None:
    slow = ScriptedModel(id="slow", kind="scripted", token_ms=20, tokens=500)
    async with running(slow, key_limits=KeyLimitSettings(concurrent_requests=3)) as service:
        plain, free = await key(service), await key(service, concurrent_requests=ANY_NUMBER)
        assert "limit is 3" in never(await service.http.post(PATH, json=body("slow", n=4), headers=plain))
        assert (await service.http.post(PATH, json=body("slow", n=4, max_tokens=1), headers=free)).status_code == 200
        me = [(await service.http.get("/v1/me", headers=headers)).json() for headers in (plain, free)]
        assert [each["limits"]["concurrent_requests"] for each in me] == [3, None]


def background(**more: Any) -> dict[str, Any]:
    return {"model": "slow", "input": "hello big world", "background": True, "max_output_tokens": 400, **more}


async def test_a_response_in_the_background_keeps_its_place_and_its_tokens_until_it_has_ended(
    service: Service,
) -> None:
    headers = await key(service, concurrent_requests=1, tokens_per_minute=600)
    begun = await service.http.post(RESPONSES, json=background(), headers=headers)
    assert begun.status_code == 200
    for _ in range(5):
        assert retry_after(await service.http.post(RESPONSES, json=background(), headers=headers)) >= 1
    assert int(retry_after(await service.http.post(PATH, json=body(), headers=headers))) >= 1
    assert await service.models.running("slow") == 1
    path = f"{RESPONSES}/{begun.json()['id']}"
    async with service.http.stream("GET", f"{path}?stream=true", headers=headers) as followed:
        assert followed.status_code == 200, await followed.aread()  # to follow it takes no place
        async for line in followed.aiter_lines():
            if "output_text.delta" in line:
                break
    assert 150 < (await left_of(service, headers)) < 250
    await service.http.post(f"{path}/cancel", headers=headers)
    async with asyncio.timeout(5):
        while (answer := await service.http.post(PATH, json=body(max_tokens=8), headers=headers)).status_code == 429:
            await asyncio.sleep(0.02)
    assert answer.status_code == 200
    total = await used(service, headers)
    assert total["requests"] == 2
    assert abs(600 - total["total_tokens"] - await left_of(service, headers)) < 40


async def left_of(service: Service, headers: dict[str, str]) -> int:
    """Return the tokens that are left of a key's minute."""
    me = (await service.http.get("/v1/me", headers=headers)).json()
    return me["remaining"]["tokens_per_minute"]["remaining"]


async def test_what_a_key_runs_in_the_background_leaves_room_for_others() -> None:
    slow = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20)
    settings = ResponseSettings(max_background=4, max_background_per_key=3)
    async with running(slow, responses=settings) as service:
        ours, theirs = await key(service), await key(service)
        begun = [await service.http.post(RESPONSES, json=background(), headers=ours) for _ in range(5)]
        assert [response.status_code for response in begun] == [200, 200, 200, 429, 429]
        assert "3 responses in the background" in begun[-1].json()["error"]["message"] and retry_after(begun[-1]) == 5
        other = [await service.http.post(RESPONSES, json=background(), headers=theirs) for _ in range(2)]
        assert [response.status_code for response in other] == [200, 503]
        await service.http.post(f"{RESPONSES}/{begun[0].json()['id']}/cancel", headers=ours)
        async with asyncio.timeout(5):
            while (await service.http.post(RESPONSES, json=background(), headers=ours)).status_code != 200:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", ["admission", "cache_control"])
async def test_nobody_writes_what_the_service_notes_of_a_response(service: Service, name: str) -> None:
    answer = await service.http.post(RESPONSES, json=background(**{name: {"lease": "x"}}))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


async def failing(service: Service, headers: dict[str, str]) -> None:
    assert (await service.http.post(PATH, json=body("none"), headers=headers)).status_code == 404


async def loading(service: Service, headers: dict[str, str]) -> None:
    service.models.is_ready = False
    refused = await service.http.post(PATH, json=body(), headers={**headers, "x-chatllm-wait": "0"})
    assert refused.status_code == 503
    service.models.is_ready = True


async def leaving(service: Service, headers: dict[str, str]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.15):
            await service.http.post(PATH, json=body("slow"), headers=headers)


async def leaving_a_stream(service: Service, headers: dict[str, str]) -> None:
    async with service.http.stream("POST", PATH, json=body("slow", stream=True), headers=headers) as response:
        lines = response.aiter_lines()
        for _ in range(8):
            await anext(lines)


@pytest.mark.parametrize("ending", [failing, loading, leaving, leaving_a_stream])
async def test_the_place_is_free_again_however_a_request_ends(
    service: Service, ending: Callable[[Service, dict[str, str]], Awaitable[None]]
) -> None:
    headers = await key(service, concurrent_requests=1)
    await ending(service, headers)
    async with asyncio.timeout(2):
        while (await service.http.post(PATH, json=body(), headers=headers)).status_code != 200:
            await asyncio.sleep(0.01)


async def test_what_was_used_is_counted_however_a_request_ends(service: Service) -> None:
    unfinished = await key(service)
    await leaving_a_stream(service, unfinished)
    total = await used(service, unfinished)
    assert (total["requests"], total["errors"]) == (1, 0)
    assert 2 <= total["completion_tokens"] <= 8 and total["prompt_tokens"] == 3
    impatient = await key(service)
    await leaving(service, impatient)
    async with asyncio.timeout(2):
        while not (total := await used(service, impatient))["requests"]:
            await asyncio.sleep(0.02)
    assert total["prompt_tokens"] >= 3 and total["completion_tokens"] < 50
    refused = await key(service)
    await loading(service, refused)
    await failing(service, refused)
    assert await used(service, refused) == sums(2, 1, 0, 0, 0)
    held = await key(service)
    service.models.is_ready = False
    await leaving(service, held)
    async with asyncio.timeout(2):
        while not (total := await used(service, held))["requests"]:
            await asyncio.sleep(0.02)
    assert total == sums(1, 0, 0, 0, 0)  # no replica has heard of it


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_response_in_the_background_is_counted_once_whoever_leaves(service: Service, leaves: bool) -> None:
    headers = await key(service)
    asked = {"model": "slow", "input": "hello big world", "background": True, "stream": True}
    async with service.http.stream("POST", "/v1/responses", json=asked, headers=headers) as response:
        async for line in response.aiter_lines():
            if "response.created" in line and line.startswith("data:"):
                stop = f"/v1/responses/{orjson.loads(line[5:])['response']['id']}/cancel"
            if "output_text.delta" in line:
                if leaves:
                    break
                await service.http.post(stop, headers=headers)
    await service.http.post(stop, headers=headers)
    async with asyncio.timeout(5):
        while not (total := await used(service, headers))["prompt_tokens"]:
            await asyncio.sleep(0.02)
    assert (total["requests"], total["errors"], total["prompt_tokens"]) == (1, 0, 3)
    assert total["completion_tokens"] > 0


async def test_a_failure_in_mid_stream_counts_what_was_sent() -> None:
    weak = ScriptedModel(id="weak", kind="scripted", tokens=9, fail_after=3)
    async with running(weak, ScriptedModel(id="slow", kind="scripted")) as service:
        headers = await key(service)
        await service.http.post(PATH, json=body("weak", stream=True), headers=headers)
        total = await used(service, headers)
    assert (total["requests"], total["errors"]) == (1, 1)
    assert total["completion_tokens"] in (3, 4) and total["prompt_tokens"] == 3


async def test_a_cached_answer_costs_a_request_and_no_tokens(service: Service) -> None:
    headers = await key(service, tokens_per_month=60, requests_per_minute=10)
    for _ in range(5):
        response = await service.http.post(PATH, json=body(temperature=0, max_tokens=8), headers=headers)
        assert response.status_code == 200
    assert response.headers["x-cache"] == "HIT"
    assert response.headers["x-ratelimit-remaining-requests"] == "5"
    assert await used(service, headers) == sums(5, 0, 3, 8, 4 * 11)


def shared(number: int) -> dict[str, Any]:
    return body("slow", temperature=0, max_tokens=60, stream=True, seed=number)


async def test_joined_requests_are_requests_and_pay_their_tokens_once(service: Service) -> None:
    headers = await key(service, requests_per_minute=10, tokens_per_minute=1_000)

    async def read() -> str:
        answer = await service.http.post(PATH, json=shared(1), headers=headers)
        return answer.headers["x-cache"]

    results = await asyncio.gather(*(read() for _ in range(4)))
    assert sorted(results) == ["JOIN", "JOIN", "JOIN", "MISS"]
    assert await used(service, headers) == sums(4, 0, 3, 60, 3 * 63)
    assert 900 <= await left_of(service, headers) <= 970  # it fills up meanwhile
    answer = await service.http.post(PATH, json=body(), headers=headers)
    assert answer.headers["x-ratelimit-remaining-requests"] == "5"


async def test_a_generation_keeps_its_place_after_its_client_has_left_while_others_read_it() -> None:
    slow = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20)
    async with running(slow, cache=CacheSettings(shared=True)) as service:
        headers, other = await key(service, concurrent_requests=1), await key(service, concurrent_requests=1)
        async with (
            service.http.stream("POST", PATH, json=shared(2), headers=headers) as first,
            service.http.stream("POST", PATH, json=shared(2), headers=other) as joined,
        ):
            assert (first.headers["x-cache"], joined.headers["x-cache"]) == ("MISS", "JOIN")
            await first.aclose()
            lines = joined.aiter_lines()
            await anext(lines)
            for _ in range(5):
                refused = await service.http.post(PATH, json=body("slow", max_tokens=1), headers=headers)
                assert retry_after(refused) == 1
            assert [line async for line in lines if line][-1] == "data: [DONE]"
        async with asyncio.timeout(5):
            while (await service.http.post(PATH, json=body("slow", max_tokens=1), headers=headers)).status_code == 429:
                await asyncio.sleep(0.02)
        assert await used(service, headers) == sums(2, 0, 6, 61, 0)
        assert await used(service, other) == sums(1, 0, 0, 0, 63)


async def test_a_spent_budget_is_refused_until_the_month_ends(service: Service) -> None:
    headers = await key(service, tokens_per_month=50)
    assert (await service.http.post(PATH, json=body(max_tokens=8), headers=headers)).status_code == 200
    refused = await service.http.post(PATH, json=body(max_tokens=100), headers=headers)
    wait_s = retry_after(refused)
    assert refused.json()["error"]["code"] == "insufficient_quota"
    again = datetime.now(UTC) + timedelta(seconds=wait_s + 1)
    assert again.day == 1 and again.hour == 0
    assert (await service.http.get("/v1/models", headers=headers)).status_code == 200


async def test_a_malformed_request_costs_nothing(service: Service) -> None:
    headers = await key(service, requests_per_minute=5)
    for _ in range(10):
        assert (await service.http.post(PATH, json={"messages": 7}, headers=headers)).status_code == 400
    left = (await service.http.get("/v1/models", headers=headers)).headers["x-ratelimit-remaining-requests"]
    assert left == "5"


@pytest.mark.parametrize(("change", "word"), [("disabled_at", "disabled"), ("expires_at", "expired")])
async def test_a_key_that_is_off_says_so_to_its_holder_and_to_nobody_else(
    service: Service, change: str, word: str
) -> None:
    headers = await key(service, **{change: datetime.now(UTC)})
    for _ in range(2):
        response = await service.http.get("/v1/models", headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
        assert word in response.json()["error"]["message"]
    almost = {"authorization": headers["authorization"][:-1] + "-"}
    assert word not in (await service.http.get("/v1/models", headers=almost)).text


async def test_a_revoked_key_is_told_nothing(service: Service) -> None:
    made, secret = await service.keys.create("leaked")
    await service.keys.revoke(made.id)
    response = await service.http.get("/v1/models", headers={"authorization": f"Bearer {secret}"})
    assert response.status_code == 401 and "revoked" not in response.text
